#include "kernels/cpu/root/residual.h"

#include <algorithm>
#include <cmath>

#include "kernels/cpu/dense.h"
#include "kernels/cpu/gemm/gemm.h"
#include "kernels/cpu/root/polynomial.h"
#include "kernels/probe_signs.h"

namespace kronla {
namespace {

constexpr int64_t kExact = 64;  // up to here E is formed
constexpr int64_t kChain = 16;  // up to this power vectors are multiplied by X again and again
using Factors = std::vector<const double*>;

double estimate(int64_t n, const Factors& factors, Worker& worker) {
  const int64_t size = n * kProbes;
  double* V = worker.take<double>(size);
  double* W = worker.take<double>(size);
  for (int64_t i = 0; i < n; ++i)
    for (int64_t j = 0; j < kProbes; ++j) V[i * kProbes + j] = probe_sign(i, j);
  for (size_t k = factors.size(); k-- > 0;) {
    gemm(worker.team, Op::N, Op::N, n, kProbes, n, 1.0, factors[k], n, V, kProbes, 0.0, W, kProbes);
    std::swap(V, W);
  }
  for (int64_t i = 0; i < n; ++i)
    for (int64_t j = 0; j < kProbes; ++j) V[i * kProbes + j] -= probe_sign(i, j);
  return std::sqrt(sum_of_squares(size, V) / kProbes / n);  // ‖E‖_F² is the mean of ‖Ev‖²
}

// A product that begins and ends with the same factor and is three of them, all symmetric, is symmetric: half of it.
double form(int64_t n, const Factors& factors, bool symmetric, Worker& worker) {
  double* V = worker.take<double>(n * n);
  double* W = worker.take<double>(n * n);
  const double* right = factors.back();
  for (size_t k = factors.size() - 1; k-- > 0;) {
    if (k == 0 && symmetric) {
      gemmt(worker.team, Op::N, Op::N, n, n, 1.0, factors[k], n, right, n, 0.0, W, n);
    } else {
      gemm(worker.team, Op::N, Op::N, n, n, n, 1.0, factors[k], n, right, n, 0.0, W, n);
    }
    std::swap(V, W);
    right = V;
  }
  for (int64_t i = 0; i < n; ++i) V[i * n + i] -= 1.0;
  return std::sqrt((symmetric ? symmetric_squares(n, V) : sum_of_squares(n * n, V)) / n);
}

}  // namespace

double identity_error(int64_t n, const Factors& factors, Worker& worker) {
  return n <= kExact ? form(n, factors, false, worker) : estimate(n, factors, worker);
}

double root_residual(int64_t n, const double* D, const double* X, int64_t p, Worker& worker) {
  if (n > kExact && p <= kChain) {
    Factors factors(p + 1, X);
    factors[p / 2] = D;
    return estimate(n, factors, worker);
  }
  if (p == 1) return identity_error(n, {D, X}, worker);
  const double* left = X;
  if (p / 2 > 1) {
    double* power = worker.take<double>(n * n);
    std::copy_n(X, n * n, power);
    symmetric_power(n, p / 2, power, worker);
    left = power;
  }
  Factors factors{left, D, left};
  if (p % 2 == 1) factors.push_back(X);
  return n <= kExact ? form(n, factors, p % 2 == 0, worker) : estimate(n, factors, worker);
}

}  // namespace kronla
