#include "kernels/cpu/orthonormalize.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <type_traits>

#include "kernels/cpu/batch.h"
#include "kernels/cpu/blas.h"
#include "kernels/cpu/dense.h"
#include "kernels/cpu/gemm/gemm.h"
#include "kernels/eigenbasis.h"
#include "kernels/probe_signs.h"
#include "kernels/status.h"

namespace kronla {
namespace {

// A pivot of the Gram matrix of unit columns is the sine between a column and the span of those before it. Below this
// one the float64 Gram matrix may break down, and the rank is in question.
constexpr double kSmallestPivot = 1e-6;

// ‖QᵀQ − I‖_F/√n that is good enough for float32, up to which a pass of Cholesky is not repeated. The pass loses
// u κ(S)², which the pivots do not show; so it is measured, by a few vectors.
constexpr double kOrthogonal = 5e-8;
constexpr int64_t kVectors = 8;

// W ← the orthonormal factor of W by Cholesky; false, and W as it was, where a pivot is too small.
template <class T>
bool cholesky_qr(int64_t m, int64_t n, T smallest_pivot, T* W, T* L, Worker& worker) {
  syrk(worker.team, Op::T, n, m, T(1), W, n, T(0), L, n);
  if (!cholesky(worker.team, n, L, n)) return false;
  for (int64_t j = 0; j < n; ++j)
    if (L[j * n + j] < smallest_pivot) return false;
  solve_right_transposed(worker.team, m, n, L, n, W, n);
  return true;
}

// ‖QᵀQ − I‖_F/√n by fixed ±1 vectors.
template <class T>
double orthogonality_gap(int64_t m, int64_t n, const T* Q, Worker& worker) {
  const Worker::Scope scope(worker);
  T* V = worker.take<T>(n * kVectors);
  T* W = worker.take<T>(m * kVectors);
  for (int64_t i = 0; i < n; ++i)
    for (int64_t j = 0; j < kVectors; ++j) V[i * kVectors + j] = static_cast<T>(probe_sign(i, j));
  gemm(worker.team, Op::N, Op::N, m, kVectors, n, T(1), Q, n, V, kVectors, T(0), W, kVectors);
  gemm(worker.team, Op::T, Op::N, n, kVectors, m, T(1), Q, n, W, kVectors, T(-1), V, kVectors);
  return std::sqrt(sum_of_squares(n * kVectors, V) / (kVectors * std::max<double>(1.0, n)));
}

// One pass of Cholesky, a second where the first left more than `enough`; false where that does not do.
template <class T>
bool by_cholesky(int64_t m, int64_t n, T smallest_pivot, double enough, T* W, Worker& worker) {
  T* L = worker.take<T>(n * n);
  for (int pass = 0; pass < 2; ++pass) {
    if (!cholesky_qr(m, n, smallest_pivot, W, L, worker)) return false;
    if (orthogonality_gap(m, n, W, worker) <= enough) return true;
  }
  return false;
}

// Returns the smallest |R_jj|.
double householder(int64_t m, int64_t n, double* W, Worker& worker) {
  double* columns = worker.take<double>(m * n);
  double* signs = worker.take<double>(n);
  double* diagonal = worker.take<double>(n);
  transpose(m, n, W, columns);
  blas::householder_qr(m, n, columns, signs, diagonal, worker);
  for (int64_t j = 0; j < n; ++j)
    for (int64_t i = 0; i < m; ++i) columns[j * m + i] *= signs[j];
  transpose(n, m, columns, W);
  return n > 0 ? *std::min_element(diagonal, diagonal + n) : 1.0;
}

// W ← S with columns of norm 1 (a zero column stays 0). Each is scaled by its largest element first: no square leaves
// the range.
template <class T>
void unit_columns(int64_t m, int64_t n, const T* S, double* W, Worker& worker) {
  T* largest = worker.take<T>(n);
  double* scales = worker.take<double>(n);
  double* squares = worker.take<double>(n);
  std::fill_n(largest, n, T(0));
  std::fill_n(squares, n, 0.0);
  for (int64_t i = 0; i < m; ++i)
    for (int64_t j = 0; j < n; ++j) largest[j] = std::max(largest[j], std::abs(S[i * n + j]));
  for (int64_t j = 0; j < n; ++j) scales[j] = power_of_two_scale(largest[j]);
  for (int64_t i = 0; i < m; ++i)
    for (int64_t j = 0; j < n; ++j) {
      W[i * n + j] = static_cast<double>(S[i * n + j]) * scales[j];
      squares[j] += W[i * n + j] * W[i * n + j];
    }
  for (int64_t j = 0; j < n; ++j) squares[j] = squares[j] > 0.0 ? 1.0 / std::sqrt(squares[j]) : 0.0;
  for (int64_t i = 0; i < m; ++i)
    for (int64_t j = 0; j < n; ++j) W[i * n + j] *= squares[j];
}

}  // namespace

template <class T>
bool orthonormalize_columns(int64_t m, int64_t n, const T* S, T* Q, Worker& worker) {
  double* W = worker.take<double>(m * n);
  if (std::is_same_v<T, float>) unit_columns(m, n, S, W, worker);
  bool full_rank = true;
  if (!(std::is_same_v<T, float> && by_cholesky(m, n, kSmallestPivot, kOrthogonal, W, worker))) {
    unit_columns(m, n, S, W, worker);  // Cholesky may have left half a result
    const double tolerance = std::sqrt(static_cast<double>(m)) * static_cast<double>(std::numeric_limits<T>::epsilon());
    full_rank = householder(m, n, W, worker) > tolerance;
  }
  for (int64_t i = 0; i < m * n; ++i) Q[i] = static_cast<T>(W[i]);
  return full_rank;
}

template <class T>
bool polish_columns(int64_t m, int64_t n, T* W, Worker& worker) {
  constexpr double rounding = 8.0 * static_cast<double>(std::numeric_limits<T>::epsilon());
  return by_cholesky(m, n, T(0), rounding, W, worker);
}

template <class T>
void orthonormalize(int64_t batch, int64_t m, int64_t n, const T* S, T* Q, int32_t* info, const Parallel& parallel) {
  const int64_t size = m * n;
  for_each_divisible(parallel, batch, 2 * size * n, [&](int64_t b, Worker& worker) {
    if (!all_finite(size, S + b * size)) {
      std::fill_n(Q + b * size, size, std::numeric_limits<T>::quiet_NaN());
      info[b] = kNonFinite;
    } else {
      info[b] = orthonormalize_columns(m, n, S + b * size, Q + b * size, worker) ? kGood : kRankDeficient;
    }
  });
}

template bool orthonormalize_columns<float>(int64_t, int64_t, const float*, float*, Worker&);
template bool orthonormalize_columns<double>(int64_t, int64_t, const double*, double*, Worker&);
template bool polish_columns<float>(int64_t, int64_t, float*, Worker&);
template bool polish_columns<double>(int64_t, int64_t, double*, Worker&);
template void orthonormalize<float>(int64_t, int64_t, int64_t, const float*, float*, int32_t*, const Parallel&);
template void orthonormalize<double>(int64_t, int64_t, int64_t, const double*, double*, int32_t*, const Parallel&);

}  // namespace kronla
