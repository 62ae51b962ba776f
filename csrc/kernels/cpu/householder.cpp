#include "kernels/cpu/householder.h"

#include <algorithm>
#include <cmath>

namespace kronla {
namespace {

constexpr double kNothing = 1e-150;  // a column of that norm is 0: its squares are

double dot(int64_t count, const double* x, const double* y) {
  double sums[8] = {};
  int64_t i = 0;
  for (; i + 8 <= count; i += 8)
    for (int64_t k = 0; k < 8; ++k) sums[k] += x[i + k] * y[i + k];
  for (; i < count; ++i) sums[0] += x[i] * y[i];
  return ((sums[0] + sums[4]) + (sums[1] + sums[5])) + ((sums[2] + sums[6]) + (sums[3] + sums[7]));
}

// y ← y − tau (vᵀy) v.
void reflect(int64_t count, double tau, const double* v, double* y) {
  const double factor = tau * dot(count, v, y);
  for (int64_t i = 0; i < count; ++i) y[i] -= factor * v[i];
}

}  // namespace

void householder_qr(int64_t m, int64_t n, double* A, double* diagonal, Worker& worker) {
  const Worker::Scope scope(worker);
  double* taus = worker.take<double>(n);
  double* vectors = worker.take<double>(n * m);
  for (int64_t j = 0; j < n; ++j) {  // H = I − tau v vᵀ with H x = beta e₁, v = x − beta e₁
    const int64_t count = m - j;
    double* x = A + j * m + j;
    double* v = vectors + j * m + j;
    const double norm = std::sqrt(dot(count, x, x)), beta = x[0] > 0.0 ? -norm : norm;
    std::copy_n(x, count, v);
    v[0] -= beta;
    taus[j] = norm > kNothing ? 1.0 / (norm * std::abs(v[0])) : 0.0;
    diagonal[j] = beta;
    for (int64_t k = j + 1; k < n; ++k) reflect(count, taus[j], v, A + k * m + j);
  }
  std::fill_n(A, n * m, 0.0);
  for (int64_t j = n - 1; j >= 0; --j) {
    A[j * m + j] = diagonal[j] < 0.0 ? -1.0 : 1.0;
    diagonal[j] = std::abs(diagonal[j]);
    for (int64_t k = j; k < n; ++k) reflect(m - j, taus[j], vectors + j * m + j, A + k * m + j);
  }
}

}  // namespace kronla
