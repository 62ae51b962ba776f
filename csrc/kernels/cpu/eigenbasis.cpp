#include "kernels/eigenbasis.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "kernels/cpu/basis.h"
#include "kernels/cpu/batch.h"
#include "kernels/cpu/dense.h"
#include "kernels/cpu/eigh/eigh.h"
#include "kernels/cpu/orthonormalize.h"
#include "kernels/cpu/rotation.h"
#include "kernels/cpu/simd/gemm.h"
#include "kernels/cpu/simd/passes.h"
#include "kernels/status.h"

namespace kronla {
namespace {

constexpr double kNear =
    10.0;  // times tol: one rotation gets there (it divided the ratio by 15 to 40, n = 256 to 1024)
constexpr double kColdRatio = 0.3;  // above it a QR step gains more than a rotation (126 drifts, n = 16 and 128)
// With a rotation after each; where that leaves the ratio above kColdRatio, eigenvalues come in pairs ±λ, which no QR step
// tells apart. (Spectra that decay, and flat ones, are below it after one or two.)
constexpr int kQrSteps = 2;

template <class T>
void qr_step(Basis<T>& basis, T* Q, Worker& worker) {
  const int64_t n = basis.n;
  const int64_t* order = basis.descending(worker);
  const T mu = static_cast<T>(static_cast<double>(n) * unit_roundoff<T>() * basis.norm);
  T* S = basis.room;
  for (int64_t i = 0; i < n * n; ++i) basis.product[i] += mu * basis.Q[i];
  gather_columns(n, n, order, basis.product, S, worker);
  orthonormalize_columns(n, n, S, S, worker);
  scatter_columns(n, order, S, Q, worker);
}

// V[z,n], the eigenvectors (as rows) of a null space, any basis of which is as good: the one nearest to the z old
// columns of Q that `columns` names, V ← (orthonormal factor of VQ)ᵀ V.
template <class T>
void align_null_space(int64_t n, int64_t z, const int64_t* columns, const T* Q, T* V, Worker& worker) {
  T* old = worker.take<T>(n * z);
  T* overlap = worker.take<T>(z * z);
  T* turned = worker.take<T>(z * n);
  for (int64_t i = 0; i < n; ++i)
    for (int64_t k = 0; k < z; ++k) old[i * z + k] = Q[i * n + columns[k]];
  gemm(worker.team, Op::N, Op::N, z, z, n, T(1), V, n, old, z, T(0), overlap, z);
  orthonormalize_columns(z, z, overlap, overlap, worker);
  gemm(worker.team, Op::T, Op::N, z, n, z, T(1), overlap, z, V, n, T(0), turned, n);
  std::copy_n(turned, z * n, V);
}

// False where the decomposition does not converge; then Q stays.
template <class T>
bool eigh_step(Basis<T>& basis, T* Q, Worker& worker) {
  const int64_t n = basis.n;
  const int64_t* order = basis.descending(worker);
  T* V = basis.product;
  T* w = worker.take<T>(n);
  std::copy_n(basis.A, n * n, basis.room);
  if (!eigendecompose(n, basis.room, V, w, worker)) return false;
  // Rows descending: the k-th largest eigenvalue to the column of rank k.
  for (int64_t i = 0; i < n / 2; ++i) {
    std::swap(w[i], w[n - 1 - i]);
    std::swap_ranges(V + i * n, V + (i + 1) * n, V + (n - 1 - i) * n);
  }
  const double null = 16.0 * unit_roundoff<T>() * basis.norm;  // the noise of A's own rounding and of eigh
  const auto is_null = [&](T value) { return std::abs(static_cast<double>(value)) <= null; };
  const int64_t begin = std::find_if(w, w + n, is_null) - w;  // w is sorted: the null ones are neighbours
  const int64_t end = std::find_if_not(w + begin, w + n, is_null) - w;
  if (end - begin > 1) align_null_space(n, end - begin, order + begin, basis.Q, V + begin * n, worker);
  for (int64_t k = 0; k < n; ++k)
    for (int64_t i = 0; i < n; ++i) Q[i * n + order[k]] = V[k * n + i];
  return true;
}

// Columns that turned by more than 90° are turned round.
template <class T>
void keep_signs(int64_t n, const T* Q_old, T* Q, Worker& worker) {
  double* overlap = worker.take<double>(n);
  column_products(n, n, Q_old, n, Q, n, overlap);
  if (std::none_of(overlap, overlap + n, [](double x) { return x < 0.0; })) return;
  T* sign = worker.take<T>(n);
  for (int64_t j = 0; j < n; ++j) sign[j] = overlap[j] < 0.0 ? T(-1) : T(1);
  for (int64_t i = 0; i < n; ++i)
    for (int64_t j = 0; j < n; ++j) Q[i * n + j] *= sign[j];
}

template <class T>
void report(const Basis<T>& basis, const BasisGroup<T>& group, int64_t index, int64_t steps, Info info) {
  for (int64_t j = 0; j < basis.n; ++j)
    group.eigenvalues[index * basis.n + j] = static_cast<T>(basis.quotients[j] / basis.scale);
  group.ratio[index] = static_cast<T>(basis.ratio);
  group.steps[index] = static_cast<int32_t>(steps);
  group.info[index] = info;
}

template <class T>
void report_nan(const BasisGroup<T>& group, int64_t index, int64_t steps, Info info) {
  const T nan = std::numeric_limits<T>::quiet_NaN();
  std::fill_n(group.eigenvalues + index * group.n, group.n, nan);
  group.ratio[index] = nan;
  group.steps[index] = static_cast<int32_t>(steps);
  group.info[index] = info;
}

// Whether the next step is a decomposition, after which nothing is gained by another step.
template <class T>
bool decomposes(BasisMethod method, const Basis<T>& basis, double tol, int64_t steps, int qr_steps, bool last_was_qr) {
  switch (method) {
    case BasisMethod::Eigh:
      return true;
    case BasisMethod::NearEigh:
      return steps > 0 || basis.ratio > kNear * tol;
    case BasisMethod::Automatic:
      return qr_steps == kQrSteps && !last_was_qr && basis.ratio > kColdRatio;
    default:
      return false;
  }
}

template <class T>
void update_one(const BasisGroup<T>& group, int64_t index, double tol, int64_t max_steps, Worker& worker) {
  const int64_t n = group.n, size = n * n;
  const T* A = group.A + index * size;
  const T* Q_old = group.Q_old + index * size;
  T* Q = group.Q + index * size;
  std::copy_n(Q_old, size, Q);
  const T largest = largest_magnitude(size, A);
  if (!std::isfinite(largest) || !all_finite(size, Q)) return report_nan(group, index, 0, kNonFinite);
  Basis<T> basis(n, A, largest, Q, worker);
  if (basis.norm == 0.0) max_steps = 0;  // any basis is one of 0
  basis.probe_columns(worker.team);

  bool last_was_qr = false;
  int qr_steps = 0;
  int64_t steps = 0;
  for (;; ++steps) {
    const Worker::Scope step(worker);
    const bool more = steps < max_steps;
    basis.multiply(worker.team);
    if (more && tol == 0.0 && group.method == BasisMethod::Qr) {
      basis.evaluate_diagonal(worker.team);
    } else {
      basis.evaluate(worker.team);
    }
    if (!all_finite(n, basis.quotients)) {  // Q is finite and yet so far from orthogonal that QᵀAQ overflows
      std::copy_n(Q_old, size, Q);
      return report_nan(group, index, steps, kNotConverged);
    }
    if (!more || (tol > 0.0 && basis.ratio <= tol)) break;
    if (decomposes(group.method, basis, tol, steps, qr_steps, last_was_qr)) {
      if (!eigh_step(basis, Q, worker)) break;
      max_steps = steps + 1;
    } else {
      last_was_qr = group.method == BasisMethod::Qr ||
                    (group.method == BasisMethod::Automatic && basis.ratio > kColdRatio && !last_was_qr);
      last_was_qr ? qr_step(basis, Q, worker) : rotation_step(basis, Q, worker);
      qr_steps += last_was_qr;
    }
    basis.trust_columns();
  }
  if (steps > 0) keep_signs(n, Q_old, Q, worker);
  report(basis, group, index, steps, tol > 0.0 && !(basis.ratio <= tol) ? kNotConverged : kGood);
}

template <class T>
void eigh_of_one(const BasisGroup<T>& group, int64_t index, Worker& worker) {
  const int64_t n = group.n, size = n * n;
  const T* A = group.A + index * size;
  T* Q = group.Q + index * size;
  const auto fail = [&](int64_t steps, Info info) {
    std::fill_n(Q, size, std::numeric_limits<T>::quiet_NaN());
    report_nan(group, index, steps, info);
  };
  const T largest = largest_magnitude(size, A);
  if (!std::isfinite(largest)) return fail(0, kNonFinite);
  Basis<T> basis(n, A, largest, Q, worker);
  T* w = worker.take<T>(n);
  std::copy_n(basis.A, size, basis.room);
  if (!eigendecompose(n, basis.room, basis.product, w, worker)) return fail(1, kNotConverged);
  transpose(n, n, basis.product, Q);
  basis.trust_columns();
  basis.multiply(worker.team);
  basis.evaluate(worker.team);
  std::copy_n(w, n, basis.quotients);  // sorted, which the quotients are only up to rounding
  report(basis, group, index, n > 0 ? 1 : 0, kGood);
}

template <class T>
int64_t cube(const BasisGroup<T>& group) {
  return group.n * group.n * group.n;
}

}  // namespace

template <class T>
void update_eigenbasis(const std::vector<BasisGroup<T>>& groups, double tol, int64_t max_steps,
                       const Parallel& parallel) {
  for_each_matrix(parallel, groups, cube<T>, [&](const BasisGroup<T>& group, int64_t index, Worker& worker) {
    update_one(group, index, tol, max_steps, worker);
  });
}

template <class T>
void eigh(const std::vector<BasisGroup<T>>& groups, const Parallel& parallel) {
  for_each_matrix(parallel, groups, cube<T>, [&](const BasisGroup<T>& group, int64_t index, Worker& worker) {
    eigh_of_one(group, index, worker);
  });
}

template <class T>
void off_diagonal_ratio(int64_t batch, int64_t n, const T* A, const T* Q, T* ratio, const Parallel& parallel) {
  const int64_t size = n * n;
  for_each_of_one_size(parallel, batch, 2 * size * n, [&](int64_t b, Worker& worker) {
    const T largest = largest_magnitude(size, A + b * size);
    if (!std::isfinite(largest) || !all_finite(size, Q + b * size)) {
      ratio[b] = std::numeric_limits<T>::quiet_NaN();
      return;
    }
    Basis<T> basis(n, A + b * size, largest, Q + b * size, worker);
    basis.probe_columns(worker.team);
    basis.multiply(worker.team);
    basis.evaluate(worker.team);
    ratio[b] = static_cast<T>(basis.ratio);
  });
}

template void update_eigenbasis<float>(const std::vector<BasisGroup<float>>&, double, int64_t, const Parallel&);
template void update_eigenbasis<double>(const std::vector<BasisGroup<double>>&, double, int64_t, const Parallel&);
template void eigh<float>(const std::vector<BasisGroup<float>>&, const Parallel&);
template void eigh<double>(const std::vector<BasisGroup<double>>&, const Parallel&);
template void off_diagonal_ratio<float>(int64_t, int64_t, const float*, const float*, float*, const Parallel&);
template void off_diagonal_ratio<double>(int64_t, int64_t, const double*, const double*, double*, const Parallel&);

}  // namespace kronla
