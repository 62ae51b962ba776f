// inverse_root for large matrices: what its kernels share. Each matrix has workspace in global memory and a state on the
// device; launches go over all matrices, and what a matrix does not need passes it by.
#pragma once

#include <type_traits>

#include "kernels/cuda/device/root_matrix.cuh"
#include "kernels/cuda/device/tasks.cuh"
#include "kernels/cuda/device/tile_product.cuh"
#include "kernels/probe_signs.h"

namespace kronla::cuda {

// Where a matrix's chain begins and ends; first = stop where it has none, with info saying why.
struct RootState {
  Damping damping;
  double norm, scale;  // norm ≥ λmax(D); M of the first step is D scale
  int first, stop, info;
};

struct LargeRootTask {
  const void* A;
  const void* fallback;
  void* X;
  void* residual;
  int32_t* steps;
  int32_t* info;
  double* work;  // of the first matrix
  RootState* states;
  int n, ld, batch;
  int first_tile;
};

// Matrices of the workspace, [n, ld], counted in matrices of the element type: a float64 one is two of float32.
struct RootSlots {
  int M[2], X[2], T1, T2, S, q;  // step k reads M[k % 2], X[k % 2] and writes the others
  int base[2], result[2];        // of the power Yˢ, of the type of the result
};
inline constexpr int kSlotD = 0;  // in float64, from the start to the end
// For elements of type E: float matrices lie not where the float64 M and X do, which become these.
template <class E>
__host__ __device__ constexpr RootSlots slots_of() {
  return sizeof(E) == 8 ? RootSlots{{1, 2}, {3, 4}, 5, 6, 7, 8, {1, 2}, {5, 6}}
                        : RootSlots{{12, 13}, {14, 15}, 17, 10, 11, 16, {2, 3}, {4, 5}};
}
__host__ __device__ constexpr int slot_at(const int (&pair)[2], int step) { return step % 2 == 0 ? pair[0] : pair[1]; }
inline constexpr int kSlotWide =
    8;  // the root in float64, for the residual; beside X and the power's matrices of both types
inline constexpr int kRootSlots = 9;

// of the factorisation D = LLᵀ, before the steps begin
inline constexpr int kSlotL = 6, kSlotInverse = 8, kSlotProduct = 7;

__host__ __device__ inline int64_t root_work(int n, int ld) {
  return int64_t{kRootSlots} * n * ld + int64_t{2 * kProbes} * n;
}

template <class E>
__device__ __forceinline__ E* slot_of(const LargeRootTask& task, int entry, int slot) {
  return reinterpret_cast<E*>(task.work + entry * root_work(task.n, task.ld)) + int64_t{slot} * task.n * task.ld;
}

__device__ __forceinline__ double* probes_of(const LargeRootTask& task, int entry, int which) {
  return slot_of<double>(task, entry, kRootSlots) + which * static_cast<int>(kProbes) * task.n;
}

// Rows of a matrix [rows, ld] as a side of a tile product, over `depth`.
__device__ __forceinline__ Operand workspace_operand(const void* data, ScalarType type, int ld, int rows, int depth) {
  return {data, ld, 0, rows, depth, depth, Copy::Vectors, type};
}

inline int64_t tiles_along(int64_t n) { return (n + kTile - 1) / kTile; }

// D = LLᵀ and ‖L⁻¹‖: info 2 where it breaks down, else the schedule.
void factor_large_roots(const std::vector<LargeRootTask>& tasks, const RootPlan& plan, bool wide, const Stream& stream);

}  // namespace kronla::cuda
