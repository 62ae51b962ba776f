#include "kernels/cpu/eigh/tridiagonal.h"

#include <algorithm>

#include "kernels/cpu/batch.h"
#include "kernels/cpu/simd/gemm.h"
#include "kernels/cpu/simd/kernels.h"
#include "kernels/cpu/simd/passes.h"

namespace kronla {
namespace {

using kernels::kLanes;
using kernels::kPanel;

constexpr int64_t round_up(int64_t a, int64_t b) { return (a + b - 1) / b * b; }

// Elements between two rows of the copy: aligned, and not near a multiple of 1024 bytes, at which rows that are read
// together crowd the same sets of the first-level cache (1.2 to 1.7 times the time at n = 256 and 512).
template <class T>
constexpr int64_t row_distance(int64_t n) {
  constexpr int64_t period = 1024 / sizeof(T), apart = period / 4;
  const int64_t distance = round_up(n, 2 * kLanes);
  return distance < period || distance % period >= apart ? distance : distance / period * period + apart;
}

double cube(int64_t n) { return static_cast<double>(n) * static_cast<double>(n) * static_cast<double>(n); }

// Elements of workspace of reflect_rows.
int64_t reflecting_room(int64_t n) { return 2 * kLanes * n + round_up(n, kLanes); }

// Reflectors that are applied together: as many as a tile of products has columns.
template <class T>
constexpr int64_t kReflected = 128 / sizeof(T);

// The leading part F[m,m] of a symmetric matrix ← P F Pᵀ, both triangles, P = H_{m−1} … H_{m−k} = I − V S Vᵀ with the
// vectors as the rows of V[k,m] and S⁻¹ the lower triangle of VᵀV with 1/tau on the diagonal (Puglisi 1992). With
// M = F V Sᵀ and Y = M − ½ V (S VᵀM): P F Pᵀ = F − V Yᵀ − Y Vᵀ.
template <class T>
void reflect_symmetric(int64_t m, int64_t k, const T* A, int64_t lda, const T* tau, T* F, int64_t ldf, Worker& worker) {
  const Worker::Scope scope(worker);
  const Parallel& team = worker.team;
  T *V = worker.take<T>(3 * k * m), *Y = V + k * m, *again = Y + k * m;
  T *M = worker.take<T>(m * k), *L = worker.take<T>(k * k), *K = worker.take<T>(k * k);
  for (int64_t j = 0; j < k; ++j) {
    const int64_t q = m - k + j, length = tau[q] == T(0) ? 0 : q;
    std::copy_n(A + q * lda, length, V + j * m);
    std::fill(V + j * m + length, V + (j + 1) * m, T(0));
  }
  std::copy_n(V, k * m, again);
  syrk(team, Op::N, k, m, T(1), V, m, T(0), L, k);
  for (int64_t j = 0; j < k; ++j) L[j * k + j] = tau[m - k + j] == T(0) ? T(1) : T(1) / tau[m - k + j];
  gemm(team, Op::N, Op::T, m, k, m, T(1), F, ldf, V, m, T(0), M, k);
  solve_right_transposed(team, m, k, L, k, M, k);
  gemm(team, Op::T, Op::T, k, k, m, T(1), M, k, V, m, T(0), K, k);
  solve_right_transposed(team, k, k, L, k, K, k);
  gemm(team, Op::T, Op::N, m, k, k, T(-0.5), V, m, K, k, T(1), M, k);
  transpose(m, k, M, k, Y, m);
  gemmt(team, Op::T, Op::N, m, 2 * k, T(-1), V, m, Y, m, T(1), F, ldf, {true});
}

}  // namespace

template <class T>
void reduce_to_tridiagonal(int64_t n, T* A, T* tau, double* d, double* e, Worker& worker, int64_t largest_fused,
                           const kernels::Kernels<T>& set) {
  if (n == 0) return;
  const Worker::Scope scope(worker);
  const int64_t lds = row_distance<T>(n);
  T* S = worker.take<T>(round_up(n, 2 * kLanes) * lds);
  T* vectors = worker.take<T>(6 * lds);
  T* panel = n > largest_fused ? worker.take<T>(3 * kPanel * lds) : nullptr;
  const kernels::Reduction<T> p{S, lds, A, n, tau, d, e, vectors, panel};
  set.spread_lower(n, A, S, lds);
  int64_t rest = n;
  for (; rest > std::max(largest_fused, kPanel); rest -= kPanel) {
    set.tridiagonal_panel(rest, p);
    gemmt(worker.team, Op::T, Op::N, rest - kPanel, 2 * kPanel, T(-1), panel, lds, panel + kPanel * lds, lds, T(1), S,
          lds);
    set.mirror_squares(rest - kPanel, S, lds);
  }
  set.tridiagonal(rest, p);
}

template <class T>
void back_transform(int64_t n, const T* A, const T* tau, T* Z, Worker& worker, const kernels::Kernels<T>& set) {
  constexpr int64_t rows = 4 * kLanes;  // vectors that are transformed at once; each has the same bits in any company
  share_with_room<T>(worker, (n + rows - 1) / rows, reflecting_room(n), cube(n), [&](int64_t i, T* room) {
    set.reflect_rows(std::min(rows, n - i * rows), n, A, n, tau, Z + i * rows * n, n, room);
  });
}

// From the first reflector, the shortest, on. Those of a block of rows act on the elements up to these rows: from both
// sides on the leading part of F; from one side on the rest of the rows, which can be done beforehand.
template <class T>
void back_transform_symmetric(int64_t n, const T* A, const T* tau, T* F, Worker& worker,
                              const kernels::Kernels<T>& set) {
  constexpr int64_t rows = kReflected<T>;
  const int64_t blocks = (n + rows - 1) / rows;
  share_with_room<T>(worker, blocks, reflecting_room(n), cube(n) / 3.0, [&](int64_t i, T* room) {
    const int64_t row = (blocks - 1 - i) * rows, count = std::min(rows, n - row);  // the longest first
    T* block = F + row * n;
    set.reflect_rows(count, row, A, n, tau, block, n, room);
    set.transpose(count, row, block, n, F + row, n);
    for (int64_t r = 1; r < count; ++r)
      for (int64_t c = 0; c < r; ++c) block[c * n + row + r] = block[r * n + row + c];
  });
  for (int64_t row = 0; row < n; row += rows)
    reflect_symmetric(std::min(row + rows, n), std::min(rows, n - row), A, n, tau, F, n, worker);
}

#define KRONLA_INSTANTIATE(T)                                                                            \
  template void reduce_to_tridiagonal<T>(int64_t, T*, T*, double*, double*, Worker&, int64_t,            \
                                         const kernels::Kernels<T>&);                                    \
  template void back_transform<T>(int64_t, const T*, const T*, T*, Worker&, const kernels::Kernels<T>&); \
  template void back_transform_symmetric<T>(int64_t, const T*, const T*, T*, Worker&, const kernels::Kernels<T>&);

KRONLA_INSTANTIATE(float)
KRONLA_INSTANTIATE(double)

}  // namespace kronla
