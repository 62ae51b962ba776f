// Blocks of Householder reflectors, I − Y T Yᵀ (Schreiber and Van Loan 1989), made of an orthonormal panel.
#pragma once

#include <cstdint>

#include "kernels/cpu/worker.h"

namespace kronla {

// P[m,b] with orthonormal columns ← Y, unit lower trapezoidal, and T[b,b], upper triangular: P = (I − Y T Yᵀ) [D; 0] with
// a diagonal D of ±1. By an LU factorisation of P − [D; 0] (Ballard et al. 2014, Reconstructing Householder vectors from
// tall-skinny QR, equations 3 and 4), whose pivots are of magnitude 1 to 2 by the choice of D.
void reflectors_of(int64_t m, int64_t b, double* P, double* T, Worker& worker);

// C[m,n] ← (I − Y T Yᵀ) C, or with Tᵀ; Y[m,b].
template <class T>
void apply_reflectors(int64_t m, int64_t n, int64_t b, const T* Y, int64_t ldy, const T* t, bool transposed, T* C,
                      int64_t ldc, Worker& worker);

}  // namespace kronla
