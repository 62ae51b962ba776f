// Faults in how threads go together: barriers, warp collectives, atomics, blocks.
#include "broken_kernels.h"

namespace broken {
namespace {

// out[i] = in[n - 1 - i], through shared memory.
template <bool kFault>
__global__ void reverse(const float* in, float* out) {
  KRONLA_SHARED(float, shared);
  const int i = threadIdx.x;
  shared[i] = in[i];
  if (!kFault) __syncthreads();
  out[i] = shared[kThreads - 1 - i];
}

// Twice the same buffer: the fault overwrites it before all have read it.
template <bool kFault>
__global__ void reverse_twice(const float* in, float* out) {
  KRONLA_SHARED(float, shared);
  const int i = threadIdx.x;
  for (int round = 0; round < 2; ++round) {
    shared[i] = round == 0 ? in[i] : in[i] + 1.0f;
    __syncthreads();
    out[round * kThreads + i] = shared[kThreads - 1 - i];
    if (!kFault) __syncthreads();
  }
}

// The same within a warp, where a warp barrier is enough, and needed.
template <bool kFault>
__global__ void reverse_in_warp(const float* in, float* out) {
  KRONLA_SHARED(float, shared);
  const int i = threadIdx.x, warp = i / 32 * 32, lane = i % 32;
  shared[i] = in[i];
  if (!kFault) __syncwarp();
  out[i] = shared[warp + 31 - lane];
}

// Each warp needs a buffer of its own, which no block barrier guards.
template <bool kFault>
__global__ void warps_in_one_buffer(const float* in, float* out) {
  KRONLA_SHARED(float, shared);
  const int i = threadIdx.x, warp = i / 32, lane = i % 32;
  float* mine = shared + (kFault ? 0 : 32 * warp);
  float sum = 0.0f;
  for (int round = 0; round < 4; ++round) {
    mine[lane] = in[i] + static_cast<float>(round);
    __syncwarp();
    sum += mine[31 - lane];
    __syncwarp();
  }
  out[i] = sum;
}

// A shuffle brings the lanes together, but orders no memory.
template <bool kFault>
__global__ void exchange_around_a_shuffle(const float* in, float* out) {
  KRONLA_SHARED(float, shared);
  const int i = threadIdx.x, warp = i / 32 * 32, lane = i % 32;
  shared[i] = in[i];
  const float first = __shfl_sync(0xffffffffu, in[i], 0);
  if (!kFault) __syncwarp();
  out[i] = shared[warp + 31 - lane] + first;
}

// In global memory; the fault overwrites what another thread has still to read.
template <bool kFault>
__global__ void reverse_in_place(const float* in, float* out) {
  const int i = threadIdx.x;
  out[i] = in[i];
  __syncthreads();
  const float mirrored = out[kThreads - 1 - i];
  if (!kFault) __syncthreads();
  out[i] = mirrored;
}

// The sum over a block; `room` is one number for each warp.
__device__ float block_total(float x, float* room, bool guarded) {
  for (int flips = 16; flips > 0; flips /= 2) x += __shfl_xor_sync(0xffffffffu, x, flips);
  if (guarded) __syncthreads();
  if (threadIdx.x % 32 == 0) room[threadIdx.x / 32] = x;
  __syncthreads();
  return room[0] + room[1];
}

// The fault: the second sum begins while others still read the first.
template <bool kFault>
__global__ void two_sums_in_one_room(const float* in, float* out) {
  KRONLA_SHARED_ARRAY(float, room, 2);
  const int i = threadIdx.x;
  const float once = block_total(in[i], room, true);
  out[i] = once + block_total(2.0f * in[i], room, !kFault);
}

template <bool kFault>
__global__ void divergent_barrier(const float* in, float* out) {
  const int i = threadIdx.x;
  if (!kFault || i < 32) __syncthreads();
  out[i] = in[i];
}

// Barriers at two places, as in the branches of an if.
template <bool kFault>
__global__ void barriers_in_branches(const float* in, float* out) {
  const int i = threadIdx.x;
  if (kFault && i % 2 == 0) {
    __syncthreads();
  } else {
    __syncthreads();
  }
  out[i] = in[i];
}

template <bool kFault>
__global__ void barriers_on_one_line(const float* in, float* out) {
  const int i = threadIdx.x;
  // clang-format off
  if (kFault) { i % 2 == 0 ? __syncthreads() : __syncthreads(); } else { __syncthreads(); }
  // clang-format on
  out[i] = in[i];
}

template <bool kFault>
__global__ void return_before_a_barrier(const float* in, float* out) {
  KRONLA_SHARED(float, shared);
  const int i = threadIdx.x;
  if (kFault && i >= 48) return;
  if (i < 48) shared[i] = in[i];
  __syncthreads();
  if (i < 48) out[i] = shared[47 - i];
}

template <bool kFault>
__global__ void barrier_in_a_loop(const float* in, float* out) {
  const int i = threadIdx.x, rounds = kFault ? 2 + i / 32 : 3;
  float x = in[i];
  for (int round = 0; round < rounds; ++round) {
    x += 1.0f;
    __syncthreads();
  }
  out[i] = x;
}

template <bool kFault>
__global__ void divergent_warp_barrier(const float* in, float* out) {
  const int i = threadIdx.x;
  if (!kFault || i % 2 == 0) __syncwarp();
  out[i] = in[i];
}

template <bool kFault>
__global__ void divergent_shuffle(const float* in, float* out) {
  const int i = threadIdx.x;
  float x = in[i];
  if (!kFault || i % 32 < 16) x = __shfl_xor_sync(0xffffffffu, x, 1);
  out[i] = x;
}

template <bool kFault>
__global__ void shuffles_on_one_line(const float* in, float* out) {
  const int i = threadIdx.x;
  const float x = in[i];
  // clang-format off
  out[i] = kFault && i % 2 == 0 ? __shfl_sync(0xffffffffu, x, 0) : __shfl_sync(0xffffffffu, x, 1);
  // clang-format on
}

template <bool kFault>
__global__ void mask_without_oneself(const float* in, float* out) {
  const int i = threadIdx.x, half = i % 32 / 16;
  const uint32_t mask = (half == 0) != kFault ? 0x0000ffffu : 0xffff0000u;
  out[i] = __shfl_xor_sync(mask, in[i], 1);
}

template <bool kFault>
__global__ void shuffle_outside_mask(const float* in, float* out) {
  const int i = threadIdx.x, half = i % 32 / 16;
  const uint32_t mask = half == 0 ? 0x0000ffffu : 0xffff0000u;
  out[i] = __shfl_xor_sync(mask, in[i], kFault ? 16 : 8);
}

// All threads add to one number, with and without an atomic. Under the emulator a plain sum comes out right, for a thread
// is only interrupted at barriers; ThreadSanitizer sees it.
template <bool kFault>
__global__ void sum_without_atomic(const float* in, float* out) {
  KRONLA_SHARED_ARRAY(float, sum, 1);
  const int i = threadIdx.x;
  if (i == 0) *sum = 0.0f;
  __syncthreads();
  if (kFault) {
    *sum += in[i];
  } else {
    atomicAdd(sum, in[i]);
  }
  __syncthreads();
  out[i] = *sum;
}

// The sum of what rounds: in the order of the turns, or in one of its own.
template <bool kFault>
__global__ void sum_in_any_order(const float* in, float* out) {
  KRONLA_SHARED_ARRAY(float, sum, 1);
  const int i = threadIdx.x;
  if (i == 0) {
    *sum = 0.0f;
    for (int k = 0; !kFault && k < kThreads; ++k) *sum += 0.1f * in[k];
  }
  __syncthreads();
  if (kFault) atomicAdd(sum, 0.1f * in[i]);
  __syncthreads();
  out[i] = *sum;
}

template <bool kFault>
__global__ void blocks_that_write_the_same(const float* in, float* out) {
  const int i = threadIdx.x, b = blockIdx.x;
  out[(kFault ? 0 : b * kThreads) + i] = in[i] + static_cast<float>(b);
}

template <bool kFault>
__global__ void blocks_that_add_to_the_same(const float* in, float* out) {
  const int i = threadIdx.x;
  if (kFault) {
    out[i] += in[i];
  } else {
    atomicAdd(&out[i], in[i]);
  }
}

// There is no order among blocks.
template <bool kFault>
__global__ void block_that_reads_another(const float* in, float* out) {
  const int i = threadIdx.x, b = blockIdx.x;
  out[b * kThreads + i] = b == 0 ? 2.0f * in[i] : 1.0f + (kFault ? out[i] : 2.0f * in[i]);
}

}  // namespace

std::vector<Case> cases_of_threads() {
  return {
      {KERNEL(reverse, 1, kThreads), Caught::WrongResult, "", true},
      {KERNEL(reverse_twice, 1, kThreads), Caught::WrongResult, "", true},
      {KERNEL(reverse_in_warp, 1, kThreads), Caught::WrongResult, "", true},
      {KERNEL(warps_in_one_buffer, 1, kThreads), Caught::WrongResult, "", true},
      {KERNEL(exchange_around_a_shuffle, 1, kThreads), Caught::OnlyByThreadSanitizer, "", true},
      {KERNEL(reverse_in_place, 1, 0), Caught::WrongResult, "", true},
      {KERNEL(two_sums_in_one_room, 1, 0), Caught::WrongResult, "", true},
      {KERNEL(divergent_barrier, 1, 0), Caught::Failure, "divergent block barrier", false},
      {KERNEL(barriers_in_branches, 1, 0), Caught::Failure, "divergent block barrier", false},
      {KERNEL(barriers_on_one_line, 1, 0), Caught::Failure, "divergent block barrier", false},
      {KERNEL(return_before_a_barrier, 1, kThreads), Caught::Failure, "have ended", false},
      {KERNEL(barrier_in_a_loop, 1, 0), Caught::Failure, "divergent block barrier", false},
      {KERNEL(divergent_warp_barrier, 1, 0), Caught::Failure, "divergent warp barrier", false},
      {KERNEL(divergent_shuffle, 1, 0), Caught::Failure, "divergent shuffle", false},
      {KERNEL(shuffles_on_one_line, 1, 0), Caught::Failure, "divergent shuffle", false},
      {KERNEL(shuffle_outside_mask, 1, 0), Caught::Failure, "not in its mask", false},
      {KERNEL(mask_without_oneself, 1, 0), Caught::Failure, "not in the mask of its own", false},
      {KERNEL(sum_without_atomic, 1, 0), Caught::OnlyByThreadSanitizer, "", true},
      {KERNEL(sum_in_any_order, 1, 0), Caught::WrongResult, "", false},
      {KERNEL(blocks_that_write_the_same, 2, 0), Caught::WrongResult, "", true},
      {KERNEL(blocks_that_add_to_the_same, 2, 0), Caught::OnlyByThreadSanitizer, "", true},
      {KERNEL(block_that_reads_another, 2, 0), Caught::WrongResult, "", true},
  };
}

const std::vector<Case>& cases() {
  static const std::vector<Case> all = [] {
    std::vector<Case> together = cases_of_threads();
    for (const auto& more : {cases_of_memory(), cases_of_tensor_cores()})
      together.insert(together.end(), more.begin(), more.end());
    return together;
  }();
  return all;
}

}  // namespace broken
