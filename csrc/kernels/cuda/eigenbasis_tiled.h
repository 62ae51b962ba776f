// The eigenbasis kernels for n > 64, by tiles; eigenbasis.cu chooses between them and those of one block a matrix.
#pragma once

#include <vector>

#include "kernels/cuda/stream.h"
#include "kernels/eigenbasis.h"

namespace kronla::cuda {

// The contract of update_in_blocks.
template <class T>
void update_by_tiles(const std::vector<BasisGroup<T>>& groups, double tol, int64_t max_steps, const Stream& stream);

}  // namespace kronla::cuda
