#include "kernels/factors.h"

#include <algorithm>
#include <cstdint>
#include <iterator>
#include <type_traits>

#include "kernels/cpu/batch.h"
#include "kernels/cpu/convert.h"
#include "kernels/cpu/dense.h"
#include "kernels/cpu/simd/gemm.h"
#include "kernels/cpu/simd/passes.h"

namespace kronla {
namespace {

constexpr int64_t kPanelColumns = 256;  // long enough for a product to run at full speed

// F ← beta F + alpha Σ_o G_o G_oᵀ for slices with both neighbours: several side by side in a panel, one product each.
template <class T>
void add_sliced_gram(int64_t outer, int64_t dim, int64_t inner, const T* G, T beta, T alpha, T* F, Beside beside,
                     Worker& worker) {
  const int64_t slices = std::min(outer, std::max<int64_t>(1, kPanelColumns / inner));
  T* panel = slices > 1 ? worker.take<T>(dim * slices * inner) : nullptr;
  for (int64_t o = 0; o < outer; o += slices, beta = T(1)) {
    const int64_t count = std::min(slices, outer - o), columns = count * inner;
    const T* slab = G + o * dim * inner;
    beside.mirrored = o + count == outer;
    if (count == 1) {
      syrk(worker.team, Op::N, dim, inner, alpha, slab, inner, beta, F, dim, beside);
      std::fill(std::begin(beside.next), std::end(beside.next), Memory{});
      continue;
    }
    for (int64_t s = 0; s < count; ++s)
      for (int64_t i = 0; i < dim; ++i)
        std::copy_n(slab + (s * dim + i) * inner, inner, panel + i * columns + s * inner);
    syrk(worker.team, Op::N, dim, columns, alpha, panel, columns, beta, F, dim, beside);
    std::fill(std::begin(beside.next), std::end(beside.next), Memory{});
  }
}

// F ← beta F + alpha G W Gᵀ (a left factor, outer 1) or alpha Gᵀ W G (a right factor, inner 1).
template <class T>
void add_weighted_gram(int64_t outer, int64_t dim, int64_t inner, const T* G, const T* W, T beta, T alpha, T* F,
                       const Beside& beside, Worker& worker) {
  T* product = worker.take<T>(outer * dim * inner);
  if (outer == 1) {
    gemm(worker.team, Op::N, Op::N, dim, inner, inner, T(1), G, inner, W, inner, T(0), product, inner);
    gemmt(worker.team, Op::N, Op::T, dim, inner, alpha, product, inner, G, inner, beta, F, dim, beside);
  } else {
    gemm(worker.team, Op::N, Op::N, outer, dim, outer, T(1), W, outer, G, dim, T(0), product, dim);
    gemmt(worker.team, Op::T, Op::N, dim, outer, alpha, G, dim, product, dim, beta, F, dim, beside);
  }
}

// F ← beta F + alpha G Gᵀ for a bfloat16 G[dim, k] (a left factor) or alpha Gᵀ G for G[k, dim] (a right one), by pairs of
// neighbours in k. Rows hold them as they are, if k is even; columns get them by the interleaving of rows.
void add_gram_of_pairs(bool left, int64_t dim, int64_t k, const uint16_t* G, float beta, float alpha, float* F,
                       const Beside& beside, Worker& worker) {
  const int64_t pairs = (k + 1) / 2;
  const auto* operand = reinterpret_cast<const Bfloat16Pair*>(G);
  const bool in_place = left && k % 2 == 0 && reinterpret_cast<uintptr_t>(G) % alignof(float) == 0;
  if (!in_place) {
    auto* copy = worker.take<Bfloat16Pair>(dim * pairs);
    operand = copy;
    if (!left) {
      interleave_rows(k, dim, G, copy);
    } else {
      for (int64_t i = 0; i < dim; ++i) {
        auto* row = reinterpret_cast<uint16_t*>(copy + i * pairs);
        std::copy_n(G + i * k, k, row);
        if (k % 2 != 0) row[k] = 0;
      }
    }
  }
  const int64_t row = left ? pairs : dim;
  gemmt_of_pairs(worker.team, left ? Op::N : Op::T, left ? Op::T : Op::N, dim, pairs, alpha, operand, row, operand, row,
                 beta, F, dim, beside);
}

template <class T>
void update_factor(const FactorGroup<T>& group, int64_t index, T beta, T alpha, const Beside& beside, Worker& worker) {
  const Worker::Scope scope(worker);
  const int64_t outer = group.outer, dim = group.dim, inner = group.inner, slab = outer * dim * inner;
  T* F = group.F + index * dim * dim;
  if (slab == 0 || alpha == T(0)) {
    syrk<T>(worker.team, Op::N, dim, 0, alpha, nullptr, 0, beta, F, dim, beside);
  } else if (std::is_same_v<T, float> && group.G_type == ScalarType::BFloat16 && group.W == nullptr &&
             (outer == 1 || inner == 1) && has_bfloat16_products()) {
    if constexpr (std::is_same_v<T, float>)
      add_gram_of_pairs(outer == 1, dim, outer * inner, static_cast<const uint16_t*>(group.G) + index * slab, beta,
                        alpha, F, beside, worker);
  } else {
    const T* G = read_as<T>(group.G_type, group.G, index * slab, slab, worker);
    if (group.W != nullptr) {
      const int64_t w = outer * inner;
      add_weighted_gram(outer, dim, inner, G, group.W + index * w * w, beta, alpha, F, beside, worker);
    } else if (outer == 1) {
      syrk(worker.team, Op::N, dim, inner, alpha, G, inner, beta, F, dim, beside);
    } else if (inner == 1) {
      syrk(worker.team, Op::T, dim, outer, alpha, G, dim, beta, F, dim, beside);
    } else {
      add_sliced_gram(outer, dim, inner, G, beta, alpha, F, beside, worker);
    }
  }
}

template <class T>
int64_t cost_of(const FactorGroup<T>& group) {
  return group.outer * group.dim * group.inner * group.dim / 2 + group.dim;
}

// The factors of one gradient. Those of a small one are neighbours in time, as it is near then.
template <class T>
struct Gradient {
  const FactorGroup<T>* factors;
  int64_t count, batch;
  int64_t bytes, cost;  // of one matrix
};

// Factors that stand side by side, unless a thread would then do much of all by itself.
template <class T>
std::vector<Gradient<T>> gradients_of(const std::vector<FactorGroup<T>>& groups, int64_t threads) {
  constexpr int64_t kSmall = int64_t{1} << 15;  // elements: half of a second-level cache
  int64_t work = 0;
  for (const FactorGroup<T>& group : groups) work += group.batch * cost_of(group);
  std::vector<Gradient<T>> gradients;
  for (const FactorGroup<T>& group : groups) {
    const int64_t size = group.outer * group.dim * group.inner, cost = cost_of(group);
    Gradient<T>* last = gradients.empty() ? nullptr : &gradients.back();
    if (last != nullptr && last->factors->G == group.G && last->batch == group.batch && size <= kSmall &&
        (last->cost + cost) * 4 * threads <= work) {
      ++last->count;
      last->cost += cost;
    } else {
      gradients.push_back({&group, 1, group.batch, size * element_size(group.G_type), cost});
    }
  }
  return gradients;
}

// One of `count` parts of a gradient's memory.
template <class T>
Memory part_of(const Matrix<Gradient<T>>& gradient, int64_t k, int64_t count) {
  if (gradient.group == nullptr) return {};
  const int64_t bytes = gradient.group->bytes, size = count == 1 ? bytes : bytes / 2;
  if (k > 1) return {};  // of more than two factors the first two bring it
  return {static_cast<const char*>(gradient.group->factors->G) + gradient.index * bytes + k * size,
          k == 0 ? size : bytes - size};
}

template <class T>
Memory factor_of(const Matrix<Gradient<T>>& gradient, int64_t k) {
  if (gradient.group == nullptr) return {};
  const FactorGroup<T>& group = gradient.group->factors[k];
  const int64_t size = group.dim * group.dim;
  return {group.F + gradient.index * size, size * static_cast<int64_t>(sizeof(T))};
}

// Meanwhile the next gradient and the next factor are brought nearer.
template <class T>
void update_factors_of(const Matrix<Gradient<T>>& gradient, const Matrix<Gradient<T>>& next, T beta, T alpha,
                       Worker& worker) {
  const int64_t count = gradient.group->count;
  for (int64_t k = 0; k < count; ++k) {
    const Memory factor = k + 1 < count ? factor_of(gradient, k + 1) : factor_of(next, 0);
    update_factor(gradient.group->factors[k], gradient.index, beta, alpha, {true, {factor, part_of(next, k, count)}},
                  worker);
  }
}

// How many partial sums a power step makes: by shape alone, about 2^14 elements of G each, 16 at most.
int64_t power_step_chunks(int64_t samples, int64_t m, int64_t n) {
  return std::clamp<int64_t>(samples * m * n >> 14, 1, std::min<int64_t>(samples, 16));
}

}  // namespace

template <class T>
void update_factors(const std::vector<FactorGroup<T>>& groups, double beta, double alpha, const Parallel& parallel) {
  constexpr double kEarly = 4e6;  // multiplications: what is large has time to read while it computes
  const auto cost = [](const Gradient<T>& gradient) { return gradient.cost; };
  using Of = Matrix<Gradient<T>>;
  for_each_matrix_and_next(parallel, gradients_of(groups, parallel.threads), cost, kEarly,
                           [&](const Of& gradient, const Of& next, Worker& worker) {
                             update_factors_of(gradient, next, static_cast<T>(beta), static_cast<T>(alpha), worker);
                           });
}

template <class T>
void kron_power_step(const PowerStep<T>& step, const Parallel& parallel) {
  const int64_t m = step.m, n = step.n, samples = step.samples, mn = m * n;
  const int64_t chunks = power_step_chunks(samples, m, n), stride = m * m + n * n;
  Worker shared;
  T* partial = shared.take<T>(step.batch * chunks * stride);

  for_each(parallel, step.batch * chunks, [&](int64_t piece, Worker& worker) {
    const int64_t b = piece / chunks, c = piece % chunks;
    const int64_t begin = c * samples / chunks, end = (c + 1) * samples / chunks;
    const T* L = step.L + b * m * m;
    const T* R = step.R + b * n * n;
    T* L_sum = partial + piece * stride;
    T* R_sum = L_sum + m * m;
    std::fill(L_sum, L_sum + stride, T(0));
    T* G = worker.take<T>(mn);
    T* product = worker.take<T>(mn);
    const T scale = step.scale != nullptr ? static_cast<T>(step.scale[b]) : T(1);
    for (int64_t s = begin; s < end; ++s) {
      const void* source = static_cast<const char*>(step.G) + (b * samples + s) * mn * element_size(step.G_type);
      convert(step.G_type, source, mn, G);
      if (scale != T(1))
        for (int64_t i = 0; i < mn; ++i) G[i] *= scale;
      if (step.L_next != nullptr) {
        gemm(worker.team, Op::N, Op::N, m, n, n, T(1), G, n, R, n, T(0), product, n);
        gemmt(worker.team, Op::N, Op::T, m, n, T(1), product, n, G, n, T(1), L_sum, m);
      }
      if (step.R_next != nullptr) {
        gemm(worker.team, Op::N, Op::N, m, n, m, T(1), L, m, G, n, T(0), product, n);
        gemmt(worker.team, Op::T, Op::N, n, m, T(1), G, n, product, n, T(1), R_sum, n);
      }
    }
  });

  // The chunks in order, then the mean, then the mirror image.
  for_each(parallel, step.batch, [&](int64_t b, Worker&) {
    T* total = partial + b * chunks * stride;
    for (int64_t c = 1; c < chunks; ++c)
      for (int64_t i = 0; i < stride; ++i) total[i] += total[c * stride + i];
    const auto finish = [&](const T* sum, int64_t size, T* out) {
      for (int64_t i = 0; i < size * size; ++i) out[i] = sum[i] / static_cast<T>(samples);
      mirror_lower(size, out);
    };
    if (step.L_next != nullptr) finish(total, m, step.L_next + b * m * m);
    if (step.R_next != nullptr) finish(total + m * m, n, step.R_next + b * n * n);
  });
}

template void update_factors<float>(const std::vector<FactorGroup<float>>&, double, double, const Parallel&);
template void update_factors<double>(const std::vector<FactorGroup<double>>&, double, double, const Parallel&);
template void kron_power_step<float>(const PowerStep<float>&, const Parallel&);
template void kron_power_step<double>(const PowerStep<double>&, const Parallel&);

}  // namespace kronla
