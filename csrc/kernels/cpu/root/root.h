// What the ways to a root share.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>

#include "kernels/cpu/simd/passes.h"
#include "kernels/cpu/worker.h"

namespace kronla {

// X[n,n] = D^(-1/p) · back of a D whose largest element is near 1.
template <class T>
struct Root {
  T* X;
  double back;
  double residual = std::numeric_limits<double>::quiet_NaN();  // until it is taken
  double least = 0.0;                                          // a lower bound of λmin(D)/λmax(D)
  int64_t steps = 0;
};

inline bool is_integer(double p) { return p == std::floor(p) && p <= 1e6; }

// Y[rows,n] ← factor · X, rounded once.
template <class From, class To>
void scale(int64_t rows, int64_t n, const From* X, double factor, To* Y, Worker& worker) {
  const Worker::Scope scope(worker);
  double* factors = factor == 1.0 ? nullptr : worker.take<double>(n);
  if (factors != nullptr) std::fill_n(factors, n, factor);
  scale_columns(rows, n, X, n, factors, Y, n);
}

// The same of the lower triangle of X[n,n]; elements above it are neither read nor written.
template <class From, class To>
void scale_lower(int64_t n, const From* X, double factor, To* Y, Worker& worker) {
  const Worker::Scope scope(worker);
  double* factors = factor == 1.0 ? nullptr : worker.take<double>(n);
  if (factors != nullptr) std::fill_n(factors, n, factor);
  for (int64_t i = 0; i < n; ++i) scale_columns(1, i + 1, X + i * n, n, factors, Y + i * n, n);
}

}  // namespace kronla
