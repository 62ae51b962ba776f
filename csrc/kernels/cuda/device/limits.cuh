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

// Blocks that run at a time, `each` of them on a multiprocessor.
inline unsigned resident_blocks(int each) {
#if defined(__CUDACC__)
  int device = 0, count = 0;
  check(cudaGetDevice(&device), "cudaGetDevice");
  check(cudaDeviceGetAttribute(&count, cudaDevAttrMultiProcessorCount, device), "cudaDeviceGetAttribute");
  return static_cast<unsigned>(count * each);
#else
  return static_cast<unsigned>(3 * each);  // few, so that every block goes round
#endif
}

}  // namespace kronla::cuda
