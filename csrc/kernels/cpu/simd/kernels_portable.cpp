// What every compiler can make: vectors of 16 bytes, tiles of 4 rows and two vectors.
#include "kernels/cpu/simd/kernels.h"

namespace kronla::kernels {
namespace {

constexpr int kRows = 4, kVectors = 2, kMove = 16;
constexpr int64_t kNearA = 256, kNearB = 256;

template <class T, class V>
struct Simd16 {
  using Vector = V;
  static constexpr int lanes = sizeof(V) / sizeof(T);
  static Vector load(const T* x) {
    Vector v;
    __builtin_memcpy(&v, x, sizeof v);
    return v;
  }
  static void store(T* x, Vector v) { __builtin_memcpy(x, &v, sizeof v); }
  static int64_t part(int64_t count) { return count; }
  static Vector load_part(const T* x, int64_t count) {
    Vector v{};
    for (int64_t i = 0; i < count; ++i) v[i] = x[i];
    return v;
  }
  static void store_part(T* x, int64_t count, Vector v) {
    for (int64_t i = 0; i < count; ++i) x[i] = v[i];
  }
  static Vector first(int64_t count, Vector v) {
    for (int64_t i = count; i < lanes; ++i) v[i] = T(0);
    return v;
  }
  static Vector broadcast(T x) { return x - Vector{}; }
  static Vector multiply(Vector a, Vector b) { return a * b; }
  static Vector fused(Vector a, Vector b, Vector c) { return a * b + c; }
  static void keep(Vector&) {}
  static T sum(Vector v) {
    T total = v[0];
    for (int i = 1; i < lanes; ++i) total += v[i];
    return total;
  }
};
typedef float Floats __attribute__((vector_size(16)));
typedef double Doubles __attribute__((vector_size(16)));
template <class T>
struct Simd;
template <>
struct Simd<float> : Simd16<float, Floats> {};
template <>
struct Simd<double> : Simd16<double, Doubles> {
  static Vector root(Vector v) { return Vector{__builtin_sqrt(v[0]), __builtin_sqrt(v[1])}; }
  template <class Truth>
  static bool any(Truth truth) {
    return (truth[0] | truth[1]) != 0;
  }
};
template <class T>
using HalfSimd = Simd<T>;

#include "kernels/cpu/simd/kernels_body.h"

}  // namespace

template <>
const Kernels<float>* portable<float>() {
  return &kKernels<float>;
}
template <>
const Kernels<double>* portable<double>() {
  return &kKernels<double>;
}

}  // namespace kronla::kernels
