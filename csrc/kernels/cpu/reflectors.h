// Blocks of Householder reflectors, I − Y T Yᵀ (Schreiber and Van Loan 1989), made of an orthonormal panel.
#pragma once

#include <cstdint>

#include "kernels/cpu/worker.h"

namespace kronla {

inline constexpr int64_t kReflectors = 32;  // of a block at most

// Y[m,b], unit lower trapezoidal, and V = Y T of P[m,b] with orthonormal columns: P = (I − Y T Yᵀ) [D; 0] with an upper
// triangular T and a diagonal D of ±1; P is lost. By an LU factorisation of P − [D; 0] = −Y T Y₁ᵀ D, Y₁ the square on top of Y
// (Ballard et al. 2014, Reconstructing Householder vectors from tall-skinny QR, equations 3 and 4), whose pivots are of
// magnitude 1 to 2 by the choice of D. Rows of Y and V are kReflectors apart, those of P are b, at most kReflectors.
template <class T>
void reflectors_of(int64_t m, int64_t b, double* P, T* Y, T* V, Worker& worker);

// C[m,n] ← (I − X Yᵀ) C for b reflectors, n at most kReflectors: the product of reflectors for V and Y, its transpose for Y
// and V. The first `zeros` rows of C count as 0. Rows are kReflectors apart.
template <class T>
void reflect(int64_t m, int64_t n, int64_t b, const T* X, const T* Y, T* C, int64_t zeros);

}  // namespace kronla
