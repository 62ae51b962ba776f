// Symmetric matrices in shared memory, and their products on the tensor cores.
//
// Of a matrix the 16 × 16 blocks on and below the diagonal are kept, row by row, those on the diagonal whole: at n = 128
// three float64 matrices fit in the 227 KB of sm_90. A block above the diagonal is read from its mirror image.
//
// Within a block the columns of a row are swizzled by multiples of four, so that the loads of the products meet no bank
// twice, neither in (g, t) nor in (t, g), where g = lane / 4 and t = lane % 4: floats by bits 1 and 2 of the row, the
// higher of which moves four columns and the lower eight; doubles, which move in half-warps, by its bits 0 and 1.
#pragma once

#include "kernels/cuda/device/mma.cuh"

namespace kronla::cuda {

// The same number, of which the compiler knows nothing: what is computed from it stays where it is used. Places in a block
// are the same in every product of a loop; computed once before it, they would push its sums out of the registers.
__device__ __forceinline__ int unhoisted(int x) {
#if defined(__CUDACC__)
  asm volatile("" : "+r"(x));
#endif
  return x;
}

inline constexpr int kSide = 16;  // of a block
inline constexpr int kBlockElements = kSide * kSide;

// In a block.
template <class E>
__device__ __forceinline__ int place_in_block(int row, int column) {
  const int swizzle = sizeof(E) == 8 ? (row & 3) << 2 : (row & 2) << 2 | (row & 4);
  return row * kSide + (column ^ swizzle);
}

// Of block (i, j), i ≥ j, counted in elements.
__device__ __forceinline__ int place_of_block(int i, int j) { return (i * (i + 1) / 2 + j) * kBlockElements; }

__host__ __device__ constexpr int elements_of_triangle(int blocks) {
  return blocks * (blocks + 1) / 2 * kBlockElements;
}

// Of element (row, column) of a symmetric matrix.
template <class E>
__device__ __forceinline__ int place_of(int row, int column) {
  if (row / kSide < column / kSide) {
    const int other = row;
    row = column;
    column = other;
  }
  return place_of_block(row / kSide, column / kSide) + place_in_block<E>(row % kSide, column % kSide);
}

// A block as one side of a product sees it, [row, k].
template <class E>
struct BlockView {
  const E* data;
  bool transposed;  // (row, k) is stored at (k, row)
};

// The part of a side that one instruction takes: 16 rows, 8 of the depth. Element e is (g + 8 (e % 2), t + 4 (e / 2)).
template <class E>
struct Fragment;
template <>
struct Fragment<double> {
  double value[4];
};
template <>
struct Fragment<float> {  // in two TF32 parts
  uint32_t high[4], low[4];
};

__device__ __forceinline__ void set_fragment(Fragment<double>& fragment, int e, double value) {
  fragment.value[e] = value;
}
__device__ __forceinline__ void set_fragment(Fragment<float>& fragment, int e, float value) {
  split_tf32(value, fragment.high[e], fragment.low[e]);
}

// The elements of a fragment that this lane holds, of half `step` of the depth. With the swizzle above, a lane's places
// differ by constants and exclusive ors with constants: one address each way.
template <class E>
__device__ __forceinline__ void load_lane(const BlockView<E>& block, int step, E (&x)[4]) {
  constexpr bool kWide = sizeof(E) == 8;
  const int lane = static_cast<int>(threadIdx.x) % 32, g = lane >> 2, t = lane & 3;
  if (block.transposed) {  // the same for the whole warp
    const int corner = t * kSide + (g ^ (kWide ? t << 2 : (t & 2) << 2));
#pragma unroll
    for (int e = 0; e < 4; ++e) {
      const int lower = e & 1, right = e >> 1;
      x[e] = block.data[(corner ^ (8 * lower ^ (kWide ? 0 : 4 * right))) + 4 * kSide * right + 8 * kSide * step];
    }
  } else {
    const int corner = place_in_block<E>(g, t);
#pragma unroll
    for (int e = 0; e < 4; ++e) x[e] = block.data[(corner ^ (4 * (e >> 1) + 8 * step)) + 8 * kSide * (e & 1)];
  }
}

// Whether element e of such a fragment is on the diagonal of its block.
__device__ __forceinline__ bool lane_on_diagonal(int e, int step) {
  const int lane = static_cast<int>(threadIdx.x) % 32, g = lane >> 2, t = lane & 3;
  return g + 8 * (e & 1) == 8 * step + t + 4 * (e >> 1);
}

template <class E>
__device__ __forceinline__ void load_fragment(Fragment<E>& fragment, const BlockView<E>& block, int step) {
  E x[4];
  load_lane(block, step, x);
#pragma unroll
  for (int e = 0; e < 4; ++e) set_fragment(fragment, e, x[e]);
}

// sum += A Bᵀ; sum[half][e] is (g + 8 (e / 2), 8 half + 2t + e % 2) of a 16 × 16 block.
__device__ __forceinline__ void multiply_fragments(double (&sum)[2][4], const Fragment<double>& A,
                                                   const Fragment<double>& B) {
#pragma unroll
  for (int half = 0; half < 2; ++half) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
    // One instruction of sm_90, of the full rate there, for the four of sm_80; the same layout.
    asm volatile("mma.sync.aligned.m16n8k8.row.col.f64.f64.f64.f64 {%0,%1,%2,%3},{%4,%5,%6,%7},{%8,%9},{%0,%1,%2,%3};\n"
                 : "+d"(sum[half][0]), "+d"(sum[half][1]), "+d"(sum[half][2]), "+d"(sum[half][3])
                 : "d"(A.value[0]), "d"(A.value[1]), "d"(A.value[2]), "d"(A.value[3]), "d"(B.value[half]),
                   "d"(B.value[2 + half]));
#else
#pragma unroll
    for (int k = 0; k < 2; ++k) {
      mma_fp64(sum[half][0], sum[half][1], A.value[2 * k], B.value[2 * k + half]);
      mma_fp64(sum[half][2], sum[half][3], A.value[2 * k + 1], B.value[2 * k + half]);
    }
#endif
  }
}
__device__ __forceinline__ void multiply_fragments(float (&sum)[2][4], const Fragment<float>& A,
                                                   const Fragment<float>& B) {
  const auto pass = [&](const uint32_t (&a)[4], const uint32_t (&b)[4]) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const uint32_t right[2] = {b[half], b[2 + half]};
      mma_tf32(sum[half], a, right);
    }
  };
  pass(A.low, B.high);  // the small terms first
  pass(A.high, B.low);
  pass(A.high, B.high);
}

