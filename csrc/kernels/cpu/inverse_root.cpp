#include "kernels/inverse_root.h"

#include <algorithm>
#include <cmath>
#include <limits>
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

template <class T>
void by_polynomial(int64_t n, const double* D, double smallest, const RootOptions& options, Root<T>& root,
                   Worker& worker) {
  const double norm = std::sqrt(sum_of_squares(n * n, D)) * (1.0 + 1e-6);  // ≥ λmax, with slack for rounding
  root.steps = root_polynomial(n, D, smallest, norm, options.r, options.max_steps, root.X, worker);
  if (!is_integer(options.p)) root.residual = root_residual(n, D, root.X, 1.0, options.r, worker);
  symmetric_power(n, options.s, root.X, worker);
  scale(n, n, root.X, root.back, root.X, worker);
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
    RootQuadratures* poles =
        group.method == RootMethod::Eigh || !has_root_quadrature(options.p) ? nullptr : &quadratures;
    const bool to_tolerance = group.method == RootMethod::QuadratureToTolerance && poles != nullptr;
    const double tolerance = to_tolerance ? std::min(options.rtol, kGentle) : kGentle;
    if (!(to_tolerance && by_float32(n, D, options, quadratures, root, worker))) {
      root.residual = kUnknown;
      root_by_tridiagonal(n, D, options.p, tolerance, poles, root, worker);
    }
    // No pivot breaks down where D is this well conditioned (Demmel 1989: λmin/λmax > n(n + 1)u).
    const double certain = 2.0 * static_cast<double>(n * n) * std::numeric_limits<double>::epsilon();
    if (!(root.least > certain) && !is_definite()) return fail(kNotPositiveDefinite);
  }
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
