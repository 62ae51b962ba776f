// Family `factors` on CUDA: the contract of kernels/factors.h, with pointers to device memory.
//
// One launch for a ragged list of one gradient type, however many shapes it has: the list travels in the kernel's
// parameters, so a captured graph holds it. (More than about 500 factors, or several gradient types: a launch for each lot.)
// A block takes a tile of 64 × 64 on or below the diagonal, and writes it and its mirror image. Tiles and the order of
// summation follow from one factor's own shape.
//
// float32 sums are products of three TF32 ones, at float32 accuracy, or exact products of bfloat16 and float16
// gradients; float64 sums use the float64 tensor cores.
//
// Workspace, elements of T: outer·dim·inner for each weighted matrix; kron_power_step: 2 batch·samples·m·n.
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
