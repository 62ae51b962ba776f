#include "kernels/inverse_root.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <type_traits>

#include "kernels/cpu/batch.h"
#include "kernels/cpu/dense.h"
#include "kernels/cpu/eigh/eigh.h"
#include "kernels/cpu/eigh/tridiagonal.h"
#include "kernels/cpu/eigh/tridiagonal_eigh.h"
#include "kernels/cpu/gemm/gemm.h"
#include "kernels/cpu/root_polynomial.h"
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

constexpr double kGentle = 1e-2;
constexpr int64_t kWideProducts = 128;  // up to here float64 costs a tenth of the time at most

// Whether float32 is good enough for the last products of a float32 root. They turn the vectors by some 1e-7, which adds
// that times κ^max(1/2, 1/p) to the residual: at most a tenth of `tolerance`.
bool is_gentle(double condition, double p, double tolerance) {
  return 1e-6 * std::pow(condition, std::max(0.5, 1.0 / p)) <= tolerance;
}

// V[n,n], eigenvectors of the tridiagonal form as rows, become those of D, rows times wᵢ^(-1/2p), and `result`, its lower
// triangle, D^(-1/p): all in the precision of V.
template <class V>
void product_of_powers(int64_t n, const V* reflectors, const V* tau, double p, const double* w, V* vectors, V* result,
                       Worker& worker) {
  back_transform(n, reflectors, tau, vectors, worker);
  for (int64_t i = 0; i < n; ++i) {
    const V factor = static_cast<V>(std::pow(w[i], -0.5 / p));
    for (int64_t j = 0; j < n; ++j) vectors[i * n + j] *= factor;
  }
  syrk(worker.team, Op::T, n, n, V(1), vectors, n, V(0), result, n);
}

// The lower triangle of a symmetric D[n,n] ← its upper one, and the diagonal.
void restore_lower(int64_t n, const double* diagonal, double* D) {
  constexpr int64_t block = 32;
  for (int64_t r = 0; r < n; r += block)
    for (int64_t c = 0; c <= r; c += block)
      for (int64_t i = r; i < std::min(r + block, n); ++i)
        for (int64_t j = c; j < std::min(c + block, i); ++j) D[i * n + j] = D[j * n + i];
  for (int64_t i = 0; i < n; ++i) D[i * n + i] = diagonal[i];
}

// The tridiagonal form of a D of magnitude 1: d and e, and the reflectors that led there, tau and, in the place of D's lower
// triangle, the rest of them.
struct Tridiagonal {
  int64_t n;
  double *D, *tau, *d, *e;
  const double* diagonal;  // D's
};

// w[n], right to float64's rounding, which small eigenvalues need, and the form's eigenvectors as the rows of vectors[n,n].
// False where an iteration does not converge.
template <class V>
bool solve(const Tridiagonal& form, double* w, V* vectors, Worker& worker) {
  const Worker::Scope scope(worker);
  double* e = worker.take<double>(form.n);
  std::copy_n(form.d, form.n, w);
  std::copy_n(form.e, form.n, e);
  return tridiagonal_eigh(form.n, w, e, vectors, Precision::Float64, worker);
}

// What eigh rounds below its own noise is set to that noise: whether D is positive definite is not for eigh to say.
void raise_to_noise(int64_t n, double* w) {
  const double noise = std::numeric_limits<double>::epsilon() * w[n - 1];
  for (int64_t i = 0; i < n; ++i) w[i] = std::max(w[i], noise);
}

// X ← result · back, of which the lower triangle counts.
template <class T, class V>
void finish(int64_t n, const V* result, Root<T>& root) {
  for (int64_t i = 0; i < n; ++i)
    for (int64_t j = 0; j <= i; ++j)
      root.X[i * n + j] = static_cast<T>(static_cast<double>(result[i * n + j]) * root.back);
  mirror_lower(n, root.X);
}

// All vectors in float32. False where that is not good enough for D's condition.
bool by_float32_vectors(const Tridiagonal& form, double p, double tolerance, Root<float>& root, Worker& worker) {
  const Worker::Scope scope(worker);
  const int64_t n = form.n;
  float *vectors = worker.take<float>(n * n), *tau = worker.take<float>(n);
  double* w = worker.take<double>(n);
  if (!solve(form, w, vectors, worker)) return false;
  root.least = least_ratio(n, w);
  raise_to_noise(n, w);
  if (!is_gentle(w[n - 1] / w[0], p, tolerance)) return false;
  std::copy_n(form.D, n * n, root.X);
  std::copy_n(form.tau, n, tau);
  product_of_powers(n, root.X, tau, p, w, vectors, root.X, worker);
  finish(n, root.X, root);
  return true;
}

