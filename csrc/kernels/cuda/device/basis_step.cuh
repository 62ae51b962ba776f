// The arithmetic of one step of an eigenbasis, element by element (kernels/eigenbasis.h has the formulas).
#pragma once

#include "kernels/cuda/device/magnitude.cuh"
#include "kernels/eigenbasis.h"

namespace kronla::cuda {

inline constexpr double kColdRatio = 0.3;  // as on the CPU: above it a QR step gains more than a rotation

template <class T>
__device__ __forceinline__ double roundoff_of() {
  return 0.5 * Limits<T>::kEpsilon;
}

__device__ __forceinline__ bool takes_qr(BasisMethod method, double ratio, bool last_was_qr) {
  return method == BasisMethod::Qr || (method == BasisMethod::Automatic && ratio > kColdRatio && !last_was_qr);
}

// μ = n u ‖A‖_F, the multiple of Q in AQ + μQ that holds null directions.
template <class T>
__device__ __forceinline__ T null_weight(int n, double norm) {
  return static_cast<T>(static_cast<double>(n) * roundoff_of<T>() * norm);
}

// e² and f² of a rotation.
template <class T>
struct RotationFloor {
  T mean, noise;
};

template <class T>
__device__ __forceinline__ RotationFloor<T> rotation_floor(int n, double ratio, double norm) {
  const double e = ratio * norm / static_cast<double>(n), f = kRotationNoise * roundoff_of<T>() * norm;
  return {static_cast<T>(e * e), static_cast<T>(f * f)};
}

__device__ __forceinline__ float square_root(float x) { return sqrtf(x); }
__device__ __forceinline__ double square_root(double x) { return sqrt(x); }

// T_ji of the pair j < i, with o = B_ij and the quotients λ_j and λ_i; T_ij is −T_ji.
template <class T>
__device__ __forceinline__ T rotation(T o, double lambda_j, double lambda_i, const RotationFloor<T>& floor) {
  const T d = static_cast<T>(lambda_i - lambda_j);
  const T squares = d * d + o * o, excess = squares - floor.noise / T(9);
  if (!(excess > T(0))) return T(0);
  const T bottom = squares + o * o + floor.mean + floor.noise * (floor.noise / excess);
  return (d >= T(0) ? o : -o) * square_root(squares) / bottom;
}

// How many of n columns come before column j by descending quotient, ties by index. NaN, which only overflow makes, comes
// last: ranks are a permutation whatever the numbers.
__device__ __forceinline__ int rank_of_column(const double* quotients, int j, int n) {
  const auto key = [&](int i) { return quotients[i] == quotients[i] ? quotients[i] : -Limits<double>::kInfinity; };
  const double mine = key(j);
  int before = 0;
  for (int i = 0; i < n; ++i) {
    const double other = key(i);
    before += other > mine || (other == mine && i < j) ? 1 : 0;
  }
  return before;
}

}  // namespace kronla::cuda
