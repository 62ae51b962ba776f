// Family `factors`: exponential averages of the Gram matrices of a gradient.
//
// G is a contiguous row-major tensor seen as [batch, outer, dim, inner]; with G_o the [dim, inner] slices,
//
//     F ← beta F + alpha Σ_o G_o G_oᵀ              (Gupta, Koren and Singer 2018, algorithms 1 and 2)
//
// A matrix G[m,n] has the left factor (outer 1, dim m, inner n), G Gᵀ, and the right one (outer m, dim n,
// inner 1), Gᵀ G. A weight W, symmetric, of the other factor's size gives G W Gᵀ or Gᵀ W G instead (matrices only).
//
// beta = 0 does not read F; alpha = 0 or an empty G does not read G. Sums are taken in T whatever the type
// of G. The lower triangle of F is read, both are written: F comes back symmetric to the bit.
//
// On a processor with bfloat16 products (AVX512-BF16) those of a bfloat16 G without weights take them: magnitudes below
// 1.2e-38, of elements, products and sums, count as 0.
//
// Workspace, elements of T per worker: the slab of G, outer·dim·inner, if its type is not T or it has a weight
// (twice then); else dim·256 where outer > 1 and inner > 1 (slices side by side), else none.
#pragma once

#include <cstdint>
#include <vector>

#include "kernels/parallel.h"
#include "kernels/scalar_type.h"

namespace kronla {

template <class T>
struct FactorGroup {
  int64_t batch, outer, dim, inner;
  T* F;           // [batch, dim, dim]
  const void* G;  // [batch, outer, dim, inner]
  ScalarType G_type;
  const T* W;  // [batch, w, w] with w = outer · inner, or nullptr
};

template <class T>
void update_factors(const std::vector<FactorGroup<T>>& groups, double beta, double alpha, const Parallel& parallel);

// One step of the power iteration for the Frobenius-nearest Kronecker product to the mean of vec(G) vec(G)ᵀ:
//
//     L' = 1/N Σ_s G_s R G_sᵀ,   R' = 1/N Σ_s G_sᵀ L G_s     (Morwani et al. 2024, section 3)
//
// for G[batch, samples, m, n] and symmetric L[batch, m, m], R[batch, n, n]; G is scaled by `scale` on the way.
// The samples are summed in chunks fixed by (samples, m, n), the chunks in order.
// Workspace, elements of T: batch · chunks · (m² + n²) in all, and 2 m n per worker.
template <class T>
struct PowerStep {
  int64_t batch, samples, m, n;
  const void* G;
  ScalarType G_type;
  const T* L;
  const T* R;
  T* L_next;            // may be nullptr: then L is not read for it
  T* R_next;            // may be nullptr
  const double* scale;  // [batch], or nullptr for 1
};

template <class T>
void kron_power_step(const PowerStep<T>& step, const Parallel& parallel);

}  // namespace kronla
