// Kernels with one fault each, beside the same kernels without it: the emulator must catch the fault and only that.
#pragma once

#include <functional>
#include <vector>

#include "kernels/cuda/device/platform.cuh"

namespace broken {

constexpr int kThreads = 64;

// How the emulator shows a fault: by a result that is wrong in at least one order of turns; by an exception; by the end of
// the process under AddressSanitizer (and an exception without it); or by ThreadSanitizer alone.
enum class Caught { WrongResult, Failure, FailureOrDeath, DeathUnderAsan, OnlyByThreadSanitizer };

// A kernel of blocks of 64 threads that reads 64 floats and writes 64 or 128, with or without its fault.
struct Case {
  const char* name;
  std::function<void(bool fault, const float* in, float* out)> run;
  Caught caught;
  const char* sentence;  // a part of the exception's
  bool race;             // ThreadSanitizer reports it
};

std::vector<Case> cases_of_threads();
std::vector<Case> cases_of_memory();
std::vector<Case> cases_of_tensor_cores();
const std::vector<Case>& cases();

template <class Kernel>
auto launcher(const char* name, Kernel whole, Kernel faulty, unsigned blocks, size_t shared_floats) {
  return [=](bool fault, const float* in, float* out) {
    kronla::cuda::launch(name, fault ? faulty : whole, dim3(blocks), kThreads, shared_floats * sizeof(float), nullptr,
                         in, out);
  };
}
#define KERNEL(name, blocks, floats) #name, launcher(#name, &name<false>, &name<true>, blocks, floats)

}  // namespace broken
