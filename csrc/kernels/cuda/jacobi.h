// eigh for n ≤ 64, one block a matrix; eigenbasis.cu chooses between it and the solver.
#pragma once

#include <vector>

#include "kernels/cuda/stream.h"
#include "kernels/eigenbasis.h"

namespace kronla::cuda {

// The contract of eigh.
template <class T>
void eigh_by_jacobi(const std::vector<BasisGroup<T>>& groups, const Stream& stream);

}  // namespace kronla::cuda
