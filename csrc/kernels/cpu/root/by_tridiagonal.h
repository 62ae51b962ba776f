// Roots by the tridiagonal form, D = QTQᵀ: D^(-1/p) = Q T^(-1/p) Qᵀ. Of T either the root itself, a sum of inverses of shifted
// matrices, or its eigenvectors.
#pragma once

#include <cstdint>

#include "kernels/cpu/root/quadrature.h"
#include "kernels/cpu/root/root.h"
#include "kernels/cpu/worker.h"

namespace kronla {

// In float64, but for the reflections Q of a float32 root where a residual of `tolerance` allows: those in float32. By
// `quadratures` of p, unless null, and where D's condition allows; else by eigenvectors, which also take the residual for a p
// that is no integer. NaN where they are not found. D[n,n], symmetric, is spoilt on the way and restored.
template <class T>
void root_by_tridiagonal(int64_t n, double* D, double p, double tolerance, RootQuadratures* quadratures, Root<T>& root,
                         Worker& worker);

// All in float32, where small eigenvalues are right to u ‖D‖ only: .7 to .95 of the time. Takes the residual. False where D
// does not look positive definite then.
bool root_by_float32_tridiagonal(int64_t n, const double* D, int64_t p, RootQuadratures& quadratures, Root<float>& root,
                                 Worker& worker);

}  // namespace kronla
