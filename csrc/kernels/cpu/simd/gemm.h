// General and symmetric products, C ← alpha op(A) op(B) + beta C, and what is made of them, by own micro-kernels.
// Row-major, `float` and `double`.
//
// Every element of C is one chain of fused multiply-adds over k, cut only where kDepth says: it depends on its row of
// op(A), its column of op(B) and k alone. So the bits are the same however C is cut into blocks, whoever computes them,
// with any number of threads; and op(A) op(A)ᵀ is symmetric to the bit. (The portable kernels round products and sums
// apart; they differ from the others in the last bits.)
//
// Blocks of C of at most 256 × 256 are the unit of work for threads. Workspace: 0.6 MB a thread for float, 1.2 MB for
// double, kept for the thread's life.
#pragma once

#include <cstdint>

#include "kernels/cpu/simd/memory.h"
#include "kernels/cpu/worker.h"
#include "kernels/parallel.h"

namespace kronla {

enum class Op { N, T };

// What a product does besides.
struct Beside {
  // A symmetric product completes C: the upper triangle becomes the mirror image of the lower one, without a second pass.
  bool mirrored = false;
  // Memory that is read next: brought nearer while this product is computed. (By a large one it is left where it is.)
  Memory next[kAhead] = {};
};

// C[m,n] ← alpha op(A) op(B) + beta C. With beta = 0, C is not read. C overlaps neither A nor B.
template <class T>
void gemm(const Parallel& team, Op a, Op b, int64_t m, int64_t n, int64_t k, T alpha, const T* A, int64_t lda,
          const T* B, int64_t ldb, T beta, T* C, int64_t ldc, const Beside& beside = {});

// The same for a product that is symmetric, C[n,n]: half the work. The lower triangle counts, and the other holds anything
// afterwards, unless it is to be `mirrored` (mirror_lower completes it later).
template <class T>
void gemmt(const Parallel& team, Op a, Op b, int64_t n, int64_t k, T alpha, const T* A, int64_t lda, const T* B,
           int64_t ldb, T beta, T* C, int64_t ldc, const Beside& beside = {});

// gemmt of op(A) op(A)ᵀ.
template <class T>
void syrk(const Parallel& team, Op a, int64_t n, int64_t k, T alpha, const T* A, int64_t lda, T beta, T* C, int64_t ldc,
          const Beside& beside = {});

// gemm and gemmt of matrices of bfloat16, at about twice the speed: exact products, sums in float32. (Magnitudes below
// 1.2e-38, of elements, products and sums, count as 0.) Only where has_bfloat16_products(). An operand
// holds pairs of neighbours in k: rows of op(A) and columns of op(B) as they lie with Op::N and Op::T (pair_columns), rows
// of A and B, side by side (pair_rows). Sizes and distances count pairs along k, elements across it.
struct Bfloat16Pair {
  uint16_t first, second;
};
bool has_bfloat16_products();
void gemm_of_pairs(const Parallel& team, Op a, Op b, int64_t m, int64_t n, int64_t pairs, float alpha,
                   const Bfloat16Pair* A, int64_t lda, const Bfloat16Pair* B, int64_t ldb, float beta, float* C,
                   int64_t ldc, const Beside& beside = {});
void gemmt_of_pairs(const Parallel& team, Op a, Op b, int64_t n, int64_t pairs, float alpha, const Bfloat16Pair* A,
                    int64_t lda, const Bfloat16Pair* B, int64_t ldb, float beta, float* C, int64_t ldc,
                    const Beside& beside = {});

// P[⌈m/2⌉,n] ← (X_2p,j, X_2p+1,j), 0 beyond the last row; P[m,⌈n/2⌉] ← (X_i,2p, X_i,2p+1).
void pair_rows(const Parallel& team, int64_t m, int64_t n, const float* X, Bfloat16Pair* P);
void pair_columns(const Parallel& team, int64_t m, int64_t n, const float* X, Bfloat16Pair* P);
// pair_rows of what is bfloat16 already.
void interleave_rows(int64_t m, int64_t n, const uint16_t* X, Bfloat16Pair* P);

// W[m,n] ← W L⁻ᵀ for a lower triangular L[n,n]: by substitution on the diagonal, by gemm beside it.
template <class T>
void solve_right_transposed(const Parallel& team, int64_t m, int64_t n, const T* L, int64_t ldl, T* W, int64_t ldw);

// The lower Cholesky factor, in place, of the lower triangle of A[n,n]; above the diagonal anything afterwards. False, and
// A spoilt, where a pivot is not positive.
template <class T>
bool cholesky(const Parallel& team, int64_t n, T* A, int64_t lda);

// A[n,n] ← L and U, L with ones on the diagonal, of A + diag(signs), whose ±1 are chosen to move each pivot away from 0:
// of a block of a matrix with orthonormal columns all pivots are of magnitude 1 to 2. n ≤ 32; rows are 32 elements apart,
// of which those beyond n are finite.
void lu_of_signed(int64_t n, double* A, double* signs);

// Q ← S L⁻ᵀ for the Cholesky factors L of SᵀS, in float64, of `count` ≤ kSideBySide matrices S[m,n], one after the other.
// bounds[kSideBySide] ← at least ‖L⁻¹‖_F² for unit columns; NaN or infinite where it breaks down. Every matrix has
// the same bits in any company.
inline constexpr int64_t kSideBySide = 8;
void orthonormal_side_by_side(int64_t count, int64_t m, int64_t n, const float* S, float* Q, double* bounds,
                              Worker& worker);

}  // namespace kronla
