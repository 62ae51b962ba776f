#include "kernels/inverse_root.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>
#include <type_traits>

#include "kernels/cpu/batch.h"
#include "kernels/cpu/dense.h"
#include "kernels/cpu/root/by_tridiagonal.h"
#include "kernels/cpu/root/polynomial.h"
#include "kernels/cpu/root/quadrature.h"
#include "kernels/cpu/root/residual.h"
#include "kernels/cpu/root/root.h"
#include "kernels/cpu/simd/gemm.h"
#include "kernels/cpu/simd/passes.h"
#include "kernels/status.h"

namespace kronla {
namespace {

constexpr double kUnknown = std::numeric_limits<double>::quiet_NaN();
constexpr double kGentle = 1e-2;  // the residual that float32 reflections may leave by a tenth where no rtol is given

// True where the residual of that root is good enough.
template <class T>
bool by_float32(int64_t n, const double* D, const RootOptions& options, RootQuadratures& quadratures, Root<T>& root,
                Worker& worker) {
  if constexpr (std::is_same_v<T, float>) {
    ++root.steps;
    return root_by_float32_tridiagonal(n, D, static_cast<int64_t>(options.p), quadratures, root, worker) &&
           root.residual <= options.rtol;
  }
  return false;
}

bool is_definite(int64_t n, const double* D, Worker& worker) {
  const Worker::Scope scope(worker);
  double* L = worker.take<double>(n * n);
  std::copy_n(D, n * n, L);
  return cholesky(worker.team, n, L, n);
}

// The bound λmin(D) ≥ 1/tr(D⁻¹) = 1/‖L⁻¹‖_F² from D's Cholesky factor; none where there is no such factor.
std::optional<double> smallest_eigenvalue_bound(int64_t n, const double* D, Worker& worker) {
  const Worker::Scope scope(worker);
  double *L = worker.take<double>(n * n), *inverse = worker.take<double>(n * n);
  std::copy_n(D, n * n, L);
  if (!cholesky(worker.team, n, L, n)) return std::nullopt;
  std::fill_n(inverse, n * n, 0.0);
  for (int64_t i = 0; i < n; ++i) inverse[i * n + i] = 1.0;
  solve_right_transposed(worker.team, n, n, L, n, inverse, n);
  return 1.0 / sum_of_squares(n * n, inverse);
}

// The ways to a root return false where D is not positive definite.

// Of one element, D · 2^-exponent, rounded once where float64 holds it.
template <class T>
bool by_power(double D, int exponent, double p, Root<T>& root) {
  root.steps = 1;
  if (!(D > 0.0)) return false;
  const double whole = std::ldexp(D, -exponent);
  root.X[0] = static_cast<T>(std::isnormal(whole) ? std::pow(whole, -1.0 / p) : std::pow(D, -1.0 / p) * root.back);
  if (!is_integer(p)) root.residual = 0.0;  // of D^(-1/r), which is not rounded
  return true;
}

template <class T>
bool by_polynomial(int64_t n, const double* D, const RootOptions& options, Root<T>& root, Worker& worker) {
  const std::optional<double> smallest = smallest_eigenvalue_bound(n, D, worker);
  if (!smallest) return false;
  const double norm = std::sqrt(sum_of_squares(n * n, D)) * (1.0 + 1e-6);  // ≥ λmax, with slack for rounding
  root.steps = root_polynomial(n, D, *smallest, norm, options.r, options.max_steps, root.X, worker);
  if (!is_integer(options.p)) root.residual = root_residual(n, D, root.X, 1.0, options.r, worker);
  symmetric_power(n, options.s, root.X, worker);
  scale(n, n, root.X, root.back, root.X, worker);
  return true;
}

template <class T>
bool by_tridiagonal(int64_t n, double* D, RootMethod method, const RootOptions& options, RootQuadratures& quadratures,
                    Root<T>& root, Worker& worker) {
  RootQuadratures* poles = method == RootMethod::Eigh || !has_root_quadrature(options.p) ? nullptr : &quadratures;
  const bool to_tolerance = method == RootMethod::QuadratureToTolerance && poles != nullptr;
  const double tolerance = to_tolerance ? std::min(options.rtol, kGentle) : kGentle;
  if (!(to_tolerance && by_float32(n, D, options, quadratures, root, worker))) {
    root.residual = kUnknown;
    root_by_tridiagonal(n, D, options.p, tolerance, poles, root, worker);
  }
  // No pivot breaks down where D is this well conditioned (Demmel 1989: λmin/λmax > n(n + 1)u).
  const double certain = 2.0 * static_cast<double>(n * n) * std::numeric_limits<double>::epsilon();
  return root.least > certain || is_definite(n, D, worker);
}

// A + (damping + relative_damping ‖A‖_F) I in float64, times 2^exponent: its largest element is about 1, so that every
// square is in range.
struct Damped {
  double* D;
  int exponent;
};

// `largest` is A's largest magnitude.
template <class T>
Damped damped(int64_t n, const T* A, double largest, const RootOptions& options, Worker& worker) {
  double* D = worker.take<double>(n * n);
  const double scale_of_A = power_of_two_scale(std::max(largest, options.damping));
  scale_lower(n, A, scale_of_A, D, worker);
  mirror_lower(n, D);
  const double shift = options.damping * scale_of_A + options.relative_damping * std::sqrt(sum_of_squares(n * n, D));
  double magnitude = largest * scale_of_A;
  for (int64_t i = 0; i < n; ++i) magnitude = std::max(magnitude, D[i * n + i] += shift);
  const double again = power_of_two_scale(magnitude);
  for (int64_t i = 0; i < n * n && again != 1.0; ++i) D[i] *= again;
  return {D, std::ilogb(scale_of_A) + std::ilogb(again)};
}

// 2^(e/p), its whole powers apart: rounding e/p would cost up to ten bits.
double root_of_power_of_two(int e, double p) {
  const double whole = std::floor(e / p);
  if (!(std::abs(whole) < 1e6)) return whole > 0.0 ? std::numeric_limits<double>::infinity() : 0.0;
  return std::ldexp(std::exp2(std::fma(-whole, p, e) / p), static_cast<int>(whole));
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
  const auto [D, exponent] = damped(n, A, largest, options, worker);
  Root<T> root{X, root_of_power_of_two(exponent, options.p)};
  const bool definite = n == 1 ? by_power(*D, exponent, options.p, root)
                        : group.method == RootMethod::Polynomial
                            ? by_polynomial(n, D, options, root, worker)
                            : by_tridiagonal(n, D, group.method, options, quadratures, root, worker);
  if (!definite) return fail(kNotPositiveDefinite);
  if (is_integer(options.p) && std::isnan(root.residual))
    root.residual = root_residual(n, D, X, 1.0 / root.back, static_cast<int64_t>(options.p), worker);
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
  const int64_t p =
      has_root_quadrature(options.p) ? static_cast<int64_t>(options.p) : 1;  // else there is none to ask for
  RootQuadratures quadratures(p, std::is_same_v<T, float> ? 1e-8 : 1e-15);
  const auto cost = [](const RootGroup<T>& group) { return group.n * group.n * group.n; };
  for_each_matrix(parallel, groups, cost, [&](const RootGroup<T>& group, int64_t index, Worker& worker) {
    root_of_one(group, index, options, quadratures, worker);
  });
}

template void inverse_root<float>(const std::vector<RootGroup<float>>&, const RootOptions&, const Parallel&);
template void inverse_root<double>(const std::vector<RootGroup<double>>&, const RootOptions&, const Parallel&);

}  // namespace kronla
