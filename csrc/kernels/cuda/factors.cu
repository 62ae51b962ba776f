#include "kernels/cuda/factors.h"

#include <algorithm>

#include "kernels/cuda/device/tasks.cuh"
#include "kernels/cuda/device/tile_product.cuh"

namespace kronla::cuda {
namespace {

// F ← beta F + alpha · scale · A Bᵀ with a symmetric A Bᵀ; A and B are the same gradient where it has no weight, or A is
// the weighted one. Both are seen as [outer, dim, inner].
struct GramTask {
  void* F;
  const void* A;
  const void* B;
  const double* scale;  // [batch], or nullptr for 1
  int batch, outer, dim, inner;
  int first_tile;
  ScalarType type_A, type_B;
  Copy copy_A, copy_B;
};

struct GramSettings {
  double beta, alpha;
};

template <size_t kBytes>
using GramList = TaskList<GramTask, GramSettings, kBytes>;

__device__ __forceinline__ bool is_column_major(const GramTask& task) { return task.inner == 1 && task.outer > 1; }

int64_t gram_tiles(const GramTask& task) {
  const int64_t side = (int64_t{task.dim} + kTile - 1) / kTile;
  return task.batch * (side * (side + 1) / 2);
}

// One gradient as rows [dim, outer · inner].
__device__ __forceinline__ Operand operand_of(const GramTask& task, const void* data, ScalarType type, Copy copy,
                                              int64_t entry) {
  const int slab = task.dim * task.inner;
  Operand operand;
  operand.data = static_cast<const char*>(data) + entry * (task.outer * slab) * bytes_of(type);
  operand.ld = is_column_major(task) ? task.dim : task.inner;
  operand.slab = slab;
  operand.rows = task.dim;
  operand.depth = task.outer * task.inner;
  operand.inner = task.inner;
  operand.copy = copy;
  operand.type = type;
  return operand;
}

template <class Math, size_t kBytes>
__global__ void __launch_bounds__(kThreads, Math::kBlocks) gram_kernel(KRONLA_PARAMETER(GramList<kBytes>) list) {
  using Sum = typename Math::Sum;
  KRONLA_SHARED(unsigned char, shared);
  const int tile = static_cast<int>(blockIdx.x);
  const GramTask& task = list.tasks[task_of_tile(list, tile)];
  const int side = (task.dim + kTile - 1) / kTile, tiles = side * (side + 1) / 2;
  const int entry = (tile - task.first_tile) / tiles;
  int row, column;
  triangular_tile((tile - task.first_tile) % tiles, row, column);

  Sum total[2][4][4] = {};
  if (task.outer > 0) {
    const Operand A = operand_of(task, task.A, task.type_A, task.copy_A, entry);
    const Operand B = operand_of(task, task.B, task.type_B, task.copy_B, entry);
    const bool diagonal = row == column, one_panel = diagonal && task.A == task.B;
    // On the diagonal the second warp's part lies above it.
    const bool idle = diagonal && threadIdx.x / 32 == 1;
    if (is_column_major(task)) {
      tile_product<Math, Layout::ColumnMajor, Layout::ColumnMajor>(A, row * kTile, B, column * kTile, one_panel, idle,
                                                                   shared, total);
    } else {
      tile_product<Math, Layout::RowMajor, Layout::RowMajor>(A, row * kTile, B, column * kTile, one_panel, idle, shared,
                                                             total);
    }
  }

  Sum* F = static_cast<Sum*>(task.F) + int64_t{entry} * task.dim * task.dim;
  const Sum beta = static_cast<Sum>(list.settings.beta);
  Sum alpha = static_cast<Sum>(list.settings.alpha);
  if (task.scale != nullptr) alpha *= static_cast<Sum>(task.scale[entry]);
  // Both stores fill whole sectors of 32 bytes: a quad has 8 neighbours of a row, the lanes of equal t 8 of a column.
  for_each_in_tile(total, [&](int r, int c, Sum sum) {
    const int i = row * kTile + r, j = column * kTile + c;
    if (i >= task.dim || j > i) return;
    Sum* lower = F + int64_t{i} * task.dim + j;
    Sum value = alpha * sum;
    if (beta != Sum(0)) value += beta * *lower;
    *lower = value;
    F[int64_t{j} * task.dim + i] = value;
  });
}

template <class Math>
void launch_grams(const std::vector<GramTask>& tasks, double beta, double alpha, const Stream& stream) {
  for_each_sized_launch(tasks, GramSettings{beta, alpha}, gram_tiles, [&](const auto& list, unsigned tiles) {
    constexpr size_t kBytes = std::decay_t<decltype(list)>::kParameterSize;
    launch("update_factors", gram_kernel<Math, kBytes>, dim3(tiles), kThreads, tile_shared_bytes<Math>(), stream.handle,
           list);
  });
}

// The tasks of one call by the arithmetic they want.
template <class T>
class Grams {
 public:
  explicit Grams(Float32Method method) : method_(method) {}

