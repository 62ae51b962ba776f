// Householder's reduction of a symmetric matrix to tridiagonal form, A = Q T Qᵀ, and eigenvectors of A from those of T:
// the first and the last part of an eigendecomposition. Row-major, `float` and `double`.
//
// Q = H_{n−1} … H_1, H_q = I − tau_q v_q v_qᵀ, where v_q lies in row q of A, columns 0 … q − 1, its last element 1: the
// rows come from the last one up, because a row of the lower triangle is contiguous. (That is LAPACK's sytd2 with
// uplo = "U" of a column-major matrix.)
//
// Up to kLargestFused a reflector's update is made in the pass that multiplies with the next one: 4
// multiply-adds for each element that is loaded and stored. Larger matrices go by panels of reflectors (Dongarra,
// Sorensen and Hammarling 1989), half of the work in a symmetric product. 4/3 n³ and 2 n³ operations; n² + O(n) elements of
// workspace for the first, O(n) for the second.
//
// The bits depend neither on threads nor on the alignment of the arguments.
#pragma once

#include <cstdint>

#include "kernels/cpu/simd/instruction_set.h"
#include "kernels/cpu/worker.h"

namespace kronla {

// The largest matrix of which each update waits for the next product. (On a Zen 4 with 16 MB of third-level cache a core,
// panels take 1.15 to 1.25 times as long for n = 1536 and 2048 in float64, 1.1 to 1.2 times in float32; with a second thread
// for their products as long or up to 1.1 times, and up to 4096 they gain nothing.)
constexpr int64_t kLargestFused = 2048;

// A[n,n], its lower triangle → T = QᵀAQ, tridiagonal: diagonal d[n], off-diagonal e[n−1]. Q's reflectors take the place of
// A's strictly lower triangle, with tau[n]; the upper triangle is neither read nor written. All elements are finite, and so is
// ‖A‖_F²; they may be as small as they like. ‖QᵀAQ − T‖_F is O(n u ‖A‖_F). (float: computed in float, d and e widened.)
// The last two arguments are for tests.
template <class T>
void reduce_to_tridiagonal(int64_t n, T* A, T* tau, double* d, double* e, Worker& worker,
                           int64_t largest_fused = kLargestFused,
                           const kernels::Kernels<T>& set = kernels::chosen<T>());

// Z[n,n], eigenvectors of T as ROWS ← those of A: z ← Q z. A and tau as reduce_to_tridiagonal leaves them.
template <class T>
void back_transform(int64_t n, const T* A, const T* tau, T* Z, Worker& worker,
                    const kernels::Kernels<T>& set = kernels::chosen<T>());

// F[n,n], of which the lower triangle counts ← Q F Qᵀ, both triangles, symmetric to the bit. A and tau as above. 2 n³
// operations; workspace of 128 n elements.
template <class T>
void back_transform_symmetric(int64_t n, const T* A, const T* tau, T* F, Worker& worker,
                              const kernels::Kernels<T>& set = kernels::chosen<T>());

}  // namespace kronla
