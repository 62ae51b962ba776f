#include "kernels/cpu/root/by_tridiagonal.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <type_traits>

#include "kernels/cpu/eigh/grading.h"
#include "kernels/cpu/eigh/tridiagonal.h"
#include "kernels/cpu/eigh/tridiagonal_eigh.h"
#include "kernels/cpu/root/residual.h"
#include "kernels/cpu/root/tridiagonal_root.h"
#include "kernels/cpu/simd/gemm.h"
#include "kernels/cpu/simd/passes.h"

namespace kronla {
namespace {

// A lower bound of λmin(D)/λmax(D) from what was computed in T; at most 0 where there is none.
template <class T>
double least_ratio(int64_t n, double smallest, double largest) {
  if (!(smallest > 0.0)) return 0.0;
  return smallest / largest - static_cast<double>(n) * static_cast<double>(std::numeric_limits<T>::epsilon());
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

constexpr int64_t kWideProducts = 128;  // up to here all float64 costs 15 % of the time at most

// Whether float32 is good enough for the reflections of a float32 root. They add some 1e-7 of its norm to it, which adds
// that times κ^max(1/2, 1/p) to the residual: at most a tenth of `tolerance`.
bool is_gentle(double condition, int64_t p, double tolerance) {
  return 1e-6 * std::pow(condition, std::max(0.5, 1.0 / static_cast<double>(p))) <= tolerance;
}

// What is taken from the diagonal of F = T^(-1/p) before the reflections, Q F Qᵀ = μ I + Q (F − μ I) Qᵀ, whose errors are
// as large as what is left: its mean, or as much as costs the smallest element no digits.
template <class T>
T common_diagonal(int64_t n, const T* F) {
  double sum = 0.0, least = std::numeric_limits<double>::infinity();
  for (int64_t i = 0; i < n; ++i) {
    sum += static_cast<double>(F[i * n + i]);
    least = std::min(least, static_cast<double>(F[i * n + i]));
  }
  return static_cast<T>(std::min(sum / static_cast<double>(n), 2.0 * least));
}

template <class T>
void add_to_diagonal(int64_t n, T shift, T* F) {
  for (int64_t i = 0; i < n; ++i) F[i * n + i] += shift;
}

// Q T^(-1/p) Qᵀ by a quadrature, T^(-1/p) in float64 and the reflections in V. The result is in F[n,n].
template <class T, class V, class R>
void reflect_root(const Tridiagonal<R>& form, const SpectrumBounds& bounds, int64_t p, RootQuadratures& quadratures,
                  V* F, Root<T>& root, Worker& worker) {
  const int64_t n = form.n;
  tridiagonal_root(n, form.d, form.e, bounds, p, quadratures.of(bounds.condition()), F, worker);
  const V common = common_diagonal(n, F);
  add_to_diagonal(n, -common, F);
  if constexpr (std::is_same_v<V, R>) {
    back_transform_symmetric(n, form.D, form.tau, F, worker);
  } else {
    V *reflectors = worker.take<V>(n * n), *tau = worker.take<V>(n);
    scale_lower(n, form.D, 1.0, reflectors, worker);
    std::copy_n(form.tau, n, tau);
    back_transform_symmetric(n, reflectors, tau, F, worker);
  }
  add_to_diagonal(n, common, F);
  scale(n, n, F, root.back, root.X, worker);
}

// False where T is too ill conditioned for a quadrature.
bool has_quadrature(const SpectrumBounds& bounds) {
  return bounds.lower > 0.0 && bounds.condition() <= RootQuadratures::kLargestCondition;
}

template <class T>
bool by_quadrature(const Tridiagonal<double>& form, int64_t p, double tolerance, RootQuadratures& quadratures,
                   Root<T>& root, Worker& worker) {
  const Worker::Scope scope(worker);
  const int64_t n = form.n;
  const SpectrumBounds bounds = spectrum_bounds(n, form.d, form.e);
  if (!has_quadrature(bounds)) return false;
  root.least = least_ratio<double>(n, bounds.lower, bounds.upper);
  if (std::is_same_v<T, double> || (n > kWideProducts && is_gentle(bounds.condition(), p, tolerance))) {
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
  if (!tridiagonal_eigh(form.n, w, e, Q, worker)) return false;
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
bool by_eigenvectors(const Tridiagonal<double>& form, const double* diagonal, double p, Root<T>& root, Worker& worker) {
  const Worker::Scope scope(worker);
  const int64_t n = form.n;
  double *Q = worker.take<double>(n * n), *w = worker.take<double>(n);
  if (!eigenvectors(form, w, Q, worker)) return false;
  root.least = least_ratio<double>(n, w[0], w[n - 1]);
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

// With X^(p/2) D X^(p/2) = I + E and ‖E‖₂ < 1, D is definite as I + E is (Sylvester), and λmin(D) ≥ (1 − ‖E‖₂)/‖X‖₂ᵖ. For an
// odd p an X that is not definite might make up for such a D. The residual is ‖E‖_F/√n or an estimate, which is not a fourth
// of it but with a probability of 1e-13.
bool proves_definite(int64_t n, int64_t p, double residual) {
  return p % 2 == 0 && residual * std::sqrt(static_cast<double>(n)) <= 0.125;
}

// body(D), with D's rows in an order that suits a reduction; X is put back into that of D.
template <class T, class Pointer, class Body>
bool in_graded_order(int64_t n, Pointer D, double bearable, Root<T>& root, Worker& worker, const Body& body) {
  const int64_t* order = graded_order(n, D, bearable, worker);
  if (order == nullptr) return body(D);
  double* sorted = worker.take<double>(n * n);
  permute_symmetric(n, order, D, sorted);
  const bool done = body(sorted);
  restore_order(n, order, root.X, worker);
  return done;
}

}  // namespace

template <class T>
void root_by_tridiagonal(int64_t n, double* D, double p, double tolerance, RootQuadratures* quadratures, Root<T>& root,
                         Worker& worker) {
  const Worker::Scope scope(worker);
  ++root.steps;
  const double bearable = std::is_same_v<T, float> ? kGradedBelowFloat32 : kGraded;
  const bool found = in_graded_order(n, D, bearable, root, worker, [&](double* D) {
    double* diagonal = worker.take<double>(n);
    for (int64_t i = 0; i < n; ++i) diagonal[i] = D[i * n + i];
    const auto form = Tridiagonal<double>::of(n, D, worker);
    const bool done = (quadratures != nullptr &&
                       by_quadrature(form, static_cast<int64_t>(p), tolerance, *quadratures, root, worker)) ||
                      by_eigenvectors(form, diagonal, p, root, worker);
    restore_lower(n, diagonal, D);
    return done;
  });
  if (found) return;
  root.least = 0.0;
  std::fill_n(root.X, n * n, std::numeric_limits<T>::quiet_NaN());
}

bool root_by_float32_tridiagonal(int64_t n, const double* D, int64_t p, RootQuadratures& quadratures, Root<float>& root,
                                 Worker& worker) {
  const Worker::Scope scope(worker);
  SpectrumBounds bounds;
  const bool found = in_graded_order(n, D, kGraded, root, worker, [&](const double* D) {
    float* lower = worker.take<float>(n * n);
    scale_lower(n, D, 1.0, lower, worker);
    const auto form = Tridiagonal<float>::of(n, lower, worker);
    bounds = spectrum_bounds(n, form.d, form.e);
    if (!has_quadrature(bounds)) return false;
    reflect_root(form, bounds, p, quadratures, root.X, root, worker);
    return true;
  });
  if (!found) return false;
  root.residual = root_residual(n, D, root.X, 1.0 / root.back, p, worker);
  root.least = proves_definite(n, p, root.residual) ? 0.5 * bounds.lower / bounds.upper
                                                    : least_ratio<float>(n, bounds.lower, bounds.upper);
  return true;
}

template void root_by_tridiagonal<float>(int64_t, double*, double, double, RootQuadratures*, Root<float>&, Worker&);
template void root_by_tridiagonal<double>(int64_t, double*, double, double, RootQuadratures*, Root<double>&, Worker&);

}  // namespace kronla
