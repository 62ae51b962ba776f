#include "kernels/cuda/eigenbasis_wide.h"

#include <algorithm>

#include "kernels/cuda/device/basis_block.cuh"
#include "kernels/cuda/device/limits.cuh"

namespace kronla::cuda {
namespace {

constexpr int kWideMost = 128;
constexpr int kWideThreads = 2 * kWideMost;

// Three matrices of floats: B takes the place of A. While the basis is made orthonormal, W in double lies over the first
// two, and the lower triangle of its Gram matrix, in double and by blocks, over the third and a little more.
struct WidePlaces {
  static constexpr int kQ = 0, kA = 1, kB = 1, kP = 2;
};

using WideRoom = BasisRoom<kWideMost>;

constexpr size_t wide_shared_bytes(int n) {
  const int N = block_size_of(n), matrix = N * block_step_of(N);
  const size_t third = std::max(matrix * sizeof(float), elements_of_triangle(N / kSide) * sizeof(double));
  return sizeof(WideRoom) + matrix * sizeof(double) + third;
}

struct WideBasis : BlockBasis<float, kWideMost, WideRoom, WidePlaces> {
  using BlockBasis::BlockBasis;
  __device__ __forceinline__ SplitPanel panel() const {
    double* W = reinterpret_cast<double*>(place(0));
    return {W + N * ld, W, N, ld};
  }

  // W = AQ + μQ or Q + QT, its columns in descending order. It lies over what it is made of, so every thread holds its
  // elements until all have theirs.
  __device__ __forceinline__ void form(bool qr) {
    constexpr int kTiles = kWideMost / 16 * (kWideMost / 16) / (kWideThreads / 32);
    const int side = N / 16, warp = static_cast<int>(threadIdx.x) / 32, lane = static_cast<int>(threadIdx.x) % 32;
    const float mu = null_weight<float>(n, room->norm);
    if (!qr) rotate();
    float total[kTiles][2][4] = {};
#pragma unroll
    for (int q = 0; q < kTiles; ++q) {
      const int tile = warp + q * (kWideThreads / 32), i0 = tile / side * 16, j0 = tile % side * 16;
      if (tile >= side * side) continue;
      if (!qr) block_tile<false>(Q(), P(), N, i0, j0, total[q]);
#pragma unroll
      for (int e = 0; e < 8; ++e) {
        const int at = (i0 + (lane >> 2) + 8 * (e % 4 / 2)) * ld + j0 + 8 * (e / 4) + 2 * (lane & 3) + e % 2;
        float& sum = total[q][e / 4][e % 4];
        sum = qr ? P()[at] + mu * Q()[at] : Q()[at] + sum;
      }
    }
    __syncthreads();
    double* W = panel().W();
#pragma unroll
    for (int q = 0; q < kTiles; ++q) {
      const int tile = warp + q * (kWideThreads / 32), i0 = tile / side * 16, j0 = tile % side * 16;
      if (tile >= side * side) continue;
#pragma unroll
      for (int e = 0; e < 8; ++e) {
        const int i = i0 + (lane >> 2) + 8 * (e % 4 / 2), j = j0 + 8 * (e / 4) + 2 * (lane & 3) + e % 2;
        W[i * ld + room->rank[j]] = static_cast<double>(total[q][e / 4][e % 4]);
      }
    }
  }
};

template <class List>
__global__ void __launch_bounds__(kWideThreads, 1) update_wide_kernel(KRONLA_PARAMETER(List) list) {
  KRONLA_SHARED(unsigned char, shared);
  const int block = static_cast<int>(blockIdx.x);
  const BlockTask<float>& task = list.tasks[task_of_tile(list, block)];
  WideBasis basis(task.n, shared);
  follow(basis, task, block - task.first_tile, list.settings.tol, list.settings.max_steps,
         [&](const float*, const float*, bool qr) -> const double* {
           basis.form(qr);
           orthonormalize_in_block<float>(basis.panel(), task.n, task.n, basis.room->qr);
           return basis.panel().W();
         });
}

}  // namespace

bool fits_wide_block(int64_t n) {
  return n <= kWideMost && wide_shared_bytes(static_cast<int>(n)) <= largest_shared_memory();
}

void update_in_wide_blocks(const std::vector<BasisGroup<float>>& groups, double tol, int64_t max_steps,
                           const Stream& stream) {
  const StepSettings settings{tol, static_cast<int>(std::min<int64_t>(max_steps, 0x7fffffff))};
  std::vector<BlockTask<float>> tasks;
  for (const BasisGroup<float>& group : groups)
    tasks.push_back({group.A, group.Q_old, group.Q, group.eigenvalues, group.ratio, group.steps, group.info,
                     checked_int(group.batch), static_cast<int>(group.n), group.method, 0});
  // The long ones first. One block has a multiprocessor for itself, whatever its size.
  std::stable_sort(tasks.begin(), tasks.end(), [](const auto& a, const auto& b) { return a.n > b.n; });
  for_each_launch(
      tasks, settings, [](const BlockTask<float>& task) { return int64_t{task.batch}; },
      [&](const auto& list, unsigned blocks) {
        launch("update_eigenbasis", update_wide_kernel<std::decay_t<decltype(list)>>, dim3(blocks), kWideThreads,
               wide_shared_bytes(list.tasks[0].n), stream.handle, list);
      });
}

}  // namespace kronla::cuda
