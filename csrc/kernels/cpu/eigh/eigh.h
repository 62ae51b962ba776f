// Symmetric eigenproblems: to tridiagonal form (tridiagonal.h), by divide and conquer (tridiagonal_eigh.h), and back.
#pragma once

#include <cstdint>

#include "kernels/cpu/worker.h"

namespace kronla {

// A[n,n] = Vᵀ diag(w) V: V[n,n] ← its eigenvectors as ROWS, orthonormal to rounding, w[n] ← its eigenvalues, ascending.
// Reads A's lower triangle, and spoils it; A, finite, may have any magnitude. False where an iteration does not converge.
// Errors are of the order of u‖A‖. Workspace: n² elements of T and O(n) of float64, and that of the parts.
template <class T>
bool eigendecompose(int64_t n, T* A, T* V, T* w, Worker& worker);

}  // namespace kronla
