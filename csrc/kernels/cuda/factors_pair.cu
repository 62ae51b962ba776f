#include "kernels/cuda/factors_pair.h"

#include "kernels/cuda/device/average.cuh"
#include "kernels/cuda/device/tasks.cuh"

namespace kronla::cuda {
namespace {

struct PairTask {
  float* L;
  float* R;
  const void* G;
  int batch, m, n;
  int first_tile;
  ScalarType type;
  Copy copy;
};

struct PairSettings {
  double beta, alpha;
};

template <size_t kBytes>
using PairList = TaskList<PairTask, PairSettings, kBytes>;

// One warp is enough for these, and four of them share a block.
__host__ __device__ constexpr bool is_small(int m, int n) { return m <= WarpTile::kSide && n <= WarpTile::kSide; }

// total = the 32 × 32 at (i0, j0) of the Gram matrix of the panel's rows, or of its columns. The order of summation is that
// of tile_product.
template <class Math, class Tile, Layout kLayout>
__device__ __forceinline__ void gram_part(const typename Math::Left* panel, ScalarType type, int dim, int depth, int i0,
                                          int j0, float (&total)[2][4][4]) {
  using Shape = LeftShape<Math, Tile>;
  constexpr int kAlong = kLayout == Layout::RowMajor ? 1 : Shape::kRowStep;  // between neighbours in depth
  constexpr int kDown = kLayout == Layout::RowMajor ? Shape::kRowStep : 1;
  constexpr int kStep = Math::kDepth / 4;
  for (int k0 = 0; k0 < depth; k0 += Math::kDepth) {
    const typename Math::Left* from = panel + k0 * kAlong;
    const WarpPart<Math> part{from + i0 * kDown, from + j0 * kDown, dim - i0, dim - j0, type, type};
    const int left = depth - k0, steps = left < Math::kDepth ? (left + kStep - 1) / kStep : 4;
    float sum[2][4][4] = {};
#pragma unroll 2
    for (int step = 0; step < steps; ++step) multiply_step<Tile, kLayout, kLayout>(sum, part, step, Math{});
#pragma unroll
    for (int i = 0; i < 32; ++i) total[i / 16][i / 4 % 4][i % 4] += sum[i / 16][i / 4 % 4][i % 4];
  }
}

template <class Math, int kMost>
__device__ __forceinline__ void pair_tile(const PairSettings& settings, const PairTask& task, unsigned char* shared) {
  using Tile = WholeTile<kMost>;
  using Element = typename Math::Left;
  using Shape = LeftShape<Math, Tile>;
  constexpr bool kWarp = Tile::kMembers == 32;
  const int block = static_cast<int>(blockIdx.x) - task.first_tile, warp = static_cast<int>(threadIdx.x) / 32;
  const int entry = kWarp ? block * kWarpTiles + warp : block, m = task.m, n = task.n;
  if (entry >= task.batch) return;  // a warp without a matrix, which no other one waits for
  auto* panel = reinterpret_cast<Element*>(shared + (kWarp ? warp * Shape::kBytes : 0));
  Operand G;
  G.data = static_cast<const Element*>(task.G) + int64_t{entry} * m * n;
  G.ld = G.depth = G.inner = n;
  G.slab = 0;
  G.rows = m;
  G.copy = task.copy;
  G.type = task.type;
  load_panel<Shape, Tile, Layout::RowMajor>(G, 0, 0, panel);
  async_commit();
  async_wait<0>();
  Tile::barrier();

  // The lower quarters of L, then those of R, dealt to the warps.
  constexpr int kQuarters = kWarp ? 1 : 3;
  const float beta = static_cast<float>(settings.beta), alpha = static_cast<float>(settings.alpha);
  for (int q = kWarp ? 0 : warp; q < 2 * kQuarters; q += kWarp ? 1 : kWarpTiles) {
    const bool left = q < kQuarters;
    const int quarter = left ? q : q - kQuarters, i0 = quarter > 0 ? 32 : 0, j0 = quarter > 1 ? 32 : 0;
    const int dim = left ? m : n;
    if (i0 >= dim) continue;
    float total[2][4][4] = {};
    if (left) {
      gram_part<Math, Tile, Layout::RowMajor>(panel, task.type, m, n, i0, j0, total);
    } else {
      gram_part<Math, Tile, Layout::ColumnMajor>(panel, task.type, n, m, i0, j0, total);
    }
    average<WarpTile>((left ? task.L : task.R) + int64_t{entry} * dim * dim, dim, beta, alpha, i0, j0, total);
  }
}

template <class Math>
constexpr size_t pair_bytes(bool small) {
  return small ? kWarpTiles * LeftShape<Math, WholeTile<32>>::kBytes : LeftShape<Math, WholeTile<64>>::kBytes;
}

template <class Math, size_t kBytes>
__global__ void __launch_bounds__(kThreads, 4) pair_kernel(KRONLA_PARAMETER(PairList<kBytes>) list) {
  KRONLA_SHARED(unsigned char, shared);
  const PairTask& task = list.tasks[task_of_tile(list, static_cast<int>(blockIdx.x))];
  if (is_small(task.m, task.n)) {
    pair_tile<Math, 32>(list.settings, task, shared);
  } else {
    pair_tile<Math, 64>(list.settings, task, shared);
  }
}

template <class Math>
void launch_pairs(const std::vector<PairTask>& tasks, const PairSettings& settings, const Stream& stream) {
  const auto blocks_of = [](const PairTask& task) -> int64_t {
    return is_small(task.m, task.n) ? (int64_t{task.batch} + kWarpTiles - 1) / kWarpTiles : task.batch;
  };
  for_each_sized_launch(tasks, settings, blocks_of, [&](const auto& list, unsigned blocks) {
    constexpr size_t kBytes = std::decay_t<decltype(list)>::kParameterSize;
    launch("update_factors, pairs", pair_kernel<Math, kBytes>, dim3(blocks), kThreads,
           std::max(pair_bytes<Math>(true), pair_bytes<Math>(false)), stream.handle, list);
  });
}

}  // namespace

void update_factor_pairs(const std::vector<FactorPair>& pairs, double beta, double alpha, const Stream& stream) {
  std::vector<PairTask> wide, bf16, fp16;
  for (const FactorPair& pair : pairs) {
    const int64_t step = pair.m * pair.n;
    PairTask task{};
    task.L = pair.L;
    task.R = pair.R;
    task.G = pair.G;
    task.batch = checked_int(pair.batch);
    task.m = static_cast<int>(pair.m);
    task.n = static_cast<int>(pair.n);
    task.type = pair.G_type;
    const bool is_wide = pair.G_type == ScalarType::Float32;
    task.copy =
        is_wide ? copy_for<float>(pair.G, pair.n, 0, step, true) : copy_for<uint16_t>(pair.G, pair.n, 0, step, true);
    (is_wide ? wide : pair.G_type == ScalarType::BFloat16 ? bf16 : fp16).push_back(task);
  }
  const PairSettings settings{beta, alpha};
  launch_pairs<Tf32x3>(wide, settings, stream);
  launch_pairs<Bf16>(bf16, settings, stream);
  launch_pairs<Fp16>(fp16, settings, stream);
}

}  // namespace kronla::cuda
