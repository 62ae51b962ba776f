// D^(-1/r) by products alone: the scheduled polynomials of inverse_root_schedules.h.
#pragma once

#include <cstdint>

#include "kernels/cpu/worker.h"

namespace kronla {

// Y[n,n] ← D^(-1/r) for a symmetric positive definite D whose spectrum lies in [low, high]; Y is symmetric to the bit.
// T is the precision of the last steps. Returns the number of steps, at most max_steps.
template <class T>
int64_t root_polynomial(int64_t n, const double* D, double low, double high, int64_t r, int64_t max_steps, T* Y,
                        Worker& worker);

// Y[n,n] ← Yᵏ, k ≥ 1, for a symmetric Y.
template <class T>
void symmetric_power(int64_t n, int64_t k, T* Y, Worker& worker);

}  // namespace kronla
