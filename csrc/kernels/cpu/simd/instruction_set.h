// The instruction set that computes.
#pragma once

namespace kronla {

// "avx512", "avx2" or "portable": the best that the processor has, or what the environment variable KRONLA_ISA demands,
// read once. Throws std::runtime_error for a name that is none of these or that the processor cannot run.
const char* instruction_set();

namespace kernels {

template <class T>
struct Kernels;

// Its kernels: kernels.h.
template <class T>
const Kernels<T>& chosen();

}  // namespace kernels

}  // namespace kronla
