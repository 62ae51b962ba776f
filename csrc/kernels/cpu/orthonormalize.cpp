#include "kernels/cpu/orthonormalize.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <type_traits>

#include "kernels/cpu/batch.h"
#include "kernels/cpu/dense.h"
#include "kernels/cpu/householder.h"
#include "kernels/cpu/reflectors.h"
#include "kernels/cpu/simd/gemm.h"
#include "kernels/cpu/simd/passes.h"
#include "kernels/cpu/threads.h"
#include "kernels/eigenbasis.h"
#include "kernels/status.h"

namespace kronla {
namespace {

// A pivot of the Gram matrix of unit columns is the sine between a column and the span of those before it. Below this
// one the float64 Gram matrix may break down, and the rank is in question.
constexpr double kSmallestPivot = 1e-6;

// ‖QᵀQ − I‖_F/√n that is good enough for float32, up to which a pass of Cholesky is not repeated.
constexpr double kOrthogonal = 5e-8;

// Columns of matrices that are factored side by side, where they have no more elements than the square of that: eight of
// them then stay in the second-level cache.
constexpr int64_t kSmall = 32;

// Columns of a matrix that is factored at once, and of the panels of wider ones, which reflectors join.
constexpr int64_t kAlone = 64, kPanel = kReflectors;

// At least ‖R⁻¹‖_F² for R = Lᵀ with columns of norm 1, which have the given norms before: no element of R⁻¹ is larger than
// that of the inverse of the matrix with diagonal R_jj and −|R_ij| beside it (Higham 2002, section 8.3).
template <class T>
double inverse_bound(int64_t n, const T* L, const double* norms, Worker& worker) {
  const Worker::Scope scope(worker);
  double* sums = worker.take<double>(n);
  std::fill_n(sums, n, 1.0);
  double bound = 0.0;
  for (int64_t j = n - 1; j >= 0; --j) {
    const T* row = L + j * n;
    const double y = sums[j] / static_cast<double>(row[j]);
    for (int64_t i = 0; i < j; ++i) sums[i] += std::abs(static_cast<double>(row[i])) * y;
    bound += y * y * norms[j] * norms[j];
  }
  return bound;
}

// W ← the orthonormal factor of W by Cholesky, norms[n] ← ‖W_j‖, L ← Rᵀ; false where a pivot is too small, and W as it was.
// product ← Π R_jj/‖W_j‖: columns of norm 1 have a smallest singular value above e^-½ of that, for their squares add up
// to n (Hong and Pan 1992).
template <class T>
bool cholesky_qr(int64_t m, int64_t n, T smallest_pivot, T* W, T* L, double* norms, double& product, Worker& worker) {
  syrk(worker.team, Op::T, n, m, T(1), W, n, T(0), L, n);
  for (int64_t j = 0; j < n; ++j) norms[j] = std::sqrt(static_cast<double>(L[j * n + j]));
  if (!cholesky(worker.team, n, L, n)) return false;
  product = 1.0;
  for (int64_t j = 0; j < n; ++j) {
    const double pivot = static_cast<double>(L[j * n + j]) / norms[j];
    if (pivot < static_cast<double>(smallest_pivot)) return false;
    product *= pivot;
  }
  solve_right_transposed(worker.team, m, n, L, n, W, n);
  return true;
}

// One pass of Cholesky, a second where the first left more than `enough`, norms[n] ← ‖W_j‖, pivots[n] ← R_jj/‖W_j‖; false
// where that does not do. It leaves about u ‖R⁻¹‖², measured only where neither bound on that is good enough.
template <class T>
bool by_cholesky(int64_t m, int64_t n, T smallest_pivot, double enough, T* W, double* norms, double* pivots,
                 Worker& worker) {
  constexpr double rounding = std::numeric_limits<T>::epsilon();
  T* L = worker.take<T>(n * n);
  double* of_pass = worker.take<double>(n);
  for (int pass = 0; pass < 2; ++pass) {
    double* found = pass == 0 ? norms : of_pass;
    double product;
    if (!cholesky_qr(m, n, smallest_pivot, W, L, found, product, worker)) return false;
    for (int64_t j = 0; j < n; ++j) {
      const double diagonal = static_cast<double>(L[j * n + j]);
      pivots[j] = pass == 0 ? diagonal / norms[j] : pivots[j] * diagonal;
    }
    if (2.7 * rounding <= enough * product * product) return true;
    const double least = rounding * static_cast<double>(n);  // of a bound on ‖R⁻¹‖_F²
    if (least <= enough && rounding * inverse_bound(n, L, found, worker) <= enough) return true;
    if (orthogonality_gap(worker.team, m, n, W) <= enough) return true;
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

// P[m,b] ← the columns of W[m,b] at norm 1, norms[b] ← their norms.
template <class T>
void unit_columns(int64_t m, int64_t b, const T* W, int64_t ldw, double* P, double* norms) {
  double inverse[kAlone];
  column_products(m, b, W, ldw, W, ldw, norms);
  for (int64_t j = 0; j < b; ++j) {
    norms[j] = std::sqrt(norms[j]);
    inverse[j] = norms[j] > 0.0 ? 1.0 / norms[j] : 0.0;
  }
  scale_columns(m, b, W, ldw, inverse, P, b);
}

// P[m,b] ← the orthonormal factor of W[m,b], norms[b] ← ‖W_j‖, pivots[b] ← R_jj/‖W_j‖.
template <class T>
void factor_panel(int64_t m, int64_t b, const T* W, int64_t ldw, double* P, double* norms, double* pivots,
                  Worker& worker) {
  const Worker::Scope scope(worker);
  if (std::is_same_v<T, float>) {  // its squares are in the range of float64
    scale_columns(m, b, W, ldw, nullptr, P, b);
    if (by_cholesky(m, b, kSmallestPivot, kOrthogonal, P, norms, pivots, worker)) return;
  }
  unit_columns(m, b, W, ldw, P, norms);
  householder(m, b, P, pivots, worker);
}

// A matrix in blocks of kPanel columns, each stored row by row: however wide the matrix is, what is read together lies
// together, and a block stays in the second-level cache.
template <class T>
struct Blocks {
  int64_t m, n;
  T* elements;
  Blocks(int64_t rows, int64_t columns, Worker& worker)
      : m(rows), n(columns), elements(worker.take<T>(rows * count() * kPanel)) {}
  int64_t count() const { return (n + kPanel - 1) / kPanel; }
  int64_t width(int64_t c) const { return std::min(kPanel, n - c * kPanel); }
  T* at(int64_t row, int64_t c) const { return elements + (c * m + row) * kPanel; }
};

// A factorisation by panels. Reflectors take the place of the columns that they are made of, Y in W, and V = Y T.
template <class T>
struct Panels {
  Blocks<T> W, V, Q;
  double *norms, *rest, *pivots;  // of the columns, of what the panels before have left of them; R_jj over that
  double* P;                      // room for a panel
};

// Block c of W ← that of S with columns of norm 1 to 2, and their norms; a zero column stays 0. Powers of two are exact.
template <class T>
void read_block(const Panels<T>& p, int64_t c, const T* S) {
  const int64_t m = p.W.m, n = p.W.n, b = p.W.width(c);
  double* norms = p.norms + c * kPanel;
  T* W = p.W.at(0, c);
  double scales[kPanel] = {};
  S += c * kPanel;
  int64_t lds = n;
  if (std::is_same_v<T, double>) {  // by the largest element first: no square leaves the range
    T largest[kPanel] = {};
    for (int64_t i = 0; i < m; ++i)
      for (int64_t j = 0; j < b; ++j) largest[j] = std::max(largest[j], std::abs(S[i * n + j]));
    for (int64_t j = 0; j < b; ++j) scales[j] = power_of_two_scale(largest[j]);
    scale_columns(m, b, S, lds, scales, W, kPanel);
    S = W;
    lds = kPanel;
  }
  column_products(m, b, S, lds, S, lds, norms);
  for (int64_t j = 0; j < b; ++j) {
    norms[j] = std::sqrt(norms[j]);
    scales[j] = power_of_two_scale(norms[j]);
    norms[j] *= scales[j];
  }
  scale_columns(m, b, S, lds, scales, W, kPanel);
}

// Block c: its orthonormal factor to Q, and, where there are blocks after it, its reflectors.
template <class T>
void factor_block(const Panels<T>& p, int64_t c, Worker& worker) {
  const Worker::Scope scope(worker);
  const int64_t top = c * kPanel, rows = p.W.m - top, b = p.W.width(c);
  T* Y = p.W.at(top, c);
  factor_panel(rows, b, Y, kPanel, p.P, p.rest + top, p.pivots + top, worker);
  scale_columns(rows, b, p.P, b, nullptr, p.Q.at(top, c), kPanel);
  if (c + 1 == p.W.count()) return;
  reflectors_of(rows, b, p.P, Y, p.V.at(top, c), worker);
}

// Block c of Q ← it, reflected by all blocks before it from the last to the first, of which none has touched the rows
// above; then it is written out.
template <class T>
void finish_block(const Panels<T>& p, int64_t c, T* Q) {
  const int64_t m = p.Q.m, n = p.Q.n, b = p.Q.width(c);
  for (int64_t j = c - 1; j >= 0; --j) {
    const int64_t top = j * kPanel;
    reflect(m - top, b, kPanel, p.V.at(top, j), p.W.at(top, j), p.Q.at(top, c), kPanel);
  }
  for (int64_t i = 0; i < m; ++i) std::copy_n(p.Q.at(i, c), b, Q + i * n + c * kPanel);
}

// Q ← the orthonormal factor of S, panel by panel. The threads share the blocks: one of them takes the next panel through
// the reflectors of the last one and factors it, while the others take the blocks after it through them.
template <class T>
void by_panels(const Panels<T>& p, const T* S, T* Q, Worker& worker) {
  const int64_t count = p.W.count(), m = p.W.m;
  const Parallel team = worker.team;
  share(team, count, [&](int64_t c) { read_block(p, c, S); });
  factor_block(p, 0, worker);
  worker.team = {};
  for (int64_t j = 0; j + 1 < count; ++j)
    share(team, count - j - 1, [&](int64_t i) {
      const int64_t top = j * kPanel, c = j + 1 + i;
      reflect(m - top, p.W.width(c), kPanel, p.W.at(top, j), p.V.at(top, j), p.W.at(top, c), 0);
      if (i == 0) factor_block(p, c, worker);
    });
  worker.team = team;
  share(team, count, [&](int64_t i) { finish_block(p, count - 1 - i, Q); });
}

}  // namespace

template <class T>
bool orthonormalize_columns(int64_t m, int64_t n, const T* S, T* Q, Worker& worker) {
  const Worker::Scope scope(worker);
  double* norms = worker.take<double>(n);
  double* rest = worker.take<double>(n);
  double* pivots = worker.take<double>(n);
  double* P = worker.take<double>(m * (n <= kAlone ? n : kPanel));
  if (n <= kAlone && std::is_same_v<T, float>) {
    factor_panel(m, n, S, n, P, norms, pivots, worker);
    std::copy_n(norms, n, rest);
    scale_columns(m, n, P, n, nullptr, Q, n);
  } else if (n > 0) {
    by_panels(Panels<T>{{m, n, worker}, {m, n, worker}, {m, n, worker}, norms, rest, pivots, P}, S, Q, worker);
  }
  const double tolerance = std::sqrt(static_cast<double>(m)) * static_cast<double>(std::numeric_limits<T>::epsilon());
  for (int64_t j = 0; j < n; ++j)
    if (!(pivots[j] * rest[j] > tolerance * norms[j])) return false;
  return true;
}

template <class T>
bool polish_columns(int64_t m, int64_t n, T* W, Worker& worker) {
  constexpr double rounding = 8.0 * static_cast<double>(std::numeric_limits<T>::epsilon());
  const Worker::Scope scope(worker);
  double* norms = worker.take<double>(n);
  return by_cholesky(m, n, T(0), rounding, W, norms, worker.take<double>(n), worker);
}

template <class T>
void orthonormalize(int64_t batch, int64_t m, int64_t n, const T* S, T* Q, int32_t* info, const Parallel& parallel) {
  const int64_t size = m * n;
  const auto one = [&](int64_t b, Worker& worker) {
    if (!all_finite(size, S + b * size)) {
      std::fill_n(Q + b * size, size, std::numeric_limits<T>::quiet_NaN());
      info[b] = kNonFinite;
    } else {
      info[b] = orthonormalize_columns(m, n, S + b * size, Q + b * size, worker) ? kGood : kRankDeficient;
    }
  };
  if constexpr (std::is_same_v<T, float>) {
    const auto side_by_side = [&](int64_t group, Worker& worker) {
      const int64_t first = group * kSideBySide, count = std::min(kSideBySide, batch - first);
      double bounds[kSideBySide];
      orthonormal_side_by_side(count, m, n, S + first * size, Q + first * size, bounds, worker);
      for (int64_t i = 0; i < count; ++i) {
        info[first + i] = kGood;  // what is dependent or not finite has no such bound
        if (!(std::numeric_limits<double>::epsilon() * bounds[i] <= kOrthogonal)) one(first + i, worker);
      }
    };
    if (0 < n && n <= kSmall && size <= kSmall * kSmall)
      return for_each_of_one_size(parallel, (batch + kSideBySide - 1) / kSideBySide, 2 * kSideBySide * size * n,
                                  side_by_side);
  }
  for_each_of_one_size(parallel, batch, 2 * size * n, one);
}

template bool orthonormalize_columns<float>(int64_t, int64_t, const float*, float*, Worker&);
template bool orthonormalize_columns<double>(int64_t, int64_t, const double*, double*, Worker&);
template bool polish_columns<float>(int64_t, int64_t, float*, Worker&);
template bool polish_columns<double>(int64_t, int64_t, double*, Worker&);
template void orthonormalize<float>(int64_t, int64_t, int64_t, const float*, float*, int32_t*, const Parallel&);
template void orthonormalize<double>(int64_t, int64_t, int64_t, const double*, double*, int32_t*, const Parallel&);

}  // namespace kronla