// All in float64. False where an iteration does not converge. For a p that is no integer the residual is taken too.
template <class T>
bool by_float64_vectors(const Tridiagonal& form, double p, Root<T>& root, Worker& worker) {
  const Worker::Scope scope(worker);
  const int64_t n = form.n;
  double *V = worker.take<double>(n * n), *w = worker.take<double>(n);
  if (!solve(form, w, V, worker)) return false;
  root.least = least_ratio(n, w);
  raise_to_noise(n, w);
  double* product = worker.take<double>(n * n);
  product_of_powers(n, form.D, form.tau, p, w, V, product, worker);
  finish(n, product, root);
  if (is_integer(p)) return true;
  restore_lower(n, form.diagonal, form.D);
  for (int64_t i = 0; i < n; ++i) {
    const double factor = std::pow(w[i], 0.5 / p - 0.5);
    for (int64_t j = 0; j < n; ++j) V[i * n + j] *= factor;
  }
  transpose(n, n, V, product);
  root.residual = identity_error(n, {V, form.D, product}, worker);
  return true;
}

// D's lower triangle is lost on the way, and comes back from the upper one.
template <class T>
void by_eigh(int64_t n, double* D, double p, double tolerance, Root<T>& root, Worker& worker) {
  const Worker::Scope scope(worker);
  ++root.steps;
  double* diagonal = worker.take<double>(n);
  for (int64_t i = 0; i < n; ++i) diagonal[i] = D[i * n + i];
  const Tridiagonal form{n, D, worker.take<double>(n), worker.take<double>(n), worker.take<double>(n), diagonal};
  reduce_to_tridiagonal(n, D, form.tau, form.d, form.e, worker);
  bool done = false;
  if constexpr (std::is_same_v<T, float>)
    done = n > kWideProducts && is_integer(p) && by_float32_vectors(form, p, tolerance, root, worker);
  if (!done && !by_float64_vectors(form, p, root, worker)) {
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
  for (int64_t i = 0; i < n * n; ++i) wide[i] = static_cast<double>(root.X[i]) / root.back;
  return root_residual(n, D, wide, static_cast<int64_t>(p), worker);
}

// The lower triangle of X ← the root of D by a float32 decomposition: two thirds of the time, and small eigenvalues are
// right to u ‖D‖ only. False where D does not look positive definite then.
bool by_float32_eigh(int64_t n, const double* D, double p, Root<float>& root, Worker& worker) {
  const Worker::Scope scope(worker);
  float* V = worker.take<float>(n * n);
  float* w = worker.take<float>(n);
  std::copy_n(D, n * n, root.X);
  if (!eigendecompose(n, root.X, V, w, worker)) return false;
  root.least = least_ratio(n, w);
  for (int64_t i = 0; i < n; ++i) {
    if (!(w[i] > 0.0f)) return false;
    const float factor = std::pow(w[i], static_cast<float>(-0.5 / p));
    for (int64_t j = 0; j < n; ++j) V[i * n + j] *= factor;
  }
  syrk(worker.team, Op::T, n, n, 1.0f, V, n, 0.0f, root.X, n);
  return true;
}

// True where its residual is good enough.
bool by_eigh_in_float32(int64_t n, const double* D, const RootOptions& options, Root<float>& root, Worker& worker) {
  root.steps = 1;
  if (!by_float32_eigh(n, D, options.p, root, worker)) return false;
  finish(n, root.X, root);
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
    bool done = false;
    if constexpr (std::is_same_v<T, float>) {
      if (group.method == RootMethod::EighToTolerance && is_integer(options.p))
        done = by_eigh_in_float32(n, D, options, root, worker);
    }
    if (!done) {
      root.residual = kUnknown;
      // What was asked for by name does not depend on rtol.
      const double tolerance = group.method == RootMethod::EighToTolerance ? std::min(options.rtol, kGentle) : kGentle;
      by_eigh(n, D, options.p, tolerance, root, worker);
    }
    // No pivot breaks down where D is this well conditioned (Demmel 1989: λmin/λmax > n(n + 1)u).
    const double certain = 2.0 * static_cast<double>(n * n) * std::numeric_limits<double>::epsilon();
    if (!(root.least > certain) && !is_definite()) return fail(kNotPositiveDefinite);
  }
  if (is_integer(options.p) && std::isnan(root.residual))
    root.residual = residual_of_result(n, D, options.p, root, worker);
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
  for_each_matrix(parallel, groups, cost, [&](const RootGroup<T>& group, int64_t index, Worker& worker) {
    root_of_one(group, index, options, worker);
  });
}

template void inverse_root<float>(const std::vector<RootGroup<float>>&, const RootOptions&, const Parallel&);
template void inverse_root<double>(const std::vector<RootGroup<double>>&, const RootOptions&, const Parallel&);

}  // namespace kronla
