// Family `factors` on CUDA: the contract of kernels/factors.h, with pointers to device memory.
//
// One launch for a ragged list of one gradient type, however many shapes it has: the list travels in the kernel's
// parameters, so a captured graph holds it. (Up to 49 factors in 4,000 bytes, which every CUDA passes, else up to 399 in
// 32,000, which CUDA 12.1 and later pass; more of them, or several gradient types: a launch for each lot.) A block takes a
// tile of 64 × 64 on or below the diagonal, or four of 32 × 32 of small factors, and writes it and its mirror image. Both
// factors of a gradient up to 64 × 64 are in a launch of their own that reads it once (factors_pair.h): larger ones stand
// next to each other, so that the second finds the gradient in the L2 cache. Sums longer than 2048 with few tiles are cut
// into pieces, which one more launch adds up. All that follows from one factor's own shape, and an element is summed in the
// same order in every kind of tile.
//
// float32 sums are products of three TF32 ones, at float32 accuracy (two, of a weighted gradient with one of 16 bits), or
// exact products of bfloat16 and float16 gradients; float64 sums use the float64 tensor cores.
//
// Workspace, elements of T: outer·dim·inner for each weighted matrix; kron_power_step: 2 batch·samples·m·n; for a sum of
// depth k that is cut, at most k/1024 times its tiles.
#pragma once

#include <vector>

#include "kernels/cuda/products.h"
#include "kernels/cuda/stream.h"
#include "kernels/factors.h"

namespace kronla::cuda {

template <class T>
void update_factors(const std::vector<FactorGroup<T>>& groups, double beta, double alpha, const Stream& stream,
                    Float32Method method = Float32Method::Tf32x3);

template <class T>
void kron_power_step(const PowerStep<T>& step, const Stream& stream, Float32Method method = Float32Method::Tf32x3);

}  // namespace kronla::cuda
