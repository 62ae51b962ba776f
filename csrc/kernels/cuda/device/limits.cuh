// What the current device allows.
#pragma once

#include "kernels/cuda/device/platform.cuh"

namespace kronla::cuda {

// Bytes of shared memory that a block may ask for.
inline size_t largest_shared_memory() {
#if defined(__CUDACC__)
  int device = 0, bytes = 0;
  check(cudaGetDevice(&device), "cudaGetDevice");
  check(cudaDeviceGetAttribute(&bytes, cudaDevAttrMaxSharedMemoryPerBlockOptin, device), "cudaDeviceGetAttribute");
  return static_cast<size_t>(bytes);
#else
  return emulator::settings().shared_limit;
#endif
}

}  // namespace kronla::cuda
