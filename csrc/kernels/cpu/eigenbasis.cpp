#include "kernels/eigenbasis.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <type_traits>

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
constexpr int64_t kResidual = 96;      // least n of figures from the residual
constexpr double kOrthonormal = 24.0;  // roundings of ‖QᵀQ − I‖_F/√n and of ‖q‖² − 1; LAPACK's factors have 10
constexpr double kColdRatio = 0.3;     // above it a QR step gains more than a rotation (126 drifts, n = 16 and 128)

template <class T>
constexpr double unit_roundoff() {
  return 0.5 * static_cast<double>(std::numeric_limits<T>::epsilon());
}

// A itself, of this largest magnitude, while its squares stay well within range, else a copy scaled by a power of two.
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

// One matrix on its way: A; Q; and what belongs to Q.
template <class T>
struct Basis {
  int64_t n;
  double scale, norm;  // what A was multiplied with; ‖A‖_F after that
  const T *A, *Q;
  T *product, *B, *room;     // AQ; QᵀAQ off its diagonal, see form_B; anything, see evaluate
  double* quotients;         // diag(QᵀAQ)
  T* diagonal;               // the same
  bool by_residual = false;  // the figures: see evaluate
  double ratio = std::numeric_limits<double>::infinity();

  Basis(int64_t size, const T* source, T largest, const T* basis, Worker& worker)
      : n(size),
        A(in_range(n, source, largest, scale, worker)),
        Q(basis),
        product(worker.take<T>(n * n)),
        B(worker.take<T>(n * n)),
        room(worker.take<T>(n * n)),
        quotients(worker.take<double>(n)),
        diagonal(worker.take<T>(n)) {
    norm = std::sqrt(sum_of_squares(n * n, A));
  }

  void multiply(const Parallel& team) { gemm(team, Op::N, Op::N, n, n, n, T(1), A, n, Q, n, T(0), product, n); }

  // ‖offdiag(QᵀAQ)‖_F = ‖AQ − Q diag(QᵀAQ)‖_F for an orthonormal Q, to a few roundings of ‖A‖_F, at two thirds of the
  // operations. For small matrices, of which QᵀAQ costs little, it is not taken: its own roundings are a little larger.
  void trust_columns() { by_residual = n >= kResidual; }
  void probe_columns(const Parallel& team) {
    const double enough = kOrthonormal * unit_roundoff<T>();
    by_residual = n >= kResidual && longest_gap(team) <= enough && orthogonality_gap(team, n, n, Q) <= enough;
  }
  // max |‖q‖² − 1| over the columns: what few vectors cannot miss together with it is small.
  double longest_gap(const Parallel& team) {
    rayleigh_quotients(team, n, Q, Q, quotients);
    double gap = 0.0;
    for (int64_t j = 0; j < n; ++j) gap = std::max(gap, std::abs(quotients[j] - 1.0));
    return gap;
  }

  // Whether a rotation is made by products of bfloat16: they have 2 digits or 3 of it, and it can use no more, unless a
  // column is all but null. Such a column has to stay where it is, while rounding the others leaves parts of it in them.
  bool takes_pairs() const {
    if (!std::is_same_v<T, float> || n < 64 || !has_bfloat16_products()) return false;
    const double least = 0x1p-9 * ratio * norm;
    return std::none_of(quotients, quotients + n, [=](double x) { return std::abs(x) < least; });
  }

  // The quotients and the ratio, from the product. What is left then: the residual
  // R = AQ − Q diag(QᵀAQ), in `room`; or B.
  void evaluate(const Parallel& team) {
    if (by_residual) {
      evaluate_diagonal(team);
      set_ratio(residual(team, n, n, product, Q, diagonal, room));
    } else {
      gemmt(team, Op::T, Op::N, n, n, T(1), Q, n, product, n, T(0), B, n);
      for (int64_t i = 0; i < n; ++i) {
        quotients[i] = static_cast<double>(diagonal[i] = B[i * n + i]);
        B[i * n + i] = T(0);
      }
      mirror_lower(n, B);
      set_ratio(sum_of_squares(n * n, B));
    }
  }
  void set_ratio(double squares) { ratio = norm > 0.0 ? std::sqrt(squares) / norm : 0.0; }

