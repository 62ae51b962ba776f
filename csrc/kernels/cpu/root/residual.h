// How far products of matrices are from the identity: the residuals of inverse_root.
#pragma once

#include <cstdint>
#include <vector>

#include "kernels/cpu/worker.h"

namespace kronla {

// ‖E‖_F/√n of E = B_1 B_2 … B_k − I, k ≥ 2, each factor n × n: formed up to n = 64, else estimated by ±1 vectors.
double identity_error(int64_t n, const std::vector<const double*>& factors, Worker& worker);

// ‖Y^⌊p/2⌋ D Y^⌈p/2⌉ − I‖_F/√n of Y = factor · X, p ≥ 1, in float64, of symmetric X and D. Both orders of magnitude
// matter: one-sided, Y^p D, a Y with error 3e-3 reads .33.
template <class T>
double root_residual(int64_t n, const double* D, const T* X, double factor, int64_t p, Worker& worker);

}  // namespace kronla
