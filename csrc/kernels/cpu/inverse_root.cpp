#include "kernels/inverse_root.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <type_traits>

#include "kernels/cpu/batch.h"
#include "kernels/cpu/dense.h"
#include "kernels/cpu/eigh/tridiagonal.h"
#include "kernels/cpu/eigh/tridiagonal_eigh.h"
#include "kernels/cpu/eigh/tridiagonal_root.h"
#include "kernels/cpu/gemm/gemm.h"
#include "kernels/cpu/root_polynomial.h"
#include "kernels/cpu/root_quadrature.h"
#include "kernels/cpu/root_residual.h"
#include "kernels/status.h"

namespace kronla {
namespace {

constexpr double kUnknown = std::numeric_limits<double>::quiet_NaN();

// D is scaled so that its largest element is near 1; X is D^(-1/p) · back.
template <class T>
struct Root {
  T* X;
  double back;
  double residual = kUnknown;  // until it is taken
  double least = 0.0;          // a lower bound of λmin(D)/λmax(D)
  int64_t steps = 0;
};

// A lower bound of λmin/λmax from the computed eigenvalues, ascending; at most 0 where there is none.
template <class T>
double least_ratio(int64_t n, const T* w) {
  if (!(w[0] > T(0))) return 0.0;
  const double error = static_cast<double>(n) * static_cast<double>(std::numeric_limits<T>::epsilon());
  return static_cast<double>(w[0]) / static_cast<double>(w[n - 1]) - error;
}

bool is_integer(double p) { return p == std::floor(p) && p <= 1e6; }

// Y ← factor · X, of `rows` rows of n elements, rounded once.
template <class From, class To>
void scale(int64_t rows, int64_t n, const From* X, double factor, To* Y, Worker& worker) {
  const Worker::Scope scope(worker);
  double* factors = factor == 1.0 ? nullptr : worker.take<double>(n);
  if (factors != nullptr) std::fill_n(factors, n, factor);
  scale_columns(rows, n, X, n, factors, Y, n);
}

// The same of a lower triangle: row by row, elements beyond the diagonal are neither read nor written.
template <class From, class To>
void scale_lower(int64_t n, const From* X, double factor, To* Y, Worker& worker) {
  const Worker::Scope scope(worker);
  double* factors = factor == 1.0 ? nullptr : worker.take<double>(n);
  if (factors != nullptr) std::fill_n(factors, n, factor);
  for (int64_t i = 0; i < n; ++i) scale_columns(1, i + 1, X + i * n, n, factors, Y + i * n, n);
}

// The lower triangle of a symmetric D[n,n] ← its upper one, and the diagonal.
void restore_lower(int64_t n, const double* diagonal, double* D) {
  mirror_upper(n, D);
  for (int64_t i = 0; i < n; ++i) D[i * n + i] = diagonal[i];
}

// The tridiagonal form of a D of magnitude 1: d and e, and the reflectors that led there, tau and, in the place of D's lower
// triangle, the rest of them.
template <class T>
struct Tridiagonal {
  int64_t n;
  T *D, *tau;
  double *d, *e;

