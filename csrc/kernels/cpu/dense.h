// Small loops over dense row-major matrices that every family needs: norms, dot products, scales.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>

namespace kronla {

template <class T>
bool all_finite(int64_t count, const T* x) {
  int bad = 0;  // no branch inside: the loop vectorises
  for (int64_t i = 0; i < count; ++i) bad |= !(std::abs(x[i]) <= std::numeric_limits<T>::max());
  return bad == 0;
}

template <class T>
T largest_magnitude(int64_t count, const T* x) {
  T lane[8] = {};
  int64_t i = 0;
  for (; i + 8 <= count; i += 8)
    for (int l = 0; l < 8; ++l) lane[l] = std::max(lane[l], std::abs(x[i + l]));
  for (; i < count; ++i) lane[0] = std::max(lane[0], std::abs(x[i]));
  return *std::max_element(lane, lane + 8);
}

// The power of two that brings a largest magnitude of type T to [1, 2): scaling by it is exact. 1 for 0.
template <class T>
double power_of_two_scale(T magnitude) {
  if (!(magnitude > T(0))) return 1.0;
  return std::ldexp(1.0, -std::max(std::ilogb(magnitude), std::numeric_limits<T>::min_exponent));
}

// The sum of squares in float64, in eight fixed lanes.
template <class T>
double sum_of_squares(int64_t count, const T* x) {
  double lane[8] = {};
  int64_t i = 0;
  for (; i + 8 <= count; i += 8)
    for (int l = 0; l < 8; ++l) {
      const double v = static_cast<double>(x[i + l]);
      lane[l] += v * v;
    }
  for (int l = 0; i < count; ++i, ++l) {
    const double v = static_cast<double>(x[i]);
    lane[l] += v * v;
  }
  return ((lane[0] + lane[4]) + (lane[1] + lane[5])) + ((lane[2] + lane[6]) + (lane[3] + lane[7]));
}

// ‖A‖_F² of a symmetric A[n,n] from its lower triangle, and the part of it that is off the diagonal.
struct SymmetricSquares {
  double diagonal = 0.0, off_diagonal = 0.0;
  double total() const { return diagonal + off_diagonal; }
};
template <class T>
SymmetricSquares symmetric_squares(int64_t n, const T* A) {
  SymmetricSquares squares;
  for (int64_t i = 0; i < n; ++i) {
    squares.off_diagonal += 2.0 * sum_of_squares(i, A + i * n);
    const double d = static_cast<double>(A[i * n + i]);
    squares.diagonal += d * d;
  }
  return squares;
}

// The dot product in T, in sixteen fixed lanes, so that it vectorises without reassociation by the compiler.
template <class T>
T dot(int64_t count, const T* x, const T* y) {
  T lane[16] = {};
  int64_t i = 0;
  for (; i + 16 <= count; i += 16)
    for (int l = 0; l < 16; ++l) lane[l] += x[i + l] * y[i + l];
  for (int l = 0; i < count; ++i, ++l) lane[l] += x[i] * y[i];
  for (int half = 8; half > 0; half /= 2)
    for (int l = 0; l < half; ++l) lane[l] += lane[l + half];
  return lane[0];
}

}  // namespace kronla
