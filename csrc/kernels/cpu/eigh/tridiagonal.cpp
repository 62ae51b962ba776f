#include "kernels/cpu/eigh/tridiagonal.h"

#include <algorithm>

#include "kernels/cpu/gemm/block.h"
#include "kernels/cpu/gemm/gemm.h"
#include "kernels/cpu/threads.h"

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

}  // namespace

template <class T>
void reduce_to_tridiagonal(int64_t n, T* A, T* tau, double* d, double* e, Worker& worker, int64_t in_cache,
                           const kernels::Kernels<T>& set) {
  if (n == 0) return;
  const Worker::Scope scope(worker);
  const int64_t lds = row_distance<T>(n);
  T* S = worker.take<T>(round_up(n, 2 * kLanes) * lds);
  T* vectors = worker.take<T>(6 * lds);
  T* panel = n > in_cache ? worker.take<T>(3 * kPanel * lds) : nullptr;
  const kernels::Reduction<T> p{S, lds, A, n, tau, d, e, vectors, panel};
  set.spread_lower(n, A, S, lds);
  int64_t rest = n;
  for (; rest > std::max(in_cache, kPanel); rest -= kPanel) {
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
  const int64_t pieces = (n + rows - 1) / rows, room = 2 * kLanes * n + round_up(n, kLanes);
  const auto transform = [&](int64_t i, T* space) {
    set.reflect_rows(std::min(rows, n - i * rows), n, A, tau, Z + i * rows * n, space);
  };
  if (pieces <= 1 || worker.team.threads <= 1) {
    const Worker::Scope scope(worker);
    T* space = worker.take<T>(room);
    for (int64_t i = 0; i < pieces; ++i) transform(i, space);
    return;
  }
  run_workers(worker.team, pieces, [&](auto&& take) {
    Worker own;
    T* space = own.take<T>(room);
    for (int64_t i; (i = take()) >= 0;) transform(i, space);
  });
}

#define KRONLA_INSTANTIATE(T)                                                                 \
  template void reduce_to_tridiagonal<T>(int64_t, T*, T*, double*, double*, Worker&, int64_t, \
                                         const kernels::Kernels<T>&);                         \
  template void back_transform<T>(int64_t, const T*, const T*, T*, Worker&, const kernels::Kernels<T>&);

KRONLA_INSTANTIATE(float)
KRONLA_INSTANTIATE(double)

}  // namespace kronla
