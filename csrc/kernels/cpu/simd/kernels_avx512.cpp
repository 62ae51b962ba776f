// AVX-512: tiles of 8 rows and two vectors, 16 sums that hide the latency of two units.
#include "kernels/cpu/simd/kernels.h"

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
  static Vector first(__mmask16 part, Vector v) { return _mm512_maskz_mov_ps(part, v); }
  static Vector broadcast(float x) { return _mm512_set1_ps(x); }
  static Vector multiply(Vector a, Vector b) { return _mm512_mul_ps(a, b); }
  static Vector fused(Vector a, Vector b, Vector c) { return _mm512_fmadd_ps(a, b, c); }
  static void keep(Vector& v) { __asm__("" : "+v"(v)); }
  static float sum(Vector v) {  // by instructions on double, masked: GCC 12 warns falsely of the others
    const __m512d bits = _mm512_castps_pd(v);
    const __m256 eight = _mm256_castpd_ps(_mm512_maskz_extractf64x4_pd(0xff, bits, 0)) +
                         _mm256_castpd_ps(_mm512_maskz_extractf64x4_pd(0xff, bits, 1));
    const __m128 four = _mm256_castps256_ps128(eight) + _mm256_extractf128_ps(eight, 1);
    const __m128 two = four + _mm_movehl_ps(four, four);
    return two[0] + two[1];
  }
  static Vector pairs(Vector x, Vector y) { return (Vector)_mm512_cvtne2ps_pbh(y, x); }
  static Vector pair(Vector x, Vector y) {
    const __m512i order = _mm512_set_epi16(31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24, 8, 23, 7, 22, 6,
                                           21, 5, 20, 4, 19, 3, 18, 2, 17, 1, 16, 0);
    return _mm512_castsi512_ps(_mm512_permutexvar_epi16(order, (__m512i)pairs(x, y)));
  }
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
  static Vector first(__mmask8 part, Vector v) { return _mm512_maskz_mov_pd(part, v); }
  static Vector broadcast(double x) { return _mm512_set1_pd(x); }
  static Vector multiply(Vector a, Vector b) { return _mm512_mul_pd(a, b); }
  static Vector fused(Vector a, Vector b, Vector c) { return _mm512_fmadd_pd(a, b, c); }
  static void keep(Vector& v) { __asm__("" : "+v"(v)); }
  static double sum(Vector v) {
    const __m256d four = _mm512_maskz_extractf64x4_pd(0xff, v, 0) + _mm512_maskz_extractf64x4_pd(0xff, v, 1);
    const __m128d two = _mm256_castpd256_pd128(four) + _mm256_extractf128_pd(four, 1);
    return two[0] + two[1];
  }
  // (GCC 12 warns of _mm512_sqrt_pd.)
  static Vector root(Vector v) { return _mm512_maskz_sqrt_pd(0xff, v); }
  template <class Truth>
  static bool any(Truth truth) {
    return _mm512_movepi64_mask((__m512i)truth) != 0;
  }
};

// Where a vector is carried out in two halves, one takes half the time.
template <class T>
struct HalfSimd;
template <>
struct HalfSimd<float> {
  using Vector = __m256;
  static constexpr int lanes = 8;
  static Vector load(const float* x) { return _mm256_loadu_ps(x); }
  static void store(float* x, Vector v) { _mm256_storeu_ps(x, v); }
  static __mmask8 part(int64_t count) { return static_cast<__mmask8>((1u << count) - 1u); }
  static Vector load_part(const float* x, __mmask8 part) { return _mm256_maskz_loadu_ps(part, x); }
  static void store_part(float* x, __mmask8 part, Vector v) { _mm256_mask_storeu_ps(x, part, v); }
  static Vector broadcast(float x) { return _mm256_set1_ps(x); }
  static Vector multiply(Vector a, Vector b) { return _mm256_mul_ps(a, b); }
  static Vector fused(Vector a, Vector b, Vector c) { return _mm256_fmadd_ps(a, b, c); }
  static Vector fused_pairs(Vector a, Vector b, Vector c) { return _mm256_dpbf16_ps(c, (__m256bh)a, (__m256bh)b); }
};
template <>
struct HalfSimd<double> {
  using Vector = __m256d;
  static constexpr int lanes = 4;
  static Vector load(const double* x) { return _mm256_loadu_pd(x); }
  static void store(double* x, Vector v) { _mm256_storeu_pd(x, v); }
  static __mmask8 part(int64_t count) { return static_cast<__mmask8>((1u << count) - 1u); }
  static Vector load_part(const double* x, __mmask8 part) { return _mm256_maskz_loadu_pd(part, x); }
  static void store_part(double* x, __mmask8 part, Vector v) { _mm256_mask_storeu_pd(x, part, v); }
  static Vector broadcast(double x) { return _mm256_set1_pd(x); }
  static Vector multiply(Vector a, Vector b) { return _mm256_mul_pd(a, b); }
  static Vector fused(Vector a, Vector b, Vector c) { return _mm256_fmadd_pd(a, b, c); }
};

#include "kernels/cpu/simd/kernels_body.h"

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
