#include "kernels/cpu/orthonormalize.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <type_traits>

#include "kernels/cpu/batch.h"
#include "kernels/cpu/dense.h"
#include "kernels/cpu/gemm/gemm.h"
#include "kernels/cpu/householder.h"
#include "kernels/cpu/reflectors.h"
#include "kernels/eigenbasis.h"
#include "kernels/probe_signs.h"
#include "kernels/status.h"

namespace kronla {
namespace {

// A pivot of the Gram matrix of unit columns is the sine between a column and the span of those before it. Below this
// one the float64 Gram matrix may break down, and the rank is in question.
constexpr double kSmallestPivot = 1e-6;

// ‖QᵀQ − I‖_F/√n that is good enough for float32, up to which a pass of Cholesky is not repeated. The pass loses
// u κ(S)²; where the pivots do not bound that, it is measured, by a few vectors.
constexpr double kOrthogonal = 5e-8;
constexpr int64_t kVectors = 8;

// Columns of a matrix that is factored at once, and of the panels of wider ones, which reflectors join.
constexpr int64_t kAlone = 128, kPanel = 64;

// W ← the orthonormal factor of W by Cholesky, pivots[n] times diag(R); false where a pivot is too small, and W as it was.
// product ← Π R_jj/‖W_j‖: columns of norm 1 have a smallest singular value above e^-½ of that, for their squares add up
// to n (Hong and Pan 1992).
template <class T>
bool cholesky_qr(int64_t m, int64_t n, T smallest_pivot, T* W, T* L, double* pivots, double& product, Worker& worker) {
  syrk(worker.team, Op::T, n, m, T(1), W, n, T(0), L, n);
  double squares = 1.0, columns = 1.0;
  for (int64_t j = 0; j < n; ++j) columns *= static_cast<double>(L[j * n + j]);
  if (!cholesky(worker.team, n, L, n)) return false;
  for (int64_t j = 0; j < n; ++j) {
    const double pivot = static_cast<double>(L[j * n + j]);
    if (pivot < static_cast<double>(smallest_pivot)) return false;
    pivots[j] *= pivot;
    squares *= pivot * pivot;
  }
  product = std::sqrt(squares / columns);
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

// One pass of Cholesky, a second where the first left more than `enough`, pivots[n] ← diag(R); false where that does not
// do. It leaves about u κ², which is not looked at where the pivots tell that it is small.
template <class T>
bool by_cholesky(int64_t m, int64_t n, T smallest_pivot, double enough, T* W, double* pivots, Worker& worker) {
  constexpr double rounding = 2.7 * static_cast<double>(std::numeric_limits<T>::epsilon());
  T* L = worker.take<T>(n * n);
  std::fill_n(pivots, n, 1.0);
  for (int pass = 0; pass < 2; ++pass) {
    double product;
    if (!cholesky_qr(m, n, smallest_pivot, W, L, pivots, product, worker)) return false;
    if (enough * product * product > rounding || orthogonality_gap(m, n, W, worker) <= enough) return true;
  }
  return false;
}

// W ← its orthonormal factor by Householder; diagonal[n] ← |R_jj|.
void householder(int64_t m, int64_t n, double* W, double* diagonal, Worker& worker) {
  double* columns = worker.take<double>(m * n);
  transpose(m, n, W, columns);
  householder_qr(m, n, columns, diagonal, worker);
  transpose(n, m, columns, W);
}

// W ← S with columns of norm 1 to 2 and norms[n] ← these; a zero column stays 0. Powers of two are exact.
template <class T>
void scale_columns(int64_t m, int64_t n, const T* S, T* W, double* norms, Worker& worker) {
  const Worker::Scope scope(worker);
  double* scales = worker.take<double>(n);
  const auto scale = [&](const T* source) {
    for (int64_t i = 0; i < m; ++i)
      for (int64_t j = 0; j < n; ++j) W[i * n + j] = static_cast<T>(static_cast<double>(source[i * n + j]) * scales[j]);
  };
  if (std::is_same_v<T, double>) {  // by the largest element first: no square leaves the range
    T* largest = worker.take<T>(n);
    std::fill_n(largest, n, T(0));
    for (int64_t i = 0; i < m; ++i)
      for (int64_t j = 0; j < n; ++j) largest[j] = std::max(largest[j], std::abs(S[i * n + j]));
    for (int64_t j = 0; j < n; ++j) scales[j] = power_of_two_scale(largest[j]);
    scale(S);
    S = W;
  }
  column_products(m, n, S, n, S, n, norms);
  for (int64_t j = 0; j < n; ++j) {
    norms[j] = std::sqrt(norms[j]);
    scales[j] = power_of_two_scale(norms[j]);
    norms[j] *= scales[j];
  }
  scale(S);
}

// P[m,b] ← the columns of W[m,b] at norm 1, norms[b] ← their norms.
template <class T>
void unit_columns(int64_t m, int64_t b, const T* W, int64_t ldw, double* P, double* norms) {
  double inverse[kAlone];
  column_products(m, b, W, ldw, W, ldw, norms);
  for (int64_t j = 0; j < b; ++j) {
    norms[j] = std::sqrt(norms[j]);
    inverse[j] = norms[j] > 0.0 ? 1.0 / norms[j] : 0.0;
  }
  for (int64_t i = 0; i < m; ++i)
    for (int64_t j = 0; j < b; ++j) P[i * b + j] = static_cast<double>(W[i * ldw + j]) * inverse[j];
}

// P[m,b] ← the orthonormal factor of W[m,b], norms[b] ← ‖W_j‖, pivots[b] ← R_jj/‖W_j‖.
template <class T>
void factor_panel(int64_t m, int64_t b, const T* W, int64_t ldw, double* P, double* norms, double* pivots,
                  Worker& worker) {
  const Worker::Scope scope(worker);
  unit_columns(m, b, W, ldw, P, norms);
  if (std::is_same_v<T, float> && by_cholesky(m, b, kSmallestPivot, kOrthogonal, P, pivots, worker)) return;
  unit_columns(m, b, W, ldw, P, norms);  // Cholesky may have left half a result
  householder(m, b, P, pivots, worker);
}

template <class T>
void narrow(int64_t m, int64_t b, const double* P, T* W, int64_t ldw) {
  for (int64_t i = 0; i < m; ++i)
    for (int64_t j = 0; j < b; ++j) W[i * ldw + j] = static_cast<T>(P[i * b + j]);
}

// Q ← the orthonormal factor of W, panel by panel: W keeps the reflectors in the place of the columns that they are made
// of, Q the panels, until their product is formed from the last to the first.
template <class T>
void by_panels(int64_t m, int64_t n, T* W, T* Q, double* P, double* norms, double* pivots, Worker& worker) {
  double* wide = worker.take<double>(kPanel * kPanel);
  T* factors = worker.take<T>(n * kPanel);
  for (int64_t j = 0; j < n; j += kPanel) {
    const int64_t b = std::min(kPanel, n - j), rows = m - j, rest = n - j - b;
    T* Y = W + j * n + j;
    factor_panel(rows, b, Y, n, P, norms + j, pivots + j, worker);
    narrow(rows, b, P, Q + j * n + j, n);
    if (rest == 0) break;
    reflectors_of(rows, b, P, wide, worker);
    narrow(rows, b, P, Y, n);
    narrow(b, b, wide, factors + j * kPanel, b);
    apply_reflectors(rows, rest, b, Y, n, factors + j * kPanel, true, Y + b, n, worker);
  }
  for (int64_t j = (n - 1) / kPanel * kPanel - kPanel; j >= 0; j -= kPanel) {
    const int64_t next = j + kPanel;
    for (int64_t i = j; i < next; ++i) std::fill(Q + i * n + next, Q + (i + 1) * n, T(0));
    apply_reflectors(m - j, n - next, kPanel, W + j * n + j, n, factors + j * kPanel, false, Q + j * n + next, n,
                     worker);
  }
}

}  // namespace

template <class T>
bool orthonormalize_columns(int64_t m, int64_t n, const T* S, T* Q, Worker& worker) {
  const Worker::Scope scope(worker);
  double* norms = worker.take<double>(n);  // of the columns of W
  double* rest = worker.take<double>(n);   // of what the panels before have left of them
  double* pivots = worker.take<double>(n);
  double* P = worker.take<double>(m * (n <= kAlone ? n : kPanel));
  if (n <= kAlone && std::is_same_v<T, float>) {  // its squares are in the range of float64
    factor_panel(m, n, S, n, P, norms, pivots, worker);
    std::copy_n(norms, n, rest);
    narrow(m, n, P, Q, n);
  } else {
    T* W = worker.take<T>(m * n);
    scale_columns(m, n, S, W, norms, worker);
    by_panels(m, n, W, Q, P, rest, pivots, worker);
  }
  const double tolerance = std::sqrt(static_cast<double>(m)) * static_cast<double>(std::numeric_limits<T>::epsilon());
  for (int64_t j = 0; j < n; ++j)
    if (!(pivots[j] * rest[j] > tolerance * norms[j])) return false;
  return true;
}

template <class T>
bool polish_columns(int64_t m, int64_t n, T* W, Worker& worker) {
  constexpr double rounding = 8.0 * static_cast<double>(std::numeric_limits<T>::epsilon());
  return by_cholesky(m, n, T(0), rounding, W, worker.take<double>(n), worker);
}

template <class T>
void orthonormalize(int64_t batch, int64_t m, int64_t n, const T* S, T* Q, int32_t* info, const Parallel& parallel) {
  const int64_t size = m * n;
  for_each_of_one_size(parallel, batch, 2 * size * n, [&](int64_t b, Worker& worker) {
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
