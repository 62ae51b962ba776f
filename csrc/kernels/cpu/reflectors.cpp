#include "kernels/cpu/reflectors.h"

#include <algorithm>

#include "kernels/cpu/simd/gemm.h"
#include "kernels/cpu/simd/passes.h"

namespace kronla {

template <class T>
void reflectors_of(int64_t m, int64_t b, double* P, T* Y, T* V, Worker& worker) {
  constexpr int64_t ld = kReflectors;
  const Worker::Scope scope(worker);
  double* top = worker.take<double>(b * ld);
  double* U = worker.take<double>(b * b);  // transposed
  double signs[ld];                        // of −D
  std::fill_n(top, b * ld, 0.0);
  for (int64_t i = 0; i < b; ++i) std::copy_n(P + i * b, b, top + i * ld);
  lu_of_signed(b, top, signs);
  scale_columns(m, b, P, b, signs, V, ld);
  for (int64_t i = 0; i < b; ++i) {
    V[i * ld + i] = static_cast<T>(1.0 + P[i * b + i] * signs[i]);
    for (int64_t j = 0; j < b; ++j) {
      P[i * b + j] = j < i ? top[i * ld + j] : j == i;
      if (j >= i) U[j * b + i] = top[i * ld + j];
    }
  }
  solve_right_transposed(worker.team, m - b, b, U, b, P + b * b, b);
  scale_columns(m, b, P, b, nullptr, Y, ld);
  solve_right_transposed(worker.team, m, b, Y, ld, V, ld);  // V Y₁ᵀ = [I; 0] − P D
}

template <class T>
void reflect(int64_t m, int64_t n, int64_t b, const T* X, const T* Y, T* C, int64_t zeros) {
  constexpr int64_t ld = kReflectors;
  alignas(64) T Z[ld * ld];
  const int64_t below = zeros * ld;
  gemm({}, Op::T, Op::N, b, n, m - zeros, T(1), Y + below, ld, C + below, ld, T(0), Z, ld);
  gemm({}, Op::N, Op::N, zeros, n, b, T(-1), X, ld, Z, ld, T(0), C, ld);
  gemm({}, Op::N, Op::N, m - zeros, n, b, T(-1), X + below, ld, Z, ld, T(1), C + below, ld);
}

template void reflectors_of<float>(int64_t, int64_t, double*, float*, float*, Worker&);
template void reflectors_of<double>(int64_t, int64_t, double*, double*, double*, Worker&);
template void reflect<float>(int64_t, int64_t, int64_t, const float*, const float*, float*, int64_t);
template void reflect<double>(int64_t, int64_t, int64_t, const double*, const double*, double*, int64_t);

}  // namespace kronla
