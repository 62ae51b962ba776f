// The one door to cuSOLVER: eigendecompositions of a batch of symmetric matrices of one size.
//
// The library is looked up when it is first needed (solver.cu says where), so that nothing links against it; where it is
// not found, and on the emulator, std::runtime_error says so in one sentence. A call may wait for the device and cannot
// be captured in a CUDA graph. Which algorithm cuSOLVER takes is its own affair, and may depend on the batch.
#pragma once

#include <cstdint>
#include <string>

#include "kernels/cuda/stream.h"

namespace kronla::cuda {

// V[batch, n, ld]: symmetric, finite matrices, both triangles given; row k becomes a unit eigenvector of the k-th
// smallest eigenvalue, of either sign. values[batch, n], ascending. failed[batch]: 0 where the iteration converged.
template <class T>
struct SolverBatch {
  int64_t batch, n, ld;
  T* V;
  T* values;
  int32_t* failed;
};

// What solves it: cuSOLVER, or what a test puts in its place.
template <class T>
using Solver = void (*)(const SolverBatch<T>&, const Stream&);

template <class T>
void solve_symmetric(const SolverBatch<T>& problem, const Stream& stream);

// cuSOLVER's version, such as "12.0.4"; empty where it is not found.
std::string solver_version();

}  // namespace kronla::cuda
