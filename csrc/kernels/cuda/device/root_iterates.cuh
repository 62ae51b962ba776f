// The iterates of inverse_root in shared memory, by one block of threads: M, X and W.
//
// W is for T2 and then for q and its powers. All are updated in place, a product's tiles waiting in registers until all of it
// is computed. What is not stored is recomputed as a product's side is read: T1 from M, and 2 c3 T1 + 2 c4 T2 from M and W;
// so M never goes through T1, which would lose its small elements.
#pragma once

#include "kernels/cuda/device/reduce.cuh"
#include "kernels/cuda/device/symmetric_blocks.cuh"
#include "kernels/cuda/device/tasks.cuh"
#include "kernels/inverse_root_schedules.h"

namespace kronla::cuda {

// How a matrix of kBlocks × kBlocks blocks is worked on. Warps: so many that each of a multiprocessor's four quarters has
// as many tiles as the others. kBlocksTogether: blocks that fit a multiprocessor of sm_90; it bounds the registers.
template <int kBlocks>
struct RootShape {
  static constexpr int kWarps = kBlocks == 1 ? 1 : kBlocks <= 3 ? 3 : kBlocks == 4 ? 5 : kBlocks == 6 ? 8 : 12;
  static constexpr int kThreads = 32 * kWarps;
  static constexpr int kTiles = (kBlocks * (kBlocks + 1) / 2 + kWarps - 1) / kWarps;  // of a warp
  static constexpr int kTogether = kBlocks == 1 ? 16 : kBlocks <= 3 ? 5 : kBlocks == 4 ? 3 : 1;
  static constexpr int kElements = elements_of_triangle(kBlocks);
  static constexpr size_t kMatrices = 3 * kElements * sizeof(double);
};

template <int kTiles>
__device__ __forceinline__ WarpTiles<kTiles> lower_tiles(int blocks) {
  WarpTiles<kTiles> tiles;
  const int warp = unhoisted(static_cast<int>(threadIdx.x) / 32);
#pragma unroll
  for (int q = 0; q < kTiles; ++q) {
    const int index = warp * kTiles + q;
    triangular_tile(index, tiles.row[q], tiles.column[q]);
    if (index >= blocks * (blocks + 1) / 2) tiles.row[q] = -1;
  }
  return tiles;
}

template <int kTiles>
__device__ __forceinline__ WarpTiles<kTiles> rectangle_tiles(int rows, int columns) {
  WarpTiles<kTiles> tiles;
  const int warp = unhoisted(static_cast<int>(threadIdx.x) / 32);
#pragma unroll
  for (int q = 0; q < kTiles; ++q) {
    const int index = warp * kTiles + q;
    tiles.row[q] = index < rows * columns ? index / columns : -1;
    tiles.column[q] = index % columns;
  }
  return tiles;
}

// Calls body(tile, row, column, sum), counted from the matrix's corner, for what this lane holds.
template <class E, int kTiles, class Body>
__device__ __forceinline__ void for_each_in_tiles(const WarpTiles<kTiles>& tiles, E (&sum)[kTiles][2][4], Body&& body) {
#pragma unroll
  for (int q = 0; q < kTiles; ++q) {
    if (tiles.row[q] < 0) continue;
    const int i0 = tiles.row[q] * kSide, j0 = tiles.column[q] * kSide;
    for_each_in_block(sum[q], [&](int row, int column, E& value) { body(i0 + row, j0 + column, value); });
  }
}

template <class E, int kTiles>
__device__ __forceinline__ void store_tiles(const WarpTiles<kTiles>& tiles, E* matrix, E (&sum)[kTiles][2][4]) {
#pragma unroll
  for (int q = 0; q < kTiles; ++q)
    if (tiles.row[q] >= 0) store_block(matrix, tiles.row[q], tiles.column[q], sum[q]);
}

// T1 = scale M − I, the argument of the Chebyshev polynomials, as a side of a product.
template <class E>
struct ChebyshevArgument {
  SymmetricRows<E> M;
  E scale;
  __device__ __forceinline__ E of(E m, bool diagonal) const { return scale * m - (diagonal ? E(1) : E(0)); }
  __device__ __forceinline__ void operator()(Fragment<E>& fragment, int i, int k, int step) const {
    E m[4];
    load_lane(M.view(i, k), step, m);
#pragma unroll
    for (int e = 0; e < 4; ++e) set_fragment(fragment, e, of(m[e], i == k && lane_on_diagonal(e, step)));
  }
};

// c3 T1 + c4 T2.
template <class E>
struct UpperTerms {
  ChebyshevArgument<E> T1;
  SymmetricRows<E> T2;
  E c3, c4;
  __device__ __forceinline__ void operator()(Fragment<E>& fragment, int i, int k, int step) const {
    E m[4], t2[4];
    load_lane(T1.M.view(i, k), step, m);
    load_lane(T2.view(i, k), step, t2);
#pragma unroll
    for (int e = 0; e < 4; ++e)
      set_fragment(fragment, e, c3 * T1.of(m[e], i == k && lane_on_diagonal(e, step)) + c4 * t2[e]);
  }
};

// All is inlined, and each product stands once in the code of its loop: a call would save and restore the registers of both
// sides through local memory.

// target ← left right, which may be target; the product is symmetric, for its sides commute. By all threads, as all below.
template <class E, int kBlocks>
__device__ __forceinline__ void multiply_symmetric(E* target, const E* left, const E* right) {
  constexpr int kTiles = RootShape<kBlocks>::kTiles;
  const WarpTiles<kTiles> tiles = lower_tiles<kTiles>(kBlocks);
  E sum[kTiles][2][4];
  multiply_tiles(tiles, kBlocks, SymmetricRows<E>{left}, SymmetricRows<E>{right}, sum);
  __syncthreads();
  store_tiles(tiles, target, sum);
  __syncthreads();
}

// W ← T2 = 2 T1² − I, T1 = scale M − I.
template <class E, int kBlocks>
__device__ __forceinline__ void second_chebyshev(const E* M, E* W, E scale) {
  constexpr int kTiles = RootShape<kBlocks>::kTiles;
  const WarpTiles<kTiles> tiles = lower_tiles<kTiles>(kBlocks);
  const ChebyshevArgument<E> T1{{M}, scale};
  E sum[kTiles][2][4];
  multiply_tiles(tiles, kBlocks, T1, T1, sum);
  for_each_in_tiles(tiles, sum, [&](int row, int column, E& t2) { t2 = E(2) * t2 - (row == column ? E(1) : E(0)); });
  store_tiles(tiles, W, sum);
  __syncthreads();
}

// W, which is T2, becomes q = (c0 − c4) I + (c1 − c3) T1 + c2 T2 + T2 (2 c3 T1 + 2 c4 T2); X too in the `first` step.
template <class E, int kBlocks>
__device__ __forceinline__ void chebyshev_series(const E* M, E* W, E* X, const RootStep& step, bool first) {
  constexpr int kTiles = RootShape<kBlocks>::kTiles;
  const WarpTiles<kTiles> tiles = lower_tiles<kTiles>(kBlocks);
  const ChebyshevArgument<E> T1{{M}, static_cast<E>(2.0 / step.high)};
  E sum[kTiles][2][4];
  const UpperTerms<E> upper{T1, {W}, static_cast<E>(2.0 * step.c[3]), static_cast<E>(2.0 * step.c[4])};
  multiply_tiles(tiles, kBlocks, SymmetricRows<E>{W}, upper, sum);
  const E c0 = static_cast<E>(step.c[0] - step.c[4]), c1 = static_cast<E>(step.c[1] - step.c[3]);
  const E c2 = static_cast<E>(step.c[2]);
  for_each_in_tiles(tiles, sum, [&](int row, int column, E& q) {
    const int place = place_of<E>(row, column);
    const bool diagonal = row == column;
    q += c1 * T1.of(M[place], diagonal) + c2 * W[place] + (diagonal ? c0 : E(0));
  });
  __syncthreads();
  store_tiles(tiles, W, sum);
  if (first) store_tiles(tiles, X, sum);
  __syncthreads();
}

// The iterates in elements of type E.
template <class E, int kBlocks>
struct RootIterates {
  E *X, *M, *W;

