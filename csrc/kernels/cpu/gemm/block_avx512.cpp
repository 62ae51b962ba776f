// AVX-512: tiles of 8 rows and two vectors, 16 sums that hide the latency of two units.
#include "kernels/cpu/gemm/block.h"

#if defined(__x86_64__)
#include <immintrin.h>

#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx512f,avx512vl,avx512dq,avx512bw,avx512bf16,avx2,fma"))), \
                             apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx512f,avx512vl,avx512dq,avx512bw,avx512bf16,avx2,fma")
#endif

namespace kronla::kernels {
namespace {

constexpr int kRows = 8, kVectors = 2, kMove = 32;
constexpr int64_t kNearA = 2048, kNearB = 4096;

template <class T>
struct Simd;
template <>
struct Simd<float> {
  using Vector = __m512;
  static constexpr int lanes = 16;
  static Vector load(const float* x) { return _mm512_loadu_ps(x); }
  static void store(float* x, Vector v) { _mm512_storeu_ps(x, v); }
  static __mmask16 part(int64_t count) { return static_cast<__mmask16>((1u << count) - 1u); }
  static Vector load_part(const float* x, __mmask16 part) { return _mm512_maskz_loadu_ps(part, x); }
  static void store_part(float* x, __mmask16 part, Vector v) { _mm512_mask_storeu_ps(x, part, v); }
  static Vector broadcast(float x) { return _mm512_set1_ps(x); }
  static Vector multiply(Vector a, Vector b) { return _mm512_mul_ps(a, b); }
  static Vector fused(Vector a, Vector b, Vector c) { return _mm512_fmadd_ps(a, b, c); }
  static Vector fused_pairs(Vector a, Vector b, Vector c) { return _mm512_dpbf16_ps(c, (__m512bh)a, (__m512bh)b); }
};
template <>
struct Simd<double> {
  using Vector = __m512d;
  static constexpr int lanes = 8;
  static Vector load(const double* x) { return _mm512_loadu_pd(x); }
  static void store(double* x, Vector v) { _mm512_storeu_pd(x, v); }
  static __mmask8 part(int64_t count) { return static_cast<__mmask8>((1u << count) - 1u); }
  static Vector load_part(const double* x, __mmask8 part) { return _mm512_maskz_loadu_pd(part, x); }
  static void store_part(double* x, __mmask8 part, Vector v) { _mm512_mask_storeu_pd(x, part, v); }
  static Vector broadcast(double x) { return _mm512_set1_pd(x); }
  static Vector multiply(Vector a, Vector b) { return _mm512_mul_pd(a, b); }
  static Vector fused(Vector a, Vector b, Vector c) { return _mm512_fmadd_pd(a, b, c); }
  // (GCC 12 warns of _mm512_sqrt_pd.)
  static Vector root(Vector v) { return _mm512_maskz_sqrt_pd(0xff, v); }
  template <class Truth>
  static bool any(Truth truth) {
    return _mm512_movepi64_mask((__m512i)truth) != 0;
  }
};

#include "kernels/cpu/gemm/block_body.h"

}  // namespace

template <>
const Kernels<float>* avx512<float>() {
  return __builtin_cpu_supports("avx512bf16") ? &kKernels<float, true> : &kKernels<float>;
}
template <>
const Kernels<double>* avx512<double>() {
  return &kKernels<double>;
}

}  // namespace kronla::kernels

#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif
#endif
