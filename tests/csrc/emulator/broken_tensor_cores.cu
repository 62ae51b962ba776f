// Faults around matrix products and the loads that feed them.
#include "broken_kernels.h"
#include "kernels/cuda/device/mma.cuh"

namespace broken {
namespace {

using kronla::cuda::load_matrices;
using kronla::cuda::mma_bf16;
using kronla::cuda::mma_tf32;

template <bool kFault>
__global__ void product_without_half_the_warp(const float* in, float* out) {
  const int i = threadIdx.x;
  float d[4] = {};
  const uint32_t a[4] = {__float_as_uint(in[i]), 0, 0, 0}, b[2] = {__float_as_uint(in[i]), 0};
  if (!kFault || i % 32 >= 16) mma_tf32(d, a, b);
  out[i] = d[0];
}

template <bool kFault>
__global__ void products_in_branches(const float* in, float* out) {
  const int i = threadIdx.x;
  float d[4] = {};
  const uint32_t a[4] = {__float_as_uint(in[i]), 0, 0, 0}, b[2] = {__float_as_uint(in[i]), 0};
  if (kFault && i % 32 < 16) {
    mma_tf32(d, a, b);
  } else {
    mma_tf32(d, a, b);
  }
  out[i] = d[0];
}

// X Y for X[16, 8] and Y[8, 8], both taken from the input: element (i, j) of one is in[(8 i + j) % 64].
// kFault: the second and the third register of the left fragment are swapped.
template <bool kFault>
__global__ void left_fragment_swapped(const float* in, float* out) {
  const int lane = threadIdx.x % 32, g = lane / 4, t = lane % 4;
  const auto X = [&](int i, int k) { return __float_as_uint(in[(8 * i + k) % 64] + static_cast<float>(i / 8)); };
  const uint32_t first = X(g + 8, t), second = X(g, t + 4);
  const uint32_t a[4] = {X(g, t), kFault ? second : first, kFault ? first : second, X(g + 8, t + 4)};
  const uint32_t b[2] = {__float_as_uint(in[8 * t + g]), __float_as_uint(in[8 * (t + 4) + g])};
  float d[4] = {};
  mma_tf32(d, a, b);
  if (threadIdx.x < 32)
    for (int e = 0; e < 4; ++e) out[(g + 8 * (e / 2)) * 8 + 2 * t + e % 2] = d[e];
}

template <bool kFault>
__global__ void right_fragment_swapped(const float* in, float* out) {
  const int lane = threadIdx.x % 32, g = lane / 4, t = lane % 4;
  const uint32_t a[4] = {__float_as_uint(in[8 * g + t]), 0, __float_as_uint(in[8 * g + t + 4]), 0};
  const uint32_t first = __float_as_uint(in[8 * t + g]), second = __float_as_uint(in[8 * (t + 4) + g]);
  const uint32_t b[2] = {kFault ? second : first, kFault ? first : second};
  float d[4] = {};
  mma_tf32(d, a, b);
  if (threadIdx.x < 32)
    for (int e = 0; e < 2; ++e) out[8 * g + 2 * t + e] = d[e];
}

template <bool kFault>
__global__ void result_transposed(const float* in, float* out) {
  const int lane = threadIdx.x % 32, g = lane / 4, t = lane % 4;
  const uint32_t a[4] = {__float_as_uint(in[8 * g + t]), 0, __float_as_uint(in[8 * g + t + 4]), 0};
  const uint32_t b[2] = {__float_as_uint(in[8 * t + g]), __float_as_uint(in[8 * (t + 4) + g])};
  float d[4] = {};
  mma_tf32(d, a, b);
  if (threadIdx.x < 32)
    for (int e = 0; e < 2; ++e) out[kFault ? 8 * (2 * t + e) + g : 8 * g + 2 * t + e] = d[e];
}

// Sixteen-bit matrices of one warp in shared memory: word w of row r of matrix q is 4 (8 q + r) + w.
__device__ void fill_matrices(uint16_t* shared, int seed) {
  for (int e = static_cast<int>(threadIdx.x); e < 256; e += kThreads)
    shared[e] = static_cast<uint16_t>(0x3f80 + (e * 7 + seed) % 64);  // bfloat16: 1 … 1.5
}

// X Xᵀ of a bfloat16 X[16, 16] as four 8 × 8 matrices, all by ldmatrix.
template <int kFault>
__device__ void gram_by_ldmatrix(const float* in, float* out) {
  KRONLA_SHARED(unsigned char, bytes);
  auto* shared = reinterpret_cast<uint16_t*>(bytes);
  fill_matrices(shared, static_cast<int>(in[0]) & 15);
  if (kFault != 1) __syncthreads();
  const int lane = threadIdx.x % 32, r = lane % 8, q = lane / 8;
  const int row = kFault == 2 ? r + 8 * (q / 2) : r + 8 * (q % 2), depth = kFault == 2 ? q % 2 : q / 2;
  uint32_t a[4], b[4];
  load_matrices<kFault == 3>(a, shared + 16 * row + 8 * depth);
  load_matrices<false>(b, shared + 16 * (r + 8 * (q / 2)) + 8 * (q % 2));
  float d[2][4] = {};
  const uint32_t right[2][2] = {{b[0], b[1]}, {b[2], b[3]}};
  mma_bf16(d[0], a, right[0]);
  mma_bf16(d[1], a, right[1]);
  const int g = lane / 4, t = lane % 4;
  if (threadIdx.x < 32)
    for (int e = 0; e < 4; ++e)  // the left half of the result
      out[(g + 8 * (e / 2)) * 8 + 2 * t + e % 2] = d[0][e] + 0.5f * d[1][e];
}

template <bool kFault>
__global__ void ldmatrix_without_a_barrier(const float* in, float* out) {
  gram_by_ldmatrix<kFault ? 1 : 0>(in, out);
}
template <bool kFault>
__global__ void ldmatrix_rows_swapped(const float* in, float* out) {
  gram_by_ldmatrix<kFault ? 2 : 0>(in, out);
}
template <bool kFault>
__global__ void ldmatrix_transposed(const float* in, float* out) {
  gram_by_ldmatrix<kFault ? 3 : 0>(in, out);
}

// Within one warp: ldmatrix brings the lanes together, but does not order what they wrote.
template <bool kFault>
__global__ void ldmatrix_without_a_warp_barrier(const float* in, float* out) {
  KRONLA_SHARED(float, shared);
  const int i = threadIdx.x, warp = i / 32 * 128;
  for (int e = i % 32; e < 128; e += 32) shared[warp + 127 - e] = in[(i + e) % kThreads];
  if (!kFault) __syncwarp();
  uint32_t words[4];
  load_matrices<false>(words, shared + warp + 4 * (i % 32));
  out[i] = __uint_as_float(words[0]) + __uint_as_float(words[3]);
}

template <bool kFault>
__global__ void ldmatrix_misaligned(const float* in, float* out) {
  KRONLA_SHARED(float, shared);
  const int i = threadIdx.x;
  for (int e = i; e < 132; e += kThreads) shared[e] = in[e % kThreads];
  __syncthreads();
  uint32_t words[4];
  load_matrices<false>(words, shared + 4 * (i % 32) + (kFault ? 1 : 0));
  out[i] = __uint_as_float(words[0]);
}

template <bool kFault>
__global__ void ldmatrix_out_of_bounds(const float* in, float* out) {
  KRONLA_SHARED(float, shared);
  const int i = threadIdx.x;
  for (int e = i; e < 128; e += kThreads) shared[e] = in[e % kThreads];
  __syncthreads();
  uint32_t words[4];
  load_matrices<false>(words, shared + 4 * (i % 32 + (kFault ? 1 : 0)));
  out[i] = __uint_as_float(words[0]);
}

}  // namespace

std::vector<Case> cases_of_tensor_cores() {
  return {
      {KERNEL(product_without_half_the_warp, 1, 0), Caught::Failure, "divergent tf32 product", false},
      {KERNEL(products_in_branches, 1, 0), Caught::Failure, "divergent tf32 product", false},
      {KERNEL(left_fragment_swapped, 1, 0), Caught::WrongResult, "", false},
      {KERNEL(right_fragment_swapped, 1, 0), Caught::WrongResult, "", false},
      {KERNEL(result_transposed, 1, 0), Caught::WrongResult, "", false},
      {KERNEL(ldmatrix_without_a_barrier, 1, 128), Caught::WrongResult, "", true},
      {KERNEL(ldmatrix_rows_swapped, 1, 128), Caught::WrongResult, "", false},
      {KERNEL(ldmatrix_transposed, 1, 128), Caught::WrongResult, "", false},
      {KERNEL(ldmatrix_without_a_warp_barrier, 1, 256), Caught::OnlyByThreadSanitizer, "", true},
      {KERNEL(ldmatrix_misaligned, 1, 132), Caught::Failure, "not aligned to 16 bytes", false},
      {KERNEL(ldmatrix_out_of_bounds, 1, 128), Caught::Failure, "outside shared memory", false},
  };
}

}  // namespace broken
