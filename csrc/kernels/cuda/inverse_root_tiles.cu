// inverse_root for large matrices: every product a launch of 64 × 64 tiles on or below the diagonal, with what follows the
// product in its epilogue and a mirrored store. Step k of the chain is the same launches for all matrices; those whose
// schedule does not have it let it pass.
#include <algorithm>
#include <initializer_list>
#include <utility>

#include "kernels/cuda/inverse_root_passes.cuh"

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

struct ProductSettings {
  int step, count;
  TileProduct products[3];  // independent of one another
  RootSlots slots;
  double c0, c1, c2, c3, c4;  // as in the epilogues
  double next_scale;          // 2/high of the next step
};
using ProductList = TaskList<LargeRootTask, ProductSettings, kSmallParameterBytes>;

__device__ __forceinline__ bool is_needed(const RootState& state, Needed needed, int step) {
  if (state.info != kGood) return false;
  if (needed == Needed::Always) return true;
  if (step < state.first || step >= state.stop) return false;
  return needed == Needed::InStep || (needed == Needed::AfterFirst ? step > state.first : step + 1 < state.stop);
}

template <class Math>
__global__ void __launch_bounds__(kThreads, Math::kBlocks) tiles_kernel(KRONLA_PARAMETER(ProductList) list) {
  using E = typename Math::Sum;
  KRONLA_SHARED(unsigned char, shared);
  const int at = static_cast<int>(blockIdx.x);
  const LargeRootTask& task = list.tasks[task_of_tile(list, at)];
  const ProductSettings& settings = list.settings;
  const int n = task.n, ld = task.ld, side = (n + kTile - 1) / kTile, tiles = side * (side + 1) / 2;
  const int index = at - task.first_tile, entry = index / (tiles * settings.count);
  const TileProduct& product = settings.products[index / tiles % settings.count];
  const RootState& state = task.states[entry];
  if (!is_needed(state, product.needed, settings.step)) return;
  int row, column;
  triangular_tile(index % tiles, row, column);

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
            : epilogue == Epilogue::Series && settings.step == state.first
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

// One call: the sequence of launches.
template <class T>
class Sequence {
 public:
  Sequence(std::vector<LargeRootTask> tasks, const RootPlan& plan, const Stream& stream)
      : tasks_(std::move(tasks)), plan_(plan), stream_(stream) {}

  void run() {
    per_matrix("inverse_root, D", prepare_kernel<T>, {plan_, 0, 0});
    factor_large_roots(tasks_, plan_, kWide, stream_);
    over_elements("inverse_root, start", start_kernel<T>, {plan_, 0, 0});
    const int end = kWide ? plan_.count : plan_.count - 1;
    for (int k = 0; k < end; ++k) {
      if (kWide || k < plan_.wide) {
        step<Fp64>(k, slots_of<double>());
      } else {
        if (k == plan_.wide) over_elements("inverse_root, float32", narrow_kernel, {plan_, 0, 0});
        step<Narrow>(k, slots_of<float>());
      }
    }
    over_elements("inverse_root, root", root_kernel<T>, {plan_, plan_.integer ? 0 : 1, 0});
    int vectors = 0;
    if (!plan_.integer) vectors = residual(plan_.r);
    const int slot = power(plan_.s);
    over_elements("inverse_root, result", result_kernel<T>, {plan_, plan_.integer ? 1 : 0, slot});
    if (plan_.integer) vectors = residual(static_cast<int>(plan_.p));
    per_matrix("inverse_root, figures", figures_kernel<T>, {plan_, 0, vectors});
  }

 private:
  static constexpr bool kWide = sizeof(T) == 8;
  using Narrow = std::conditional_t<kWide, Fp64, Tf32x3>;

  template <class Kernel>
  void per_matrix(const char* name, Kernel kernel, const PassSettings& settings) {
    fill_lists<PassList>(
        tasks_, settings, [](const LargeRootTask& task) { return int64_t{task.batch}; },
        [&](const PassList& list, unsigned matrices) {
          launch(name, kernel, dim3(matrices), 512, kReduceRoom * sizeof(double), stream_.handle, list);
        });
  }
  template <class Kernel>
  void over_elements(const char* name, Kernel kernel, const PassSettings& settings) {
    const auto tiles_of = [](const LargeRootTask& task) {
      return task.batch * ((int64_t{task.n} * task.n + kPass - 1) / kPass);
    };
    fill_lists<PassList>(tasks_, settings, tiles_of, [&](const PassList& list, unsigned blocks) {
      launch(name, kernel, dim3(blocks), kPassThreads, 0, stream_.handle, list);
    });
  }

  template <class Math>
  void multiply(int k, const RootSlots& slots, std::initializer_list<TileProduct> products) {
    const RootStep& step = plan_.steps[std::min(k, plan_.count - 1)];
    ProductSettings settings{};
    settings.step = k;
    settings.count = static_cast<int>(products.size());
    std::copy(products.begin(), products.end(), settings.products);
    settings.slots = slots;
    settings.c0 = step.c[0] - step.c[4];
    settings.c1 = step.c[1] - step.c[3];
    settings.c2 = step.c[2];
    settings.c3 = 2.0 * step.c[3];
    settings.c4 = 2.0 * step.c[4];
    settings.next_scale = k + 1 < plan_.count ? 2.0 / plan_.steps[k + 1].high : 0.0;
    const auto tiles_of = [&](const LargeRootTask& task) {
      const int64_t side = tiles_along(task.n);
      return task.batch * settings.count * (side * (side + 1) / 2);
    };
    fill_lists<ProductList>(tasks_, settings, tiles_of, [&](const ProductList& list, unsigned tiles) {
      launch("inverse_root, products", tiles_kernel<Math>, dim3(tiles), kThreads, tile_shared_bytes<Math>(),
             stream_.handle, list);
    });
  }

  // X ← X q(M), M ← q(M)^r M, q as in root_polynomial of the CPU.
  template <class Math>
  void step(int k, const RootSlots& s) {
    const int now = k % 2, next = 1 - now;
    multiply<Math>(k, s, {{s.T1, s.T1, s.T2, Epilogue::Square, Needed::InStep}});
    multiply<Math>(k, s, {{s.T2, s.S, s.q, Epilogue::Series, Needed::InStep}});
    const TileProduct X{s.X[now], s.q, s.X[next], Epilogue::None, Needed::AfterFirst};
    const auto power = [](int left, int right, int target) {
      return TileProduct{left, right, target, Epilogue::None, Needed::BeforeLast};
    };
    // From here on T2 and S are free for powers of q, and q itself after the first launch; T1 is that of the next step.
    int last_left = s.T2, last_right = s.M[now];
    switch (plan_.r) {
      case 2:  // q² · M
        multiply<Math>(k, s, {X, power(s.q, s.q, s.T2)});
        break;
      case 3:  // q² · qM
        multiply<Math>(k, s, {X, power(s.q, s.q, s.T2), power(s.q, s.M[now], s.S)});
        last_right = s.S;
        break;
      case 4:  // q⁴ · M
        multiply<Math>(k, s, {X, power(s.q, s.q, s.T2)});
        multiply<Math>(k, s, {power(s.T2, s.T2, s.S)});
        last_left = s.S;
        break;
      case 6:  // q⁴ · q²M
        multiply<Math>(k, s, {X, power(s.q, s.q, s.T2)});
        multiply<Math>(k, s, {power(s.T2, s.T2, s.S), power(s.T2, s.M[now], s.q)});
        last_left = s.S;
        last_right = s.q;
        break;
      default:  // 8: q⁴ · q⁴M
        multiply<Math>(k, s, {X, power(s.q, s.q, s.T2)});
        multiply<Math>(k, s, {power(s.T2, s.T2, s.S)});
        multiply<Math>(k, s, {power(s.S, s.M[now], s.q)});
        last_left = s.S;
        last_right = s.q;
    }
    multiply<Math>(k, s, {{last_left, last_right, s.M[next], Epilogue::Final, Needed::BeforeLast}});
  }

  // Yˢ by binary powers, the low bits first; the slot that holds it.
  int power(int s) {
    const RootSlots slots = slots_of<T>();
    const auto product = [&](int left, int right, int target) {
      multiply<Narrow>(0, slots, {{left, right, target, Epilogue::None, Needed::Always}});
    };
    int base = slots.base[0], other_base = slots.base[1], result = -1, other_result = slots.result[0];
    // The first power that is needed may stay where it is: the base moves on to another slot.
    int free_slot = slots.result[1];
    for (; s > 0; s /= 2) {
      if (s % 2 == 1) {
        if (result < 0) {
          result = base;
          if (s > 1) {
            product(base, base, other_base);
            base = other_base;
            other_base = free_slot;
          }
          continue;
        }
        product(result, base, other_result);
        std::swap(result, other_result);
      }
      if (s > 1) {
        product(base, base, other_base);
        std::swap(base, other_base);
      }
    }
    return result;
  }

  // V ← Y^⌊k/2⌋ D Y^⌈k/2⌉ V; which V.
  int residual(int k) {
    int from = 0;
    const auto pass = [&](int what) {
      const auto tiles_of = [](const LargeRootTask& task) { return task.batch * tiles_along(task.n); };
      fill_lists<PassList>(tasks_, PassSettings{plan_, what, from}, tiles_of,
                           [&](const PassList& list, unsigned tiles) {
                             launch("inverse_root, residual", probe_kernel, dim3(tiles), kThreads,
                                    tile_shared_bytes<Fp64>(), stream_.handle, list);
                           });
      from = 1 - from;
    };
    pass(2);
    for (int factor = 0; factor <= k; ++factor) pass(factor == (k + 1) / 2 ? 1 : 0);  // the right ones first
    return from;
  }

  std::vector<LargeRootTask> tasks_;
  const RootPlan& plan_;
  const Stream& stream_;
};

}  // namespace