  // The quotients alone, where the ratio is not asked for.
  void evaluate_diagonal(const Parallel& team) {
    rayleigh_quotients(team, n, Q, product, quotients);
    for (int64_t j = 0; j < n; ++j) diagonal[j] = static_cast<T>(quotients[j]);
  }

  // B off its diagonal, where evaluate has left R: QᵀR. R is as small as offdiag B, and so are its rounding errors.
  void form_B(Worker& worker) {
    if (!by_residual) return;
    if constexpr (std::is_same_v<T, float>)
      if (takes_pairs()) {
        const Worker::Scope scope(worker);
        const int64_t pairs = (n + 1) / 2;
        auto* Q_pairs = worker.take<Bfloat16Pair>(pairs * n);
        auto* R_pairs = worker.take<Bfloat16Pair>(pairs * n);
        pair_rows(worker.team, n, n, Q, Q_pairs);
        pair_rows(worker.team, n, n, room, R_pairs);
        return gemmt_of_pairs(worker.team, Op::T, Op::N, n, pairs, 1.0f, Q_pairs, n, R_pairs, n, 0.0f, B, n);
      }
    gemmt(worker.team, Op::T, Op::N, n, n, T(1), Q, n, room, n, T(0), B, n);
  }

  // W ← Q + QS for the skew S of a rotation.
  void turn(const T* S, T* W, Worker& worker) const {
    std::copy_n(Q, n * n, W);
    if constexpr (std::is_same_v<T, float>)
      if (takes_pairs()) {
        const Worker::Scope scope(worker);
        const int64_t pairs = (n + 1) / 2;
        auto* Q_pairs = worker.take<Bfloat16Pair>(pairs * n);
        auto* S_pairs = worker.take<Bfloat16Pair>(pairs * n);
        pair_columns(worker.team, n, n, Q, Q_pairs);
        pair_rows(worker.team, n, n, S, S_pairs);
        return gemm_of_pairs(worker.team, Op::N, Op::N, n, n, pairs, 1.0f, Q_pairs, pairs, S_pairs, n, 1.0f, W, n);
      }
    gemm(worker.team, Op::N, Op::N, n, n, n, T(1), Q, n, S, n, T(1), W, n);
  }

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

template <class T>
void rotation_step(Basis<T>& basis, T* Q, Worker& worker) {
  const int64_t n = basis.n;
  T *W = basis.room, *T_skew = basis.product;
  const double mean = basis.ratio * basis.norm / static_cast<double>(n);
  const double noise = 4.0 * unit_roundoff<T>() * basis.norm;
  basis.form_B(worker);
  rotation(n, basis.B, basis.diagonal, static_cast<T>(mean * mean + noise * noise), T_skew);
  // Q + QT, its columns in descending order: a triangular factorisation leaves the first ones most at rest.
  const int64_t* order = basis.descending(worker);
  T* turned = basis.B;
  basis.turn(T_skew, turned, worker);
  gather_columns(n, n, order, turned, W, worker);
  if (!polish_columns(n, n, W, worker)) {  // its Gram matrix I + TᵀT is well conditioned, where Q was orthogonal
    gather_columns(n, n, order, turned, W, worker);
    orthonormalize_columns(n, n, W, W, worker);
  }
  scatter_columns(n, order, W, Q, worker);
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
    const bool decompose = group.method == BasisMethod::Eigh ||
                           (group.method == BasisMethod::NearEigh && (steps > 0 || basis.ratio > kNear * tol));
    if (decompose) {
      if (!eigh_step(basis, Q, worker)) break;
      max_steps = steps + 1;  // nothing is gained by a second one
    } else {
      last_was_qr = group.method == BasisMethod::Qr ||
                    (group.method == BasisMethod::Automatic && basis.ratio > kColdRatio && !last_was_qr);
      last_was_qr ? qr_step(basis, Q, worker) : rotation_step(basis, Q, worker);
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
