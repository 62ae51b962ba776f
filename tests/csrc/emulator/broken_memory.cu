// Faults in what a kernel reads and writes: bounds, alignment, what is not there yet, asynchronous copies.
#include "broken_kernels.h"
#include "kernels/cuda/device/async_copy.cuh"

namespace broken {
namespace {

using kronla::cuda::async_commit;
using kronla::cuda::async_copy;
using kronla::cuda::async_wait;

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

// Far beyond the array, where another one may lie.
template <bool kFault>
__global__ void global_far_out_of_bounds(const float* in, float* out) {
  const int i = threadIdx.x;
  out[i] = in[i + (kFault ? 6 * kThreads : 0)];
}

template <bool kFault>
__global__ void shared_far_out_of_bounds(const float* in, float* out) {
  KRONLA_SHARED(float, shared);
  const int i = threadIdx.x;
  shared[i] = in[i];
  __syncthreads();
  out[i] = shared[i - (kFault ? 1000 : 0)];
}

// The launch gives half of what the kernel wants.
template <bool kFault>
__global__ void too_little_shared_memory(const float* in, float* out) {
  KRONLA_SHARED(float, shared);
  const int i = threadIdx.x, row = kFault ? 2 * kThreads : 0;
  shared[i] = in[i];
  shared[row + i] = in[i];
  __syncthreads();
  out[i] = shared[kThreads - 1 - i];
}

template <bool kFault>
__global__ void more_arrays_than_fit(const float* in, float* out) {
  KRONLA_SHARED_ARRAY(float, large, kFault ? 13000 : 12000);
  large[threadIdx.x] = in[threadIdx.x];
  out[threadIdx.x] = large[threadIdx.x];
}

template <bool kFault>
__global__ void local_array_out_of_bounds(const float* in, float* out) {
  float window[4];
  const int i = threadIdx.x;
  for (int k = 0; k < 4; ++k) window[k] = in[(i + k) % kThreads];
  out[i] = window[i % (kFault ? 5 : 4)];
}

// The largest of a buffer of which the fault leaves one element unwritten: a NaN would be passed over.
template <bool kFault>
__global__ void uninitialised_under_a_maximum(const float* in, float* out) {
  KRONLA_SHARED_ARRAY(float, buffer, kThreads);
  const int i = threadIdx.x;
  if (!kFault || i != 5) buffer[i] = in[i];
  __syncthreads();
  float largest = buffer[0];
  for (int k = 1; k < kThreads; ++k)
    if (buffer[k] > largest) largest = buffer[k];
  out[i] = largest;
}

template <bool kFault>
__global__ void misaligned_vector(const float* in, float* out) {
  const int i = threadIdx.x;
  if (i >= kThreads / 4 - 1) return;
  const float4 four = *reinterpret_cast<const float4*>(in + 4 * i + (kFault ? 1 : 0));
  out[i] = four.x + four.w;
}

// An array of floats is aligned to 4 bytes.
template <bool kFault>
__global__ void vectors_of_a_scalar_array(const float* in, float* out) {
  KRONLA_SHARED_ARRAY(float, scalars, kThreads);
  KRONLA_SHARED_ARRAY(float4, vectors, kThreads / 4);
  const int i = threadIdx.x;
  float4* target = kFault ? reinterpret_cast<float4*>(scalars) : vectors;
  if (i < kThreads / 4) target[i] = {in[4 * i], in[4 * i + 1], in[4 * i + 2], in[4 * i + 3]};
  __syncthreads();
  out[i] = target[i / 4].x;
}

// Each thread waits for its own copies, and reads those of others.
template <bool kFault>
__global__ void copies_of_others_without_a_barrier(const float* in, float* out) {
  KRONLA_SHARED(float, shared);
  const int i = threadIdx.x;
  async_copy<4>(shared + i, in + i, 4);
  async_commit();
  async_wait<0>();
  if (!kFault) __syncthreads();
  out[i] = shared[kThreads - 1 - i];
}

// The next copy into the buffer is issued while others still read it: it may land at once.
template <bool kFault>
__global__ void copy_into_what_is_read(const float* in, float* out) {
  KRONLA_SHARED(float, shared);
  const int i = threadIdx.x;
  float sum = 0.0f;
  async_copy<4>(shared + i, in + i, 4);
  async_commit();
  for (int round = 0; round < 3; ++round) {
    async_wait<0>();
    __syncthreads();
    sum = 3.0f * sum + shared[kThreads - 1 - i];
    if (!kFault) __syncthreads();
    async_copy<4>(shared + i, in + (i + round + 1) % kThreads, 4);
    async_commit();
  }
  async_wait<0>();
  out[i] = sum;
}

template <bool kFault>
__global__ void copy_without_a_commit(const float* in, float* out) {
  KRONLA_SHARED(float, shared);
  const int i = threadIdx.x;
  async_copy<4>(shared + i, in + i, 4);
  if (!kFault) async_commit();
  async_wait<0>();
  __syncthreads();
  out[i] = shared[kThreads - 1 - i];
}

template <bool kFault>
__global__ void copy_beyond_the_source(const float* in, float* out) {
  KRONLA_SHARED(float, shared);
  const int i = threadIdx.x, from = 4 * i + (kFault ? 4 : 0);
  if (i < kThreads / 4) async_copy<16>(shared + 4 * i, in + from, 16);
  async_commit();
  async_wait<0>();
  __syncthreads();
  out[i] = shared[i];
}

}  // namespace

std::vector<Case> cases_of_memory() {
  return {
      {KERNEL(shared_out_of_bounds, 1, kThreads), Caught::FailureOrDeath, "shared memory was written outside", false},
      {KERNEL(shared_far_out_of_bounds, 1, kThreads), Caught::DeathUnderAsan, "", false},
      {KERNEL(too_little_shared_memory, 1, kThreads), Caught::DeathUnderAsan, "", false},
      {KERNEL(more_arrays_than_fit, 1, 0), Caught::Failure, "do not fit in shared memory", false},
      {KERNEL(global_out_of_bounds, 1, 0), Caught::DeathUnderAsan, "", false},
      {KERNEL(global_far_out_of_bounds, 1, 0), Caught::DeathUnderAsan, "", false},
      {KERNEL(local_array_out_of_bounds, 1, 0), Caught::DeathUnderAsan, "", false},
      {KERNEL(uninitialised, 1, 0), Caught::WrongResult, "", false},
      {KERNEL(uninitialised_under_a_maximum, 1, 0), Caught::WrongResult, "", false},
      {KERNEL(misaligned_vector, 1, 0), Caught::DeathUnderAsan, "", false},
      {KERNEL(vectors_of_a_scalar_array, 1, 0), Caught::DeathUnderAsan, "", false},
      {KERNEL(read_before_the_copy_lands, 1, kThreads), Caught::WrongResult, "", true},
      {KERNEL(wait_for_one_group_too_few, 1, 2 * kThreads), Caught::WrongResult, "", false},
      {KERNEL(copies_of_others_without_a_barrier, 1, kThreads), Caught::WrongResult, "", true},
      {KERNEL(copy_into_what_is_read, 1, kThreads), Caught::WrongResult, "", true},
      {KERNEL(copy_without_a_commit, 1, kThreads), Caught::Failure, "before its asynchronous copies landed", false},
      {KERNEL(copy_beyond_the_source, 1, kThreads), Caught::DeathUnderAsan, "", false},
      {KERNEL(misaligned_copy, 1, kThreads), Caught::Failure, "not aligned", false},
  };
}

}  // namespace broken
