#include "kernels/apply.h"

#include "testing.h"

using namespace kronla;
using namespace kronla::testing;

namespace {

// One mode product by the definition: out[outer, rows, inner] = Σ_j M[r, j] G[outer, j, inner].
std::vector<double> mode_product(const std::vector<double>& G, std::vector<int64_t>& dims, int64_t dim, int64_t rows,
                                 const std::vector<double>& M, bool transposed) {
  int64_t outer = 1, inner = 1;
  for (int64_t d = 0; d < dim; ++d) outer *= dims[d];
  for (size_t d = dim + 1; d < dims.size(); ++d) inner *= dims[d];
  const int64_t cols = dims[dim];
  std::vector<double> out(static_cast<size_t>(outer * rows * inner), 0.0);
  for (int64_t o = 0; o < outer; ++o)
    for (int64_t r = 0; r < rows; ++r)
      for (int64_t j = 0; j < cols; ++j)
        for (int64_t i = 0; i < inner; ++i)
          out[(o * rows + r) * inner + i] +=
              (transposed ? M[j * rows + r] : M[r * cols + j]) * G[(o * cols + j) * inner + i];
  dims[dim] = rows;
  return out;
}

int64_t size_of(const std::vector<int64_t>& dims) {
  int64_t size = 1;
  for (const int64_t d : dims) size *= d;
  return size;
}

// Every dimension of G multiplied by a matrix that adds `grow` rows; the odd ones transposed.
template <class T>
void all_modes(const std::vector<int64_t>& dims, int64_t grow, bool reorder) {
  const auto G = normal<T>(size_of(dims), 1);
  std::vector<std::vector<T>> matrices;
  std::vector<int64_t> result_dims = dims;
  std::vector<double> expected = as<T, double>(G);
  int64_t terms = 1;
  for (size_t d = 0; d < dims.size(); ++d) {
    const int64_t rows = std::max<int64_t>(1, dims[d] + grow);
    terms += dims[d];
    matrices.push_back(normal<T>(rows * dims[d], 2 + static_cast<unsigned>(d)));
    expected =
        mode_product(expected, result_dims, static_cast<int64_t>(d), rows, as<T, double>(matrices[d]), d % 2 == 1);
  }
  const std::vector<T> result = SAME_BITS([&](const Parallel& parallel) {
    std::vector<T> out(expected.size());
    ApplyGroup<T> group{1, dims, G.data(), scalar_type_of<T>(), {}, out.data()};
    for (size_t d = 0; d < dims.size(); ++d)
      group.factors.push_back({static_cast<int64_t>(d), result_dims[d], matrices[d].data(), d % 2 == 1});
    if (reorder) order_by_shrinkage(group);
    apply_modes<T>({group}, parallel);
    return out;
  });
  CHECK_SMALL(relative_error(result, expected), 8.0 * static_cast<double>(terms) * rounding<T>());
}

TEST(modes_match_the_definition) {
  for (const bool reorder : {false, true}) {
    for (const int64_t grow : {-2, 0, 3}) {
      all_modes<float>({1, 1}, grow, reorder);
      all_modes<float>({7, 5}, grow, reorder);
      all_modes<double>({33, 65}, grow, reorder);
      all_modes<float>({129, 31}, grow, reorder);
      all_modes<float>({17}, grow, reorder);
      all_modes<float>({4, 7, 33}, grow, reorder);
      all_modes<double>({3, 2, 5, 4}, grow, reorder);
    }
  }
}

TEST(one_mode_alone) {
  const std::vector<double> G = {1, 2, 3, 4, 5, 6}, M = {1, -1};  // [2,3], [1,2]
  std::vector<double> out(3);
  apply_modes<double>({{1, {2, 3}, G.data(), ScalarType::Float64, {{0, 1, M.data(), false}}, out.data()}}, serial());
  CHECK((out == std::vector<double>{-3, -3, -3}));
}

TEST(ragged_lists_and_batches_have_the_bits_of_single_calls) {
  struct Shape {
    int64_t batch, m, n;
  };
  const Shape shapes[] = {{3, 5, 9}, {1, 64, 33}, {2, 1, 1}, {4, 31, 2}};
  std::vector<std::vector<float>> G, L, R;
  for (const Shape& s : shapes) {
    G.push_back(normal<float>(s.batch * s.m * s.n, 5));
    L.push_back(normal<float>(s.batch * s.m * s.m, 6));
    R.push_back(normal<float>(s.batch * s.n * s.n, 7));
  }
  const auto group = [&](size_t i, int64_t begin, int64_t batch, float* out) {
    const auto [_, m, n] = shapes[i];
    return ApplyGroup<float>{batch,
                             {m, n},
                             G[i].data() + begin * m * n,
                             ScalarType::Float32,
                             {{0, m, L[i].data() + begin * m * m, false}, {1, n, R[i].data() + begin * n * n, true}},
                             out};
  };
  const std::vector<float> together = SAME_BITS([&](const Parallel& parallel) {
    size_t total = 0;
    for (const std::vector<float>& g : G) total += g.size();
    std::vector<float> out(total);
    std::vector<ApplyGroup<float>> groups;
    size_t begin = 0;
    for (size_t i = 0; i < G.size(); begin += G[i++].size())
      groups.push_back(group(i, 0, shapes[i].batch, out.data() + begin));
    apply_modes(groups, parallel);
    return out;
  });
  std::vector<float> alone(together.size());
  float* out = alone.data();
  for (size_t i = 0; i < G.size(); ++i)
    for (int64_t b = 0; b < shapes[i].batch; ++b, out += shapes[i].m * shapes[i].n)
      apply_modes<float>({group(i, b, 1, out)}, serial());
  CHECK(same_bits(alone, together));
}

TEST(empty_lists_batches_and_dimensions) {
  apply_modes<float>({}, threads(2));
  const float M[2] = {1, 1};
  float out[2] = {5, 5};
  apply_modes<float>({{0, {2, 1}, nullptr, ScalarType::Float32, {{1, 1, M, false}}, nullptr}}, serial());
  apply_modes<float>({{1, {0, 1}, nullptr, ScalarType::Float32, {{1, 1, M, false}}, nullptr}}, serial());
  apply_modes<float>({{1, {0, 1}, nullptr, ScalarType::Float32, {{0, 2, nullptr, false}}, out}}, serial());
  CHECK(out[0] == 0.0f && out[1] == 0.0f);  // a sum of nothing
}

TEST(a_nan_stays_in_its_matrix) {
  const int64_t batch = 3, m = 20, n = 12;
  auto G = normal<float>(batch * m * n, 8);
  const auto M = normal<float>(batch * m * m, 9);
  const auto run = [&] {
    std::vector<float> out(G.size());
    apply_modes<float>({{batch, {m, n}, G.data(), ScalarType::Float32, {{0, m, M.data(), false}}, out.data()}},
                       threads(2));
    return out;
  };
  const auto clean = run();
  G[m * n] = std::nanf("");
  const auto dirty = run();
  const size_t bytes = m * n * sizeof(float);
  CHECK(std::memcmp(clean.data(), dirty.data(), bytes) == 0);
  CHECK(std::memcmp(clean.data() + 2 * m * n, dirty.data() + 2 * m * n, bytes) == 0);
  CHECK(std::isnan(dirty[m * n]));
}

TEST(the_cheaper_order_comes_first) {
  // L[2,100] G[100,100] R[100,100]: L G first. L[100,100] G R[100,2]: G R first.
  ApplyGroup<float> left{1, {100, 100}, nullptr, ScalarType::Float32, {}, nullptr};
  left.factors = {{1, 100, nullptr, true}, {0, 2, nullptr, false}};
  order_by_shrinkage(left);
  CHECK(left.factors[0].dim == 0);
  left.factors = {{0, 100, nullptr, false}, {1, 2, nullptr, true}};
  order_by_shrinkage(left);
  CHECK(left.factors[0].dim == 1);
}

}  // namespace
