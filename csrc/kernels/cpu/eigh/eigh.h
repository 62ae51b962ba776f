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

// All of it but the last part: w, and the eigenvectors Z[n,n] of the tridiagonal form, as rows. back_transform(A, tau, Z)
// makes them those of A, and may do so in another precision: in float32 that turns all of them by 1e-7, no more.
template <class T>
bool eigendecompose_tridiagonal(int64_t n, T* A, T* tau, T* Z, double* w, Worker& worker);

}  // namespace kronla
