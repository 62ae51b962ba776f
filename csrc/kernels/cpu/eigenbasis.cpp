#include "kernels/eigenbasis.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "kernels/cpu/batch.h"
#include "kernels/cpu/dense.h"
#include "kernels/cpu/eigh/eigh.h"
#include "kernels/cpu/gemm/gemm.h"
#include "kernels/cpu/orthonormalize.h"
#include "kernels/status.h"

namespace kronla {
namespace {

constexpr double kNear =
    10.0;  // times tol: one rotation gets there (it divided the ratio by 15 to 40, n = 256 to 1024)
constexpr double kColdRatio = 0.3;  // above it a QR step gains more than a rotation (126 drifts, n = 16 and 128)

template <class T>
constexpr double unit_roundoff() {
  return 0.5 * static_cast<double>(std::numeric_limits<T>::epsilon());
}

// A itself, of this largest magnitude, while its squares stay well within range, else a copy that is scaled by a power of two.
template <class T>
const T* in_range(int64_t n, const T* source, T largest, double& scale, Worker& worker) {
  const double unit = power_of_two_scale(largest);
  scale = 1.0;
  if (!(largest > T(0)) || std::abs(std::ilogb(unit)) <= std::numeric_limits<T>::max_exponent / 4) return source;
  scale = unit;
  T* A = worker.take<T>(n * n);
  for (int64_t i = 0; i < n * n; ++i) A[i] = static_cast<T>(static_cast<double>(source[i]) * scale);
  return A;
}

// ‖offdiag B‖_F/‖A‖_F, from the lower triangle of B.
template <class T>
double off_diagonal(int64_t n, const T* B, double norm) {
  return norm > 0.0 ? std::sqrt(symmetric_squares(n, B).off_diagonal) / norm : 0.0;
}

// One matrix on its way: A; Q; and what belongs to Q.
template <class T>
struct Basis {
  int64_t n;
  double scale, norm;  // what A was multiplied with; ‖A‖_F after that
  const T* A;
  T *Q, *product, *B, *room;  // AQ; the lower triangle of QᵀAQ; anything
  double* quotients;          // diag(QᵀAQ)
  double ratio = std::numeric_limits<double>::infinity();

  Basis(int64_t size, const T* source, T largest, T* basis, Worker& worker)
      : n(size),
        A(in_range(n, source, largest, scale, worker)),
        Q(basis),
        product(worker.take<T>(n * n)),
        B(worker.take<T>(n * n)),
        room(worker.take<T>(n * n)),
        quotients(worker.take<double>(n)) {
    norm = std::sqrt(sum_of_squares(n * n, A));
  }

  void multiply(const Parallel& team) { gemm(team, Op::N, Op::N, n, n, n, T(1), A, n, Q, n, T(0), product, n); }

  // B, its diagonal and the ratio, from the product.
  void evaluate(const Parallel& team) {
    gemmt(team, Op::T, Op::N, n, n, T(1), Q, n, product, n, T(0), B, n);
    for (int64_t i = 0; i < n; ++i) quotients[i] = static_cast<double>(B[i * n + i]);
    ratio = off_diagonal(n, B, norm);
  }

  // The diagonal alone, where the ratio is not asked for.
  void evaluate_diagonal() { column_products(n, n, Q, n, product, n, quotients); }

