// Family `inverse_root`: X ≈ D^(-1/p), D = A + (damping + relative_damping ‖A‖_F) I, for each matrix of a ragged list.
//
// D is formed in float64 from all of A's lower triangle. info: 3 for a non-finite input; else 2 if the float64 Cholesky
// factorisation of D breaks down; else 1 if residual > rtol; else 0. With 2 and 3 X is the fallback, or NaN, and the
// residual is NaN.
//
//   quadrature  (CPU) D = QTQᵀ with a tridiagonal T, X = Q T^(-1/p) Qᵀ, T^(-1/p) = Σ_j w_j (T + s_j I)⁻¹: 10/3 n³ operations
//               and no eigenvector. Integer p up to 16, λmin/λmax ≥ 2⁻⁵² (else as eigh). In float64; of a float32 root of
//               more than 128 rows the reflections Q in float32, X = μI + Q (T^(-1/p) − μI) Qᵀ, where that adds 1e-3 to its
//               residual at most (it adds about 5e-8 κ^max(1/2, 1/p), and up to 1e-6 to the relative error of X).
//               Rows of a graded D change places first (eigh/grading.h).
//               QuadratureToTolerance (float32): all in float32 first; as above where the residual is then above rtol.
//   eigh        D = QΛQᵀ, X = Q Λ^(-1/p) Qᵀ in float64. Any p > 0.
//   n = 1       std::pow.
//   polynomial  products only: X ← X q(M), M ← q(M)^r M with the scheduled q of inverse_root_schedules.h, entered where
//               the bound λmin(D) ≥ 1/tr(D⁻¹) allows (from the Cholesky factor), scaled by ‖D‖_F, which bounds λmax.
//               p = r/s with r in {2, 3, 4, 6, 8}: Y = D^(-1/r), X = Yˢ. Steps whose interval begins below
//               kFloat64Below run in float64, whatever T: M's rounding noise, u/λmin, is made there.
//
// residual = ‖X^⌊p/2⌋ D X^⌈p/2⌉ − I‖_F/√n in float64 of the X returned, for integer p; else of Y with r (polynomial), or
// ‖Λ^(-½) Qᵀ D Q Λ^(-½) − I‖_F/√n (eigh). Above n = 64 estimated by 32 fixed ±1 vectors: ‖E‖_F² is the mean of ‖Ev‖²,
// within a factor 2 of the norm (a deviation by that much has a probability below 1e-5 for a random rank-one E, the worst).
//
// Workspace per worker, n² doubles: quadrature 2 (4 where D is too ill conditioned for it), eigh 4, polynomial 9, one more
// where rows of a graded D change places; and 64 n for the estimate, 2 n for each pole (20 for float32 at a condition of
// 1e6, 32 for float64).
#pragma once

#include <cstdint>
#include <vector>

#include "kernels/parallel.h"

namespace kronla {

enum class RootMethod : int32_t { Eigh = 0, Polynomial = 1, Quadrature = 2, QuadratureToTolerance = 3 };

struct RootOptions {
  double p;              // finite, > 0
  int64_t r = 0, s = 0;  // p = r/s for the polynomials; r = 0: there are none
  double damping = 0.0, relative_damping = 0.0;
  double rtol = 0.1;
  int64_t max_steps;  // of the polynomials
};

template <class T>
struct RootGroup {
  int64_t batch, n;
  const T* A;         // [batch, n, n]
  const T* fallback;  // [batch, n, n] or nullptr
  RootMethod method;
  T* X;            // [batch, n, n]
  T* residual;     // [batch]
  int32_t* steps;  // [batch]: polynomial steps; reductions to tridiagonal form; 0 without a root
  int32_t* info;   // [batch]
};

// Whether there are polynomials for D^(-1/r).
bool has_root_polynomials(int64_t r);

// Whether there are quadratures for D^(-1/p): integers up to 16. Beyond, the nodes crowd one end.
bool has_root_quadrature(double p);

template <class T>
void inverse_root(const std::vector<RootGroup<T>>& groups, const RootOptions& options, const Parallel& parallel);

}  // namespace kronla
