// The last step of a factor's update: F ← beta F + alpha · sum, to the lower triangle and its mirror image.
#pragma once

#include "kernels/cuda/device/tile_product.cuh"

namespace kronla::cuda {

// `total` is the tile of F [dim, dim] at (i0, j0). Both stores fill whole sectors of 32 bytes: a quad has 8 neighbours of a
// row, the lanes of equal t 8 of a column.
template <class Tile, class Sum>
__device__ __forceinline__ void average(Sum* F, int dim, Sum beta, Sum alpha, int i0, int j0,
                                        const Sum (&total)[2][4][4]) {
  for_each_in_tile<Tile>(total, [&](int r, int c, Sum sum) {
    const int i = i0 + r, j = j0 + c;
    if (i >= dim || j > i) return;
    Sum* lower = F + int64_t{i} * dim + j;
    Sum value = alpha * sum;
    if (beta != Sum(0)) value += beta * *lower;
    *lower = value;
    F[int64_t{j} * dim + i] = value;
  });
}

}  // namespace kronla::cuda
