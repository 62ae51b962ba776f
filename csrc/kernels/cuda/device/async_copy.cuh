// Copies from global to shared memory that run beside the computation (cp.async, sm_80 on).
//
// A copy is visible to its own thread after the wait for its group, and to the others after a block barrier on top.
#pragma once

#include "kernels/cuda/device/platform.cuh"

namespace kronla::cuda {

// `kBytes` (4, 8 or 16, both sides aligned to it) of which the first `source_bytes` are read and the rest become 0. With
// none to read `global` must still be a valid address.
template <int kBytes>
__device__ __forceinline__ void async_copy(void* shared, const void* global, int source_bytes KRONLA_CALLER) {
#if defined(__CUDACC__)
  const unsigned target = static_cast<unsigned>(__cvta_generic_to_shared(shared));
  if constexpr (kBytes == 16) {
    // Past L1: a tile is read once by its block, and by others through L2.
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;\n" ::"r"(target), "l"(global), "r"(source_bytes)
                 : "memory");
  } else {
    asm volatile("cp.async.ca.shared.global [%0], [%1], %2, %3;\n" ::"r"(target), "l"(global), "n"(kBytes),
                 "r"(source_bytes)
                 : "memory");
  }
#else
  emulator::async_copy(shared, global, kBytes, source_bytes, caller);
#endif
}

// Closes the group of the copies since the last one; a group may be empty.
__device__ __forceinline__ void async_commit() {
#if defined(__CUDACC__)
  asm volatile("cp.async.commit_group;\n" ::: "memory");
#else
  emulator::async_commit();
#endif
}

// Until all groups of this thread but the newest `kLeft` have landed.
template <int kLeft>
__device__ __forceinline__ void async_wait() {
#if defined(__CUDACC__)
  asm volatile("cp.async.wait_group %0;\n" ::"n"(kLeft) : "memory");
#else
  emulator::async_wait(kLeft);
#endif
}

}  // namespace kronla::cuda
