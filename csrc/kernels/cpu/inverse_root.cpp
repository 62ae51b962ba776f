#include "kernels/inverse_root.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <type_traits>

#include "kernels/cpu/batch.h"
#include "kernels/cpu/blas.h"
#include "kernels/cpu/dense.h"
#include "kernels/cpu/gemm/gemm.h"
#include "kernels/cpu/root_polynomial.h"
#include "kernels/probe_signs.h"
#include "kernels/status.h"

namespace kronla {
namespace {

constexpr int64_t kExactResidual = 64;  // up to here the residual is formed, above it is estimated

// ‖E‖_F/√n of E = B_1 B_2 … B_k − I, each factor n × n in float64; exact for small n, else by ±1 vectors.
double relative_identity_error(int64_t n, const std::vector<const double*>& factors, Worker& worker) {
  const bool exact = n <= kExactResidual;
  const int64_t columns = exact ? n : kProbes, size = n * columns;
  double* V = worker.take<double>(size);
  double* W = worker.take<double>(size);
  const auto start = [&](int64_t i, int64_t j) { return exact ? (i == j ? 1.0 : 0.0) : probe_sign(i, j); };
  for (int64_t i = 0; i < n; ++i)
    for (int64_t j = 0; j < columns; ++j) V[i * columns + j] = start(i, j);
  for (size_t k = factors.size(); k-- > 0;) {
    gemm(worker.team, Op::N, Op::N, n, columns, n, 1.0, factors[k], n, V, columns, 0.0, W, columns);
    std::swap(V, W);
  }
  for (int64_t i = 0; i < n; ++i)
    for (int64_t j = 0; j < columns; ++j) V[i * columns + j] -= start(i, j);
  const double squares = sum_of_squares(size, V);  // ‖E‖_F², or the sum of ‖Ev‖² over the vectors
  return std::sqrt(exact ? squares / n : squares / kProbes / n);
}

// ‖X^⌊p/2⌋ D X^⌈p/2⌉ − I‖_F/√n. Both orders of magnitude matter: one-sided, X^p D, an X with error 3e-3 reads .33.
double root_residual(int64_t n, const double* D, const double* X, int64_t p, Worker& worker) {
  std::vector<const double*> factors;
  if (p <= 16) {
    factors.assign(p + 1, X);
    factors[p / 2] = D;
    return relative_identity_error(n, factors, worker);
  }
  double* left = worker.take<double>(n * n);  // a high power: by squaring
  std::copy_n(X, n * n, left);
  symmetric_power(n, p / 2, left, worker);
  factors = {left, D, left};
  if (p % 2 == 1) factors.push_back(X);
  return relative_identity_error(n, factors, worker);
}

constexpr double kUnknown = std::numeric_limits<double>::quiet_NaN();

// D is scaled so that its largest element is near 1; X is D^(-1/p) · back.
template <class T>
struct Root {
  T* X;
  double back;
  double residual = kUnknown;  // until it is taken
  int64_t steps = 0;
};

bool is_integer(double p) { return p == std::floor(p) && p <= 1e6; }

// V: room for n² doubles.
template <class T>
void by_eigh(int64_t n, const double* D, double p, double* V, Root<T>& root, Worker& worker) {
  ++root.steps;
  double* w = worker.take<double>(n);
  std::copy_n(D, n * n, V);
  {
    const Worker::Scope scope(worker);  // LAPACK's workspace is the largest
    if (!blas::eigh(n, V, w, worker)) {
      std::fill_n(root.X, n * n, std::numeric_limits<T>::quiet_NaN());
      return;
    }
  }
  // Cholesky found D positive definite; what eigh rounds below its own noise is set to that noise.
  const double noise = std::numeric_limits<double>::epsilon() * w[n - 1];
  const auto scale_rows = [&](double from, double to) {  // V's row i ← V's row i · wᵢ^(to − from)
    for (int64_t i = 0; i < n; ++i) {
      const double factor = std::pow(w[i], to - from);
      for (int64_t j = 0; j < n; ++j) V[i * n + j] *= factor;
    }
  };
  for (int64_t i = 0; i < n; ++i) w[i] = std::max(w[i], noise);
  scale_rows(0.0, -0.5 / p);
  double* wide = worker.take<double>(n * n);
  syrk(worker.team, Op::T, n, n, 1.0, V, n, 0.0, wide, n);
  for (int64_t i = 0; i < n; ++i)
    for (int64_t j = 0; j <= i; ++j) root.X[i * n + j] = static_cast<T>(wide[i * n + j] * root.back);
  mirror_lower(n, root.X);
  if (is_integer(p)) return;
  scale_rows(-0.5 / p, -0.5);
  transpose(n, n, V, wide);
  root.residual = relative_identity_error(n, {V, D, wide}, worker);
}

// The residual of X / back.
template <class T>
double residual_of_result(int64_t n, const double* D, double p, const Root<T>& root, double* wide, Worker& worker) {
  const Worker::Scope scope(worker);
  for (int64_t i = 0; i < n * n; ++i) wide[i] = static_cast<double>(root.X[i]) / root.back;
  return root_residual(n, D, wide, static_cast<int64_t>(p), worker);
}

// The same with float32 vectors: two thirds of the time, and small eigenvalues are right to u ‖D‖ only. True where the residual is
// good enough.
bool by_eigh_in_float32(int64_t n, const double* D, const RootOptions& options, double* wide, Root<float>& root,
                        Worker& worker) {
  const Worker::Scope scope(worker);
  root.steps = 1;
  float* V = worker.take<float>(n * n);
  float* w = worker.take<float>(n);
  std::copy_n(D, n * n, V);
  {
    const Worker::Scope lapack(worker);
    if (!blas::eigh(n, V, w, worker)) return false;
  }
  for (int64_t i = 0; i < n; ++i) {
    if (!(w[i] > 0.0f)) return false;
    const float factor = std::pow(w[i], static_cast<float>(-0.5 / options.p));
    for (int64_t j = 0; j < n; ++j) V[i * n + j] *= factor;
  }
  syrk(worker.team, Op::T, n, n, 1.0f, V, n, 0.0f, root.X, n);
  for (int64_t i = 0; i < n; ++i)
    for (int64_t j = 0; j <= i; ++j)
      root.X[i * n + j] = static_cast<float>(static_cast<double>(root.X[i * n + j]) * root.back);
  mirror_lower(n, root.X);
  root.residual = residual_of_result(n, D, options.p, root, wide, worker);
  return root.residual <= options.rtol;
}

template <class T>
void by_polynomial(int64_t n, const double* D, double smallest, const RootOptions& options, Root<T>& root,
                   Worker& worker) {
  const double norm = std::sqrt(sum_of_squares(n * n, D)) * (1.0 + 1e-6);  // ≥ λmax, with slack for rounding
  root.steps = root_polynomial(n, D, smallest, norm, options.r, options.max_steps, root.X, worker);
  if (!is_integer(options.p)) {
    double* wide = worker.take<double>(n * n);
    std::copy_n(root.X, n * n, wide);
    root.residual = root_residual(n, D, wide, options.r, worker);
  }
  symmetric_power(n, options.s, root.X, worker);
  for (int64_t i = 0; i < n * n; ++i) root.X[i] = static_cast<T>(static_cast<double>(root.X[i]) * root.back);
}

// The bound λmin(D) ≥ 1/tr(D⁻¹) = 1/‖L⁻¹‖_F² from D's Cholesky factor.
double smallest_eigenvalue_bound(int64_t n, const double* L, Worker& worker) {
  double* inverse = worker.take<double>(n * n);
  std::fill_n(inverse, n * n, 0.0);
  for (int64_t i = 0; i < n; ++i) inverse[i * n + i] = 1.0;
  solve_right_transposed(worker.team, n, n, L, n, inverse, n);
  return 1.0 / sum_of_squares(n * n, inverse);
}

template <class T>
void root_of_one(const RootGroup<T>& group, int64_t index, const RootOptions& options, Worker& worker) {
  const int64_t n = group.n, size = n * n;
  const T* A = group.A + index * size;
  T* X = group.X + index * size;
  group.steps[index] = 0;
  const auto fail = [&](Info info) {
    group.info[index] = info;
    group.residual[index] = std::numeric_limits<T>::quiet_NaN();
    if (group.fallback != nullptr) {
      std::copy_n(group.fallback + index * size, size, X);
    } else {
      std::fill_n(X, size, std::numeric_limits<T>::quiet_NaN());
    }
  };
  if (n == 0) {
    group.info[index] = kGood;
    group.residual[index] = T(0);
    return;
  }
  if (!all_finite(size, A)) return fail(kNonFinite);

  // D / unit in float64. The unit, a power of two near D's largest element, keeps every square in range.
  double* D = worker.take<double>(size);
  const double scale = power_of_two_scale(std::max(static_cast<double>(largest_magnitude(size, A)), options.damping));
  for (int64_t i = 0; i < n; ++i)
    for (int64_t j = 0; j <= i; ++j) D[i * n + j] = static_cast<double>(A[i * n + j]) * scale;
  mirror_lower(n, D);
  const double shift = options.damping * scale + options.relative_damping * std::sqrt(sum_of_squares(size, D));
  for (int64_t i = 0; i < n; ++i) D[i * n + i] += shift;
  const double again = power_of_two_scale(largest_magnitude(size, D)), unit = 1.0 / (scale * again);
  for (int64_t i = 0; i < size; ++i) D[i] *= again;

  double* L = worker.take<double>(size);
  std::copy_n(D, size, L);
  if (!cholesky(worker.team, n, L, n)) return fail(kNotPositiveDefinite);

  Root<T> root{X, std::pow(unit, -1.0 / options.p)};
  if (n == 1) {
    X[0] = static_cast<T>(std::pow(D[0] * unit, -1.0 / options.p));
    if (!is_integer(options.p)) root.residual = 0.0;  // of D^(-1/r), which is not rounded
    root.steps = 1;
  } else if (group.method == RootMethod::Polynomial) {
    by_polynomial(n, D, smallest_eigenvalue_bound(n, L, worker), options, root, worker);
  } else {
    bool done = false;
    if constexpr (std::is_same_v<T, float>) {
      if (group.method == RootMethod::EighToTolerance && is_integer(options.p))
        done = by_eigh_in_float32(n, D, options, L, root, worker);
    }
    if (!done) {
      root.residual = kUnknown;
      by_eigh(n, D, options.p, L, root, worker);
    }
  }
  if (is_integer(options.p) && std::isnan(root.residual))
    root.residual = residual_of_result(n, D, options.p, root, L, worker);
  // Where p is no integer the residual says nothing of an X that left the range of T.
  if (!all_finite(size, X) || largest_magnitude(size, X) == T(0))
    root.residual = std::numeric_limits<double>::infinity();
  group.residual[index] = static_cast<T>(root.residual);
  group.steps[index] = static_cast<int32_t>(root.steps);
  group.info[index] = root.residual <= options.rtol ? kGood : kNotConverged;
}

}  // namespace

template <class T>
void inverse_root(const std::vector<RootGroup<T>>& groups, const RootOptions& options, const Parallel& parallel) {
  const auto cost = [](const RootGroup<T>& group) { return group.n * group.n * group.n; };
  const auto divisible = [](const RootGroup<T>& group) { return group.method == RootMethod::Polynomial; };
  for_each_matrix(parallel, groups, divisible, cost, [&](const RootGroup<T>& group, int64_t index, Worker& worker) {
    root_of_one(group, index, options, worker);
  });
}

template void inverse_root<float>(const std::vector<RootGroup<float>>&, const RootOptions&, const Parallel&);
template void inverse_root<double>(const std::vector<RootGroup<double>>&, const RootOptions&, const Parallel&);

}  // namespace kronla
