// A matrix and its eigenbasis on their way: what the steps of family `eigenbasis` share.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <numeric>

#include "kernels/cpu/dense.h"
#include "kernels/cpu/simd/gemm.h"
#include "kernels/cpu/simd/passes.h"
#include "kernels/cpu/worker.h"

namespace kronla {

inline constexpr int64_t kResidual = 96;      // least n of figures from the residual
inline constexpr double kOrthonormal = 24.0;  // roundings of ‖QᵀQ − I‖_F/√n and of ‖q‖² − 1; LAPACK's factors have 10

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
  T *product, *B, *room;     // AQ; QᵀAQ off its diagonal; anything, see evaluate
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

}  // namespace kronla
