// inverse_root by polynomials for large matrices: every product a launch of 64 × 64 tiles on or below the diagonal, with what
// follows the product in its epilogue and a mirrored store. Step k of the chain is the same launches for all matrices;
// those whose schedule does not have it let it pass.
//
// Launched are the steps that a positive semidefinite A, damped as asked, can need; where λmin(D) lies below what that
// promises (an indefinite A, or a D at the edge of float64) one block takes the matrix through the steps before: slowly,
// but in one launch that costs the others nothing.
#include <algorithm>
#include <initializer_list>
#include <type_traits>

#include "kernels/cuda/inverse_root_tiles.h"

namespace kronla::cuda {
namespace {

enum class Epilogue : int32_t {
  None,
  Square,  // T2 = 2 sum − I, and S = 2 c3 T1 + 2 c4 T2
  Series,  // q = sum + (c1 − c3) T1 + c2 T2 + (c0 − c4) I, and X ← q in a matrix's first step
  Final,   // M = sum, and T1 of the next step
};
enum class Needed : int32_t { Always, InStep, AfterFirst, BeforeLast };  // always: where the matrix has a root

struct TileProduct {
  int left, right, target;  // slots
  Epilogue epilogue;
  Needed needed;
};
struct Phase {  // products that are independent of one another
  int count;
  TileProduct products[3];
};
inline constexpr int kMostPhases = 6;

struct ProductSettings {
  Phase phase;
  RootSlots slots;
  int step;
  double c0, c1, c2, c3, c4;  // as in the epilogues
  double next_scale;          // 2/high of the next step
};
using ProductList = TaskList<LargeRootTask, ProductSettings, kSmallParameterBytes>;
struct EarlySettings {
  RootPlan plan;
  int end;  // of the steps before those that are launched
};
using EarlyList = TaskList<LargeRootTask, EarlySettings, kSmallParameterBytes>;

// X ← X q(M), M ← q(M)^r M, q as in root_polynomial of the CPU: the phases of step k; how many. No phase can be spared:
// q^r M is a product of r + 1 factors, and each phase doubles how many there are.
__host__ __device__ inline int phases_of(int r, int k, const RootSlots& s, Phase (&phases)[kMostPhases]) {
  const int M = slot_at(s.M, k), X = slot_at(s.X, k), M_next = slot_at(s.M, k + 1), X_next = slot_at(s.X, k + 1);
  const auto power = [](int left, int right, int target) {
    return TileProduct{left, right, target, Epilogue::None, Needed::BeforeLast};
  };
  int count = 0;
  phases[count++] = {1, {{s.T1, s.T1, s.T2, Epilogue::Square, Needed::InStep}}};
  phases[count++] = {1, {{s.T2, s.S, s.q, Epilogue::Series, Needed::InStep}}};
  // From here on T2 and S are free for powers of q, and q itself after the next phase; T1 is that of the next step.
  Phase& third = phases[count++] = {2, {{X, s.q, X_next, Epilogue::None, Needed::AfterFirst}, power(s.q, s.q, s.T2)}};
  int left = s.T2, right = M;
  if (r == 3) {  // q² · qM
    third.products[third.count++] = power(s.q, M, s.S);
    right = s.S;
  } else if (r != 2) {  // 4: q⁴ · M; 6: q⁴ · q²M; 8: q⁴ · q⁴M
    Phase& fourth = phases[count++] = {1, {power(s.T2, s.T2, s.S)}};
    left = s.S;
    if (r == 6) fourth.products[fourth.count++] = power(s.T2, M, s.q);
    if (r == 8) phases[count++] = {1, {power(s.S, M, s.q)}};
    if (r != 4) right = s.q;
  }
  phases[count++] = {1, {{left, right, M_next, Epilogue::Final, Needed::BeforeLast}}};
  return count;
}

__host__ __device__ inline ProductSettings settings_of(const RootPlan& plan, int k, const Phase& phase,
                                                       const RootSlots& slots) {
  const RootStep& step = plan.steps[k];
  return {phase,
          slots,
          k,
          step.c[0] - step.c[4],
          step.c[1] - step.c[3],
          step.c[2],
          2.0 * step.c[3],
          2.0 * step.c[4],
          k + 1 < plan.count ? 2.0 / plan.steps[k + 1].high : 0.0};
}

__device__ __forceinline__ bool is_needed(const RootState& state, Needed needed, int step) {
  if (state.info != kGood) return false;
  if (needed == Needed::Always) return true;
  if (step < state.first || step >= state.stop) return false;
  return needed == Needed::InStep || (needed == Needed::AfterFirst ? step > state.first : step + 1 < state.stop);
}

// Tile `index` of a product, by all threads of a block.
template <class Math>
__device__ __forceinline__ void multiply_tile(const LargeRootTask& task, int entry, const ProductSettings& settings,
                                              const TileProduct& product, int index, unsigned char* shared) {
  using E = typename Math::Sum;
  const int n = task.n, ld = task.ld;
  int row, column;
  triangular_tile(index, row, column);
  const E* left = slot_of<E>(task, entry, product.left);
  const E* right = slot_of<E>(task, entry, product.right);
  constexpr ScalarType kType = sizeof(E) == 8 ? ScalarType::Float64 : ScalarType::Float32;
  const bool diagonal = row == column;
  E total[2][4][4] = {};
  tile_product<Math, Layout::RowMajor, Layout::RowMajor>(
      workspace_operand(left, kType, ld, n, n), row * kTile, workspace_operand(right, kType, ld, n, n), column * kTile,
      diagonal && left == right, diagonal && threadIdx.x / 32 == 1, shared, total);

  E* target = slot_of<E>(task, entry, product.target);
  const Epilogue epilogue = product.epilogue;
  const RootSlots& slots = settings.slots;
  // What else is read or written at the same place.
  const E* T1 = slot_of<E>(task, entry, slots.T1);
  const E* T2 = slot_of<E>(task, entry, slots.T2);
  E* also = epilogue == Epilogue::Square  ? slot_of<E>(task, entry, slots.S)
            : epilogue == Epilogue::Final ? slot_of<E>(task, entry, slots.T1)
            : epilogue == Epilogue::Series && settings.step == task.states[entry].first
                ? slot_of<E>(task, entry, slot_at(slots.X, settings.step + 1))
                : nullptr;
  for_each_in_tile(total, [&](int r, int c, E sum) {
    const int i = row * kTile + r, j = column * kTile + c;
    if (i >= n || j > i) return;
    const int lower = i * ld + j, upper = j * ld + i;
    const E one = i == j ? E(1) : E(0);
    E second = E(0);
    if (epilogue == Epilogue::Square) {
      sum = E(2) * sum - one;
      second = static_cast<E>(settings.c3) * T1[lower] + static_cast<E>(settings.c4) * sum;
    } else if (epilogue == Epilogue::Series) {
      sum += static_cast<E>(settings.c1) * T1[lower] + static_cast<E>(settings.c2) * T2[lower] +
             static_cast<E>(settings.c0) * one;
      second = sum;
    } else if (epilogue == Epilogue::Final) {
      second = static_cast<E>(settings.next_scale) * sum - one;
    }
    target[lower] = sum;
    target[upper] = sum;
    if (also != nullptr) {
      also[lower] = second;
      also[upper] = second;
    }
  });
}

template <class Math>
__global__ void __launch_bounds__(kThreads, Math::kBlocks) tiles_kernel(KRONLA_PARAMETER(ProductList) list) {
  KRONLA_SHARED(unsigned char, shared);
  const LargeRootTask& task = list.tasks[task_of_tile(list, static_cast<int>(blockIdx.x))];
  const ProductSettings& settings = list.settings;
  const int tiles = lower_tiles_of(task.n);
  const auto [entry, index] = block_place(task, tiles * settings.phase.count);
  const TileProduct& product = settings.phase.products[index / tiles];
  if (is_needed(task.states[entry], product.needed, settings.step))
    multiply_tile<Math>(task, entry, settings, product, index % tiles, shared);
}

// The steps before `end`, of the matrices that need them: a block a matrix, tile after tile, with the same bits.
__global__ void __launch_bounds__(kThreads, Fp64::kBlocks) early_kernel(KRONLA_PARAMETER(EarlyList) list) {
  KRONLA_SHARED(unsigned char, shared);
  const int at = static_cast<int>(blockIdx.x);
  const LargeRootTask& task = list.tasks[task_of_tile(list, at)];
  const int entry = at - task.first_tile, tiles = lower_tiles_of(task.n);
  const RootPlan& plan = list.settings.plan;
  const RootState& state = task.states[entry];
  if (state.info != kGood) return;
  const RootSlots slots = slots_of<double>();
  for (int k = state.first; k < state.stop && k < list.settings.end; ++k) {
    Phase phases[kMostPhases];
    const int count = phases_of(plan.r, k, slots, phases);
    for (int p = 0; p < count; ++p) {
      const ProductSettings settings = settings_of(plan, k, phases[p], slots);
      for (int q = 0; q < phases[p].count; ++q) {
        if (!is_needed(state, phases[p].products[q].needed, k)) continue;
        for (int index = 0; index < tiles; ++index) {
          multiply_tile<Fp64>(task, entry, settings, phases[p].products[q], index, shared);
          __syncthreads();  // the next tile loads where this one reads; after the last, its stores are everyone's
        }
      }
    }
  }
}

template <class Math>
void launch_phase(const LargeRoots& tasks, const ProductSettings& settings, const Stream& stream) {
  launch_large<ProductList>(
      "inverse_root, products", tasks, settings,
      [&](const LargeRootTask& task) { return int64_t{settings.phase.count} * lower_tiles_of(task.n); },
      tiles_kernel<Math>, kThreads, tile_shared_bytes<Math>(), stream);
}

// The launches of step k; in the last step of all, what only others would read is left out.
template <class Math>
void launch_step(const LargeRoots& tasks, const RootPlan& plan, int k, bool last, const Stream& stream) {
  const RootSlots slots = slots_of<typename Math::Sum>();
  Phase phases[kMostPhases];
  const int count = phases_of(plan.r, k, slots, phases);
  for (int p = 0; p < count; ++p) {
    Phase phase{};
    for (int q = 0; q < phases[p].count; ++q)
      if (!last || phases[p].products[q].needed != Needed::BeforeLast)
        phase.products[phase.count++] = phases[p].products[q];
    if (phase.count > 0) launch_phase<Math>(tasks, settings_of(plan, k, phase, slots), stream);
  }
}

// Slot baseᵏ by binary powers, the low bits first, in up to three other slots; the slot that holds it.
template <class Math>
int power_in_slots(const LargeRoots& tasks, int64_t k, int base, const int (&others)[3], const Stream& stream) {
  int result = -1;
  const auto product = [&](int left, int right) {
    int target = others[0];
    for (const int other : others)
      if (other != base && other != result) target = other;
    ProductSettings settings{};
    settings.phase = {1, {{left, right, target, Epilogue::None, Needed::Always}}};
    launch_phase<Math>(tasks, settings, stream);
    return target;
  };
  for (; k > 0; k /= 2) {
    if (k % 2 == 1) result = result < 0 ? base : product(result, base);
    if (k > 1) base = product(base, base);
  }
  return result;
}

// The first step that is launched. A ⪰ 0 has λmin(D) ≥ r‖A‖_F for r the relative damping, and ‖D‖_F ≤ (1 + r√n)‖A‖_F plus
// what the absolute damping gives to both; so 1/tr(D⁻¹) ≥ r ‖D‖_F / (n (1 + r√n)). Half of that allows for rounding, and
// for an A that is indefinite by it. Without relative damping nothing is promised, but a float64 D with a smaller bound than
// kEdge hardly exists.
int first_launched(const LargeRoots& tasks, const RootPlan& plan, int end) {
  constexpr double kEdge = 1e-13;
  int first = plan.count;
  for (const LargeRootTask& task : tasks) {
    const double r = plan.relative_damping, n = task.n;
    const double low = std::max(kEdge, 0.5 * r / (n * (1.0 + r * std::sqrt(n))));
    first = std::min(first, schedule_of(plan, low, 1.0, end == plan.count).first);
  }
  return std::min(first, plan.wide);  // the early steps are taken in float64
}

}  // namespace

int power_of_large_roots(const LargeRoots& tasks, int64_t k, int base, const int (&others)[3], const Stream& stream) {
  return power_in_slots<Fp64>(tasks, k, base, others, stream);
}

void multiply_large_roots(const LargeRoots& tasks, int left, int right, int target, const Stream& stream) {
  ProductSettings settings{};
  settings.phase = {1, {{left, right, target, Epilogue::None, Needed::Always}}};
  launch_phase<Fp64>(tasks, settings, stream);
}

template <class T>
void roots_by_tiles(const std::vector<RootGroup<T>>& groups, const RootPlan& plan, const Stream& stream) {
  constexpr bool kWide = sizeof(T) == 8;
  using Narrow = std::conditional_t<kWide, Fp64, Tf32x3>;
  const LargeRoots tasks = large_roots(groups, stream);
  if (tasks.empty()) return;
  damp_large_roots<T>(tasks, plan, stream);
  factor_large_roots(tasks, true, stream);
  start_large_roots<T>(tasks, plan, stream);

  const int end = kWide ? plan.count : plan.count - 1, launched = first_launched(tasks, plan, end);
  if (launched > 0) {
    launch_large<EarlyList>(
        "inverse_root, early steps", tasks, EarlySettings{plan, launched}, [](const LargeRootTask&) { return 1; },
        early_kernel, kThreads, tile_shared_bytes<Fp64>(), stream);
  }
  for (int k = launched; k < end; ++k) {
    if (kWide || k < plan.wide) {
      launch_step<Fp64>(tasks, plan, k, k + 1 == end, stream);
    } else {
      if (k == plan.wide) narrow_large_roots(tasks, plan, stream);
      launch_step<Narrow>(tasks, plan, k, k + 1 == end, stream);
    }
  }

  LargeResidual residual(tasks, stream);
  if (plan.s == 1) {  // p = r: X is the last iterate
    write_large_roots<T, T>(tasks, plan, -1, stream);
  } else {
    const RootSlots slots = slots_of<T>();
    round_large_roots<T>(tasks, plan, stream);
    if (!plan.integer) residual.take(plan.r);
    const int slot =
        power_in_slots<Narrow>(tasks, plan.s, slots.base[0], {slots.base[1], slots.result[0], slots.result[1]}, stream);
    write_large_roots<T, T>(tasks, plan, slot, stream);
  }
  if (plan.integer) residual.take(static_cast<int64_t>(plan.p));
  write_large_figures<T>(tasks, plan, residual.vectors(), stream);
}

template void roots_by_tiles<float>(const std::vector<RootGroup<float>>&, const RootPlan&, const Stream&);
template void roots_by_tiles<double>(const std::vector<RootGroup<double>>&, const RootPlan&, const Stream&);

}  // namespace kronla::cuda
