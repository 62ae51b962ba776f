// Family `eigenbasis`: keeps Q an eigenbasis of a slowly moving symmetric A, for each matrix of a ragged list.
//
//     B = QᵀAQ,   eigenvalues = diag(B),   ratio = ‖B − diag(B)‖_F / ‖A‖_F     (Eschenhagen et al. 2025, section 4)
//
// The ratio is formed by zeroing the diagonal: √(‖B‖² − ‖diag B‖²) cancels in float32 (a true 1e-3 reads 4e-4). On a CPU
// ‖AQ − Q diag(B)‖_F, the same for an orthonormal Q, saves a third of the operations: from n = 96 on, for a Q that a step
// or a decomposition has made, and for one that fixed probes find orthonormal to 24 roundings.
//
//   qr        S = AQ + n u ‖A‖_F Q, columns by descending Rayleigh quotient, Q' = the Q of S = QR with a positive diagonal.
//             Descending, for that is the order unshifted QR converges to; the multiple of Q holds null directions still.
//   rotation  with o = B_ij, d = B_jj − B_ii, x = d² + o², s = sign(d), sign(0) = 1, e = ‖offdiag B‖_F/n, f = 2 u ‖A‖_F:
//             T_ij = s o √x/(x + o² + e² + f⁴/(x − f²/9)), skew; Q' = the orthonormalised Q + QT. The first-order rotation for
//             o ≪ d, bounded for o ≫ d, and not stuck where d = 0; but nothing where o and d are rounding errors, x ≤ f²/9,
//             so that null columns stay (kronla's own). On a CPU with products of bfloat16 offdiag B = offdiag(Qᵀ(AQ − Q diag(B)))
//             is such a product, of float, and so is QT while what rounding Q will leave off the diagonal, estimated from T,
//             is at most 1/128 of the ratio: cpu/rotation.cpp, where is also said how null columns are kept from it.
//   eigh      a decomposition, eigenvectors matched to columns by rank; those of a null space are turned to the old
//             columns.
//   automatic, per step: qr where the ratio is above 0.3 (and the step before was none), else rotation; on a CPU eigh, as the
//             last step, where the ratio is above 0.3 still after two of each.
//
// Columns keep the caller's order: the column with the k-th largest Rayleigh quotient receives the k-th vector (ties by
// index), and diag(QᵀQ_old) ≥ 0. A step is taken while ratio > tol (always for tol = 0), max_steps at most; where none
// is, Q comes back to the bit. info: 3 for a non-finite A or Q (Q comes back, figures NaN); 1 where tol > 0 and the
// final ratio is above it; 0.
//
// Workspace per worker, whatever max_steps: 4.5 n² elements of T, 6 n² with QR steps (n² more where A has to be scaled; 4 n z
// more where a decomposition finds z null eigenvalues) and some 300 n doubles; n²/8 bytes of partial sums and, for a Q that
// is probed, n²/16 elements; and that of the products, cpu/simd/gemm.h.
#pragma once

#include <cstdint>
#include <vector>

#include "kernels/parallel.h"

namespace kronla {

inline constexpr double kRotationNoise = 2.0;  // f of a rotation, in units of u ‖A‖_F

// NearEigh (CPU): a rotation first where the ratio is at most 10 tol, then Eigh.
enum class BasisMethod : int32_t { Automatic = 0, Rotation = 1, Qr = 2, Eigh = 3, NearEigh = 4 };

template <class T>
struct BasisGroup {
  int64_t batch, n;
  const T* A;      // [batch, n, n], the lower triangle is read
  const T* Q_old;  // [batch, n, n]
  BasisMethod method;
  T* Q;            // [batch, n, n]
  T* eigenvalues;  // [batch, n]
  T* ratio;        // [batch]
  int32_t* steps;  // [batch]
  int32_t* info;   // [batch]
};

template <class T>
void update_eigenbasis(const std::vector<BasisGroup<T>>& groups, double tol, int64_t max_steps,
                       const Parallel& parallel);

// By divide and conquer (cpu/eigh): ascending eigenvalues, Q's columns the eigenvectors, ratio that of Q, steps 1 (0 for
// info 3). Q_old, method are not read. info: 3 for a non-finite A, 1 where an iteration does not converge (then NaN).
template <class T>
void eigh(const std::vector<BasisGroup<T>>& groups, const Parallel& parallel);

// ratio[batch] for A and Q[batch, n, n]; NaN where one is not finite, 0 for A = 0. Workspace 4 n² elements.
template <class T>
void off_diagonal_ratio(int64_t batch, int64_t n, const T* A, const T* Q, T* ratio, const Parallel& parallel);

// Q[batch, m, n], the orthonormal factor of S = QR with diag(R) > 0, m ≥ n. info: 3 for a non-finite S (Q is NaN); 2
// where a column lies within √m ε ‖column‖ of the span of those before it (Q is some orthonormal completion); 0.
//
// Panel by panel of 32 columns, float with up to 64 at once, in float64. float: Cholesky of the Gram matrix of the panel
// (Q = S L⁻ᵀ), once more on the result where neither bounds on ‖L⁻¹‖ nor 4 probes find it orthogonal enough, Householder
// where a pivot of unit columns is below 1e-6; matrices of up to 32 columns and 1024 elements eight at a time, a lane each.
// double: Householder. Several panels: reflectors made of each are applied to the rest in T, and multiplied at the end
// (Ballard et al. 2014). Q and S do not overlap.
// Workspace per worker: 3 m n elements of T, n rounded up to 32, and 192 m doubles; side by side 8 (m + 1.5 n + 3) n doubles.
template <class T>
void orthonormalize(int64_t batch, int64_t m, int64_t n, const T* S, T* Q, int32_t* info, const Parallel& parallel);

}  // namespace kronla
