#include "kernels/cpu/rotation.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <type_traits>

#include "kernels/cpu/orthonormalize.h"
#include "kernels/cpu/simd/gemm.h"
#include "kernels/cpu/simd/passes.h"
#include "kernels/eigenbasis.h"

namespace kronla {
namespace {

constexpr int64_t kPairs = 64;  // least n of rotations by products of bfloat16
constexpr double kPairRounding = 0x1p-9;
constexpr double kRoundingError = 1.66e-3;  // of bfloat16, relative, root mean square: 2⁻⁸ √(1/(8 ln 2))
// Rounding Q may leave so much of the ratio off the diagonal. (Drifts of 3 to 10 steps of an average have 2e-3 to 2.6e-3;
// what QᵀR and T are rounded by leaves some 3e-3 too.)
constexpr double kPairNoise = 1.0 / 128.0;
// A column hardly moves where ‖T_j‖ is at most that, and at most this part of the mean (with 1/2 the ratio of a step was 1.2
// times as large at worst, with 1/16 off-diagonal elements beside small eigenvalues 1.6; 36 drifts, n = 100 and 257).
constexpr double kHardly = 0x1p-8, kHardlyOfMean = 0x1p-3;

// T of the formula from B, both with their columns in the order of `diagonal`.
template <class T>
void form_skew(const Basis<T>& basis, const T* diagonal, T* skew) {
  const double e = basis.ratio * basis.norm / static_cast<double>(basis.n);
  const double f = kRotationNoise * unit_roundoff<T>() * basis.norm;
  rotation(basis.n, basis.B, diagonal, static_cast<T>(e * e), static_cast<T>(f * f), skew);
}

const Bfloat16Pair* paired_rows(int64_t n, const float* X, Worker& worker) {
  auto* P = worker.take<Bfloat16Pair>((n + 1) / 2 * n);
  pair_rows(worker.team, n, n, X, P);
  return P;
}

const Bfloat16Pair* paired_columns(int64_t n, const float* X, Worker& worker) {
  auto* P = worker.take<Bfloat16Pair>(n * ((n + 1) / 2));
  pair_columns(worker.team, n, n, X, P);
  return P;
}

// basis.B ← B off its diagonal, basis.room ← Q, both with the columns in this order, from R in basis.room. B_ij, i > j, is
// made with the residual of column i.
void form_B_by_pairs(Basis<float>& basis, const int64_t* columns, Worker& worker) {
  const Worker::Scope scope(worker);
  const int64_t n = basis.n;
  const float* R = basis.room;
  float* W = basis.room;
  if (!std::is_sorted(columns, columns + n)) {
    gather_columns(n, n, columns, R, basis.product, worker);
    R = basis.product;
  }
  const Bfloat16Pair* R_pairs = paired_rows(n, R, worker);
  gather_columns(n, n, columns, basis.Q, W, worker);
  gemmt_of_pairs(worker.team, Op::T, Op::N, n, (n + 1) / 2, 1.0f, R_pairs, n, paired_rows(n, W, worker), n, 0.0f,
                 basis.B, n);
}

// Near null columns: rounding the others would show in them at once.
bool near_null(const Basis<float>& basis, int64_t column) {
  return std::abs(basis.quotients[column]) < kPairRounding * basis.ratio * basis.norm;
}

// Near null columns that hardly move come first in `order`; movements[j] is ‖T_j‖². (Those that move must not: in second
// order, T_jᵀT_k, `order` as it was is right for graded matrices. 370 of 1536 columns, moved to the front, made the ratio
// after a step 7.0e-3 for 1.8e-3. With T_j as short as rounding that is no more than what rounding does.)
void null_columns_first(const Basis<float>& basis, const double* movements, int64_t* order) {
  const int64_t n = basis.n;
  const double mean = std::sqrt(std::accumulate(movements, movements + n, 0.0) / static_cast<double>(n));
  const double hardly = std::min(kHardly, kHardlyOfMean * mean);
  std::stable_partition(order, order + n,
                        [&](int64_t j) { return near_null(basis, j) && movements[j] <= hardly * hardly; });
}

// What rounding Q in QT will leave off the diagonal, relative to ‖A‖_F: column j of QT is off by a random vector of length
// ε ‖T_j‖, of which the factorisation leaves what points to later columns, so B_ij by (λ_i − λ_j) ε ‖T_j‖/√n. T does not
// shrink with the ratio where eigenvalues are nearly equal.
double rounding_noise(const Basis<float>& basis, const double* movements, const int64_t* order) {
  double squares = 0.0, later = 0.0, sum = 0.0, sum_of_squares = 0.0;  // the last three: of columns after column j
  for (int64_t k = basis.n - 1; k >= 0; --k) {
    const double lambda = basis.quotients[order[k]];
    squares += movements[order[k]] * std::max(0.0, sum_of_squares - 2.0 * lambda * sum + later * lambda * lambda);
    later += 1.0;
    sum += lambda;
    sum_of_squares += lambda * lambda;
  }
  return kRoundingError * std::sqrt(2.0 * squares / static_cast<double>(basis.n)) / basis.norm;
}

// W ← W + WT, by products of bfloat16 where the noise of that allows it. T itself needs no more than their two digits.
void add_turned(const Basis<float>& basis, bool by_pairs, float* W, Worker& worker) {
  const int64_t n = basis.n;
  const float* skew = basis.product;
  if (by_pairs) {
    gemm_of_pairs(worker.team, Op::N, Op::N, n, n, (n + 1) / 2, 1.0f, paired_columns(n, W, worker), (n + 1) / 2,
                  paired_rows(n, skew, worker), n, 1.0f, W, n);
  } else {
    float* copy = basis.B;
    std::copy_n(W, n * n, copy);
    gemm(worker.team, Op::N, Op::N, n, n, n, 1.0f, copy, n, skew, n, 1.0f, W, n);
  }
}

// basis.room ← Q + QT with products of bfloat16. But null columns must not move.
//  - Rounding leaves 2⁻⁹ of a residual in B: that of the smaller quotient is taken, which for a null column is next to
//    nothing; so columns are put in descending order of magnitude.
//  - Rounding Q leaves random vectors in the columns of QT, 2⁻⁹ as long as these, with parts of null columns too. A
//    triangular factorisation takes what two columns have in common from the later one: null columns have to come first.
void turn_by_pairs(Basis<float>& basis, int64_t* columns, int64_t* order, Worker& worker) {
  const int64_t n = basis.n;
  float *W = basis.room, *skew = basis.product;
  const bool any_null = std::any_of(columns, columns + n, [&](int64_t j) { return near_null(basis, j); });
  if (!basis.by_residual) {
    std::copy_n(basis.Q, n * n, W);
  } else {
    if (any_null)
      std::stable_sort(columns, columns + n, [&](int64_t a, int64_t b) {
        return std::abs(basis.quotients[a]) > std::abs(basis.quotients[b]);
      });
    form_B_by_pairs(basis, columns, worker);
  }
  const Worker::Scope scope(worker);
  float* diagonal = worker.take<float>(n);
  for (int64_t k = 0; k < n; ++k) diagonal[k] = basis.diagonal[columns[k]];
  form_skew(basis, diagonal, skew);
  double* squares = worker.take<double>(n);
  double* movements = worker.take<double>(n);
  rayleigh_quotients(worker.team, n, skew, skew, squares);
  for (int64_t k = 0; k < n; ++k) movements[columns[k]] = squares[k];
  if (any_null) null_columns_first(basis, movements, order);
  add_turned(basis, rounding_noise(basis, movements, order) <= kPairNoise * basis.ratio, W, worker);
}

// basis.room ← Q + QT; `columns` and `order`: see rotation_step.
template <class T>
void turn(Basis<T>& basis, int64_t* columns, int64_t* order, Worker& worker) {
  if constexpr (std::is_same_v<T, float>)
    if (basis.n >= kPairs && has_bfloat16_products()) return turn_by_pairs(basis, columns, order, worker);
  const int64_t n = basis.n;
  T *R = basis.room, *W = basis.room, *skew = basis.product;
  // B off its diagonal. R is as small as that, and so are its rounding errors.
  if (basis.by_residual) gemmt(worker.team, Op::T, Op::N, n, n, T(1), basis.Q, n, R, n, T(0), basis.B, n);
  form_skew(basis, basis.diagonal, skew);
  std::copy_n(basis.Q, n * n, W);
  gemm(worker.team, Op::N, Op::N, n, n, n, T(1), basis.Q, n, skew, n, T(1), W, n);
}

}  // namespace

template <class T>
void rotation_step(Basis<T>& basis, T* Q, Worker& worker) {
  const int64_t n = basis.n;
  int64_t* columns = worker.take<int64_t>(n);  // column k of Q + QT will be Q's column columns[k]
  std::iota(columns, columns + n, int64_t{0});
  int64_t* order = basis.descending(worker);  // a triangular factorisation leaves the first columns most at rest
  turn(basis, columns, order, worker);
  int64_t* position = worker.take<int64_t>(n);
  int64_t* from = worker.take<int64_t>(n);
  for (int64_t k = 0; k < n; ++k) position[columns[k]] = k;
  for (int64_t k = 0; k < n; ++k) from[k] = position[order[k]];

  T *turned = basis.room, *W = basis.B;
  gather_columns(n, n, from, turned, W, worker);
  if (!polish_columns(n, n, W, worker)) {  // its Gram matrix I + TᵀT is well conditioned, where Q was orthogonal
    gather_columns(n, n, from, turned, W, worker);
    orthonormalize_columns(n, n, W, W, worker);
  }
  scatter_columns(n, order, W, Q, worker);
}

template void rotation_step<float>(Basis<float>&, float*, Worker&);
template void rotation_step<double>(Basis<double>&, double*, Worker&);

}  // namespace kronla
