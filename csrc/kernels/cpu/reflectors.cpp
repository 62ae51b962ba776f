#include "kernels/cpu/reflectors.h"

#include <algorithm>

#include "kernels/cpu/gemm/gemm.h"

namespace kronla {

void reflectors_of(int64_t m, int64_t b, double* P, double* T, Worker& worker) {
  const Worker::Scope scope(worker);
  double* U = worker.take<double>(b * b);
  double* signs = worker.take<double>(b);
  // The square on top, row by row: what is left of the diagonal is Y, the rest U.
  for (int64_t i = 0; i < b; ++i) {
    double* row = P + i * b;
    for (int64_t k = 0; k < i; ++k) {
      const double factor = row[k] / P[k * b + k];
      row[k] = factor;
      for (int64_t j = k + 1; j < b; ++j) row[j] -= factor * P[k * b + j];
    }
    signs[i] = row[i] < 0.0 ? 1.0 : -1.0;
    row[i] -= signs[i];
  }
  // Uᵀ; T = −U D, and the top of Y in its place.
  for (int64_t i = 0; i < b; ++i)
    for (int64_t j = 0; j < b; ++j) {
      U[j * b + i] = j < i ? 0.0 : P[i * b + j];
      T[i * b + j] = j < i ? 0.0 : -P[i * b + j] * signs[j];
      P[i * b + j] = j < i ? P[i * b + j] : j == i ? 1.0 : 0.0;
    }
  solve_right_transposed(worker.team, b, b, P, b, T, b);
  solve_right_transposed(worker.team, m - b, b, U, b, P + b * b, b);
}

template <class T>
void apply_reflectors(int64_t m, int64_t n, int64_t b, const T* Y, int64_t ldy, const T* t, bool transposed, T* C,
                      int64_t ldc, Worker& worker) {
  const Worker::Scope scope(worker);
  T* Z = worker.take<T>(b * n);
  T* tZ = worker.take<T>(b * n);
  gemm(worker.team, Op::T, Op::N, b, n, m, T(1), Y, ldy, C, ldc, T(0), Z, n);
  gemm(worker.team, transposed ? Op::T : Op::N, Op::N, b, n, b, T(1), t, b, Z, n, T(0), tZ, n);
  gemm(worker.team, Op::N, Op::N, m, n, b, T(-1), Y, ldy, tZ, n, T(1), C, ldc);
}

template void apply_reflectors<float>(int64_t, int64_t, int64_t, const float*, int64_t, const float*, bool, float*,
                                      int64_t, Worker&);
template void apply_reflectors<double>(int64_t, int64_t, int64_t, const double*, int64_t, const double*, bool, double*,
                                       int64_t, Worker&);

}  // namespace kronla
