// Householder's reduction of a symmetric matrix to tridiagonal form, A = Q T Qᵀ, and eigenvectors of A from those of T:
// the first and the last part of an eigendecomposition. Row-major, `float` and `double`.
//
// Q = H_{n−1} … H_1, H_q = I − tau_q v_q v_qᵀ, where v_q lies in row q of A, columns 0 … q − 1, its last element 1: the
// rows come from the last one up, because a row of the lower triangle is contiguous. (LAPACK's sytd2 with uplo = "U" of a
// column-major matrix.)
//
// Small matrices are updated by each reflector in the pass that multiplies them with the next one (4 multiply-adds for
// each element moved); larger ones by panels of reflectors (Dongarra, Sorensen and Hammarling, 1989), half of the work in a
// symmetric product. 4/3 n³ and 2 n³ operations; n² + O(n) elements of workspace. The bits depend neither on threads nor on the
// alignment of the arguments.
#pragma once

#include <cstdint>

#include "kernels/cpu/worker.h"

namespace kronla {

// A[n,n], its lower triangle → T = QᵀAQ, tridiagonal: diagonal d[n], off-diagonal e[n−1]. Q's reflectors take the place of
// A's lower triangle, with tau[n]; the rest of A is neither read nor written. Elements of any size that are finite, as long as
// ‖A‖_F² is; the error is that of LAPACK, O(n u ‖A‖_F). (float: computed in float, d and e widened.)
template <class T>
void reduce_to_tridiagonal(int64_t n, T* A, T* tau, double* d, double* e, Worker& worker);

// Z[n,n], eigenvectors of T as ROWS ← those of A: z ← Q z. A and tau as reduce_to_tridiagonal leaves them.
template <class T>
void back_transform(int64_t n, const T* A, const T* tau, T* Z, Worker& worker);

}  // namespace kronla
