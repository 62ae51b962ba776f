// The eigendecomposition of a diagonal matrix plus one of rank one.
#pragma once

#include <cstdint>

#include "kernels/cpu/worker.h"

namespace kronla {

// Diag(d) + ρ z zᵀ of d[k], ascending, distinct, of magnitude about 1 or less, z[k] nowhere 0, ρ > 0:
// eigenvalues[k], ascending, and the eigenvectors as the rows of S[k,k], lds apart. Column c of S belongs to d[order[c]].
// False where a root is not found. lds ≥ leading_dimension(k).
template <class T>
bool rank_one_eigh(int64_t k, const double* d, const double* z, double rho, const int64_t* order, double* eigenvalues,
                   T* S, int64_t lds, Worker& worker);

// Rows that hold whole vectors, and do not crowd one set of the first-level cache.
inline int64_t leading_dimension(int64_t k) { return (k + 15) / 16 * 16 + 16; }

}  // namespace kronla
