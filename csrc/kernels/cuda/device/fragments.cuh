// Fragments of matrix products from panels in shared memory, as mma.cuh lays them out.
#pragma once

#include "kernels/cuda/device/mma.cuh"
#include "kernels/cuda/device/panel.cuh"

namespace kronla::cuda {

// Element (row, k) of a panel.
template <class Shape, Layout kLayout, class E>
__device__ __forceinline__ E panel_element(const E* panel, int row, int k) {
  return kLayout == Layout::RowMajor ? panel[row * Shape::kRowStep + k] : panel[k * Shape::kColumnStep + row];
}

// 32 bytes of depth of 16 rows, as they are, for the left side of a product: words[4] as mma.cuh says.
template <class Shape, Layout kLayout, class E>
__device__ __forceinline__ void load_left_words(uint32_t (&words)[4], const E* panel, int row, int step) {
  const int lane = static_cast<int>(threadIdx.x) % 32, r = lane & 7, second = lane >> 3 & 1, upper = lane >> 4;
  if constexpr (kLayout == Layout::RowMajor) {
    const auto* as_words = reinterpret_cast<const uint32_t*>(panel);
    constexpr int kStep = Shape::kRowStep * static_cast<int>(sizeof(E)) / 4;
    load_matrices<false>(words, as_words + (row + r + 8 * second) * kStep + 8 * step + 4 * upper);
  } else if constexpr (sizeof(E) == 2) {
    load_matrices<true>(words, panel + (16 * step + r + 8 * upper) * Shape::kColumnStep + row + 8 * second);
  } else {
    const E* at = panel + (8 * step + (lane & 3)) * Shape::kColumnStep + row + (lane >> 2);
    words[0] = __float_as_uint(at[0]);
    words[1] = __float_as_uint(at[8]);
    words[2] = __float_as_uint(at[4 * Shape::kColumnStep]);
    words[3] = __float_as_uint(at[4 * Shape::kColumnStep + 8]);
  }
}

// The same of 16 rows for the right side: words {0, 1} for the first eight of them, {2, 3} for the others.
template <class Shape, Layout kLayout, class E>
__device__ __forceinline__ void load_right_words(uint32_t (&words)[4], const E* panel, int row, int step) {
  const int lane = static_cast<int>(threadIdx.x) % 32, r = lane & 7, upper = lane >> 3 & 1, second = lane >> 4;
  if constexpr (kLayout == Layout::RowMajor) {
    const auto* as_words = reinterpret_cast<const uint32_t*>(panel);
    constexpr int kStep = Shape::kRowStep * static_cast<int>(sizeof(E)) / 4;
    load_matrices<false>(words, as_words + (row + r + 8 * second) * kStep + 8 * step + 4 * upper);
  } else if constexpr (sizeof(E) == 2) {
    load_matrices<true>(words, panel + (16 * step + r + 8 * upper) * Shape::kColumnStep + row + 8 * second);
  } else {
    const E* at = panel + (8 * step + (lane & 3)) * Shape::kColumnStep + row + (lane >> 2);
    words[0] = __float_as_uint(at[0]);
    words[1] = __float_as_uint(at[4 * Shape::kColumnStep]);
    words[2] = __float_as_uint(at[8]);
    words[3] = __float_as_uint(at[4 * Shape::kColumnStep + 8]);
  }
}

// 16 rows for a TF32 product, in two parts. A 16-bit element is exact in the first one, and `low` is not set.
template <class Shape, Layout kLayout>
__device__ __forceinline__ void load_left(uint32_t (&high)[4], uint32_t (&low)[4], const float* panel, int row,
                                          int step, ScalarType) {
  uint32_t words[4];
  load_left_words<Shape, kLayout>(words, panel, row, step);
#pragma unroll
  for (int w = 0; w < 4; ++w) split_tf32(__uint_as_float(words[w]), high[w], low[w]);
}
template <class Shape, Layout kLayout>
__device__ __forceinline__ void load_left(uint32_t (&high)[4], uint32_t (&)[4], const uint16_t* panel, int row,
                                          int step, ScalarType type) {
  const int lane = static_cast<int>(threadIdx.x) % 32, i = row + (lane >> 2), k = 8 * step + (lane & 3);
#pragma unroll
  for (int w = 0; w < 4; ++w)
    high[w] = __float_as_uint(float_of_16(panel_element<Shape, kLayout>(panel, i + w % 2 * 8, k + w / 2 * 4), type));
}

template <class Shape, Layout kLayout>
__device__ __forceinline__ void load_right(uint32_t (&high)[2][2], uint32_t (&low)[2][2], const float* panel, int row,
                                           int step, ScalarType) {
  uint32_t words[4];
  load_right_words<Shape, kLayout>(words, panel, row, step);
#pragma unroll
  for (int w = 0; w < 4; ++w) split_tf32(__uint_as_float(words[w]), high[w / 2][w % 2], low[w / 2][w % 2]);
}
template <class Shape, Layout kLayout>
__device__ __forceinline__ void load_right(uint32_t (&high)[2][2], uint32_t (&)[2][2], const uint16_t* panel, int row,
                                           int step, ScalarType type) {
  const int lane = static_cast<int>(threadIdx.x) % 32, i = row + (lane >> 2), k = 8 * step + (lane & 3);
#pragma unroll
  for (int w = 0; w < 4; ++w)
    high[w / 2][w % 2] =
        __float_as_uint(float_of_16(panel_element<Shape, kLayout>(panel, i + w / 2 * 8, k + w % 2 * 4), type));
}

}  // namespace kronla::cuda
