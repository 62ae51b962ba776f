// The product of two panels' rows over the whole depth: a 64 × 64 tile of A Bᵀ, by 128 threads.
//
// Four warps take 32 × 32 each. Panels come through `kStages` stages of asynchronous copies, one block barrier a stage.
// In `sum[m][n][e]` a lane (g = lane / 4, t = lane % 4) holds row 16m + g + 8(e / 2), column 8n + 2t + e % 2 of its warp's
// part. The order of summation depends on the depth alone.
#pragma once

#include "kernels/cuda/device/mma.cuh"
#include "kernels/cuda/device/panel.cuh"

namespace kronla::cuda {

// How elements are multiplied. Tensor cores truncate where they add, a bias of up to a unit of the last place an
// instruction; so sums are carried there over one stage only and then added to the total, which rounds to nearest.
struct Tf32x3 {  // float32 accuracy from three TF32 products: low·high + high·low + high·high
  using Element = float;
  using Sum = float;
  static constexpr int kBlocks = 3;  // that share a multiprocessor: at most 168 registers a thread
};
struct Fp32 {  // without tensor cores
  using Element = float;
  using Sum = float;
  static constexpr int kBlocks = 3;
};
struct Bf16 {
  using Element = uint16_t;
  using Sum = float;
  static constexpr int kBlocks = 3;
};
struct Fp16 {
  using Element = uint16_t;
  using Sum = float;
  static constexpr int kBlocks = 3;
};
struct Fp64 {
  using Element = double;
  using Sum = double;
  static constexpr int kBlocks = 2;
};

// 32 bytes of depth of 16 rows, for the left side of a product: words[4] as mma.cuh says.
template <class E, Layout kLayout>
__device__ __forceinline__ void load_left(uint32_t (&words)[4], const E* panel, int row, int step) {
  const int lane = static_cast<int>(threadIdx.x) % 32, r = lane & 7, second = lane >> 3 & 1, upper = lane >> 4;
  if constexpr (kLayout == Layout::RowMajor) {
    const auto* as_words = reinterpret_cast<const uint32_t*>(panel);
    constexpr int kStep = PanelShape<E>::kRowStep * static_cast<int>(sizeof(E)) / 4;
    load_matrices<false>(words, as_words + (row + r + 8 * second) * kStep + 8 * step + 4 * upper);
  } else if constexpr (sizeof(E) == 2) {
    load_matrices<true>(words, panel + (16 * step + r + 8 * upper) * PanelShape<E>::kColumnStep + row + 8 * second);
  } else {
    const E* at = panel + (8 * step + (lane & 3)) * PanelShape<E>::kColumnStep + row + (lane >> 2);
    words[0] = __float_as_uint(at[0]);
    words[1] = __float_as_uint(at[8]);
    words[2] = __float_as_uint(at[4 * PanelShape<E>::kColumnStep]);
    words[3] = __float_as_uint(at[4 * PanelShape<E>::kColumnStep + 8]);
  }
}

// The same of 16 rows for the right side: words {0, 1} for the first eight of them, {2, 3} for the others.
template <class E, Layout kLayout>
__device__ __forceinline__ void load_right(uint32_t (&words)[4], const E* panel, int row, int step) {
  const int lane = static_cast<int>(threadIdx.x) % 32, r = lane & 7, upper = lane >> 3 & 1, second = lane >> 4;
  if constexpr (kLayout == Layout::RowMajor) {
    const auto* as_words = reinterpret_cast<const uint32_t*>(panel);
    constexpr int kStep = PanelShape<E>::kRowStep * static_cast<int>(sizeof(E)) / 4;
    load_matrices<false>(words, as_words + (row + r + 8 * second) * kStep + 8 * step + 4 * upper);
  } else if constexpr (sizeof(E) == 2) {
    load_matrices<true>(words, panel + (16 * step + r + 8 * upper) * PanelShape<E>::kColumnStep + row + 8 * second);
  } else {
    const E* at = panel + (8 * step + (lane & 3)) * PanelShape<E>::kColumnStep + row + (lane >> 2);
    words[0] = __float_as_uint(at[0]);
    words[1] = __float_as_uint(at[4 * PanelShape<E>::kColumnStep]);
    words[2] = __float_as_uint(at[8]);
    words[3] = __float_as_uint(at[4 * PanelShape<E>::kColumnStep + 8]);
  }
}

// sum += A Bᵀ over 32 bytes of depth, step `step` of the four in a panel; A and B begin at the warp's rows.
template <class Math, Layout kA, Layout kB>
__device__ __forceinline__ void multiply_step(float (&sum)[2][4][4], const float* A, const float* B, int step, Tf32x3) {
  uint32_t high_B[4][2], low_B[4][2];
#pragma unroll
  for (int pair = 0; pair < 2; ++pair) {
    uint32_t words[4];
    load_right<float, kB>(words, B, 16 * pair, step);
#pragma unroll
    for (int w = 0; w < 4; ++w)
      split_tf32(__uint_as_float(words[w]), high_B[2 * pair + w / 2][w % 2], low_B[2 * pair + w / 2][w % 2]);
  }
#pragma unroll
  for (int m = 0; m < 2; ++m) {
    uint32_t words[4], high[4], low[4];
    load_left<float, kA>(words, A, 16 * m, step);
#pragma unroll
    for (int w = 0; w < 4; ++w) split_tf32(__uint_as_float(words[w]), high[w], low[w]);
    // The small terms first; each of the three passes goes over four independent sums.
#pragma unroll
    for (int n = 0; n < 4; ++n) mma_tf32(sum[m][n], low, high_B[n]);
#pragma unroll
    for (int n = 0; n < 4; ++n) mma_tf32(sum[m][n], high, low_B[n]);
#pragma unroll
    for (int n = 0; n < 4; ++n) mma_tf32(sum[m][n], high, high_B[n]);
  }
}

template <class Math, Layout kA, Layout kB>
__device__ __forceinline__ void multiply_step_16(float (&sum)[2][4][4], const uint16_t* A, const uint16_t* B,
                                                 int step) {
  uint32_t right[2][4];
#pragma unroll
  for (int pair = 0; pair < 2; ++pair) load_right<uint16_t, kB>(right[pair], B, 16 * pair, step);
#pragma unroll
  for (int m = 0; m < 2; ++m) {
    uint32_t left[4];
    load_left<uint16_t, kA>(left, A, 16 * m, step);
#pragma unroll
    for (int n = 0; n < 4; ++n) {
      const uint32_t b[2] = {right[n / 2][n % 2 * 2], right[n / 2][n % 2 * 2 + 1]};
      if constexpr (std::is_same_v<Math, Bf16>) {
        mma_bf16(sum[m][n], left, b);
      } else {
        mma_fp16(sum[m][n], left, b);
      }
    }
  }
}
template <class Math, Layout kA, Layout kB>
__device__ __forceinline__ void multiply_step(float (&sum)[2][4][4], const uint16_t* A, const uint16_t* B, int step,
                                              Bf16) {
  multiply_step_16<Math, kA, kB>(sum, A, B, step);
}
template <class Math, Layout kA, Layout kB>
__device__ __forceinline__ void multiply_step(float (&sum)[2][4][4], const uint16_t* A, const uint16_t* B, int step,
                                              Fp16) {
  multiply_step_16<Math, kA, kB>(sum, A, B, step);
}

// Element (row, k) of a panel.
template <class E, Layout kLayout>
__device__ __forceinline__ E panel_element(const E* panel, int row, int k) {
  return kLayout == Layout::RowMajor ? panel[row * PanelShape<E>::kRowStep + k]
                                     : panel[k * PanelShape<E>::kColumnStep + row];
}

template <class Math, Layout kA, Layout kB>
__device__ __forceinline__ void multiply_step(float (&sum)[2][4][4], const float* A, const float* B, int step, Fp32) {
  const int lane = static_cast<int>(threadIdx.x) % 32, g = lane >> 2, t = lane & 3;
#pragma unroll
  for (int k = 8 * step; k < 8 * step + 8; ++k) {
    float left[2][2], right[4][2];
#pragma unroll
    for (int m = 0; m < 4; ++m) left[m / 2][m % 2] = panel_element<float, kA>(A, 8 * m + g, k);
#pragma unroll
    for (int n = 0; n < 8; ++n) right[n / 2][n % 2] = panel_element<float, kB>(B, n / 2 * 8 + 2 * t + n % 2, k);
#pragma unroll
    for (int m = 0; m < 2; ++m)
#pragma unroll
      for (int n = 0; n < 4; ++n)
#pragma unroll
        for (int e = 0; e < 4; ++e) sum[m][n][e] = __fmaf_rn(left[m][e / 2], right[n][e % 2], sum[m][n][e]);
  }
}

template <class Math, Layout kA, Layout kB>
__device__ __forceinline__ void multiply_step(double (&sum)[2][4][4], const double* A, const double* B, int step,
                                              Fp64) {
  const int lane = static_cast<int>(threadIdx.x) % 32, g = lane >> 2, k = 4 * step + (lane & 3);
  double right[4];
#pragma unroll
  for (int n = 0; n < 4; ++n) right[n] = panel_element<double, kB>(B, 8 * n + g, k);
#pragma unroll
  for (int m = 0; m < 4; ++m) {
    const double left = panel_element<double, kA>(A, 8 * m + g, k);
#pragma unroll
    for (int n = 0; n < 4; ++n) mma_fp64(sum[m / 2][n][m % 2 * 2], sum[m / 2][n][m % 2 * 2 + 1], left, right[n]);
  }
}

template <class Math>
constexpr size_t tile_shared_bytes() {
  return 2 * kStages * PanelShape<typename Math::Element>::kBytes;
}

// total += rows i0 … of A times rows j0 … of B. `one_panel`: they are the same rows of the same operand, loaded once.
// A warp that is `idle` only helps to load. Shared memory: tile_shared_bytes<Math>().
template <class Math, Layout kA, Layout kB>
__device__ __forceinline__ void tile_product(const Operand& A, int i0, const Operand& B, int j0, bool one_panel,
                                             bool idle, unsigned char* shared, typename Math::Sum (&total)[2][4][4]) {
  using E = typename Math::Element;
  using Sum = typename Math::Sum;
  using Shape = PanelShape<E>;
  E* panels = reinterpret_cast<E*>(shared);
  const auto left_panel = [&](int slot) { return panels + 2 * slot * Shape::kElements; };
  const auto right_panel = [&](int slot) { return left_panel(slot) + (one_panel ? 0 : Shape::kElements); };
  const auto load = [&](int stage) {
    const int slot = stage % kStages, k0 = stage * Shape::kDepth;
    load_panel<E, kA>(A, i0, k0, left_panel(slot));
    if (!one_panel) load_panel<E, kB>(B, j0, k0, right_panel(slot));
  };
  const int warp = static_cast<int>(threadIdx.x) / 32, row_A = warp / 2 * 32, row_B = warp % 2 * 32;
  const int from_A = kA == Layout::RowMajor ? row_A * Shape::kRowStep : row_A;
  const int from_B = kB == Layout::RowMajor ? row_B * Shape::kRowStep : row_B;

  const int stages = (A.depth + Shape::kDepth - 1) / Shape::kDepth;
  for (int stage = 0; stage < kStages - 1; ++stage) {
    if (stage < stages) load(stage);
    async_commit();  // empty where there is nothing left: the wait below counts groups
  }
  for (int stage = 0; stage < stages; ++stage) {
    async_wait<kStages - 2>();
    __syncthreads();  // everyone's copies of this stage are visible, and nobody reads the slot that is loaded next
    if (stage + kStages - 1 < stages) load(stage + kStages - 1);
    async_commit();
    if (idle) continue;
    const int slot = stage % kStages;
    const E* left = left_panel(slot) + from_A;
    const E* right = right_panel(slot) + from_B;
    if constexpr (std::is_same_v<Sum, double>) {
      for (int step = 0; step < 4; ++step) multiply_step<Math, kA, kB>(total, left, right, step, Math{});
    } else {
      Sum part[2][4][4] = {};
#pragma unroll 2
      for (int step = 0; step < 4; ++step) multiply_step<Math, kA, kB>(part, left, right, step, Math{});
#pragma unroll
      for (int m = 0; m < 2; ++m)
#pragma unroll
        for (int n = 0; n < 4; ++n)
#pragma unroll
          for (int e = 0; e < 4; ++e) total[m][n][e] += part[m][n][e];
    }
  }
}

// Calls body(row, column, sum) for the elements of the tile that this thread holds, counted from the tile's corner.
template <class Sum, class Body>
__device__ __forceinline__ void for_each_in_tile(const Sum (&total)[2][4][4], Body&& body) {
  const int warp = static_cast<int>(threadIdx.x) / 32, lane = static_cast<int>(threadIdx.x) % 32;
  const int row = warp / 2 * 32 + (lane >> 2), column = warp % 2 * 32 + 2 * (lane & 3);
#pragma unroll
  for (int m = 0; m < 2; ++m)
#pragma unroll
    for (int n = 0; n < 4; ++n)
#pragma unroll
      for (int e = 0; e < 4; ++e) body(row + 16 * m + 8 * (e / 2), column + 8 * n + e % 2, total[m][n][e]);
}

}  // namespace kronla::cuda
