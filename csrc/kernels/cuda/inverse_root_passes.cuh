// The launches of inverse_root on large matrices that are no symmetric products: D and its norm, the start of the chain, the
// change to float32, the root, and the residual.
#pragma once

#include "kernels/cuda/inverse_root_tiles.h"

namespace kronla::cuda {

struct PassSettings {
  RootPlan plan;
  int what, slot;  // of that pass
};
using PassList = TaskList<LargeRootTask, PassSettings, kSmallParameterBytes>;

// D and its norm; info 3 for an element that is not finite. A block a matrix.
template <class T>
__global__ void prepare_kernel(KRONLA_PARAMETER(PassList) list) {
  KRONLA_SHARED(double, sums);
  const int at = static_cast<int>(blockIdx.x);
  const LargeRootTask& task = list.tasks[task_of_tile(list, at)];
  const int entry = at - task.first_tile, n = task.n;
  const T* A = static_cast<const T*>(task.A) + int64_t{entry} * n * n;
  RootState state{};
  double squares = 0.0;
  if (find_damping(n, A, list.settings.plan, sums, state.damping)) {
    double* D = slot_of<double>(task, entry, kSlotD);
    for_each_below(n, A, [&](T a, int i, int j) {
      const double d = state.damping(a, i == j);
      squares += (i == j ? 1.0 : 2.0) * d * d;
      D[int64_t{i} * task.ld + j] = d;
      D[int64_t{j} * task.ld + i] = d;
    });
    state.norm = sqrt(block_sum(squares, sums)) * kNormSlack;
  } else {
    state.info = kNonFinite;
  }
  if (threadIdx.x == 0) task.states[entry] = state;
}

// Passes over the elements, kPass of a matrix a block.
constexpr int kPass = 4096, kPassThreads = 256;

__device__ __forceinline__ int passes_of(const LargeRootTask& task) { return (task.n * task.n + kPass - 1) / kPass; }

// Calls body(task, entry, state, i, j) for the elements of this block.
template <class Body>
__device__ __forceinline__ void for_each_of_pass(const PassList& list, Body&& body) {
  const int at = static_cast<int>(blockIdx.x);
  const LargeRootTask& task = list.tasks[task_of_tile(list, at)];
  const int passes = passes_of(task), entry = (at - task.first_tile) / passes, pass = (at - task.first_tile) % passes;
  const RootState& state = task.states[entry];
  for (int e = pass * kPass + static_cast<int>(threadIdx.x); e < (pass + 1) * kPass && e < task.n * task.n;
       e += kPassThreads)
    body(task, entry, state, e / task.n, e % task.n);
}

template <class E>
__device__ __forceinline__ void start_element(const LargeRootTask& task, int entry, int step, double high, int i, int j,
                                              double m) {
  constexpr RootSlots slots = slots_of<E>();
  const int at = i * task.ld + j;
  const E M = static_cast<E>(m);
  slot_of<E>(task, entry, slot_at(slots.M, step))[at] = M;
  slot_of<E>(task, entry, slots.T1)[at] = static_cast<E>(2.0 / high) * M - (i == j ? E(1) : E(0));
}

// M and T1 of a matrix's first step.
template <class T>
__global__ void start_kernel(KRONLA_PARAMETER(PassList) list) {
  const RootPlan& plan = list.settings.plan;
  for_each_of_pass(list, [&](const LargeRootTask& task, int entry, const RootState& state, int i, int j) {
    if (state.info != kGood) return;
    const double m = slot_of<double>(task, entry, kSlotD)[i * task.ld + j] * state.scale;
    const double high = plan.steps[state.first].high;
    if (sizeof(T) == 8 || state.first < plan.wide) {
      start_element<double>(task, entry, state.first, high, i, j, m);
    } else {
      start_element<float>(task, entry, state.first, high, i, j, m);
    }
  });
}

// The iterates in float32, where the float64 steps end; and T1.
__global__ void narrow_kernel(KRONLA_PARAMETER(PassList) list) {
  const RootPlan& plan = list.settings.plan;
  const int step = plan.wide;
  constexpr RootSlots wide = slots_of<double>(), narrow = slots_of<float>();
  for_each_of_pass(list, [&](const LargeRootTask& task, int entry, const RootState& state, int i, int j) {
    if (state.info != kGood || state.first >= step || state.stop <= step) return;
    const int at = i * task.ld + j;
    const double m = slot_of<double>(task, entry, slot_at(wide.M, step))[at];
    start_element<float>(task, entry, step, plan.steps[step].high, i, j, m);
    slot_of<float>(task, entry, slot_at(narrow.X, step))[at] =
        static_cast<float>(slot_of<double>(task, entry, slot_at(wide.X, step))[at]);
  });
}

// Y = D^(-1/r), rounded to T; `what`: 1 to widen it too, for the residual.
template <class T>
__global__ void root_kernel(KRONLA_PARAMETER(PassList) list) {
  const RootPlan& plan = list.settings.plan;
  constexpr RootSlots wide = slots_of<double>(), narrow = slots_of<float>();
  for_each_of_pass(list, [&](const LargeRootTask& task, int entry, const RootState& state, int i, int j) {
    if (state.info != kGood) return;
    const int at = i * task.ld + j, stop = state.stop;
    const double x = sizeof(T) == 8 || stop <= plan.wide
                         ? slot_of<double>(task, entry, slot_at(wide.X, stop))[at]
                         : static_cast<double>(slot_of<float>(task, entry, slot_at(narrow.X, stop))[at]);
    const T y = static_cast<T>(x * pow(state.scale, 1.0 / plan.r));
    slot_of<T>(task, entry, sizeof(T) == 8 ? wide.base[0] : narrow.base[0])[at] = y;
    if (list.settings.what == 1) slot_of<double>(task, entry, kSlotWide)[at] = static_cast<double>(y);
  });
}

// X from Yˢ in `slot`, or the fallback; `what`: 1 to widen it too.
template <class T>
__global__ void result_kernel(KRONLA_PARAMETER(PassList) list) {
  for_each_of_pass(list, [&](const LargeRootTask& task, int entry, const RootState& state, int i, int j) {
    const int64_t out = (int64_t{entry} * task.n + i) * task.n + j;
    T* X = static_cast<T*>(task.X) + out;
    if (state.info != kGood) {
      *X = task.fallback != nullptr ? static_cast<const T*>(task.fallback)[out] : not_a_number<T>();
      return;
    }
    const int at = i * task.ld + j;
    const double back = pow(state.damping.unit(), -1.0 / list.settings.plan.p);
    *X = static_cast<T>(static_cast<double>(slot_of<T>(task, entry, list.settings.slot)[at]) * back);
    if (list.settings.what == 1) slot_of<double>(task, entry, kSlotWide)[at] = static_cast<double>(*X) / back;
  });
}

// V ← F V for 32 vectors, 64 rows a block: F is D (`what` 1) or the root; V number `slot` is read, and the other written.
// `what` 2: V is set to the signs first.
__global__ void __launch_bounds__(kThreads, Fp64::kBlocks) probe_kernel(KRONLA_PARAMETER(PassList) list) {
  KRONLA_SHARED(unsigned char, shared);
  const int at = static_cast<int>(blockIdx.x);
  const LargeRootTask& task = list.tasks[task_of_tile(list, at)];
  const int n = task.n, side = (n + kTile - 1) / kTile;
  const int entry = (at - task.first_tile) / side, row0 = (at - task.first_tile) % side * kTile;
  if (task.states[entry].info != kGood) return;
  constexpr int kColumns = static_cast<int>(kProbes);
  const int from = list.settings.slot;
  double* V = probes_of(task, entry, 1 - from);
  if (list.settings.what == 2) {
    for (int e = static_cast<int>(threadIdx.x); e < kTile * kColumns; e += kThreads) {
      const int i = row0 + e / kColumns;
      if (i < n) V[i * kColumns + e % kColumns] = probe_sign(i, e % kColumns);
    }
    return;
  }
  const double* F = slot_of<double>(task, entry, list.settings.what == 1 ? kSlotD : kSlotWide);
  double total[2][4][4] = {};
  tile_product<Fp64, Layout::RowMajor, Layout::ColumnMajor>(
      workspace_operand(F, ScalarType::Float64, task.ld, n, n), row0,
      workspace_operand(probes_of(task, entry, from), ScalarType::Float64, kColumns, kColumns, n), 0, false,
      threadIdx.x / 32 % 2 == 1, shared, total);  // the second warps' columns do not exist
  for_each_in_tile(total, [&](int r, int c, double sum) {
    if (row0 + r < n && c < kColumns) V[(row0 + r) * kColumns + c] = sum;
  });
}

// The figures of each matrix; V number `slot` is E's, or nothing. A block a matrix.
template <class T>
__global__ void figures_kernel(KRONLA_PARAMETER(PassList) list) {
  KRONLA_SHARED(double, sums);
  const int at = static_cast<int>(blockIdx.x);
  const LargeRootTask& task = list.tasks[task_of_tile(list, at)];
  const int entry = at - task.first_tile, columns = static_cast<int>(kProbes);
  const RootState& state = task.states[entry];
  double residual = 0.0;
  if (state.info == kGood) {
    const double* V = probes_of(task, entry, list.settings.slot);
    for (int e = static_cast<int>(threadIdx.x); e < task.n * columns; e += static_cast<int>(blockDim.x)) {
      const double error = V[e] - probe_sign(e / columns, e % columns);
      residual += error * error;
    }
    residual = sqrt(block_sum(residual, sums) / columns / task.n);
  }
  if (threadIdx.x != 0) return;
  const bool bad = state.info != kGood;
  static_cast<T*>(task.residual)[entry] = bad ? not_a_number<T>() : static_cast<T>(residual);
  task.steps[entry] = state.stop - state.first;
  task.info[entry] = bad ? state.info : residual <= list.settings.plan.rtol ? kGood : kNotConverged;
}

}  // namespace kronla::cuda
