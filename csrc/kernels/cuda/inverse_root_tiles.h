// inverse_root on matrices in global memory: what its kernels share. Each matrix has workspace and a state on the device;
// launches go over all matrices, and what a matrix does not need passes it by.
#pragma once

#include <vector>

#include "kernels/cuda/device/root_matrix.cuh"
#include "kernels/cuda/device/tasks.cuh"
#include "kernels/cuda/device/tile_product.cuh"
#include "kernels/probe_signs.h"

namespace kronla::cuda {

// first = stop where a matrix has no root, with info saying why.
struct RootState {
  Damping damping;
  double back;               // X of D / unit, times this, is that of D
  double scale, scale_root;  // M of the first step is D scale; Y is the last X times scale_root
  int first, stop, info;
  uint32_t range;  // of X as rounded: kHasInfinity, kHasNonzero
};
inline constexpr uint32_t kHasInfinity = 1, kHasNonzero = 2;

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
using LargeRoots = std::vector<LargeRootTask>;

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
// The root in float64, for the residual; beside X and the power's matrices of both types.
inline constexpr int kSlotWide = 8;
inline constexpr int kRootSlots = 9;
// Of the factorisation D = LLᵀ, before the steps begin.
inline constexpr int kSlotL = 6, kSlotInverse = 8, kSlotProduct = 7;
// Of the eigendecomposition: Q Λ^(-1/2p) and its product with itself; Q Λ^(-½) and its transpose; powers of the root.
inline constexpr int kSlotHalf = 1, kSlotRoot = 2, kSlotWhite = 3, kSlotWhiteTransposed = 4, kSlotPower = 5;

// What a tile on or below the diagonal says of its part of the matrix.
struct TileFigures {
  double largest;   // |A|, of both triangles; infinity where one is not finite
  double squares;   // of A's lower triangle, those beside the diagonal twice, in units of `largest`'s power of two
  double diagonal;  // the largest of A
  double norm;      // Σ d², as `squares`
  double inverse;   // Σ l², of L⁻¹
  double unused;    // an even count keeps the workspace aligned
};

__host__ __device__ constexpr int tiles_along(int n) { return (n + kTile - 1) / kTile; }
__host__ __device__ constexpr int lower_tiles_of(int n) { return tiles_along(n) * (tiles_along(n) + 1) / 2; }

// Vectors that the residual is taken on: all unit vectors (64 with those that do not exist), or signs.
__host__ __device__ constexpr int probes_for(int n) { return n <= kExactResidual ? kExactResidual : int{kProbes}; }

__host__ __device__ inline int64_t root_work(int n, int ld) {
  return int64_t{kRootSlots} * n * ld + int64_t{2 * probes_for(n)} * n +
         static_cast<int64_t>(sizeof(TileFigures) / sizeof(double)) * lower_tiles_of(n);
}

template <class E>
__device__ __forceinline__ E* slot_of(const LargeRootTask& task, int entry, int slot) {
  return reinterpret_cast<E*>(task.work + entry * root_work(task.n, task.ld)) + int64_t{slot} * task.n * task.ld;
}

__device__ __forceinline__ double* probes_of(const LargeRootTask& task, int entry, int which) {
  return slot_of<double>(task, entry, kRootSlots) + which * probes_for(task.n) * task.n;
}

__device__ __forceinline__ TileFigures* figures_of(const LargeRootTask& task, int entry) {
  return reinterpret_cast<TileFigures*>(probes_of(task, entry, 2));
}

// Rows of a matrix [rows, ld] as a side of a tile product, over `depth`.
__device__ __forceinline__ Operand workspace_operand(const void* data, ScalarType type, int ld, int rows, int depth) {
  return {data, ld, 0, rows, depth, depth, Copy::Vectors, type};
}

// Which matrix and which of its `count` blocks this one works on.
struct BlockPlace {
  int entry, index;
};
__device__ __forceinline__ BlockPlace block_place(const LargeRootTask& task, int count) {
  const int index = static_cast<int>(blockIdx.x) - task.first_tile;
  return {index / count, index % count};
}

// ---- passes: launches that are no products of tiles ----

struct PassSettings {
  RootPlan plan;
  int slot, other;  // of that pass
};
using PassList = TaskList<LargeRootTask, PassSettings, kSmallParameterBytes>;
inline constexpr int kPassThreads = 256;  // of the blocks of passes
inline constexpr size_t kReduceBytes = kReduceRoom * sizeof(double);

// combine(part, tile), over the tiles of a matrix, by all threads of a block.
template <class Combine>
__device__ __forceinline__ void for_each_figures(const LargeRootTask& task, int entry, Combine&& combine) {
  const TileFigures* figures = figures_of(task, entry);
  for (int tile = static_cast<int>(threadIdx.x); tile < lower_tiles_of(task.n); tile += kPassThreads)
    combine(figures[tile]);
}

// ---- the launches, in their order ----

// Workspace and states for the groups, the largest matrices first.
template <class T>
LargeRoots large_roots(const std::vector<RootGroup<T>>& groups, const Stream& stream);

// D, its figures, and the vectors of the residual; info 3.
template <class T>
void damp_large_roots(const LargeRoots& tasks, const RootPlan& plan, const Stream& stream);

// D = LLᵀ; info 2 where it breaks down. `inverse`: L⁻¹ too, for its norm.
void factor_large_roots(const LargeRoots& tasks, bool inverse, const Stream& stream);

// The schedules, M and T1 of the first steps.
template <class T>
void start_large_roots(const LargeRoots& tasks, const RootPlan& plan, const Stream& stream);

// The iterates in float32, where the float64 steps end.
void narrow_large_roots(const LargeRoots& tasks, const RootPlan& plan, const Stream& stream);

// slot `target` = slot `left` slot `right`ᵀ, symmetric, in float64, for matrices that have a root.
void multiply_large_roots(const LargeRoots& tasks, int left, int right, int target, const Stream& stream);

// Slot baseᵏ in float64, in up to three other slots; the slot that holds it.
int power_of_large_roots(const LargeRoots& tasks, int64_t k, int base, const int (&others)[3], const Stream& stream);

// Y = D^(-1/r), rounded to T, into the power's first slot; and widened.
template <class T>
void round_large_roots(const LargeRoots& tasks, const RootPlan& plan, const Stream& stream);

// X, or the fallback, and X widened: from a slot of E; `slot` < 0: from the last iterate.
template <class T, class E>
void write_large_roots(const LargeRoots& tasks, const RootPlan& plan, int slot, const Stream& stream);

// E of the residual times the vectors, E + I = the product of slots, the right ones first.
class LargeResidual {
 public:
  LargeResidual(const LargeRoots& tasks, const Stream& stream) : tasks_(tasks), stream_(stream) {}
  void multiply(int slot);
  // ‖X^⌊k/2⌋ D X^⌈k/2⌉ − I‖, X widened.
  void take(int64_t k);
  int vectors() const { return from_; }  // which hold the result

 private:
  const LargeRoots& tasks_;
  const Stream& stream_;
  int from_ = 0;
};

// residual, steps and info; `vectors` are those of the residual.
template <class T>
void write_large_figures(const LargeRoots& tasks, const RootPlan& plan, int vectors, const Stream& stream);

// Runs kernel on lists of the tasks; blocks_of(task): of one matrix.
template <class List, class Settings, class BlocksOf, class Kernel>
void launch_large(const char* name, const LargeRoots& tasks, const Settings& settings, BlocksOf&& blocks_of,
                  Kernel kernel, int threads, size_t shared_bytes, const Stream& stream) {
  fill_lists<List>(
      tasks, settings, [&](const LargeRootTask& task) { return int64_t{task.batch} * blocks_of(task); },
      [&](const List& list, unsigned blocks) {
        launch(name, kernel, dim3(blocks), threads, shared_bytes, stream.handle, list);
      });
}

}  // namespace kronla::cuda
