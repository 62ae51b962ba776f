// The size of the numbers of a matrix: whether all are finite, and the power of two that brings them to 1.
#pragma once

#include <cmath>
#include <limits>

#include "kernels/cuda/device/platform.cuh"

namespace kronla::cuda {

// std::numeric_limits for the device, where its functions may not be called and its values, by name, may be used.
template <class T>
struct Limits {
  static constexpr T kMax = std::numeric_limits<T>::max();
  static constexpr T kInfinity = std::numeric_limits<T>::infinity();
  static constexpr T kNaN = std::numeric_limits<T>::quiet_NaN();
  static constexpr double kEpsilon = static_cast<double>(std::numeric_limits<T>::epsilon());
  static constexpr int kMinExponent = std::numeric_limits<T>::min_exponent;
};

// |x|, or infinity where x is not finite: the maximum of these tells both.
template <class T>
__device__ __forceinline__ T magnitude(T x) {
  const T size = x < T(0) ? -x : x;
  return size <= Limits<T>::kMax ? size : Limits<T>::kInfinity;
}

// As dense.h has it for the CPU: brings a largest magnitude to [1, 2), exactly; 1 for 0.
template <class T>
__device__ __forceinline__ double power_of_two_scale(T largest) {
  if (!(largest > T(0))) return 1.0;
  const int exponent = ilogb(static_cast<double>(largest));
  return ldexp(1.0, -(exponent > Limits<T>::kMinExponent ? exponent : Limits<T>::kMinExponent));
}

}  // namespace kronla::cuda
