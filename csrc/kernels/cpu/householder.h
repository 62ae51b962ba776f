// Householder's orthogonal factorisation, which no rank or condition breaks; for panels of some tens of columns.
#pragma once

#include <cstdint>

#include "kernels/cpu/worker.h"

namespace kronla {

// A[n,m], the transpose of S[m,n] with m ≥ n and columns of norm about 1 or 0 ← Qᵀ of S = QR with diag(R) ≥ 0, to rounding
// (of a column in the span of those before it: some vector orthogonal to the others); diagonal[n] ← diag(R).
void householder_qr(int64_t m, int64_t n, double* A, double* diagonal, Worker& worker);

}  // namespace kronla
