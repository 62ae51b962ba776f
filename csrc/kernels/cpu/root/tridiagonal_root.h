// Roots of a positive definite tridiagonal matrix, without its eigenvectors: a sum of inverses of shifted matrices, each of
// which costs n² operations.
#pragma once

#include <cstdint>

#include "kernels/cpu/root/quadrature.h"
#include "kernels/cpu/simd/instruction_set.h"
#include "kernels/cpu/worker.h"

namespace kronla {

// 0 < lower ≤ λmin, of which it is at least 0.85, and λmax ≤ upper ≤ 3 λmax of the tridiagonal matrix of diagonal d[n] and
// off-diagonal e[n−1], to the rounding of float64; lower is 0 where λmin is not above 1e-16 upper.
struct SpectrumBounds {
  double lower, upper;
  double condition() const { return upper / lower; }
};
SpectrumBounds spectrum_bounds(int64_t n, const double* d, const double* e,
                               const kernels::Kernels<double>& set = kernels::chosen<double>());

// The lower triangle of F[n,n] ← T^(-1/p) of such a matrix, in float64 but for the last rounding; the other holds anything.
// The quadrature is one of p, for at least bounds.condition(). Scratch: 2 n doubles for each of its
// poles. Threads do not change the bits.
template <class T>
void tridiagonal_root(int64_t n, const double* d, const double* e, const SpectrumBounds& bounds, int64_t p,
                      const RootQuadrature& quadrature, T* F, Worker& worker,
                      const kernels::Kernels<T>& set = kernels::chosen<T>());

}  // namespace kronla
