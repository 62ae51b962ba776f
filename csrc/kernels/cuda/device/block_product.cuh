// Products of small matrices that lie whole in shared memory, by the threads of one block.
//
// Matrices are N × N with N a multiple of 16, zero beyond their own size, rows `ld = N + 4` apart: the fragments of a
// left side then meet no bank twice, those of a right or a transposed side at most two lanes a bank.
#pragma once

#include "kernels/cuda/device/mma.cuh"

namespace kronla::cuda {

inline constexpr int kBlockMost = 64;  // the largest matrix of a block of 128 threads
inline constexpr int kBlockThreads = 2 * kBlockMost;

__host__ __device__ constexpr int block_size_of(int n) { return n <= 16 ? 16 : (n + 15) / 16 * 16; }
__host__ __device__ constexpr int block_step_of(int N) { return N + 4; }

// total[h] = rows i … i + 15 of op(X) times columns j + 8h … j + 8h + 7 of Y, as mma.cuh lays out d. Three TF32 products
// each; the tensor core's sum is carried over a depth of 32 at most, for it truncates.
template <bool kTransposed>
__device__ __forceinline__ void block_tile(const float* X, const float* Y, int N, int i, int j, float (&total)[2][4]) {
  const int ld = block_step_of(N), lane = static_cast<int>(threadIdx.x) % 32, g = lane >> 2, t = lane & 3;
  for (int k0 = 0; k0 < N; k0 += 32) {
    float part[2][4] = {};
    for (int k = k0; k < N && k < k0 + 32; k += 8) {
      uint32_t high_X[4], low_X[4], high_Y[2][2], low_Y[2][2];
#pragma unroll
      for (int w = 0; w < 4; ++w) {
        const int row = i + g + 8 * (w % 2), depth = k + t + 4 * (w / 2);
        split_tf32(kTransposed ? X[depth * ld + row] : X[row * ld + depth], high_X[w], low_X[w]);
      }
#pragma unroll
      for (int w = 0; w < 4; ++w)
        split_tf32(Y[(k + t + 4 * (w % 2)) * ld + j + g + 8 * (w / 2)], high_Y[w / 2][w % 2], low_Y[w / 2][w % 2]);
#pragma unroll
      for (int h = 0; h < 2; ++h) mma_tf32(part[h], low_X, high_Y[h]);
#pragma unroll
      for (int h = 0; h < 2; ++h) mma_tf32(part[h], high_X, low_Y[h]);
#pragma unroll
      for (int h = 0; h < 2; ++h) mma_tf32(part[h], high_X, high_Y[h]);
    }
#pragma unroll
    for (int h = 0; h < 2; ++h)
#pragma unroll
      for (int e = 0; e < 4; ++e) total[h][e] += part[h][e];
  }
}

template <bool kTransposed>
__device__ __forceinline__ void block_tile(const double* X, const double* Y, int N, int i, int j,
                                           double (&total)[2][4]) {
  const int ld = block_step_of(N), lane = static_cast<int>(threadIdx.x) % 32, g = lane >> 2, t = lane & 3;
  for (int k = 0; k < N; k += 4) {
    double left[2], right[2];
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      left[h] = kTransposed ? X[(k + t) * ld + i + 8 * h + g] : X[(i + 8 * h + g) * ld + k + t];
      right[h] = Y[(k + t) * ld + j + 8 * h + g];
    }
#pragma unroll
    for (int h = 0; h < 2; ++h)
#pragma unroll
      for (int v = 0; v < 2; ++v) mma_fp64(total[h][2 * v], total[h][2 * v + 1], left[v], right[h]);
  }
}

// store(i, j, sum) for every element of op(X) Y; of a symmetric result only for the tiles that reach the lower triangle.
template <bool kTransposed, int kBlock, class T, class Store>
__device__ __forceinline__ void block_product(const T* X, const T* Y, int N, bool lower_only, Store&& store) {
  const int side = N / 16, warp = static_cast<int>(threadIdx.x) / 32, lane = static_cast<int>(threadIdx.x) % 32;
  for (int tile = warp; tile < side * side; tile += kBlock / 32) {
    const int i = tile / side * 16, j = tile % side * 16;
    if (lower_only && j > i) continue;
    T total[2][4] = {};
    block_tile<kTransposed>(X, Y, N, i, j, total);
#pragma unroll
    for (int h = 0; h < 2; ++h)
#pragma unroll
      for (int e = 0; e < 4; ++e) store(i + (lane >> 2) + 8 * (e / 2), j + 8 * h + 2 * (lane & 3) + e % 2, total[h][e]);
  }
}

}  // namespace kronla::cuda
