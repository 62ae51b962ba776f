// Sums and maxima over a block. The order follows from the number of threads alone.
#pragma once

#include "kernels/cuda/device/platform.cuh"

namespace kronla::cuda {

inline constexpr int kReduceRoom = 32;  // elements of shared memory that a reduction needs: one per warp

// `combine` of all threads' values, given to every thread. All threads of the block call it.
template <class V, class Combine>
__device__ __forceinline__ V block_reduce(V value, V* room, Combine&& combine) {
  for (int flips = 16; flips > 0; flips /= 2) value = combine(value, __shfl_xor_sync(0xffffffffu, value, flips));
  const int warp = static_cast<int>(threadIdx.x) / 32, warps = static_cast<int>(blockDim.x) / 32;
  __syncthreads();  // the room may still be read from the last time
  if (threadIdx.x % 32 == 0) room[warp] = value;
  __syncthreads();
  value = room[0];
  for (int w = 1; w < warps; ++w) value = combine(value, room[w]);
  return value;
}

template <class V>
__device__ __forceinline__ V block_sum(V value, V* room) {
  return block_reduce(value, room, [](V a, V b) { return a + b; });
}

template <class V>
__device__ __forceinline__ V block_max(V value, V* room) {
  return block_reduce(value, room, [](V a, V b) { return a < b ? b : a; });
}

}  // namespace kronla::cuda
