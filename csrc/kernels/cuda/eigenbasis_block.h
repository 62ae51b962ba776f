// The eigenbasis kernels for n ≤ 64, one block a matrix; eigenbasis.cu chooses between them and the tiled ones.
#pragma once

#include <vector>

#include "kernels/cuda/stream.h"
#include "kernels/eigenbasis.h"

namespace kronla::cuda {

// The contract of update_eigenbasis. Null pointers for results other than `ratio` are left out: what off_diagonal_ratio
// asks for, with max_steps 0.
template <class T>
void update_in_blocks(const std::vector<BasisGroup<T>>& groups, double tol, int64_t max_steps, const Stream& stream);

}  // namespace kronla::cuda
