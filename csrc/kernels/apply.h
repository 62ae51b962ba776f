// Family `apply`: matrices multiplied onto the dimensions of a tensor.
//
//     out = G ×₁ M₁ ×₂ M₂ … ×_k M_k,   (G ×_d M)[…, r, …] = Σ_j M[r, j] G[…, j, …]   (Kolda and Bader 2009, section 2.5)
//
// For a matrix this is M₁ G M₂ᵀ; `transposed` reads M_d[j, r] instead, so that L G R is {L, R transposed}.
// The dimensions are taken one after the other in the order given; each is one product, or one per leading slice.
// Every M is multiplied as written (no symmetry is assumed). Reads G in its own type, works and writes in T.
//
// Workspace, elements of T per worker: two buffers of the largest intermediate tensor (one for two matrices, none for one),
// and G if its type is not T.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "kernels/parallel.h"
#include "kernels/scalar_type.h"

namespace kronla {

template <class T>
struct ModeFactor {
  int64_t dim;   // which dimension of G
  int64_t rows;  // its size in the result
  const T* M;    // [batch, rows, cols], or [batch, cols, rows] if transposed; cols is G's size there
  bool transposed;
};

template <class T>
struct ApplyGroup {
  int64_t batch;
  std::vector<int64_t> dims;  // of one G
  const void* G;              // [batch, dims...]
  ScalarType G_type;
  std::vector<ModeFactor<T>> factors;  // in the order of multiplication; not empty, each dimension at most once
  T* out;                              // [batch, result dims...]
};

template <class T>
void apply_modes(const std::vector<ApplyGroup<T>>& groups, const Parallel& parallel);

// The order of multiplication that keeps the intermediate tensors small: the dimension that shrinks most first,
// ties as given. For a matrix this is the cheaper of (L G) R and L (G R). By shape alone.
template <class T>
void order_by_shrinkage(ApplyGroup<T>& group) {
  // rows / cols ascending, compared without division. With costs c·r·(the rest) this is the cheapest order.
  std::stable_sort(group.factors.begin(), group.factors.end(), [&](const auto& a, const auto& b) {
    return a.rows * group.dims[b.dim] < b.rows * group.dims[a.dim];
  });
}

}  // namespace kronla
