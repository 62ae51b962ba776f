#include "kernels/cpu/root/residual.h"

#include <algorithm>
#include <cmath>

#include "kernels/cpu/batch.h"
#include "kernels/cpu/dense.h"
#include "kernels/cpu/root/polynomial.h"
#include "kernels/cpu/root/root.h"
#include "kernels/cpu/simd/gemm.h"
#include "kernels/cpu/simd/passes.h"
#include "kernels/probe_signs.h"

namespace kronla {
namespace {

constexpr int64_t kExact = 64;   // up to here E is formed
constexpr int64_t kChain = 16;   // up to this power vectors are multiplied by X again and again
constexpr int64_t kWhole = 256;  // up to here X is widened once: it stays in the second-level cache

// Rows of X that are widened at once, tiles of products: a strip of 256 KB stays in the second-level cache.
int64_t strip_rows(int64_t n) { return std::clamp<int64_t>((int64_t{1} << 15) / n / 8 * 8, 8, 64); }

using Factors = std::vector<const double*>;

// multiply(k, V, W): W[n,kProbes] ← B_k V, for the last of `count` factors first.
template <class Multiply>
double estimate(int64_t n, int64_t count, const Multiply& multiply, Worker& worker) {
  const int64_t size = n * kProbes;
  double* V = worker.take<double>(size);
  double* W = worker.take<double>(size);
  for (int64_t i = 0; i < n; ++i)
    for (int64_t j = 0; j < kProbes; ++j) V[i * kProbes + j] = probe_sign(i, j);
  for (int64_t k = count; k-- > 0;) {
    multiply(k, V, W);
    std::swap(V, W);
  }
  for (int64_t i = 0; i < n; ++i)
    for (int64_t j = 0; j < kProbes; ++j) V[i * kProbes + j] -= probe_sign(i, j);
  return std::sqrt(sum_of_squares(size, V) / kProbes / n);  // ‖E‖_F² is the mean of ‖Ev‖²
}

// W ← B V for B[rows,n].
void multiply_probes(const Parallel& team, int64_t rows, int64_t n, const double* B, const double* V, double* W) {
  gemm(team, Op::N, Op::N, rows, kProbes, n, 1.0, B, n, V, kProbes, 0.0, W, kProbes);
}

// W ← (X diag(factors)) V, in float64, without a wide copy of X: it is read as often as it is multiplied with.
template <class T>
void multiply_probes(int64_t n, const T* X, const double* factors, const double* V, double* W, Worker& worker) {
  const int64_t most = strip_rows(n), strips = (n + most - 1) / most;
  const double work = static_cast<double>(n * n * kProbes);
  share_with_room<double>(worker, strips, most * n, work, [&](int64_t i, double* strip) {
    const int64_t row = i * most, rows = std::min(most, n - row);
    scale_columns(rows, n, X + row * n, n, factors, strip, n);
    multiply_probes({}, rows, n, strip, V, W + row * kProbes);
  });
}

template <class T>
double estimate_by_strips(int64_t n, const double* D, const T* X, double factor, int64_t p, Worker& worker) {
  double* factors = worker.take<double>(n);
  std::fill_n(factors, n, factor);
  const auto multiply = [&](int64_t k, const double* V, double* W) {
    k == p / 2 ? multiply_probes(worker.team, n, n, D, V, W) : multiply_probes(n, X, factors, V, W, worker);
  };
  return estimate(n, p + 1, multiply, worker);
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

double identity_error(int64_t n, const std::vector<const double*>& factors, Worker& worker) {
  if (n <= kExact) return form(n, factors, false, worker);
  const auto multiply = [&](int64_t k, const double* V, double* W) {
    multiply_probes(worker.team, n, n, factors[k], V, W);
  };
  return estimate(n, static_cast<int64_t>(factors.size()), multiply, worker);
}

template <class T>
double root_residual(int64_t n, const double* D, const T* X, double factor, int64_t p, Worker& worker) {
  const Worker::Scope scope(worker);
  if (n > kWhole && p <= kChain) return estimate_by_strips(n, D, X, factor, p, worker);
  double* wide = worker.take<double>(n * n);
  scale(n, n, X, factor, wide, worker);
  if (n > kExact && p <= kChain) {
    Factors factors(p + 1, wide);
    factors[p / 2] = D;
    return identity_error(n, factors, worker);
  }
  if (p == 1) return identity_error(n, {D, wide}, worker);
  double* left = wide;
  if (p / 2 > 1) {
    left = worker.take<double>(n * n);
    std::copy_n(wide, n * n, left);
    symmetric_power(n, p / 2, left, worker);
  }
  Factors factors{left, D, left};
  if (p % 2 == 1) factors.push_back(wide);
  return n <= kExact ? form(n, factors, p % 2 == 0, worker) : identity_error(n, factors, worker);
}

template double root_residual<float>(int64_t, const double*, const float*, double, int64_t, Worker&);
template double root_residual<double>(int64_t, const double*, const double*, double, int64_t, Worker&);

}  // namespace kronla
