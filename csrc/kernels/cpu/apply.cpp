#include "kernels/apply.h"

#include <algorithm>

#include "kernels/cpu/batch.h"
#include "kernels/cpu/convert.h"
#include "kernels/cpu/gemm/gemm.h"

namespace kronla {
namespace {

int64_t product(const std::vector<int64_t>& dims, size_t begin, size_t end) {
  int64_t count = 1;
  for (size_t i = begin; i < end; ++i) count *= dims[i];
  return count;
}

// target[outer, rows, inner] ← M over the middle dimension of source[outer, cols, inner].
template <class T>
void multiply_mode(const Parallel& team, int64_t outer, int64_t rows, int64_t cols, int64_t inner, const T* M,
                   bool transposed, const T* source, T* target) {
  if (cols == 0) {
    std::fill_n(target, outer * rows * inner, T(0));
    return;
  }
  const int64_t ldm = transposed ? rows : cols;
  if (inner == 1) {
    gemm(team, Op::N, transposed ? Op::N : Op::T, outer, rows, cols, T(1), source, cols, M, ldm, T(0), target, rows);
    return;
  }
  for (int64_t o = 0; o < outer; ++o)
    gemm(team, transposed ? Op::T : Op::N, Op::N, rows, inner, cols, T(1), M, ldm, source + o * cols * inner, inner,
         T(0), target + o * rows * inner, inner);
}

template <class T>
int64_t flops(const ApplyGroup<T>& group) {
  std::vector<int64_t> dims = group.dims;
  int64_t total = 1;
  for (const auto& factor : group.factors) {
    total += product(dims, 0, dims.size()) * factor.rows;
    dims[factor.dim] = factor.rows;
  }
  return total;
}

template <class T>
void apply_one(const ApplyGroup<T>& group, int64_t index, Worker& worker) {
  std::vector<int64_t> dims = group.dims;
  int64_t count = product(dims, 0, dims.size()), largest = 0;
  const T* source = read_as<T>(group.G_type, group.G, index * count, count, worker);
  for (const auto& factor : group.factors) {
    dims[factor.dim] = factor.rows;
    count = product(dims, 0, dims.size());
    largest = std::max(largest, count);
  }
  T* out = group.out + index * count;
  dims = group.dims;
  T* buffers[2] = {};
  if (group.factors.size() > 1)
    for (T*& buffer : buffers) buffer = worker.take<T>(largest);
  for (size_t k = 0; k < group.factors.size(); ++k) {
    const auto& factor = group.factors[k];
    const int64_t cols = dims[factor.dim];
    T* target = k + 1 == group.factors.size() ? out : buffers[k % 2];
    multiply_mode(worker.team, product(dims, 0, factor.dim), factor.rows, cols,
                  product(dims, factor.dim + 1, dims.size()), factor.M + index * factor.rows * cols, factor.transposed,
                  source, target);
    dims[factor.dim] = factor.rows;
    source = target;
  }
}

}  // namespace

template <class T>
void apply_modes(const std::vector<ApplyGroup<T>>& groups, const Parallel& parallel) {
  for_each_matrix(parallel, groups, flops<T>,
                  [](const ApplyGroup<T>& group, int64_t index, Worker& worker) { apply_one(group, index, worker); });
}

template void apply_modes<float>(const std::vector<ApplyGroup<float>>&, const Parallel&);
template void apply_modes<double>(const std::vector<ApplyGroup<double>>&, const Parallel&);

}  // namespace kronla
