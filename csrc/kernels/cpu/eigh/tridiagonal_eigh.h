// The symmetric tridiagonal eigenproblem by divide and conquer.
#pragma once

#include <cstdint>

#include "kernels/cpu/worker.h"

namespace kronla {

// The symmetric tridiagonal matrix of diagonal d[n] and off-diagonal e[n-1] (both are spoilt): d ← eigenvalues, ascending;
// Z[n,n] ← the eigenvectors, as ROWS, orthonormal to rounding. False where an iteration does not converge.
//
// Cuppen 1981 (divide and conquer) with the vectors of Gu & Eisenstat 1995. All that is not a product of vectors is
// float64 for both types.
//
// Finite input of norm about 1 (1e±100 and more do: parts are scaled). Threads do not change the bits. Scratch: 1.5 n²
// elements of T. tests/csrc/test_tridiagonal_eigh.cpp holds residual and orthogonality to what LAPACK's stedc reaches.
template <class T>
bool tridiagonal_eigh(int64_t n, double* d, double* e, T* Z, Worker& worker);

}  // namespace kronla