  // `weighted`, if any, is of type T and stands for the first G.
  void add(const FactorGroup<T>& group, bool reads_G, const T* weighted, const double* scale) {
    GramTask task{};
    task.F = group.F;
    task.A = weighted != nullptr ? weighted : group.G;
    task.B = group.G;
    task.scale = scale;
    task.batch = checked_int(group.batch);
    task.dim = checked_int(group.dim);
    task.inner = checked_int(group.inner);
    checked_int(group.outer * group.dim * group.inner);
    checked_int(group.outer * group.inner);
    task.outer = reads_G && group.inner > 0 ? checked_int(group.outer) : 0;
    task.type_A = weighted != nullptr ? scalar_type_of<T>() : group.G_type;
    task.type_B = group.G_type;
    const bool sixteen = std::is_same_v<T, float> && weighted == nullptr && element_size(group.G_type) == 2;
    const auto copy = [&](const void* data, ScalarType type) {
      const bool column = group.inner == 1 && group.outer > 1;
      const int64_t slab = group.dim * group.inner, ld = column ? group.dim : group.inner, step = slab * group.outer;
      return sixteen ? copy_for<uint16_t>(data, ld, slab, step, true)
                     : copy_for<T>(data, ld, slab, step, type == scalar_type_of<T>());
    };
    task.copy_A = copy(task.A, task.type_A);
    task.copy_B = copy(task.B, task.type_B);
    (!sixteen ? plain_ : group.G_type == ScalarType::BFloat16 ? bf16_ : fp16_).push_back(task);
  }

  void run(double beta, double alpha, const Stream& stream) {
    for (std::vector<GramTask>* tasks : {&plain_, &bf16_, &fp16_}) {
      // The long sums first, so that none of them begins last; by the larger side, so that the two factors of a gradient
      // stay together and the second finds it in the L2 cache.
      std::stable_sort(tasks->begin(), tasks->end(), [](const GramTask& a, const GramTask& b) {
        const auto length = [](const GramTask& x) { return std::max<int64_t>(int64_t{x.outer} * x.inner, x.dim); };
        return length(a) > length(b);
      });
    }
    if constexpr (std::is_same_v<T, double>) {
      launch_grams<Fp64>(plain_, beta, alpha, stream);
    } else {
      if (method_ == Float32Method::Tf32x3) {
        launch_grams<Tf32x3>(plain_, beta, alpha, stream);
      } else {
        launch_grams<Fp32>(plain_, beta, alpha, stream);
      }
      launch_grams<Bf16>(bf16_, beta, alpha, stream);
      launch_grams<Fp16>(fp16_, beta, alpha, stream);
    }
  }

 private:
  Float32Method method_;
  std::vector<GramTask> plain_, bf16_, fp16_;
};

// G W (a left factor, outer 1) or W G (a right one, inner 1), into `weighted`. W is symmetric: its rows are read.
template <class T>
Product<T> weighted_gradient(const FactorGroup<T>& group, T* weighted) {
  const int64_t slab = group.outer * group.dim * group.inner, w = group.outer * group.inner;
  const ProductInput W{group.W, scalar_type_of<T>(), false, w * w};
  if (group.outer == 1) {
    return {group.batch, group.dim, group.inner, group.inner, {group.G, group.G_type, false, slab}, W, weighted};
  }
  return {group.batch, group.outer, group.dim, group.outer, W, {group.G, group.G_type, true, slab}, weighted};
}

}  // namespace

template <class T>
void update_factors(const std::vector<FactorGroup<T>>& groups, double beta, double alpha, const Stream& stream,
                    Float32Method method) {
  const bool reads_G = static_cast<T>(alpha) != T(0);
  Grams<T> grams(method);
  std::vector<Product<T>> weightings;
  for (const FactorGroup<T>& group : groups) {
    const int64_t slab = group.outer * group.dim * group.inner;
    T* weighted = nullptr;
    if (group.W != nullptr && reads_G && slab > 0 && group.batch > 0) {
      weighted = stream.take<T>(group.batch * slab);
      weightings.push_back(weighted_gradient(group, weighted));
    }
    grams.add(group, reads_G, weighted, nullptr);
  }
  multiply(weightings, stream, method);
  grams.run(beta, alpha, stream);
}

template <class T>
void kron_power_step(const PowerStep<T>& step, const Stream& stream, Float32Method method) {
  const int64_t m = step.m, n = step.n, samples = step.samples, all = samples * m * n;
  std::vector<Product<T>> weightings;
  Grams<T> grams(method);
  const auto add = [&](FactorGroup<T> group, const Product<T>& weighting) {
    if (step.batch * all > 0) weightings.push_back(weighting);
    grams.add(group, true, weighting.C, step.scale);
  };
  // The scale is taken once on the way to the weighted gradient and once after the sum, so that neither overflows.
  if (step.L_next != nullptr) {
    T* weighted = stream.take<T>(step.batch * all);  // all samples' rows below each other, times R
    add({step.batch, samples, m, n, step.L_next, step.G, step.G_type, nullptr},
        {step.batch,
         samples * m,
         n,
         n,
         {step.G, step.G_type, false, all},
         {step.R, scalar_type_of<T>(), false, n * n},
         weighted,
         step.scale});
  }
  if (step.R_next != nullptr) {
    T* weighted = stream.take<T>(step.batch * all);
    add({step.batch, samples * m, n, 1, step.R_next, step.G, step.G_type, nullptr},
        {step.batch * samples,
         m,
         n,
         m,
         {step.L, scalar_type_of<T>(), false, m * m, samples},
         {step.G, step.G_type, true, m * n},
         weighted,
         step.scale,
         samples});
  }
  multiply(weightings, stream, method);
  grams.run(0.0, 1.0 / static_cast<double>(samples), stream);
}

template void update_factors<float>(const std::vector<FactorGroup<float>>&, double, double, const Stream&,
                                    Float32Method);
template void update_factors<double>(const std::vector<FactorGroup<double>>&, double, double, const Stream&,
                                     Float32Method);
template void kron_power_step<float>(const PowerStep<float>&, const Stream&, Float32Method);
template void kron_power_step<double>(const PowerStep<double>&, const Stream&, Float32Method);

}  // namespace kronla::cuda
