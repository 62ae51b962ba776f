#include "kernels/cuda/apply.h"

#include <algorithm>

namespace kronla::cuda {
namespace {

int64_t product_of(const std::vector<int64_t>& dims, size_t begin, size_t end) {
  int64_t count = 1;
  for (size_t i = begin; i < end; ++i) count *= dims[i];
  return count;
}

// One tensor of the list on its way: its dimensions so far, where it is, and where the next results go.
template <class T>
struct Journey {
  const ApplyGroup<T>* group;
  std::vector<int64_t> dims;
  const void* source;
  ScalarType source_type;
  T* buffers[2];

  // The largest intermediate result, of all entries of the batch.
  int64_t largest_intermediate() const {
    std::vector<int64_t> shape = group->dims;
    int64_t largest = 0;
    for (size_t k = 0; k + 1 < group->factors.size(); ++k) {
      shape[group->factors[k].dim] = group->factors[k].rows;
      largest = std::max(largest, product_of(shape, 0, shape.size()));
    }
    return group->batch * largest;
  }

  // The multiplication by the k-th factor; afterwards the source is its result.
  Product<T> advance(size_t k) {
    const ModeFactor<T>& factor = group->factors[k];
    const int64_t rows = factor.rows, cols = dims[factor.dim], outer = product_of(dims, 0, factor.dim),
                  inner = product_of(dims, factor.dim + 1, dims.size()), batch = group->batch;
    T* target = k + 1 == group->factors.size() ? group->out : buffers[k % 2];
    const ProductInput M{factor.M, scalar_type_of<T>(), factor.transposed, rows * cols};
    const ProductInput tensor{source, source_type, false, outer * cols * inner};
    dims[factor.dim] = rows;
    source = target;
    source_type = scalar_type_of<T>();
    if (inner == 1) return {batch, outer, rows, cols, tensor, M, target};  // [outer, cols] times Mᵀ
    // M times the [cols, inner] slices side by side, whose columns are the rows of B.
    ProductInput slices = tensor;
    slices.transposed = true;
    return {batch, rows, outer * inner, cols, M, slices, target, nullptr, inner};
  }
};

}  // namespace

template <class T>
void apply_modes(const std::vector<ApplyGroup<T>>& groups, const Stream& stream, Float32Method method) {
  std::vector<Journey<T>> journeys;
  size_t rounds = 0;
  for (const ApplyGroup<T>& group : groups) {
    Journey<T> journey{&group, group.dims, group.G, group.G_type, {nullptr, nullptr}};
    const size_t count = group.factors.size();
    const int64_t intermediate = journey.largest_intermediate();
    for (size_t i = 0; i < std::min<size_t>(count - 1, 2); ++i) journey.buffers[i] = stream.take<T>(intermediate);
    rounds = std::max(rounds, count);
    journeys.push_back(journey);
  }
  for (size_t k = 0; k < rounds; ++k) {
    std::vector<Product<T>> products;
    for (Journey<T>& journey : journeys)
      if (k < journey.group->factors.size()) products.push_back(journey.advance(k));
    multiply(products, stream, method);
  }
}

template void apply_modes<float>(const std::vector<ApplyGroup<float>>&, const Stream&, Float32Method);
template void apply_modes<double>(const std::vector<ApplyGroup<double>>&, const Stream&, Float32Method);

}  // namespace kronla::cuda
