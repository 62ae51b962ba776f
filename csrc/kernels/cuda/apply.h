// Family `apply` on CUDA: the contract of kernels/apply.h, with pointers to device memory.
//
// Grouped products (products.h): the k-th multiplication of every tensor of the list is in the k-th launch, so a list of
// matrices takes two launches, however many shapes it has. A dimension in the middle of a tensor is one product, its slices
// side by side. Tiles and the order of summation follow from one tensor's own shape. Gradients of 16 bits are read as they
// are, with two TF32 products, in a launch of their own, to the bits that their float32 copies give.
//
// Workspace, elements of T, per tensor: its largest intermediate result, twice where it has more than two factors.
#pragma once

#include <vector>

#include "kernels/apply.h"
#include "kernels/cuda/products.h"
#include "kernels/cuda/stream.h"

namespace kronla::cuda {

template <class T>
void apply_modes(const std::vector<ApplyGroup<T>>& groups, const Stream& stream,
                 Float32Method method = Float32Method::Tf32x3);

}  // namespace kronla::cuda
