// Which matrices still have work, listed on the device: the kernels after the one that decides deal out the tiles of
// these alone, without a word from the host. A launch has at most as many blocks as the device holds at a time, and they
// go round; where the list is empty, each leaves after a look at the counts.
#pragma once

#include "kernels/cuda/device/platform.cuh"

namespace kronla::cuda {

// Of one task, in device memory. The order of the entries is that of arrival: it says who does a tile, never what.
struct WorkList {
  int32_t *count, *entries;
};

__device__ __forceinline__ void append(const WorkList& list, int entry) {
  list.entries[atomicAdd(list.count, 1)] = entry;
}

// body(task, entry, index) for tile `index` of tiles_of(task) of each matrix on work_of(task), dealt out to the blocks in
// turn, with a barrier after each. `first` is List::kMost + 1 ints of shared memory: the tiles before those of a task.
template <class List, class WorkOf, class TilesOf, class Body>
__device__ __forceinline__ void for_each_tile(const List& list, int* first, WorkOf&& work_of, TilesOf&& tiles_of,
                                              Body&& body) {
  const int lane = static_cast<int>(threadIdx.x);
  if (lane < 32) {
    int before = 0;
    for (int base = 0; base < list.count; base += 32) {
      const int t = base + lane;
      int sum = t < list.count ? *work_of(list.tasks[t]).count * tiles_of(list.tasks[t]) : 0;
      for (int distance = 1; distance < 32; distance *= 2) {
        const int other = __shfl_up_sync(0xffffffffu, sum, distance);
        if (lane >= distance) sum += other;
      }
      if (t < list.count) first[t + 1] = before + sum;
      before += __shfl_sync(0xffffffffu, sum, 31);
    }
    if (lane == 0) first[0] = 0;
  }
  __syncthreads();
  const int total = first[list.count];
  for (int tile = static_cast<int>(blockIdx.x); tile < total; tile += static_cast<int>(gridDim.x)) {
    int low = 0, high = list.count - 1;
    while (low < high) {  // the last task that begins here or before; those without work are passed over
      const int middle = (low + high + 1) / 2;
      if (first[middle] <= tile) {
        low = middle;
      } else {
        high = middle - 1;
      }
    }
    const auto& task = list.tasks[low];
    const int within = tile - first[low], tiles = tiles_of(task);
    body(task, work_of(task).entries[within / tiles], within % tiles);
    __syncthreads();
  }
}

}  // namespace kronla::cuda
