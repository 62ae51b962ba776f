// The launches of inverse_root on matrices in global memory that go over their elements: the start of the chain, the change
// to float32, and the root as it is returned.
#include "kernels/cuda/device/magnitude.cuh"
#include "kernels/cuda/inverse_root_tiles.h"

namespace kronla::cuda {
namespace {

// ---- passes over the elements, kPass of a matrix a block ----

constexpr int kPass = 4096;
__host__ __device__ constexpr int passes_of(int n) { return (n * n + kPass - 1) / kPass; }

// Calls body(i, j, at) for the elements of this block, `at` their place in a slot.
template <class Body>
__device__ __forceinline__ void for_each_of_pass(const LargeRootTask& task, int pass, Body&& body) {
  for (int e = pass * kPass + static_cast<int>(threadIdx.x); e < (pass + 1) * kPass && e < task.n * task.n;
       e += kPassThreads)
    body(e / task.n, e % task.n, e / task.n * task.ld + e % task.n);
}

template <class E>
__device__ __forceinline__ void start_element(const LargeRootTask& task, int entry, int step, double high,
                                              bool diagonal, int at, double m) {
  constexpr RootSlots slots = slots_of<E>();
  const E M = static_cast<E>(m);
  slot_of<E>(task, entry, slot_at(slots.M, step))[at] = M;
  slot_of<E>(task, entry, slots.T1)[at] = static_cast<E>(2.0 / high) * M - (diagonal ? E(1) : E(0));
}

// λmin(D) ≥ 1/tr(D⁻¹) = 1/‖L⁻¹‖_F²: the schedule; and M and T1 of the first step.
template <class T>
__global__ void __launch_bounds__(kPassThreads) start_kernel(KRONLA_PARAMETER(PassList) list) {
  KRONLA_SHARED(double, room);
  const LargeRootTask& task = list.tasks[task_of_tile(list, static_cast<int>(blockIdx.x))];
  const auto [entry, pass] = block_place(task, passes_of(task.n));
  const RootPlan& plan = list.settings.plan;
  RootState& state = task.states[entry];
  if (state.info != kGood) return;
  double norm = 0.0, inverse = 0.0;
  for_each_figures(task, entry, [&](const TileFigures& tile) {
    norm += tile.norm;
    inverse += tile.inverse;
  });
  norm = sqrt(block_sum(norm, room)) * kNormSlack;
  const RootSchedule schedule = schedule_of(plan, 1.0 / block_sum(inverse, room), norm, sizeof(T) == 8);
  const double high = plan.steps[schedule.first].high;
  const double* D = slot_of<double>(task, entry, kSlotD);
  const int matrix = entry;
  for_each_of_pass(task, pass, [&](int i, int j, int at) {
    if (sizeof(T) == 8 || schedule.first < plan.wide) {
      start_element<double>(task, matrix, schedule.first, high, i == j, at, D[at] * schedule.scale);
    } else {
      start_element<float>(task, matrix, schedule.first, high, i == j, at, D[at] * schedule.scale);
    }
  });
  if (pass != 0 || threadIdx.x != 0) return;
  state.first = schedule.first;
  state.stop = schedule.stop;
  state.scale = schedule.scale;
  state.scale_root = pow(schedule.scale, 1.0 / plan.r);
}

// The iterates in float32, where the float64 steps end; and T1.
__global__ void __launch_bounds__(kPassThreads) narrow_kernel(KRONLA_PARAMETER(PassList) list) {
  const LargeRootTask& task = list.tasks[task_of_tile(list, static_cast<int>(blockIdx.x))];
  const auto [entry, pass] = block_place(task, passes_of(task.n));
  const int step = list.settings.plan.wide, matrix = entry;
  const RootState& state = task.states[entry];
  if (state.info != kGood || state.first >= step || state.stop <= step) return;
  constexpr RootSlots wide = slots_of<double>(), narrow = slots_of<float>();
  const double* M = slot_of<double>(task, entry, slot_at(wide.M, step));
  const double* X = slot_of<double>(task, entry, slot_at(wide.X, step));
  float* X_narrow = slot_of<float>(task, entry, slot_at(narrow.X, step));
  const double high = list.settings.plan.steps[step].high;
  for_each_of_pass(task, pass, [&](int i, int j, int at) {
    start_element<float>(task, matrix, step, high, i == j, at, M[at]);
    X_narrow[at] = static_cast<float>(X[at]);
  });
}

// The last iterate of a matrix, of the type that it has.
template <class T>
struct LastIterate {
  const double* wide;
  const float* narrow;
  __device__ __forceinline__ LastIterate(const LargeRootTask& task, int entry, const RootPlan& plan)
      : wide(nullptr), narrow(nullptr) {
    const int stop = task.states[entry].stop;
    if (sizeof(T) == 8 || stop <= plan.wide) {
      wide = slot_of<double>(task, entry, slot_at(slots_of<double>().X, stop));
    } else {
      narrow = slot_of<float>(task, entry, slot_at(slots_of<float>().X, stop));
    }
  }
  __device__ __forceinline__ double operator[](int at) const {
    return wide != nullptr ? wide[at] : static_cast<double>(narrow[at]);
  }
};

// Y, rounded to T; and widened, where no residual of X will need the place.
template <class T>
__global__ void __launch_bounds__(kPassThreads) round_kernel(KRONLA_PARAMETER(PassList) list) {
  const LargeRootTask& task = list.tasks[task_of_tile(list, static_cast<int>(blockIdx.x))];
  const auto [entry, pass] = block_place(task, passes_of(task.n));
  const RootState& state = task.states[entry];
  if (state.info != kGood) return;
  const LastIterate<T> last(task, entry, list.settings.plan);
  const double factor = state.scale_root;
  T* Y = slot_of<T>(task, entry, slots_of<T>().base[0]);
  double* wide = slot_of<double>(task, entry, kSlotWide);
  const bool widen = !list.settings.plan.integer;
  for_each_of_pass(task, pass, [&](int, int, int at) {
    const T y = static_cast<T>(last[at] * factor);
    Y[at] = y;
    if (widen) wide[at] = static_cast<double>(y);
  });
}

// X, or the fallback; X widened.
template <class T, class E>
__global__ void __launch_bounds__(kPassThreads) write_kernel(KRONLA_PARAMETER(PassList) list) {
  const LargeRootTask& task = list.tasks[task_of_tile(list, static_cast<int>(blockIdx.x))];
  const auto [entry, pass] = block_place(task, passes_of(task.n));
  RootState& state = task.states[entry];
  const int64_t matrix = int64_t{entry} * task.n * task.n;
  T* X = static_cast<T*>(task.X) + matrix;
  const int n = task.n;
  if (state.info != kGood) {
    const T* fallback = static_cast<const T*>(task.fallback);
    for_each_of_pass(task, pass, [&](int i, int j, int) {
      X[i * n + j] = fallback != nullptr ? fallback[matrix + i * n + j] : not_a_number<T>();
    });
    return;
  }
  double* wide = slot_of<double>(task, entry, kSlotWide);
  const double back = state.back;
  uint32_t range = 0;
  const auto store = [&](int i, int j, int at, double value) {
    const T x = static_cast<T>(value);
    X[i * n + j] = x;
    wide[at] = static_cast<double>(x) / back;
    range |= (magnitude(x) <= Limits<T>::kMax ? 0 : kHasInfinity) | (x == T(0) ? 0 : kHasNonzero);
  };
  const RootPlan& plan = list.settings.plan;
  if (n == 1) {
    if (threadIdx.x == 0)
      store(0, 0, 0, pow(*slot_of<double>(task, entry, kSlotD) * state.damping.unit(), -1.0 / plan.p));
  } else if (list.settings.slot < 0) {
    const LastIterate<T> last(task, entry, plan);
    const double factor = state.scale_root * back;
    for_each_of_pass(task, pass, [&](int i, int j, int at) { store(i, j, at, last[at] * factor); });
  } else {
    const E* root = slot_of<E>(task, entry, list.settings.slot);
    for_each_of_pass(task, pass, [&](int i, int j, int at) { store(i, j, at, static_cast<double>(root[at]) * back); });
  }
  for (const uint32_t flag : {kHasInfinity, kHasNonzero})
    if (__syncthreads_or((range & flag) != 0) && threadIdx.x == 0) atomicOr(&state.range, flag);
}

template <class Kernel>
void over_elements(const char* name, const LargeRoots& tasks, const PassSettings& settings, Kernel kernel,
                   const Stream& stream) {
  launch_large<PassList>(
      name, tasks, settings, [](const LargeRootTask& task) { return passes_of(task.n); }, kernel, kPassThreads,
      kReduceBytes, stream);
}

}  // namespace

template <class T>
void start_large_roots(const LargeRoots& tasks, const RootPlan& plan, const Stream& stream) {
  over_elements("inverse_root, start", tasks, {plan, 0, 0}, start_kernel<T>, stream);
}

void narrow_large_roots(const LargeRoots& tasks, const RootPlan& plan, const Stream& stream) {
  over_elements("inverse_root, float32", tasks, {plan, 0, 0}, narrow_kernel, stream);
}

template <class T>
void round_large_roots(const LargeRoots& tasks, const RootPlan& plan, const Stream& stream) {
  over_elements("inverse_root, rounding", tasks, {plan, 0, 0}, round_kernel<T>, stream);
}

template <class T, class E>
void write_large_roots(const LargeRoots& tasks, const RootPlan& plan, int slot, const Stream& stream) {
  over_elements("inverse_root, result", tasks, {plan, slot, 0}, write_kernel<T, E>, stream);
}

#define KRONLA_FOR(T)                                                                    \
  template void start_large_roots<T>(const LargeRoots&, const RootPlan&, const Stream&); \
  template void round_large_roots<T>(const LargeRoots&, const RootPlan&, const Stream&); \
  template void write_large_roots<T, T>(const LargeRoots&, const RootPlan&, int, const Stream&);
KRONLA_FOR(float)
KRONLA_FOR(double)
#undef KRONLA_FOR
template void write_large_roots<float, double>(const LargeRoots&, const RootPlan&, int, const Stream&);

}  // namespace kronla::cuda
