// Passes over matrices and vectors: mirror images, transposes, sums, scales, and what the steps of an eigenbasis take.
// Row-major, `float` and `double`. The bits do not depend on threads.
#pragma once

#include <cstdint>

#include "kernels/cpu/worker.h"
#include "kernels/parallel.h"

namespace kronla {

namespace kernels {
template <class T>
struct BlockRows;
}

// The upper triangle of A[n,n] becomes the mirror image of the lower: symmetric to the bit.
template <class T>
void mirror_lower(int64_t n, T* A);

// The other way round.
template <class T>
void mirror_upper(int64_t n, T* A);

// B[n,m] ← A[m,n]ᵀ; A and B do not overlap.
template <class T>
void transpose(int64_t m, int64_t n, const T* A, int64_t lda, T* B, int64_t ldb);
template <class T>
void transpose(int64_t m, int64_t n, const T* A, T* B) {
  transpose(m, n, A, n, B, m);
}

// The largest magnitude of x[count]: infinite or NaN where one element is; 0 for none.
template <class T>
T largest_magnitude(int64_t count, const T* x);

// Σ x² in float64.
template <class T>
double sum_of_squares(int64_t count, const T* x);

// Sums over rows of blocks: kernels.h.
template <class T>
void sum_block_rows(const kernels::BlockRows<T>& rows);

// Y[m,n]'s column k ← column from[k] of X[m,n]; they do not overlap.
template <class T>
void gather_columns(int64_t m, int64_t n, const int64_t* from, const T* X, T* Y, Worker& worker);

// sums[n] ← Σ_i X_ij Y_ij in float64, for X[m,n] and Y[m,n].
template <class T>
void column_products(int64_t m, int64_t n, const T* X, int64_t ldx, const T* Y, int64_t ldy, double* sums);

// quotients[n] ← diag(QᵀAQ) in float64, of Q[n,n] and AQ.
template <class T>
void rayleigh_quotients(const Parallel& team, int64_t n, const T* Q, const T* AQ, double* quotients);

// ‖QᵀQ − I‖_F/√n of Q[m,n], by four fixed vectors of ±1 (Hutchinson 1990).
template <class T>
double orthogonality_gap(const Parallel& team, int64_t m, int64_t n, const T* Q);

// R[m,n] ← X − Y diag(d), which R may be the same as; Σ R² in float64.
template <class T>
double residual(const Parallel& team, int64_t m, int64_t n, const T* X, const T* Y, const T* d, T* R);

// Y_ij ← X_ij scales[j], rounded once, for X[m,n]; without scales (nullptr) Y ← X. One of From and To is T, the other T or
// double.
template <class From, class To>
void scale_columns(int64_t m, int64_t n, const From* X, int64_t ldx, const double* scales, To* Y, int64_t ldy);

// The skew R[n,n] of the rotations that reduce the lower triangle of B[n,n], B_ij = o, d = diagonal[i] - diagonal[j]:
// R_ij ← -o s √x / (x + o² + floor + noise²/(x - noise/9)) for i > j, x = d² + o², with the sign s of d; next to nothing
// for x ≤ noise/9, and 0 for x = 0.
template <class T>
void rotation(int64_t n, const T* B, const T* diagonal, T floor, T noise, T* R);

}  // namespace kronla
