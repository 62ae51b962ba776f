// The kernels of one instruction set, and what they work on: blocks of products, passes over matrices, and the loops of
// factorizations, eigendecompositions and roots.
#pragma once

#include <cstdint>

#include "kernels/cpu/simd/memory.h"

namespace kronla::kernels {

inline constexpr int64_t kDepth = 256;  // of a pass over k: a strip of A then stays in the first-level cache
inline constexpr int64_t kBlock =
    256;  // rows and columns of a block of C: its panels of B stay in the second-level one

inline constexpr int64_t kLanes = 16;   // of the widest vector
inline constexpr int64_t kSolve = 32;   // rows of a matrix that is factored, or solved with, without blocks
inline constexpr int64_t kProbing = 4;  // vectors that probe whether columns are orthonormal
inline constexpr int64_t kStrip = 32;   // rows whose columns are permuted at once

// Elements of workspace for a block: strips of A and panels of B, rounded up to whole ones.
inline constexpr int64_t kWorkspace = kDepth * (2 * kBlock + 64);

// C ← alpha op(A) op(B) + beta C. a_row is the distance of two rows of op(A), a_step that of two elements of a row.
template <class T>
struct Product {
  int64_t k;
  const T* A;
  int64_t a_row, a_step;
  const T* B;
  int64_t b_step, b_column;
  T alpha, beta;
  T* C;
  int64_t ldc;
  bool lower;                     // only the lower triangle of C is wanted
  bool mirrored = false;          // of such a product: the upper triangle becomes its mirror image
  const Memory* ahead = nullptr;  // kAhead pieces, or null
};

// A block of C: rows [row, row_end), columns [column, column_end). If mirrored, on the diagonal (row = column) or below it.
struct Range {
  int64_t row, row_end, column, column_end;
};

// Rows H[r], r < count, of a matrix of blocks of n columns (ldh apart): left[k] ← Σ_rc H[r][k n + c] R[r n + c], and
// right[r n + c] ← Σ_k weights[r ldw + k] H[r][k n + c]. Either may be null. sums: blocks × kLanes elements of workspace.
template <class T>
struct BlockRows {
  int64_t count, blocks, n;
  const T* H;
  int64_t ldh;
  const T* R;
  const T* weights;
  int64_t ldw;
  double* left;
  T* right;
  T* sums;
};

inline constexpr int64_t kPanel = 32;  // rows of a matrix that become tridiagonal before the rest of it is updated

// A symmetric matrix on its way to tridiagonal form; its last rows come first. S is a copy of its lower triangle, aligned
// to the widest vector, as tridiagonal_body.h says. The reflector of row q, which acts on the elements before q and whose
// last element is 1, goes to A[q], and tau[q], d[q], e[q − 1] belong to it. Workspace: vectors, 6 rows of lds; panel, 3 kPanel.
template <class T>
struct Reduction {
  T* S;
  int64_t lds;
  T* A;
  int64_t lda;
  T* tau;
  double *d, *e;
  T *vectors, *panel;
};

// The equation 1/ρ + Σ_j z_j²/(d_j − λ) = 0 of d[k], ascending, ρ > 0, all of magnitude about 1 or less. Its roots interlace:
// d_i < λ_i < d_{i+1}, the last below d[k] = d[k−1] + 2ρ‖z‖². Each is origin + offset, of which origin is the nearer of its
// two poles: so its distance to every pole has a small relative error. Arrays hold padded(k) elements: squares are 0
// beyond k, and d goes on ascending.
struct Secular {
  int64_t k;
  double inverse_rho;
  const double* d;
  const double* squares;  // z_j²
  double* origin;
  double* offset;
  static constexpr int64_t kStep = 2 * kLanes;
  static int64_t padded(int64_t k) { return (k / kStep + 2) * kStep; }
};

// Rows i of S[k,k], lds apart: z_j/(d_j − λ_i), normalised. d and z as above, in any order. row: lds elements of workspace.
template <class T>
struct SecularVectors {
  int64_t k;
  const double *d, *z, *origin, *offset;
  T* S;
  int64_t lds;
  double* row;
};

// Tridiagonal matrices of up to kLeaf rows, side by side: those beyond a matrix's own are 0. d and e are about 1 in norm,
// the last row of e is anything.
inline constexpr int64_t kLeaf = 8, kLeaves = 8;
struct Leaves {
  alignas(64) double d[kLeaf][kLeaves], e[kLeaf][kLeaves];
  alignas(64) double Z[kLeaf][kLeaf][kLeaves];  // eigenvectors as rows
};

// The matrices (T + shifts_j I)⁻¹ weights_j of a tridiagonal T of diagonal d[n] and off-diagonal e[n−1], positive definite
// with each shift. Of `count` of them, a multiple of kTerms; arrays have room for `stride`, a multiple of kLanes / 2 (the
// rest: any positive shifts). The last three are workspace: [n, stride], [n, stride], [stride].
struct Resolvents {
  int64_t n;
  const double *d, *e;
  int64_t count, stride;
  const double *shifts, *weights;
  double *ratios, *diagonals, *pivots;
};
inline constexpr int kTerms = 4;          // of them that are summed in registers
inline constexpr int64_t kTileRows = 64;  // of sums that stay in the first-level cache
inline constexpr int64_t kShifts = 16;    // that a tridiagonal matrix is eliminated with at once

inline constexpr int64_t kSide = 8;  // small matrices that are orthonormalized side by side

template <class T>
struct Kernels {
  void (*block)(const Product<T>& product, const Range& range, T* workspace);
  // The same of pairs of bfloat16 in the place of the elements of A and B, k counting pairs; nullptr where there is none.
  void (*block_of_pairs)(const Product<T>& product, const Range& range, T* workspace);
  // pairs[n] ← (x[j], y[j]), (x[j], 0) without y; pairs[⌈n/2⌉] ← (x[2j], x[2j+1]); rounded to bfloat16. nullptr likewise.
  void (*pair_rows)(int64_t n, const T* x, const T* y, T* pairs);
  void (*pair_neighbours)(int64_t n, const T* x, T* pairs);
  void (*interleave)(int64_t n, const uint16_t* x, const uint16_t* y, T* pairs);  // pair_rows of bfloat16
  void (*mirror_lower)(int64_t n, T* A);
  void (*mirror_upper)(int64_t n, T* A);
  void (*transpose)(int64_t m, int64_t n, const T* A, int64_t lda, T* B, int64_t ldb);
  void (*solve)(int64_t m, int64_t n, const T* L, int64_t ldl, T* W, int64_t ldw);  // W ← W L⁻ᵀ, n ≤ kSolve
  T (*largest)(int64_t count, const T* x);       // magnitude; infinite or NaN where one element is
  double (*squares)(int64_t count, const T* x);  // their sum, in float64
  void (*block_rows)(const BlockRows<T>& rows);
  bool (*cholesky)(int64_t n, T* A, int64_t lda);             // n ≤ kSolve
  void (*lu_of_signed)(int64_t n, double* A, double* signs);  // n ≤ kSolve
  void (*gather_columns)(int64_t m, int64_t n, const int64_t* from, const T* X, T* Y, T* room);
  void (*column_products)(int64_t m, int64_t n, const T* X, int64_t ldx, const T* Y, int64_t ldy, double* sums);
  double (*residual)(int64_t count, int64_t n, const T* X, const T* Y, const T* d, T* R);
  void (*probe)(int64_t m, int64_t n, const T* Q, const T* V, T* Y);  // Y[kProbing,n] ← VQᵀQ
  // Y_ij ← X_ij scales[j]; from T to double, from T to T, from double to T. Without scales Y ← X.
  void (*widen_columns)(int64_t m, int64_t n, const T* X, int64_t ldx, const double* scales, double* Y, int64_t ldy);
  void (*scale_columns)(int64_t m, int64_t n, const T* X, int64_t ldx, const double* scales, T* Y, int64_t ldy);
  void (*narrow_columns)(int64_t m, int64_t n, const double* X, int64_t ldx, const double* scales, T* Y, int64_t ldy);
  void (*rotation)(int64_t n, const T* B, const T* diagonal, T floor, T noise, T least, T* R);
  void (*spread_lower)(int64_t n, const T* A, T* S, int64_t lds);  // into the S of a Reduction
  void (*mirror_squares)(int64_t n, T* S, int64_t lds);            // of such an S, whose lower triangle has changed
  void (*tridiagonal_panel)(int64_t n, const Reduction<T>& p);     // its last kPanel rows, of n > kPanel
  void (*tridiagonal)(int64_t n, const Reduction<T>& p);           // all n rows
  // Z[m,n] ← its rows as H_{n−1} … H_2 reflect them, of A[n,n] and tau. room: 2 n kLanes elements and n, rounded up to
  // kLanes.
  void (*reflect_rows)(int64_t m, int64_t n, const T* A, int64_t lda, const T* tau, T* Z, int64_t ldz, T* room);
  // Roots [first, end) of the equation, first a multiple of Secular::kStep; false where one is not found.
  bool (*secular_roots)(const Secular& equation, int64_t first, int64_t end);
  // z[j], j in [first, end) ← the magnitudes for which the roots are exact.
  void (*secular_weights)(const Secular& equation, int64_t first, int64_t end, double* z);
  void (*secular_vectors)(const SecularVectors<T>& vectors, int64_t first, int64_t end);
  // The first `count` leaves: d ← eigenvalues in any order, Z ← eigenvectors. False where one does not converge.
  bool (*ql)(int64_t count, Leaves& leaves);
  // least[kShifts] ← the smallest pivot of each T − shifts[j] I, T of diagonal d[n] and off-diagonal e[n−1].
  void (*least_pivots)(int64_t n, const double* d, const double* e, const double* shifts, double* least);
  void (*resolvents)(const Resolvents& resolvents);  // prepares them, for:
  // F[n,n], its columns [column, end) from the diagonal down, column a multiple of kLanes ← their sum. Above the diagonal
  // zeros may be written. room: (count + kTileRows) kLanes elements.
  void (*resolvent_columns)(const Resolvents& resolvents, int64_t column, int64_t end, T* F, int64_t ldf, double* room);
  // Q ← S L⁻ᵀ for the Cholesky factors L of SᵀS, in float64, of up to kSide matrices S[m,n], one after the other.
  // bounds[kSide] ← at least ‖L⁻¹‖_F² for unit columns; NaN or infinite where it breaks down. room: kSide (m' n' + n'² +
  // 3 n' + m n / 2) doubles, m' and n' rounded up to 4.
  void (*orthonormal_side_by_side)(int64_t count, int64_t m, int64_t n, const float* S, float* Q, double* bounds,
                                   double* room);
};

// Of each instruction set; the first two exist only for x86-64.
template <class T>
const Kernels<T>* avx512();
template <class T>
const Kernels<T>* avx2();
template <class T>
const Kernels<T>* portable();

#if defined(__x86_64__)
template <>
const Kernels<float>* avx512<float>();
template <>
const Kernels<double>* avx512<double>();
template <>
const Kernels<float>* avx2<float>();
template <>
const Kernels<double>* avx2<double>();
#endif
template <>
const Kernels<float>* portable<float>();
template <>
const Kernels<double>* portable<double>();

}  // namespace kronla::kernels
