// The eigenbasis kernel for 64 < n ≤ 128 in float32, one block a matrix; eigenbasis.cu chooses between it and the tiled
// ones.
#pragma once

#include <vector>

#include "kernels/cuda/stream.h"
#include "kernels/eigenbasis.h"

namespace kronla::cuda {

// Whether a matrix of n rows fits: up to 96 in the 163 KB of sm_80, up to 128 in the 227 KB of sm_90 and sm_100.
bool fits_wide_block(int64_t n);

// The contract of update_in_blocks, but for BasisMethod::Eigh.
void update_in_wide_blocks(const std::vector<BasisGroup<float>>& groups, double tol, int64_t max_steps,
                           const Stream& stream);

}  // namespace kronla::cuda
