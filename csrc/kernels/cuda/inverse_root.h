// Family `inverse_root` on CUDA: the contract of kernels/inverse_root.h, with pointers to device memory.
//
// RootMethod::Polynomial. Two ways, chosen by n and the device's shared memory alone:
//
//   up to n = 128   (96 where a block may have less than 217 KB of shared memory, 48 below 62 KB): one block a matrix, and
//                   everything in shared memory
//   beyond          the same steps as tiles of 64 × 64 in global memory, in a fixed sequence of launches: a step of a chain
//                   is a few of them, and a matrix whose chain does not have the step lets them pass
//
// Steps run in float64 and in three TF32 products as on the CPU, λmin(D) ≥ 1/‖L⁻¹‖_F² is taken from D = LLᵀ as there, and
// the residual is exact up to n = 64 and estimated by the same signs above. Products of commuting symmetric matrices: one
// triangle is computed and mirrored.
//
// Workspace: none up to 128; beyond, 9 n² + 64 n doubles a matrix, n rounded up to 4 in one factor.
#pragma once

#include <vector>

#include "kernels/cuda/stream.h"
#include "kernels/inverse_root.h"

namespace kronla::cuda {

// Whether there are polynomials for D^(-1/r).
bool has_root_polynomials(int64_t r);

// Throws std::invalid_argument for RootMethod::Eigh, which is not implemented here, and for an r without polynomials.
template <class T>
void inverse_root(const std::vector<RootGroup<T>>& groups, const RootOptions& options, const Stream& stream);

}  // namespace kronla::cuda
