#include "kernels/apply.h"

#include <algorithm>

#include "kernels/cpu/batch.h"
#include "kernels/cpu/convert.h"
#include "kernels/cpu/simd/gemm.h"

namespace kronla {
namespace {

int64_t product(const std::vector<int64_t>& dims, size_t begin, size_t end) {
  int64_t count = 1;
  for (size_t i = begin; i < end; ++i) count *= dims[i];
  return count;
}

// One dimension's turn: target[outer, rows, inner] ← M over the middle dimension of source[outer, cols, inner].
template <class T>
struct Turn {
  int64_t outer, rows, cols, inner;
  const T* M;  // [batch, rows, cols]
  bool transposed;

  int64_t multiplications() const { return outer * rows * cols * inner; }
  int64_t result() const { return outer * rows * inner; }
};

// What every tensor of a group has in common.
template <class T>
struct Plan {
  const ApplyGroup<T>* group;
  int64_t batch;
  std::vector<Turn<T>> turns;
  int64_t source = 0, largest = 0;  // elements: of G, and of a result

  explicit Plan(const ApplyGroup<T>& g) : group(&g), batch(g.batch) {
    std::vector<int64_t> dims = g.dims;
    source = product(dims, 0, dims.size());
    for (const ModeFactor<T>& factor : g.factors) {
      const auto dim = static_cast<size_t>(factor.dim);
      turns.push_back({product(dims, 0, dim), factor.rows, dims[dim], product(dims, dim + 1, dims.size()), factor.M,
                       factor.transposed});
      dims[dim] = factor.rows;
      largest = std::max(largest, turns.back().result());
    }
  }
};

template <class T>
void multiply_mode(const Parallel& team, const Turn<T>& turn, const T* M, const T* source, T* target,
                   const Beside& beside) {
  const auto [outer, rows, cols, inner, _, transposed] = turn;
  if (cols == 0) {
    std::fill_n(target, turn.result(), T(0));
    return;
  }
  const int64_t ldm = transposed ? rows : cols;
  if (inner == 1) {
    gemm(team, Op::N, transposed ? Op::N : Op::T, outer, rows, cols, T(1), source, cols, M, ldm, T(0), target, rows,
         beside);
    return;
  }
  for (int64_t o = 0; o < outer; ++o)
    gemm(team, transposed ? Op::T : Op::N, Op::N, rows, inner, cols, T(1), M, ldm, source + o * cols * inner, inner,
         T(0), target + o * rows * inner, inner, o == 0 ? beside : Beside{});
}

// During turn k the next tensor's matrix of that turn is brought nearer, and a part of that tensor and of its result.
template <class T>
Beside ahead(const Matrix<Plan<T>>& next, size_t k) {
  if (next.group == nullptr || k >= next.group->turns.size()) return {};
  const Plan<T>& plan = *next.group;
  const Turn<T>& turn = plan.turns[k];
  const auto turns = static_cast<int64_t>(plan.turns.size()), size = static_cast<int64_t>(sizeof(T));
  const int64_t matrix = turn.rows * turn.cols * size, source = plan.source * element_size(plan.group->G_type),
                result = plan.turns.back().result() * size;
  const auto part = [&](const void* memory, int64_t bytes) {
    const int64_t begin = bytes * static_cast<int64_t>(k) / turns, end = bytes * static_cast<int64_t>(k + 1) / turns;
    return Memory{static_cast<const char*>(memory) + next.index * bytes + begin, end - begin};
  };
  return {false,
          {{turn.M + next.index * turn.rows * turn.cols, matrix},
           part(plan.group->G, source),
           part(plan.group->out, result)}};
}

template <class T>
void apply_one(const Matrix<Plan<T>>& tensor, const Matrix<Plan<T>>& next, Worker& worker) {
  const Plan<T>& plan = *tensor.group;
  const size_t last = plan.turns.size() - 1;
  const T* source = read_as<T>(plan.group->G_type, plan.group->G, tensor.index * plan.source, plan.source, worker);
  T* buffers[2] = {};
  for (size_t k = 0; k < std::min<size_t>(last, 2); ++k) buffers[k] = worker.take<T>(plan.largest);
  for (size_t k = 0; k <= last; ++k) {
    const Turn<T>& turn = plan.turns[k];
    T* target = k == last ? plan.group->out + tensor.index * turn.result() : buffers[k % 2];
    multiply_mode(worker.team, turn, turn.M + tensor.index * turn.rows * turn.cols, source, target, ahead(next, k));
    source = target;
  }
}

}  // namespace

template <class T>
void apply_modes(const std::vector<ApplyGroup<T>>& groups, const Parallel& parallel) {
  constexpr double kEarly = 4e6;  // multiplications: what is large has time to read while it computes
  std::vector<Plan<T>> plans;
  for (const ApplyGroup<T>& group : groups) plans.emplace_back(group);
  const auto cost = [](const Plan<T>& plan) {
    int64_t sum = 0;
    for (const Turn<T>& turn : plan.turns) sum += turn.multiplications();
    return sum;
  };
  for_each_matrix_and_next(parallel, plans, cost, kEarly, apply_one<T>);
}

template void apply_modes<float>(const std::vector<ApplyGroup<float>>&, const Parallel&);
template void apply_modes<double>(const std::vector<ApplyGroup<double>>&, const Parallel&);

}  // namespace kronla
