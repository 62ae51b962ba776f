// AVX2 with FMA: tiles of 6 rows and two vectors, 12 sums, two vectors of B and one of A in 16 registers.
#include "kernels/cpu/simd/kernels.h"

#if defined(__x86_64__)
#include <immintrin.h>

#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2,fma"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx2,fma")
#endif

namespace kronla::kernels {
namespace {

constexpr int kRows = 6, kVectors = 2, kMove = 32;
constexpr int64_t kNearA = 256, kNearB = 256;

template <class T>
struct Simd;
template <>
struct Simd<float> {
  using Vector = __m256;
  static constexpr int lanes = 8;
  static Vector load(const float* x) { return _mm256_loadu_ps(x); }
  static void store(float* x, Vector v) { _mm256_storeu_ps(x, v); }
  static __m256i part(int64_t count) {
    return _mm256_cmpgt_epi32(_mm256_set1_epi32(static_cast<int>(count)), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
  }
  static Vector load_part(const float* x, __m256i part) { return _mm256_maskload_ps(x, part); }
  static void store_part(float* x, __m256i part, Vector v) { _mm256_maskstore_ps(x, part, v); }
  static Vector first(__m256i part, Vector v) { return _mm256_and_ps(_mm256_castsi256_ps(part), v); }
  static Vector broadcast(float x) { return _mm256_set1_ps(x); }
  static Vector multiply(Vector a, Vector b) { return _mm256_mul_ps(a, b); }
  static Vector fused(Vector a, Vector b, Vector c) { return _mm256_fmadd_ps(a, b, c); }
  static void keep(Vector& v) { __asm__("" : "+x"(v)); }
  static float sum(Vector v) {
    const __m128 four = _mm256_castps256_ps128(v) + _mm256_extractf128_ps(v, 1);
    const __m128 two = four + _mm_movehl_ps(four, four);
    return two[0] + two[1];
  }
};
template <>
struct Simd<double> {
  using Vector = __m256d;
  static constexpr int lanes = 4;
  static Vector load(const double* x) { return _mm256_loadu_pd(x); }
  static void store(double* x, Vector v) { _mm256_storeu_pd(x, v); }
  static __m256i part(int64_t count) {
    return _mm256_cmpgt_epi64(_mm256_set1_epi64x(count), _mm256_setr_epi64x(0, 1, 2, 3));
  }
  static Vector load_part(const double* x, __m256i part) { return _mm256_maskload_pd(x, part); }
  static void store_part(double* x, __m256i part, Vector v) { _mm256_maskstore_pd(x, part, v); }
  static Vector first(__m256i part, Vector v) { return _mm256_and_pd(_mm256_castsi256_pd(part), v); }
  static Vector broadcast(double x) { return _mm256_set1_pd(x); }
  static Vector multiply(Vector a, Vector b) { return _mm256_mul_pd(a, b); }
  static Vector fused(Vector a, Vector b, Vector c) { return _mm256_fmadd_pd(a, b, c); }
  static void keep(Vector& v) { __asm__("" : "+x"(v)); }
  static double sum(Vector v) {
    const __m128d two = _mm256_castpd256_pd128(v) + _mm256_extractf128_pd(v, 1);
    return two[0] + two[1];
  }
  static Vector root(Vector v) { return _mm256_sqrt_pd(v); }
  template <class Truth>
  static bool any(Truth truth) {
    return _mm256_movemask_pd((__m256d)truth) != 0;
  }
};
template <class T>
using HalfSimd = Simd<T>;  // one of 16 bytes is no faster

#include "kernels/cpu/simd/kernels_body.h"

}  // namespace

template <>
const Kernels<float>* avx2<float>() {
  return &kKernels<float>;
}
template <>
const Kernels<double>* avx2<double>() {
  return &kKernels<double>;
}

}  // namespace kronla::kernels

#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif
#endif
