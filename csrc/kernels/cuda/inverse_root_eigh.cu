// inverse_root by eigendecomposition, any p > 0: D = QΛQᵀ in float64 by `eigh`, X = (Q Λ^(-1/2p)) (Q Λ^(-1/2p))ᵀ. For any n
// by the launches of the large matrices: it is the way for the p that have no polynomials, and for those who ask for it.
#include "kernels/cuda/device/magnitude.cuh"
#include "kernels/cuda/inverse_root_tiles.h"

namespace kronla::cuda {
namespace {

// Of one task, contiguous as `eigh` has them.
struct EighTask {
  LargeRootTask root;
  double *D, *Q, *eigenvalues;
  int batch, first_tile;
};
struct EighSettings {
  double p;
  bool whiten;  // for the residual where p is no integer
};
using EighList = TaskList<EighTask, EighSettings, kSmallParameterBytes>;

constexpr int kPass = 4096;
int blocks_of(int n) { return (n * n + kPass - 1) / kPass; }

// D for `eigh`; the identity, which converges at once, in place of a matrix without a root.
__global__ void __launch_bounds__(kPassThreads) gather_kernel(KRONLA_PARAMETER(EighList) list) {
  const EighTask& task = list.tasks[task_of_tile(list, static_cast<int>(blockIdx.x))];
  const int n = task.root.n, passes = (n * n + kPass - 1) / kPass, at = static_cast<int>(blockIdx.x) - task.first_tile;
  const int entry = at / passes, pass = at % passes;
  const bool good = task.root.states[entry].info == kGood;
  const double* D = slot_of<double>(task.root, entry, kSlotD);
  for (int e = pass * kPass + static_cast<int>(threadIdx.x); e < (pass + 1) * kPass && e < n * n; e += kPassThreads)
    task.D[int64_t{entry} * n * n + e] = good ? D[e / n * task.root.ld + e % n] : e / n == e % n ? 1.0 : 0.0;
}

// Q Λ^(-1/2p); and Q Λ^(-½) and its transpose.
__global__ void __launch_bounds__(kPassThreads) scale_kernel(KRONLA_PARAMETER(EighList) list) {
  KRONLA_SHARED(double, factors);  // of the columns, [2, n]
  const EighTask& task = list.tasks[task_of_tile(list, static_cast<int>(blockIdx.x))];
  const int n = task.root.n, ld = task.root.ld, passes = (n * n + kPass - 1) / kPass;
  const int at = static_cast<int>(blockIdx.x) - task.first_tile, entry = at / passes, pass = at % passes;
  RootState& state = task.root.states[entry];
  if (state.info != kGood) return;
  const EighSettings& settings = list.settings;
  const double* values = task.eigenvalues + int64_t{entry} * n;
  // Cholesky found D positive definite; what eigh rounds below its own noise is set to that noise.
  const double noise = Limits<double>::kEpsilon * values[n - 1];
  for (int j = static_cast<int>(threadIdx.x); j < n; j += kPassThreads) {
    const double value = values[j] < noise ? noise : values[j];  // NaN stays
    factors[j] = pow(value, -0.5 / settings.p);
    factors[n + j] = 1.0 / sqrt(value);
  }
  __syncthreads();
  const double* Q = task.Q + int64_t{entry} * n * n;
  double* half = slot_of<double>(task.root, entry, kSlotHalf);
  double* white = slot_of<double>(task.root, entry, kSlotWhite);
  double* transposed = slot_of<double>(task.root, entry, kSlotWhiteTransposed);
  for (int e = pass * kPass + static_cast<int>(threadIdx.x); e < (pass + 1) * kPass && e < n * n; e += kPassThreads) {
    const int i = e / n, j = e % n;
    half[i * ld + j] = Q[e] * factors[j];
    if (settings.whiten) {
      white[i * ld + j] = Q[e] * factors[n + j];
      transposed[i * ld + j] = Q[j * n + i] * factors[n + i];
    }
  }
  if (pass != 0 || threadIdx.x != 0) return;
  state.first = 0;
  state.stop = 1;
}

}  // namespace

template <class T>
void roots_by_eigh(const std::vector<RootGroup<T>>& groups, const RootPlan& plan, const Stream& stream,
                   void (*solve)(const std::vector<BasisGroup<double>>&, const Stream&)) {
  const LargeRoots tasks = large_roots(groups, stream);
  if (tasks.empty()) return;
  damp_large_roots<T>(tasks, plan, stream);
  factor_large_roots(tasks, false, stream);

  std::vector<EighTask> each;
  std::vector<BasisGroup<double>> bases;
  for (const LargeRootTask& task : tasks) {
    const size_t batch = static_cast<size_t>(task.batch), n = static_cast<size_t>(task.n);
    each.push_back({task, stream.take<double>(batch * n * n), stream.take<double>(batch * n * n),
                    stream.take<double>(batch * n), task.batch, 0});
    bases.push_back({task.batch, task.n, each.back().D, nullptr, BasisMethod::Eigh, each.back().Q,
                     each.back().eigenvalues, stream.take<double>(batch), stream.take<int32_t>(batch),
                     stream.take<int32_t>(batch)});
  }
  const auto over_elements = [&](const char* name, auto kernel, size_t room) {
    fill_lists<EighList>(
        each, EighSettings{plan.p, !plan.integer},
        [](const EighTask& task) { return int64_t{task.batch} * blocks_of(task.root.n); },
        [&](const EighList& list, unsigned blocks) {
          launch(name, kernel, dim3(blocks), kPassThreads, room * sizeof(double), stream.handle, list);
        });
  };
  over_elements("inverse_root, D for eigh", gather_kernel, 0);
  solve(bases, stream);
  over_elements("inverse_root, powers of eigenvalues", scale_kernel, 2 * static_cast<size_t>(tasks[0].n));

  multiply_large_roots(tasks, kSlotHalf, kSlotHalf, kSlotRoot, stream);
  write_large_roots<T, double>(tasks, plan, kSlotRoot, stream);
  LargeResidual residual(tasks, stream);
  if (plan.integer) {
    residual.take(static_cast<int64_t>(plan.p));
  } else {
    for (const int slot : {kSlotWhite, kSlotD, kSlotWhiteTransposed}) residual.multiply(slot);
  }
  write_large_figures<T>(tasks, plan, residual.vectors(), stream);
}

template void roots_by_eigh<float>(const std::vector<RootGroup<float>>&, const RootPlan&, const Stream&,
                                   void (*)(const std::vector<BasisGroup<double>>&, const Stream&));
template void roots_by_eigh<double>(const std::vector<RootGroup<double>>&, const RootPlan&, const Stream&,
                                    void (*)(const std::vector<BasisGroup<double>>&, const Stream&));

}  // namespace kronla::cuda