  __device__ __forceinline__ explicit RootIterates(double* shared)
      : X(reinterpret_cast<E*>(shared)), M(X + RootShape<kBlocks>::kElements), W(M + RootShape<kBlocks>::kElements) {}

  __device__ __forceinline__ void multiply(E* target, const E* left, const E* right) const {
    multiply_symmetric<E, kBlocks>(target, left, right);
  }

  __device__ __forceinline__ void copy(E* target, const E* source) const {
    for (int e = unhoisted(static_cast<int>(threadIdx.x)); e < RootShape<kBlocks>::kElements;
         e += static_cast<int>(blockDim.x))
      target[e] = source[e];
    __syncthreads();
  }

  // W ← q(M) = Σ_k c_k T_k(T1), T1 = (2/high) M − I, by two products: T2 = 2 T1² − I, T3 = 2 T2 T1 − T1, T4 = 2 T2² − I.
  // In monomials the accuracy would be 25 times worse.
  __device__ __forceinline__ void evaluate(const RootStep& step, bool first) const {
    second_chebyshev<E, kBlocks>(M, W, static_cast<E>(2.0 / step.high));
    chebyshev_series<E, kBlocks>(M, W, X, step, first);
  }

  // X ← X q(M) and, unless it is the last step, M ← q(M)^r M.
  __device__ __forceinline__ void advance(const RootStep& step, int r, bool first, bool last) const {
    evaluate(step, first);
    // A power of q in W, to be applied once or three times: r = 2: q²; 3: q; 4: (q²)²; 6: q²; 8: ((q²)²)².
    const int squarings = r == 3 ? 0 : r == 8 ? 3 : r == 4 ? 2 : 1, times = r % 3 == 0 ? 3 : 1;
    const int end = last ? 1 : 1 + squarings + times;
#pragma unroll 1
    for (int k = first ? 1 : 0; k < end; ++k) {
      E* target = k == 0 ? X : k <= squarings ? W : M;
      multiply(target, W, target);
    }
  }

