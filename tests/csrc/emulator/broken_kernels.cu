// Kernels with one fault each, beside the same kernels without it: the emulator must catch the fault and only that.
#include "broken_kernels.h"

#include "kernels/cuda/device/async_copy.cuh"
#include "kernels/cuda/device/mma.cuh"

namespace broken {
namespace {

using kronla::cuda::async_commit;
using kronla::cuda::async_copy;
using kronla::cuda::async_wait;
using kronla::cuda::launch;

constexpr int kThreads = 64;

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
__global__ void divergent_shuffle(const float* in, float* out) {
  const int i = threadIdx.x;
  float x = in[i];
  if (!kFault || i % 32 < 16) x = __shfl_xor_sync(0xffffffffu, x, 1);
  out[i] = x;
}

template <bool kFault>
__global__ void shuffle_outside_mask(const float* in, float* out) {
  const int i = threadIdx.x, half = i % 32 / 16;
  const uint32_t mask = half == 0 ? 0x0000ffffu : 0xffff0000u;
  out[i] = __shfl_xor_sync(mask, in[i], kFault ? 16 : 8);
}

template <bool kFault>
__global__ void product_without_half_the_warp(const float* in, float* out) {
  const int i = threadIdx.x;
  float d[4] = {};
  const uint32_t a[4] = {__float_as_uint(in[i]), 0, 0, 0}, b[2] = {__float_as_uint(in[i]), 0};
  if (!kFault || i % 32 >= 16) kronla::cuda::mma_tf32(d, a, b);
  out[i] = d[0];
}

template <bool kFault>
__global__ void shared_out_of_bounds(const float* in, float* out) {
  KRONLA_SHARED(float, shared);
  const int i = threadIdx.x;
  shared[i + (kFault ? 1 : 0)] = in[i];
  __syncthreads();
  out[i] = shared[i];
}

template <bool kFault>
__global__ void global_out_of_bounds(const float* in, float* out) {
  const int i = threadIdx.x;
  out[i] = in[i + (kFault ? 1 : 0)];
}

// A sum over a buffer of which the fault leaves one element unwritten.
template <bool kFault>
__global__ void uninitialised(const float* in, float* out) {
  KRONLA_SHARED_ARRAY(float, buffer, kThreads);
  const int i = threadIdx.x;
  if (!kFault || i != 5) buffer[i] = in[i];
  __syncthreads();
  float sum = 0.0f;
  for (int k = 0; k < kThreads; ++k) sum += buffer[k];
  out[i] = sum;
}

template <bool kFault>
__global__ void read_before_the_copy_lands(const float* in, float* out) {
  KRONLA_SHARED(float, shared);
  const int i = threadIdx.x;
  async_copy<4>(shared + i, in + i, 4);
  async_commit();
  if (!kFault) async_wait<0>();
  __syncthreads();
  out[i] = shared[kThreads - 1 - i];
  async_wait<0>();
}

// Waits for the copies, but for one group too few.
template <bool kFault>
__global__ void wait_for_one_group_too_few(const float* in, float* out) {
  KRONLA_SHARED(float, shared);
  const int i = threadIdx.x;
  for (int group = 0; group < 2; ++group) {
    async_copy<4>(shared + group * kThreads + i, in + i, 4);
    async_commit();
  }
  if (kFault) {
    async_wait<1>();
  } else {
    async_wait<0>();
  }
  out[i] = shared[kThreads + i];
  async_wait<0>();
}

template <bool kFault>
__global__ void misaligned_copy(const float* in, float* out) {
  KRONLA_SHARED(float, shared);
  const int i = threadIdx.x;
  if (i < kThreads / 4 - 1) async_copy<16>(shared + 4 * i, in + 4 * i + (kFault ? 1 : 0), 16);
  async_commit();
  async_wait<0>();
  __syncthreads();
  out[i] = i < kThreads - 4 ? shared[i] : 0.0f;
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

template <class Kernel>
void run(const char* name, Kernel kernel, const float* in, float* out, size_t shared_floats = 0) {
  launch(name, kernel, dim3(1), kThreads, shared_floats * sizeof(float), nullptr, in, out);
}

}  // namespace

const std::vector<Case>& cases() {
  const auto with = [](auto whole, auto faulty, const char* name, size_t floats) {
    return [=](bool fault, const float* in, float* out) { run(name, fault ? faulty : whole, in, out, floats); };
  };
#define KERNEL(name, floats) #name, with(&name<false>, &name<true>, #name, floats)
  static const std::vector<Case> all = {
      {KERNEL(reverse, kThreads), Caught::WrongResult, "", true},
      {KERNEL(reverse_twice, kThreads), Caught::WrongResult, "", true},
      {KERNEL(reverse_in_warp, kThreads), Caught::WrongResult, "", true},
      {KERNEL(divergent_barrier, 0), Caught::Failure, "divergent block barrier", false},
      {KERNEL(barriers_in_branches, 0), Caught::Failure, "divergent block barrier", false},
      {KERNEL(divergent_shuffle, 0), Caught::Failure, "divergent shuffle", false},
      {KERNEL(shuffle_outside_mask, 0), Caught::Failure, "not in its mask", false},
      {KERNEL(product_without_half_the_warp, 0), Caught::Failure, "divergent tf32 product", false},
      {KERNEL(shared_out_of_bounds, kThreads), Caught::FailureOrDeath, "shared memory was written outside", false},
      {KERNEL(global_out_of_bounds, 0), Caught::DeathUnderAsan, "", false},
      {KERNEL(uninitialised, 0), Caught::WrongResult, "", false},
      {KERNEL(read_before_the_copy_lands, kThreads), Caught::WrongResult, "", true},
      {KERNEL(wait_for_one_group_too_few, 2 * kThreads), Caught::WrongResult, "", false},
      {KERNEL(misaligned_copy, kThreads), Caught::Failure, "not aligned", false},
      {KERNEL(sum_without_atomic, 0), Caught::OnlyByThreadSanitizer, "", true},
  };
#undef KERNEL
  return all;
}

}  // namespace broken
