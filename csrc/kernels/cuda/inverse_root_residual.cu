// The residual of inverse_root on matrices in global memory: E, or as much of it as vectors say, and the figures.
#include "kernels/cuda/device/magnitude.cuh"
#include "kernels/cuda/inverse_root_tiles.h"

namespace kronla::cuda {
namespace {

// V ← F V, 64 rows a block: F is in slot `slot`; V number `other` is read, and the other written.
__global__ void __launch_bounds__(kThreads, Fp64::kBlocks) probe_kernel(KRONLA_PARAMETER(PassList) list) {
  KRONLA_SHARED(unsigned char, shared);
  const LargeRootTask& task = list.tasks[task_of_tile(list, static_cast<int>(blockIdx.x))];
  const int n = task.n, vectors = probes_for(n), from = list.settings.other;
  const auto [entry, strip] = block_place(task, tiles_along(n));
  if (task.states[entry].info != kGood) return;
  const int row0 = strip * kTile;
  const double* F = slot_of<double>(task, entry, list.settings.slot);
  double total[2][4][4] = {};
  tile_product<Fp64, Layout::RowMajor, Layout::ColumnMajor>(
      workspace_operand(F, ScalarType::Float64, task.ld, n, n), row0,
      workspace_operand(probes_of(task, entry, from), ScalarType::Float64, vectors, vectors, n), 0, false,
      vectors <= kTile / 2 && threadIdx.x / 32 % 2 == 1, shared, total);  // those columns do not exist
  double* V = probes_of(task, entry, 1 - from);
  for_each_in_tile(total, [&](int r, int c, double sum) {
    if (row0 + r < n && c < vectors) V[(row0 + r) * vectors + c] = sum;
  });
}

// The figures of each matrix; V number `slot` is E's. A block a matrix.
template <class T>
__global__ void __launch_bounds__(kPassThreads) figures_kernel(KRONLA_PARAMETER(PassList) list) {
  KRONLA_SHARED(double, room);
  const int at = static_cast<int>(blockIdx.x);
  const LargeRootTask& task = list.tasks[task_of_tile(list, at)];
  const int entry = at - task.first_tile, n = task.n, vectors = probes_for(n);
  const RootState& state = task.states[entry];
  double residual = 0.0;
  if (state.info == kGood) {
    const double* V = probes_of(task, entry, list.settings.slot);
    for (int e = static_cast<int>(threadIdx.x); e < n * vectors; e += kPassThreads) {
      const int i = e / vectors, v = e % vectors;
      const double error = V[e] - (n > kExactResidual ? probe_sign(i, v) : i == v ? 1.0 : 0.0);
      residual += error * error;
    }
    residual = sqrt(block_sum(residual, room) / (n > kExactResidual ? vectors : 1) / n);
    if (n == 1 && !list.settings.plan.integer) residual = 0.0;             // of a root that is not rounded
    if (state.range != kHasNonzero) residual = Limits<double>::kInfinity;  // X left the range of T
  }
  if (threadIdx.x != 0) return;
  const bool bad = state.info != kGood;
  static_cast<T*>(task.residual)[entry] = bad ? not_a_number<T>() : static_cast<T>(residual);
  task.steps[entry] = bad ? 0 : state.stop - state.first;
  task.info[entry] = bad ? state.info : residual <= list.settings.plan.rtol ? kGood : kNotConverged;
}

}  // namespace

void LargeResidual::multiply(int slot) {
  launch_large<PassList>(
      "inverse_root, residual", tasks_, PassSettings{{}, slot, from_},
      [](const LargeRootTask& task) { return tiles_along(task.n); }, probe_kernel, kThreads, tile_shared_bytes<Fp64>(),
      stream_);
  from_ = 1 - from_;
}

void LargeResidual::take(int64_t k) {
  constexpr int64_t kMostFactors = 16;
  if (k <= kMostFactors) {
    for (int64_t factor = 0; factor <= k; ++factor) multiply(factor == (k + 1) / 2 ? kSlotD : kSlotWide);
    return;
  }
  // A high power, of the eigendecomposition: X^(k/2) by squaring.
  const int power = power_of_large_roots(tasks_, k / 2, kSlotWide, {kSlotPower, kSlotHalf, kSlotRoot}, stream_);
  if (k % 2 == 1) multiply(kSlotWide);
  for (const int slot : {power, kSlotD, power}) multiply(slot);
}

template <class T>
void write_large_figures(const LargeRoots& tasks, const RootPlan& plan, int vectors, const Stream& stream) {
  launch_large<PassList>(
      "inverse_root, figures", tasks, PassSettings{plan, vectors, 0}, [](const LargeRootTask&) { return 1; },
      figures_kernel<T>, kPassThreads, kReduceBytes, stream);
}

template void write_large_figures<float>(const LargeRoots&, const RootPlan&, int, const Stream&);
template void write_large_figures<double>(const LargeRoots&, const RootPlan&, int, const Stream&);

}  // namespace kronla::cuda