  // X ← Xᵏ by binary powers, the low bits first; M and W are lost.
  __device__ __forceinline__ void power(int k) const {
    if (k == 1) return;
    copy(M, X);
    bool started = false;
#pragma unroll 1
    for (bool squaring = false; k > 0;) {  // in turn X ← X M where the bit is set, and M ← M²
      E* target = squaring ? M : X;
      if (squaring || (k % 2 == 1 && started)) {
        multiply(target, target, M);
      } else if (k % 2 == 1) {
        copy(X, M);
        started = true;
      }
      if (squaring || k == 1) k /= 2;
      squaring = !squaring;
    }
  }
};

// X, times a factor, and M become elements of another type, at other places, by way of registers.
template <class S, class E, int kBlocks>
__device__ __forceinline__ void convert(double* shared, double factor_X) {
  constexpr int kTiles = RootShape<kBlocks>::kTiles;
  const RootIterates<S, kBlocks> from(shared);
  const RootIterates<E, kBlocks> to(shared);
  if constexpr (sizeof(S) == sizeof(E)) {
    for (int e = unhoisted(static_cast<int>(threadIdx.x)); e < RootShape<kBlocks>::kElements;
         e += static_cast<int>(blockDim.x))
      to.X[e] = static_cast<E>(static_cast<double>(from.X[e]) * factor_X);
  } else {
    const WarpTiles<kTiles> tiles = lower_tiles<kTiles>(kBlocks);
    E X[kTiles][2][4], M[kTiles][2][4];
    for_each_in_tiles(tiles, X, [&](int row, int column, E& x) {
      x = static_cast<E>(static_cast<double>(from.X[place_of<S>(row, column)]) * factor_X);
    });
    for_each_in_tiles(tiles, M,
                      [&](int row, int column, E& m) { m = static_cast<E>(from.M[place_of<S>(row, column)]); });
    __syncthreads();
    store_tiles(tiles, to.X, X);
    store_tiles(tiles, to.M, M);
  }
  __syncthreads();
}

}  // namespace kronla::cuda
