// apply on the device: matrices on any dimension, transposed or not, against the definition in double.
#include <cmath>
#include <cstring>

#include "device.h"
#include "kernels/cuda/apply.h"
#include "testing.h"

using namespace kronla;
using namespace kronla::testing;

namespace {

struct Factor {
  int64_t dim, rows;
  bool transposed;
};

// The factors one after the other, by the definition.
std::vector<double> expected_result(std::vector<int64_t> dims, std::vector<double> G,
                                    const std::vector<Factor>& factors,
                                    const std::vector<std::vector<double>>& matrices) {
  for (size_t f = 0; f < factors.size(); ++f) {
    const int64_t dim = factors[f].dim, rows = factors[f].rows, cols = dims[dim];
    int64_t outer = 1, inner = 1;
    for (int64_t d = 0; d < dim; ++d) outer *= dims[d];
    for (size_t d = dim + 1; d < dims.size(); ++d) inner *= dims[d];
    std::vector<double> next(outer * rows * inner, 0.0);
    for (int64_t o = 0; o < outer; ++o)
      for (int64_t r = 0; r < rows; ++r)
        for (int64_t c = 0; c < cols; ++c)
          for (int64_t i = 0; i < inner; ++i)
            next[(o * rows + r) * inner + i] +=
                (factors[f].transposed ? matrices[f][c * rows + r] : matrices[f][r * cols + c]) *
                G[(o * cols + c) * inner + i];
    G = next;
    dims[dim] = rows;
  }
  return G;
}

template <class T>
void check(const std::vector<int64_t>& dims, const std::vector<Factor>& factors, int64_t batch = 2) {
  int64_t count = 1, results = 1, terms = 1;
  std::vector<int64_t> shape = dims;
  for (const Factor& factor : factors) {
    shape[factor.dim] = factor.rows;
    terms += dims[factor.dim];
  }
  for (const int64_t d : dims) count *= d;
  for (const int64_t d : shape) results *= d;
  const std::vector<T> G0 = normal<T>(batch * count, 1);
  const DeviceArray<T> G(G0), out(std::vector<T>(batch * results, T(-1)));
  std::vector<DeviceArray<T>> matrices;
  std::vector<std::vector<T>> values;
  ApplyGroup<T> group{batch, dims, G.data(), scalar_type_of<T>(), {}, out.data()};
  for (const Factor& factor : factors) {
    values.push_back(normal<T>(batch * factor.rows * dims[factor.dim], 2 + static_cast<unsigned>(factor.dim)));
    matrices.emplace_back(values.back());
    group.factors.push_back({factor.dim, factor.rows, matrices.back().data(), factor.transposed});
  }
  TestStream stream;
  cuda::apply_modes<T>({group}, stream);
  const std::vector<T> found = out.values();
  for (int64_t b = 0; b < batch; ++b) {
    std::vector<std::vector<double>> mine;
    for (size_t f = 0; f < factors.size(); ++f) {
      const int64_t size = factors[f].rows * dims[factors[f].dim];
      mine.emplace_back(values[f].begin() + b * size, values[f].begin() + (b + 1) * size);
    }
    const auto expected =
        expected_result(dims, std::vector<double>(G0.begin() + b * count, G0.begin() + (b + 1) * count), factors, mine);
    CHECK_SMALL(
        relative_error(std::vector<T>(found.begin() + b * results, found.begin() + (b + 1) * results), expected),
        4.0 * static_cast<double>(terms) * rounding<T>());
  }
}

template <class T>
void check_all() {
  check<T>({5, 7}, {{0, 5, false}, {1, 7, true}});
  check<T>({33, 20}, {{1, 70, true}, {0, 3, false}});
  check<T>({65, 36}, {{0, 65, true}, {1, 36, false}});
  check<T>({3, 4, 5}, {{1, 6, false}, {0, 2, true}, {2, 9, false}});
  check<T>({2, 66, 3}, {{1, 66, true}});
  check<T>({9, 40, 4}, {{1, 36, false}});                  // slices side by side, by vectors
  check<T>({30, 3, 5}, {{1, 3, false}, {2, 5, false}});    // by words, and a result of few rows
  check<T>({16, 16}, {{0, 16, false}, {1, 16, true}}, 7);  // several matrices in a block, the last one not full
  check<T>({70, 20}, {{0, 33, true}, {1, 34, false}});
  check<T>({4, 0}, {{1, 3, false}});
}

TEST(matrices_on_any_dimension) {
  in_every_order([] { check_all<float>(); });
  check_all<double>();
}

// 16-bit gradients are multiplied as they are, with the bits that their float32 copies have.
void check_16_bits(const std::vector<int64_t>& dims, const std::vector<Factor>& factors, int64_t offset) {
  int64_t count = 1, results = 1;
  std::vector<int64_t> shape = dims;
  for (const Factor& factor : factors) shape[factor.dim] = factor.rows;
  for (const int64_t d : dims) count *= d;
  for (const int64_t d : shape) results *= d;
  std::vector<float> wide = normal<float>(count + offset, 1);
  std::vector<uint16_t> narrow;
  for (float& x : wide) {
    uint32_t bits;
    std::memcpy(&bits, &x, sizeof bits);
    narrow.push_back(static_cast<uint16_t>(bits >> 16));
    bits &= 0xffff0000u;
    std::memcpy(&x, &bits, sizeof bits);
  }
  const DeviceArray<float> G(wide), out(std::vector<float>(results, NAN)), out_16(std::vector<float>(results, NAN));
  const DeviceArray<uint16_t> G_16(narrow);
  std::vector<DeviceArray<float>> matrices;
  ApplyGroup<float> group{1, dims, G.data() + offset, ScalarType::Float32, {}, out.data()};
  for (const Factor& factor : factors) {
    matrices.emplace_back(normal<float>(factor.rows * dims[factor.dim], 2 + static_cast<unsigned>(factor.dim)));
    group.factors.push_back({factor.dim, factor.rows, matrices.back().data(), factor.transposed});
  }
  ApplyGroup<float> group_16 = group;
  group_16.G = G_16.data() + offset;
  group_16.G_type = ScalarType::BFloat16;
  group_16.out = out_16.data();
  TestStream stream;
  cuda::apply_modes<float>({group, group_16}, stream);
  CHECK(same_bits(out.values(), out_16.values()));
}

TEST(gradients_of_16_bits_give_the_bits_of_their_float32_copies) {
  in_every_order([] {
    for (const int64_t offset : {0, 1}) {
      check_16_bits({40, 72}, {{0, 40, false}, {1, 72, true}}, offset);
      check_16_bits({72, 40}, {{1, 40, false}}, offset);
      check_16_bits({72, 40}, {{1, 40, true}}, offset);
      check_16_bits({5, 24, 8}, {{1, 24, true}}, offset);
      check_16_bits({5, 9, 7}, {{1, 9, false}}, offset);
    }
  });
}

}  // namespace