  static Tridiagonal of(int64_t n, T* D, Worker& worker) {
    const Tridiagonal form{n, D, worker.take<T>(n), worker.take<double>(n), worker.take<double>(n)};
    reduce_to_tridiagonal(n, D, form.tau, form.d, form.e, worker);
    return form;
  }
};

constexpr int64_t kWideProducts = 128;  // up to here float64 costs a tenth of the time at most
constexpr double kGentle = 1e-2;

// Whether float32 is good enough for the reflections of a float32 root. They add some 1e-7 of its norm to it, which adds
// that times κ^max(1/2, 1/p) to the residual: at most a tenth of `tolerance`.
bool is_gentle(double condition, double p, double tolerance) {
  return 1e-6 * std::pow(condition, std::max(0.5, 1.0 / p)) <= tolerance;
}

// Q T^(-1/p) Qᵀ by a quadrature, T^(-1/p) in float64 and the reflections in V. The result is in F[n,n].
template <class T, class V, class R>
void reflect_root(const Tridiagonal<R>& form, const SpectrumBounds& bounds, int64_t p, RootQuadratures& quadratures,
                  V* F, Root<T>& root, Worker& worker) {
  const int64_t n = form.n;
  tridiagonal_root(n, form.d, form.e, bounds, p, quadratures.of(bounds.condition()), 1.0, F, worker);
  if constexpr (std::is_same_v<V, R>) {
    back_transform_symmetric(n, form.D, form.tau, F, worker);
  } else {
    V *reflectors = worker.take<V>(n * n), *tau = worker.take<V>(n);
    scale_lower(n, form.D, 1.0, reflectors, worker);
    std::copy_n(form.tau, n, tau);
    back_transform_symmetric(n, reflectors, tau, F, worker);
  }
  scale(n, n, F, root.back, root.X, worker);
}

// False where T is too ill conditioned for one.
template <class T>
bool by_quadrature(const Tridiagonal<double>& form, int64_t p, double tolerance, RootQuadratures& quadratures,
                   Root<T>& root, Worker& worker) {
  const Worker::Scope scope(worker);
  const int64_t n = form.n;
  const SpectrumBounds bounds = spectrum_bounds(n, form.d, form.e);
  if (!(bounds.lower > 0.0 && bounds.condition() <= RootQuadratures::kLargestCondition)) return false;
  root.least = bounds.lower / bounds.upper - static_cast<double>(n) * std::numeric_limits<double>::epsilon();
  if (std::is_same_v<T, double> ||
      (n > kWideProducts && is_gentle(bounds.condition(), static_cast<double>(p), tolerance))) {
    reflect_root(form, bounds, p, quadratures, root.X, root, worker);
  } else {
    reflect_root(form, bounds, p, quadratures, worker.take<double>(n * n), root, worker);
  }
  return true;
}

// The rows of Q, the eigenvectors of D, and its eigenvalues w from those of its tridiagonal form. False where an iteration
// does not converge.
bool eigenvectors(const Tridiagonal<double>& form, double* w, double* Q, Worker& worker) {
  const Worker::Scope scope(worker);
  double* e = worker.take<double>(form.n);
  std::copy_n(form.d, form.n, w);
  std::copy_n(form.e, form.n, e);
  if (!tridiagonal_eigh(form.n, w, e, Q, Precision::OfVectors, worker)) return false;
  back_transform(form.n, form.D, form.tau, Q, worker);
  return true;
}

void scale_rows(int64_t n, const double* w, double power, double* Q) {
  for (int64_t i = 0; i < n; ++i) {
    const double factor = std::pow(w[i], power);
    for (int64_t j = 0; j < n; ++j) Q[i * n + j] *= factor;
  }
}

// False where an iteration does not converge. For a p that is no integer the residual is taken too.
template <class T>
bool by_eigenvectors(const Tridiagonal<double>& form, const double* diagonal, double p, Root<T>& root,
                     Worker& worker) {
  const Worker::Scope scope(worker);
  const int64_t n = form.n;
  double *Q = worker.take<double>(n * n), *w = worker.take<double>(n);
  if (!eigenvectors(form, w, Q, worker)) return false;
  root.least = least_ratio(n, w);
  // What eigh rounds below its own noise is set to that noise: whether D is positive definite is not for eigh to say.
  const double noise = std::numeric_limits<double>::epsilon() * w[n - 1];
  for (int64_t i = 0; i < n; ++i) w[i] = std::max(w[i], noise);
  scale_rows(n, w, -0.5 / p, Q);
  double* product = worker.take<double>(n * n);
  syrk(worker.team, Op::T, n, n, 1.0, Q, n, 0.0, product, n, {true});
  scale(n, n, product, root.back, root.X, worker);
  if (is_integer(p)) return true;
  restore_lower(n, diagonal, form.D);
  scale_rows(n, w, 0.5 / p - 0.5, Q);
  transpose(n, n, Q, product);
  root.residual = identity_error(n, {Q, form.D, product}, worker);
  return true;
}

// By a quadrature if there are any and D's condition allows, else by eigenvectors. D's lower triangle is lost on the way,
// and comes back from the upper one.
template <class T>
void by_tridiagonal_form(int64_t n, double* D, double p, double tolerance, RootQuadratures* quadratures, Root<T>& root,
                         Worker& worker) {
  const Worker::Scope scope(worker);
  ++root.steps;
  double* diagonal = worker.take<double>(n);
  for (int64_t i = 0; i < n; ++i) diagonal[i] = D[i * n + i];
  const auto form = Tridiagonal<double>::of(n, D, worker);
  if (!(quadratures != nullptr &&
        by_quadrature(form, static_cast<int64_t>(p), tolerance, *quadratures, root, worker)) &&
      !by_eigenvectors(form, diagonal, p, root, worker)) {
    root.least = 0.0;
    std::fill_n(root.X, n * n, std::numeric_limits<T>::quiet_NaN());
  }
  restore_lower(n, diagonal, D);
}

// The residual of X / back.
template <class T>
double residual_of_result(int64_t n, const double* D, double p, const Root<T>& root, Worker& worker) {
  const Worker::Scope scope(worker);
  double* wide = worker.take<double>(n * n);
  scale(n, n, root.X, 1.0 / root.back, wide, worker);
  return root_residual(n, D, wide, static_cast<int64_t>(p), worker);
}

// The reduction in float32 too, where small eigenvalues are right to u ‖D‖ only: two thirds of the time. True where the
// residual of that root is good enough.
bool by_quadrature_in_float32(int64_t n, const double* D, const RootOptions& options, RootQuadratures& quadratures,
                              Root<float>& root, Worker& worker) {
  const Worker::Scope scope(worker);
  root.steps = 1;
  float* lower = worker.take<float>(n * n);
  scale_lower(n, D, 1.0, lower, worker);
  const auto form = Tridiagonal<float>::of(n, lower, worker);
  const SpectrumBounds bounds = spectrum_bounds(n, form.d, form.e);
  if (!(bounds.lower > 0.0 && bounds.condition() <= RootQuadratures::kLargestCondition)) return false;
  root.least = bounds.lower / bounds.upper - static_cast<double>(n) * std::numeric_limits<float>::epsilon();
  reflect_root(form, bounds, static_cast<int64_t>(options.p), quadratures, root.X, root, worker);
  root.residual = residual_of_result(n, D, options.p, root, worker);
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
void root_of_one(const RootGroup<T>& group, int64_t index, const RootOptions& options, RootQuadratures& quadratures,
                 Worker& worker) {
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
  const double largest = static_cast<double>(largest_magnitude(size, A));
  if (!std::isfinite(largest)) return fail(kNonFinite);

  // D / unit in float64. The unit, a power of two near D's largest element, keeps every square in range.
  double* D = worker.take<double>(size);
  const double scale_of_A = power_of_two_scale(std::max(largest, options.damping));
  scale_lower(n, A, scale_of_A, D, worker);
  mirror_lower(n, D);
  const double shift = options.damping * scale_of_A + options.relative_damping * std::sqrt(sum_of_squares(size, D));
  double magnitude = largest * scale_of_A;
  for (int64_t i = 0; i < n; ++i) magnitude = std::max(magnitude, D[i * n + i] += shift);
  const double again = power_of_two_scale(magnitude), unit = 1.0 / (scale_of_A * again);
  for (int64_t i = 0; i < size && again != 1.0; ++i) D[i] *= again;

  double* L = nullptr;
  const auto is_definite = [&] {
    L = worker.take<double>(size);
    std::copy_n(D, size, L);
    return cholesky(worker.team, n, L, n);
  };
  const bool decomposes = n > 1 && group.method != RootMethod::Polynomial;
  if (!decomposes && !is_definite()) return fail(kNotPositiveDefinite);

  Root<T> root{X, std::pow(unit, -1.0 / options.p)};
  if (n == 1) {
    X[0] = static_cast<T>(std::pow(D[0] * unit, -1.0 / options.p));
    if (!is_integer(options.p)) root.residual = 0.0;  // of D^(-1/r), which is not rounded
    root.steps = 1;
  } else if (group.method == RootMethod::Polynomial) {
    by_polynomial(n, D, smallest_eigenvalue_bound(n, L, worker), options, root, worker);
  } else {
    const bool to_tolerance = group.method == RootMethod::QuadratureToTolerance;
    bool done = false;
    if constexpr (std::is_same_v<T, float>)
      done = to_tolerance && by_quadrature_in_float32(n, D, options, quadratures, root, worker);
    if (!done) {
      root.residual = kUnknown;
      const double tolerance = to_tolerance ? std::min(options.rtol, kGentle) : kGentle;
      by_tridiagonal_form(n, D, options.p, tolerance, group.method == RootMethod::Eigh ? nullptr : &quadratures, root,
                          worker);
    }
    // No pivot breaks down where D is this well conditioned (Demmel 1989: λmin/λmax > n(n + 1)u).
    const double certain = 2.0 * static_cast<double>(n * n) * std::numeric_limits<double>::epsilon();
    if (!(root.least > certain) && !is_definite()) return fail(kNotPositiveDefinite);
  }
  if (is_integer(options.p) && std::isnan(root.residual))
    root.residual = residual_of_result(n, D, options.p, root, worker);
  // Where p is no integer the residual says nothing of an X that left the range of T.
  if (const T size_of_X = largest_magnitude(size, X); !std::isfinite(size_of_X) || size_of_X == T(0))
    root.residual = std::numeric_limits<double>::infinity();
  group.residual[index] = static_cast<T>(root.residual);
  group.steps[index] = static_cast<int32_t>(root.steps);
  group.info[index] = root.residual <= options.rtol ? kGood : kNotConverged;
}

}  // namespace

template <class T>
void inverse_root(const std::vector<RootGroup<T>>& groups, const RootOptions& options, const Parallel& parallel) {
  RootQuadratures quadratures(static_cast<int64_t>(options.p), std::is_same_v<T, float> ? 1e-8 : 1e-15);
  const auto cost = [](const RootGroup<T>& group) { return group.n * group.n * group.n; };
  for_each_matrix(parallel, groups, cost, [&](const RootGroup<T>& group, int64_t index, Worker& worker) {
    root_of_one(group, index, options, quadratures, worker);
  });
}

template void inverse_root<float>(const std::vector<RootGroup<float>>&, const RootOptions&, const Parallel&);
template void inverse_root<double>(const std::vector<RootGroup<double>>&, const RootOptions&, const Parallel&);

}  // namespace kronla
