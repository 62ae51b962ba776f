// Small loops over dense row-major matrices that every family needs: norms and scales.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>

#include "kernels/cpu/simd/passes.h"

namespace kronla {

template <class T>
bool all_finite(int64_t count, const T* x) {
  return largest_magnitude(count, x) <= std::numeric_limits<T>::max();
}

// The power of two that brings a largest magnitude of type T to [1, 2): scaling by it is exact. 1 for 0.
template <class T>
double power_of_two_scale(T magnitude) {
  if (!(magnitude > T(0))) return 1.0;
  return std::ldexp(1.0, -std::max(std::ilogb(magnitude), std::numeric_limits<T>::min_exponent));
}

// ‖A‖_F² of a symmetric A[n,n] from its lower triangle.
template <class T>
double symmetric_squares(int64_t n, const T* A) {
  double squares = 0.0;
  for (int64_t i = 0; i < n; ++i) {
    const double d = static_cast<double>(A[i * n + i]);
    squares += 2.0 * sum_of_squares(i, A + i * n) + d * d;
  }
  return squares;
}

}  // namespace kronla