// sum += A Bᵀ of two blocks.
template <class E>
__device__ __forceinline__ void multiply_blocks(E (&sum)[2][4], const BlockView<E>& A, const BlockView<E>& B) {
#pragma unroll
  for (int step = 0; step < 2; ++step) {
    Fragment<E> left, right;
    load_fragment(left, A, step);
    load_fragment(right, B, step);
    multiply_fragments(sum, left, right);
  }
}

// Calls body(row, column, sum) for the elements of a block that this lane holds.
template <class E, class Body>
__device__ __forceinline__ void for_each_in_block(E (&sum)[2][4], Body&& body) {
  const int lane = unhoisted(static_cast<int>(threadIdx.x)) % 32, g = lane >> 2, t = lane & 3;
#pragma unroll
  for (int half = 0; half < 2; ++half)
#pragma unroll
    for (int e = 0; e < 4; ++e) body(g + 8 * (e >> 1), 8 * half + 2 * t + (e & 1), sum[half][e]);
}

// Block (i, j) of a symmetric matrix: what a tile on the diagonal holds above it is the mirror image of what is below.
template <class E>
__device__ __forceinline__ void store_block(E* matrix, int i, int j, E (&sum)[2][4]) {
  E* block = matrix + place_of_block(i, j);
  for_each_in_block(sum, [&](int row, int column, E value) {
    if (i != j) {
      block[place_in_block<E>(row, column)] = value;
    } else if (row >= column) {
      block[place_in_block<E>(row, column)] = value;
      block[place_in_block<E>(column, row)] = value;
    }
  });
}

// The rows of a symmetric matrix as a side of a product.
template <class E>
struct SymmetricRows {
  const E* matrix;
  __device__ __forceinline__ BlockView<E> view(int i, int k) const {
    return k <= i ? BlockView<E>{matrix + place_of_block(i, k), false}
                  : BlockView<E>{matrix + place_of_block(k, i), true};
  }
  __device__ __forceinline__ void operator()(Fragment<E>& fragment, int i, int k, int step) const {
    load_fragment(fragment, view(i, k), step);
  }
};

// The tiles of a product that a warp computes: neighbours in a row-major order, so that they share rows of the left side.
template <int kTiles>
struct WarpTiles {
  int row[kTiles], column[kTiles];  // row < 0: none
};

// sum[q] += Σ_k left(row of q, k) right(column of q, k)ᵀ. A side fills a fragment: side(fragment, block row, block k, step).
template <class E, int kTiles, class Left, class Right>
__device__ __forceinline__ void multiply_tiles(const WarpTiles<kTiles>& tiles, int depth, const Left& left,
                                               const Right& right, E (&sum)[kTiles][2][4]) {
#pragma unroll
  for (int q = 0; q < kTiles; ++q)
#pragma unroll
    for (int e = 0; e < 8; ++e) sum[q][e / 4][e % 4] = E(0);
#pragma unroll 1  // unrolled, the fragments of several k would push the sums out of the registers
  for (int k = 0; k < depth; ++k) {
    Fragment<E> A[2];
#pragma unroll
    for (int q = 0; q < kTiles; ++q) {
      if (tiles.row[q] < 0) continue;  // the same for the whole warp
      if (q == 0 || tiles.row[q] != tiles.row[q - 1]) {
        left(A[0], tiles.row[q], k, 0);
        left(A[1], tiles.row[q], k, 1);
      }
      // Tensor cores truncate float sums where they add: they carry them over one block only, a depth of 16.
      E part[2][4] = {};
#pragma unroll
      for (int step = 0; step < 2; ++step) {
        Fragment<E> B;
        right(B, tiles.column[q], k, step);
        if constexpr (sizeof(E) == 8) {
          multiply_fragments(sum[q], A[step], B);
        } else {
          multiply_fragments(part, A[step], B);
        }
      }
      if constexpr (sizeof(E) == 4) {
#pragma unroll
        for (int e = 0; e < 8; ++e) sum[q][e / 4][e % 4] += part[e / 4][e % 4];
      }
    }
  }
}

}  // namespace kronla::cuda
