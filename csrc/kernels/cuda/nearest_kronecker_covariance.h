// ‖1/N Σ_s g_s g_sᵀ‖_F for the rows g_s of X[N, size], without storing the covariance: the Gram matrix of the samples and
// that of the coordinates have the same norm, and the smaller is taken, tile by tile.
#pragma once

#include <cstdint>

#include "kernels/cuda/stream.h"

namespace kronla::cuda {

// norm[batch] from X[batch, samples, size]. The depth is cut where there are few tiles; the pieces are added in order.
template <class T>
void covariance_norm(int64_t batch, int64_t samples, int64_t size, const T* X, double* norm, const Stream& stream);

}  // namespace kronla::cuda