template <class T>
void roots_by_tiles(const std::vector<RootGroup<T>>& groups, const RootPlan& plan, const Stream& stream) {
  std::vector<LargeRootTask> tasks;
  for (const RootGroup<T>& group : groups) {
    if (group.batch == 0) continue;
    LargeRootTask task{};
    task.A = group.A;
    task.fallback = group.fallback;
    task.X = group.X;
    task.residual = group.residual;
    task.steps = group.steps;
    task.info = group.info;
    task.n = checked_int(group.n);
    task.ld = (task.n + 3) / 4 * 4;  // rows aligned to 16 bytes in either type
    task.batch = checked_int(group.batch);
    checked_int(int64_t{task.n} * task.ld);
    task.work = stream.take<double>(static_cast<size_t>(task.batch * root_work(task.n, task.ld)));
    task.states = stream.take<RootState>(static_cast<size_t>(task.batch));
    tasks.push_back(task);
  }
  if (tasks.empty()) return;
  std::stable_sort(tasks.begin(), tasks.end(),
                   [](const LargeRootTask& a, const LargeRootTask& b) { return a.n > b.n; });
  Sequence<T>(std::move(tasks), plan, stream).run();
}

template void roots_by_tiles<float>(const std::vector<RootGroup<float>>&, const RootPlan&, const Stream&);
template void roots_by_tiles<double>(const std::vector<RootGroup<double>>&, const RootPlan&, const Stream&);

}  // namespace kronla::cuda