  // The columns by descending Rayleigh quotient, ties by index.
  int64_t* descending(Worker& worker) const {
    int64_t* order = worker.take<int64_t>(n);
    std::iota(order, order + n, int64_t{0});
    std::stable_sort(order, order + n, [&](int64_t a, int64_t b) { return quotients[a] > quotients[b]; });
    return order;
  }
};

// Q's columns, in `order`, ← the columns of W.
template <class T>
void scatter_columns(int64_t n, const int64_t* order, const T* W, T* Q, Worker& worker) {
  int64_t* from = worker.take<int64_t>(n);
  for (int64_t k = 0; k < n; ++k) from[order[k]] = k;
  gather_columns(n, n, from, W, Q, worker);
}

template <class T>
void qr_step(Basis<T>& basis, Worker& worker) {
  const int64_t n = basis.n;
  const int64_t* order = basis.descending(worker);
  const T mu = static_cast<T>(static_cast<double>(n) * unit_roundoff<T>() * basis.norm);
  T* S = basis.room;
  for (int64_t i = 0; i < n * n; ++i) basis.product[i] += mu * basis.Q[i];
  gather_columns(n, n, order, basis.product, S, worker);
  orthonormalize_columns(n, n, S, S, worker);
  scatter_columns(n, order, S, basis.Q, worker);
}

template <class T>
void rotation_step(Basis<T>& basis, Worker& worker) {
  const int64_t n = basis.n;
  T *W = basis.room, *T_skew = basis.product, *diagonal = worker.take<T>(n);
  const double mean = basis.ratio * basis.norm / static_cast<double>(n);
  const double noise = 4.0 * unit_roundoff<T>() * basis.norm;
  for (int64_t j = 0; j < n; ++j) diagonal[j] = static_cast<T>(basis.quotients[j]);
  rotation(n, basis.B, diagonal, static_cast<T>(mean * mean + noise * noise), T_skew);
  // Q + QT, its columns in descending order: a triangular factorisation leaves the first ones most at rest.
  const int64_t* order = basis.descending(worker);
  T* turned = basis.B;
  std::copy_n(basis.Q, n * n, turned);
  gemm(worker.team, Op::N, Op::N, n, n, n, T(1), basis.Q, n, T_skew, n, T(1), turned, n);
  gather_columns(n, n, order, turned, W, worker);
  if (!polish_columns(n, n, W, worker)) {  // its Gram matrix I + TᵀT is well conditioned, where Q was orthogonal
    gather_columns(n, n, order, turned, W, worker);
    orthonormalize_columns(n, n, W, W, worker);
  }
  scatter_columns(n, order, W, basis.Q, worker);
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
bool eigh_step(Basis<T>& basis, Worker& worker) {
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
    for (int64_t i = 0; i < n; ++i) basis.Q[i * n + order[k]] = V[k * n + i];
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

  bool last_was_qr = false;
  int64_t steps = 0;
  for (;; ++steps) {
    const Worker::Scope step(worker);
    const bool more = steps < max_steps;
    basis.multiply(worker.team);
    if (more && tol == 0.0 && group.method == BasisMethod::Qr) {
      basis.evaluate_diagonal();
    } else {
      basis.evaluate(worker.team);
    }
    if (!all_finite(n, basis.quotients)) {  // Q is finite and yet so far from orthogonal that QᵀAQ overflows
      std::copy_n(Q_old, size, Q);
      return report_nan(group, index, steps, kNotConverged);
    }
    if (!more || (tol > 0.0 && basis.ratio <= tol)) break;
    const bool decompose = group.method == BasisMethod::Eigh ||
                           (group.method == BasisMethod::NearEigh && (steps > 0 || basis.ratio > kNear * tol));
    if (decompose) {
      if (!eigh_step(basis, worker)) break;
      max_steps = steps + 1;  // nothing is gained by a second one
    } else {
      last_was_qr = group.method == BasisMethod::Qr ||
                    (group.method == BasisMethod::Automatic && basis.ratio > kColdRatio && !last_was_qr);
      last_was_qr ? qr_step(basis, worker) : rotation_step(basis, worker);
    }
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
    double scale;
    const T* scaled = in_range(n, A + b * size, largest, scale, worker);
    T* product = worker.take<T>(size);
    T* B = worker.take<T>(size);
    gemm(worker.team, Op::N, Op::N, n, n, n, T(1), scaled, n, Q + b * size, n, T(0), product, n);
    gemmt(worker.team, Op::T, Op::N, n, n, T(1), Q + b * size, n, product, n, T(0), B, n);
    ratio[b] = static_cast<T>(off_diagonal(n, B, std::sqrt(sum_of_squares(size, scaled))));
  });
}

template void update_eigenbasis<float>(const std::vector<BasisGroup<float>>&, double, int64_t, const Parallel&);
template void update_eigenbasis<double>(const std::vector<BasisGroup<double>>&, double, int64_t, const Parallel&);
template void eigh<float>(const std::vector<BasisGroup<float>>&, const Parallel&);
template void eigh<double>(const std::vector<BasisGroup<double>>&, const Parallel&);
template void off_diagonal_ratio<float>(int64_t, int64_t, const float*, const float*, float*, const Parallel&);
template void off_diagonal_ratio<double>(int64_t, int64_t, const double*, const double*, double*, const Parallel&);

}  // namespace kronla
