// Float64 Cholesky factors and triangular inverses of matrices in shared memory, in 16 × 16 blocks (symmetric_blocks.cuh).
#pragma once

#include "kernels/cuda/device/symmetric_blocks.cuh"

namespace kronla::cuda {

// One block in place, by one warp; its upper part becomes 0. False, for all lanes, where a pivot is not positive.
__device__ __forceinline__ bool factor_block(double* block) {
  const int lane = static_cast<int>(threadIdx.x) % 32, row = lane % kSide;  // the upper half-warp repeats the lower
  double a[kSide];
#pragma unroll
  for (int c = 0; c < kSide; ++c) a[c] = block[place_in_block<double>(row, c)];
  bool good = true;
#pragma unroll
  for (int c = 0; c < kSide; ++c) {
    const double pivot = __shfl_sync(0xffffffffu, a[c], c);
    good = good && pivot > 0.0;  // false for NaN
    const double root = sqrt(pivot);
    a[c] = row == c ? root : a[c] / root;
#pragma unroll
    for (int m = c + 1; m < kSide; ++m) a[m] -= a[c] * __shfl_sync(0xffffffffu, a[c], m);
  }
  __syncwarp();
  if (lane < kSide) {
#pragma unroll
    for (int c = 0; c < kSide; ++c) block[place_in_block<double>(row, c)] = c <= row ? a[c] : 0.0;
  }
  return good;
}

// Row `row` of a block P: P ← P L⁻ᵀ, by one thread. By substitution, which is backward stable; with L⁻¹ the factorisation
// of a D that is hardly definite would break down too early.
__device__ __forceinline__ void solve_row(double* block, int row, const double* L) {
  double x[kSide];
#pragma unroll
  for (int c = 0; c < kSide; ++c) {
    double sum = block[place_in_block<double>(row, c)];
#pragma unroll
    for (int m = 0; m < c; ++m) sum -= x[m] * L[place_in_block<double>(c, m)];
    x[c] = sum / L[place_in_block<double>(c, c)];
  }
#pragma unroll
  for (int c = 0; c < kSide; ++c) block[place_in_block<double>(row, c)] = x[c];
}

// block(row, column) −= what the warp's sum holds.
__device__ __forceinline__ void subtract_block(double* block, double (&sum)[2][4]) {
  for_each_in_block(sum,
                    [&](int row, int column, double value) { block[place_in_block<double>(row, column)] -= value; });
}

// D = LLᵀ in place, by all threads. False, for all of them, where D is not positive definite; `failed` is shared.
__device__ __forceinline__ bool factor_triangle(double* D, int blocks, int* failed) {
  const int warp = static_cast<int>(threadIdx.x) / 32, warps = static_cast<int>(blockDim.x) / 32;
  if (threadIdx.x == 0) *failed = 0;
  for (int k = 0; k < blocks; ++k) {
    __syncthreads();
    const double* diagonal = D + place_of_block(k, k);
    if (warp == 0 && !factor_block(D + place_of_block(k, k)) && threadIdx.x == 0) *failed = 1;
    __syncthreads();
    if (*failed != 0) return false;
    const int below = blocks - k - 1;
    for (int r = static_cast<int>(threadIdx.x); r < below * kSide; r += static_cast<int>(blockDim.x))
      solve_row(D + place_of_block(k + 1 + r / kSide, k), r % kSide, diagonal);
    __syncthreads();
    for (int tile = warp; tile < below * (below + 1) / 2; tile += warps) {
      int i = 0, j = tile;  // the tile-th block below and right of (k, k)
      while (j > i) j -= ++i;
      double sum[2][4] = {};
      multiply_blocks<double>(sum, {D + place_of_block(k + 1 + i, k), false},
                              {D + place_of_block(k + 1 + j, k), false});
      subtract_block(D + place_of_block(k + 1 + i, k + 1 + j), sum);
    }
  }
  __syncthreads();
  return true;
}

// inverse ← L⁻¹, by all threads; blocks on the diagonal are whole, with zeros above it.
__device__ __forceinline__ void invert_triangle(const double* L, double* inverse, int blocks) {
  const int warp = static_cast<int>(threadIdx.x) / 32, warps = static_cast<int>(blockDim.x) / 32;
  for (int column = static_cast<int>(threadIdx.x); column < blocks * kSide; column += static_cast<int>(blockDim.x)) {
    const int i = column / kSide, c = column % kSide;
    const double* block = L + place_of_block(i, i);
    double x[kSide];
#pragma unroll
    for (int r = 0; r < kSide; ++r) {
      double sum = r == c ? 1.0 : 0.0;
#pragma unroll
      for (int m = 0; m < r; ++m) sum -= block[place_in_block<double>(r, m)] * x[m];
      x[r] = sum / block[place_in_block<double>(r, r)];
    }
#pragma unroll
    for (int r = 0; r < kSide; ++r) inverse[place_of_block(i, i) + place_in_block<double>(r, c)] = x[r];
  }
  // L⁻¹_ij = −L⁻¹_ii Σ_{j ≤ k < i} L_ik L⁻¹_kj, one diagonal of blocks after the other.
  for (int gap = 1; gap < blocks; ++gap) {
    __syncthreads();
    for (int j = warp; j + gap < blocks; j += warps) {
      const int i = j + gap;
      double* block = inverse + place_of_block(i, j);
      double sum[2][4] = {}, product[2][4] = {};
      for (int k = j; k < i; ++k)
        multiply_blocks<double>(sum, {L + place_of_block(i, k), false}, {inverse + place_of_block(k, j), true});
      for_each_in_block(
          sum, [&](int row, int column, double value) { block[place_in_block<double>(row, column)] = -value; });
      __syncwarp();
      multiply_blocks<double>(product, {inverse + place_of_block(i, i), false}, {block, true});
      __syncwarp();
      for_each_in_block(product,
                        [&](int row, int column, double value) { block[place_in_block<double>(row, column)] = value; });
    }
  }
  __syncthreads();
}

}  // namespace kronla::cuda
