#include "kernels/cpu/eigh/tridiagonal.h"

#include <algorithm>
#include <limits>

#include "kernels/cpu/gemm/block.h"
#include "kernels/cpu/gemm/gemm.h"

namespace kronla {
namespace {

using kernels::kPanel;
using kernels::Reduction;

constexpr int64_t kReflectors = 32;  // of a block that is applied at once

// The largest matrix that is updated by every reflector at once: its triangle has to stay in the second-level cache.
template <class T>
constexpr int64_t kFused = sizeof(T) == 4 ? 768 : 512;

constexpr int64_t kOneByOne = 64;  // n up to which reflectors are applied one by one

constexpr int64_t round_up(int64_t a, int64_t b) { return (a + b - 1) / b * b; }

// Elements between two rows of the copy: aligned, and no power of two, or rows would crowd the same sets of a cache.
template <class T>
int64_t row_distance(int64_t n) {
  const int64_t lds = round_up(n, 2 * kernels::kLanes);
  return lds * sizeof(T) % 1024 == 0 ? lds + kernels::kLanes : lds;
}

// The reflectors of rows [first, end) as rows of V[end − first, end − 1], and Y = T V with H_first … H_{end−1} = I − Vᵀ T V.
// T⁻¹ is the upper triangle of V Vᵀ with the diagonal 1/tau (Joffrain et al., 2006).
template <class T>
void block_reflector(int64_t n, int64_t first, int64_t end, const T* A, const T* tau, T* V, T* Y, T* inverse, T* factor,
                     Worker& worker) {
  const int64_t count = end - first, length = end - 1;
  for (int64_t j = 0; j < count; ++j) {
    std::copy_n(A + (first + j) * n, first + j, V + j * length);
    std::fill(V + j * length + first + j, V + (j + 1) * length, T(0));
  }
  syrk(worker.team, Op::N, count, length, T(1), V, length, T(0), inverse, count);
  std::fill_n(factor, count * count, T(0));
  for (int64_t j = 0; j < count; ++j) {
    inverse[j * count + j] = tau[first + j] == T(0) ? std::numeric_limits<T>::infinity() : T(1) / tau[first + j];
    factor[j * count + j] = T(1);
  }
  solve_right_transposed(worker.team, count, count, inverse, count, factor, count);
  gemm(worker.team, Op::N, Op::N, count, length, count, T(1), factor, count, V, length, T(0), Y, length);
}

}  // namespace

template <class T>
void reduce_to_tridiagonal(int64_t n, T* A, T* tau, double* d, double* e, Worker& worker) {
  if (n == 0) return;
  const Worker::Scope scope(worker);
  const auto& set = kernels::chosen<T>();
  const int64_t lds = row_distance<T>(n);
  Reduction<T> p{worker.take<T>(round_up(n, 2 * kernels::kLanes) * lds), lds, A, n, tau, d, e,
                 worker.take<T>(6 * lds), n > kFused<T> ? worker.take<T>(3 * kPanel * lds) : nullptr};
  set.spread_lower(n, A, p.S, lds);
  for (; n > kFused<T>; n -= kPanel) {
    set.tridiagonal_panel(n, p);
    const T* W = p.panel + kPanel * lds;
    gemmt(worker.team, Op::T, Op::N, n - kPanel, 2 * kPanel, T(-1), p.panel, lds, W, lds, T(1), p.S, lds);
    set.mirror_squares(n - kPanel, p.S, lds);
  }
  set.tridiagonal(n, p);
}

template <class T>
void back_transform(int64_t n, const T* A, const T* tau, T* Z, Worker& worker) {
  const Worker::Scope scope(worker);
  if (n <= kOneByOne) {
    T* X = worker.take<T>(4 * n * kernels::kLanes + round_up(n, kernels::kLanes));
    return kernels::chosen<T>().reflect_rows(n, n, A, tau, Z, X);
  }
  T* V = worker.take<T>(kReflectors * n);
  T* Y = worker.take<T>(kReflectors * n);
  T* W = worker.take<T>(kReflectors * n);
  T* inverse = worker.take<T>(kReflectors * kReflectors);
  T* factor = worker.take<T>(kReflectors * kReflectors);
  for (int64_t first = 2; first < n; first += kReflectors) {
    const int64_t end = std::min(n, first + kReflectors), count = end - first, length = end - 1;
    block_reflector(n, first, end, A, tau, V, Y, inverse, factor, worker);
    gemm(worker.team, Op::N, Op::T, n, count, length, T(1), Z, n, V, length, T(0), W, count);
    gemm(worker.team, Op::N, Op::N, n, length, count, T(-1), W, count, Y, length, T(1), Z, n);
  }
}

template void reduce_to_tridiagonal<float>(int64_t, float*, float*, double*, double*, Worker&);
template void reduce_to_tridiagonal<double>(int64_t, double*, double*, double*, double*, Worker&);
template void back_transform<float>(int64_t, const float*, const float*, float*, Worker&);
template void back_transform<double>(int64_t, const double*, const double*, double*, Worker&);

}  // namespace kronla
