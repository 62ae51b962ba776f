// How far products of matrices are from the identity: the residuals of inverse_root.
#pragma once

#include <cstdint>
#include <vector>

#include "kernels/cpu/worker.h"

namespace kronla {

// ‖E‖_F/√n of E = B_1 B_2 … B_k − I, k ≥ 2, each factor n × n: formed up to n = 64, else estimated by ±1 vectors.
double identity_error(int64_t n, const std::vector<const double*>& factors, Worker& worker);

// ‖X^⌊p/2⌋ D X^⌈p/2⌉ − I‖_F/√n, p ≥ 1, of symmetric X and D. Both orders of magnitude matter: one-sided, X^p D, an X
// with error 3e-3 reads .33.
double root_residual(int64_t n, const double* D, const double* X, int64_t p, Worker& worker);

}  // namespace kronla
