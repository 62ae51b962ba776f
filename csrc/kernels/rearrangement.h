// Family `rearrangement`: the Frobenius-nearest Kronecker product (Van Loan and Pitsianis 1993, section 2).
//
// H[mn, mn] has m² blocks H_ii' of n × n. Its rearrangement Ĥ[m², n²] holds, in row (i,i') and column (j,j'),
// the element H[(i,j),(i',j')] (row-major pairs: (i,j) is i·n + j). Then
//
//     ‖H − L ⊗ R‖_F = ‖Ĥ − vec(L) vec(R)ᵀ‖_F,   Ĥ(R)_ii' = ⟨H_ii', R⟩,   Ĥᵀ(L) = Σ_ii' L_ii' H_ii'.
//
// All contiguous and row-major. The rearrangement is stored by `rearrange` alone.
#pragma once

#include <cstdint>

#include "kernels/parallel.h"
#include "kernels/scalar_type.h"

namespace kronla {

// Ĥ from H, or (inverse) H from Ĥ. No workspace.
template <class T>
void rearrange(int64_t batch, int64_t m, int64_t n, const T* H, T* rearranged, const Parallel& parallel);
template <class T>
void unrearrange(int64_t batch, int64_t m, int64_t n, const T* rearranged, T* H, const Parallel& parallel);

// L ← Ĥ(R) and R ← Ĥᵀ(L), for any H, L, R. Each reads H once. Sums over n elements in T, the rest in float64.
// Workspace per worker: m doubles, or n doubles and n elements of T.
template <class T>
void rearranged_matvec(int64_t batch, int64_t m, int64_t n, const T* H, const T* R, T* L, const Parallel& parallel);
template <class T>
void rearranged_rmatvec(int64_t batch, int64_t m, int64_t n, const T* H, const T* L, T* R, const Parallel& parallel);

// H ≈ sigma · L ⊗ R with ‖L‖_F = ‖R‖_F = 1, by `steps` power steps, each of them one pass over half of H:
//
//     L' = Ĥ(R)/‖Ĥ(R)‖_F,  R' = Ĥᵀ(L)/‖Ĥᵀ(L)‖_F,  sigma = ⟨L, Ĥ(R)⟩,  cosine = sigma/‖H‖_F.
//
// L and R hold the start on entry, the result on return. H is symmetric: its lower blocks are read (all of it once,
// in search of non-finite elements). A step that would give 0 keeps the pair. info: 0 or 3 (then NaN everywhere).
// Workspace, elements of T: batch · (m n² + m + 2 (m² + n²)).
template <class T>
struct NearestKronecker {
  int64_t batch, m, n;
  T* L;           // [batch, m, m]
  T* R;           // [batch, n, n]
  T* sigma;       // [batch]
  T* cosine;      // [batch]
  int32_t* info;  // [batch]
};
template <class T>
void nearest_kronecker(const NearestKronecker<T>& result, const T* H, int64_t steps, const Parallel& parallel);

// The same for H = 1/N Σ_s vec(G_s) vec(G_s)ᵀ of G[batch, samples, m, n], never stored: Ĥ(R) = 1/N Σ_s G_s R G_sᵀ.
// ‖H‖_F is the norm of the smaller of the two Gram matrices of the samples, taken by tiles.
// Workspace, elements of T: that of kron_power_step, batch · 2 (m² + n²), and per worker two panels and a tile.
template <class T>
void nearest_kronecker_from_gradients(const NearestKronecker<T>& result, int64_t samples, const void* G,
                                      ScalarType G_type, int64_t steps, const Parallel& parallel);

}  // namespace kronla
