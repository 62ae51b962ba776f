// Family `inverse_root` on CUDA: the contract of kernels/inverse_root.h, with pointers to device memory.
//
// RootMethod::Polynomial. Two ways, chosen by n and the device's shared memory alone:
//
//   up to n = 128   (96 where a block may have less than 217 KB of shared memory, 48 below 62 KB): one block a matrix, and
//                   everything in shared memory
//   beyond          the same steps as tiles of 64 × 64 in global memory, in a fixed sequence of launches
//
// Steps run in float64 and in three TF32 products as on the CPU, λmin(D) ≥ 1/‖L⁻¹‖_F² is taken from D = LLᵀ as there, and
// the residual is exact up to n = 64 and estimated by the same signs above. Products of commuting symmetric matrices: one
// triangle is computed and mirrored.
//
// RootMethod::Eigh: D and its Cholesky factor by the same launches as large matrices, then `eigh` of eigenbasis.h in
// float64: its own kernel up to n = 64, cuSOLVER beyond, with what that means for graphs and for machines without it.
//
// Launches beyond 128, K = ⌈n/64⌉: 2 for D, K + 1 for its factor, 1 for the start of the chain; 4, 4, 5, 5, 6 a step for
// r = 2, 3, 4, 6, 8 and 3 for the last; 1 for the early steps and 1 for the change to float32; k + 3 for the result and its residual of exponent k. The first step is the first
// that a positive semidefinite A with this relative damping may need, which the host knows without waiting: at n = 256 and
// p = 4 seven of eleven for 1e-6, five for 1e-3. A matrix that needs an earlier one after all, for its A is indefinite, is
// taken there by a block of its own in one launch of the whole list. Nothing waits for the device, nothing is allocated but
// the workspace, and descriptors travel as kernel parameters: a CUDA graph can hold all of it (but cuSOLVER).
//
// Workspace: none up to 128; beyond, 9 n² + 64 n doubles a matrix, n rounded up to 4 in one factor. Eigh: 11 n² + 128 n,
// and what `eigh` takes.
#pragma once

#include <vector>

#include "kernels/cuda/stream.h"
#include "kernels/inverse_root.h"

namespace kronla::cuda {

// Whether there are polynomials for D^(-1/r).
bool has_root_polynomials(int64_t r);

// Throws std::invalid_argument for RootMethod::Polynomial with an r without polynomials.
template <class T>
void inverse_root(const std::vector<RootGroup<T>>& groups, const RootOptions& options, const Stream& stream);

}  // namespace kronla::cuda
