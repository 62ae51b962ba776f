#include "kernels/factors.h"

#include "testing.h"

using namespace kronla;
using namespace kronla::testing;

namespace {

// F ← beta F + alpha Σ_o G_o W G_oᵀ for G[outer, dim, inner], in double and by the definition.
template <class T>
std::vector<double> gram_update(int64_t outer, int64_t dim, int64_t inner, const std::vector<T>& F,
                                const std::vector<T>& G, double beta, double alpha) {
  std::vector<double> result(F.size());
  for (int64_t i = 0; i < dim; ++i)
    for (int64_t j = 0; j < dim; ++j) {
      double sum = 0.0;
      for (int64_t o = 0; o < outer; ++o)
        for (int64_t k = 0; k < inner; ++k)
          sum += static_cast<double>(G[(o * dim + i) * inner + k]) * static_cast<double>(G[(o * dim + j) * inner + k]);
      const double old = beta == 0.0 ? 0.0 : beta * static_cast<double>(F[i * dim + j]);
      result[i * dim + j] = old + alpha * sum;
    }
  return result;
}

// The beta and alpha that a kernel of type T sees.
template <class T>
double rounded(double x) {
  return static_cast<double>(static_cast<T>(x));
}

struct Shape {
  int64_t outer, dim, inner;
};
const Shape kShapes[] = {{1, 1, 1},   {1, 5, 7},   {7, 5, 1},   {3, 4, 5},   {1, 33, 65},
                         {65, 31, 1}, {9, 17, 40}, {300, 3, 2}, {1, 129, 3}, {2, 3, 300}};

// The shapes as one ragged list; the factors end to end.
template <class T>
std::vector<T> update_all(const Parallel& parallel, double beta, double alpha, const std::vector<std::vector<T>>& F0,
                          const std::vector<std::vector<T>>& G) {
  std::vector<std::vector<T>> F = F0;
  std::vector<FactorGroup<T>> groups;
  for (size_t i = 0; i < F.size(); ++i) {
    const Shape& s = kShapes[i];
    groups.push_back({1, s.outer, s.dim, s.inner, F[i].data(), G[i].data(), scalar_type_of<T>(), nullptr});
  }
  update_factors(groups, beta, alpha, parallel);
  std::vector<T> all;
  for (const std::vector<T>& f : F) all.insert(all.end(), f.begin(), f.end());
  return all;
}

template <class T>
void ragged_list() {
  std::vector<std::vector<T>> F, G;
  for (const Shape& s : kShapes) {
    F.push_back(definite<T>(1, s.dim, 0.1, 1));
    G.push_back(normal<T>(s.outer * s.dim * s.inner, 2));
  }
  for (const double beta : {0.0, 0.9, 1.0}) {
    const double alpha = beta == 1.0 ? 2.0 : 1.0 - beta;
    const std::vector<T> all = SAME_BITS([&](const Parallel& p) { return update_all(p, beta, alpha, F, G); });
    size_t begin = 0;
    for (size_t i = 0; i < F.size(); ++i) {
      const Shape& s = kShapes[i];
      const std::vector<T> result(all.begin() + begin, all.begin() + begin + F[i].size());
      begin += F[i].size();
      const auto expected = gram_update(s.outer, s.dim, s.inner, F[i], G[i], rounded<T>(beta), rounded<T>(alpha));
      CHECK_SMALL(relative_error(result, expected), 8.0 * static_cast<double>(s.outer * s.inner + 2) * rounding<T>());
      CHECK(symmetric_to_the_bit(s.dim, result.data()));
    }
  }
}

TEST(ragged_lists_match_the_definition_with_any_threads) {
  ragged_list<float>();
  ragged_list<double>();
}

TEST(a_matrix_alone_has_the_bits_it_has_in_a_batch) {
  const int64_t batch = 7, m = 33, n = 20;
  const auto F = definite<float>(batch, m, 0.1, 3);
  const auto G = normal<float>(batch * m * n, 4);
  auto together = F;
  update_factors<float>({{batch, 1, m, n, together.data(), G.data(), ScalarType::Float32, nullptr}}, 0.9, 0.1,
                        threads(3));
  for (int64_t b = 0; b < batch; ++b) {
    std::vector<float> alone(F.begin() + b * m * m, F.begin() + (b + 1) * m * m);
    update_factors<float>({{1, 1, m, n, alone.data(), G.data() + b * m * n, ScalarType::Float32, nullptr}}, 0.9, 0.1,
                          serial());
    CHECK(std::memcmp(alone.data(), together.data() + b * m * m, alone.size() * sizeof(float)) == 0);
  }
}

// Both factors of small gradients are done together; of large ones, and of one that also stands elsewhere, apart.
void factors_of_one_gradient(ScalarType type) {
  struct Gradient {
    int64_t batch, m, n;
  };
  std::vector<std::vector<char>> G;
  std::vector<std::vector<float>> F;
  std::vector<FactorGroup<float>> groups;
  for (const auto& [batch, m, n] : {Gradient{9, 16, 16}, {4, 33, 20}, {1, 7, 64}, {3, 64, 64}, {1, 200, 190}}) {
    G.emplace_back(batch * m * n * element_size(type));
    const std::vector<float> values = normal<float>(batch * m * n, static_cast<unsigned>(m));
    for (size_t i = 0; i < values.size(); ++i)  // bfloat16: the upper half of a float
      std::memcpy(G.back().data() + i * element_size(type),
                  reinterpret_cast<const char*>(&values[i]) + 4 - element_size(type), element_size(type));
    for (const int64_t dim : {m, n}) F.push_back(definite<float>(batch, dim, 0.1, static_cast<unsigned>(dim)));
    groups.push_back({batch, 1, m, n, nullptr, G.back().data(), type, nullptr});
    groups.push_back({batch, m, n, 1, nullptr, G.back().data(), type, nullptr});
  }
  groups.push_back(groups[2]);  // the same gradient once more, not beside itself
  F.push_back(F[2]);
  const auto run = [&](const Parallel& parallel, bool alone) {
    std::vector<std::vector<float>> results = F;
    std::vector<float> all;
    for (size_t i = 0; i < groups.size(); ++i) groups[i].F = results[i].data();
    if (!alone) update_factors(groups, 0.9, 0.1, parallel);
    for (const FactorGroup<float>& group : groups) {
      const int64_t slab = group.outer * group.dim * group.inner * element_size(type), square = group.dim * group.dim;
      for (int64_t b = 0; alone && b < group.batch; ++b) {
        FactorGroup<float> one = group;
        one.batch = 1;
        one.F += b * square;
        one.G = static_cast<const char*>(group.G) + b * slab;
        update_factors<float>({one}, 0.9, 0.1, parallel);
      }
    }
    for (const std::vector<float>& result : results) all.insert(all.end(), result.begin(), result.end());
    return all;
  };
  const std::vector<float> together = SAME_BITS([&](const Parallel& parallel) { return run(parallel, false); });
  CHECK(same_bits(together, run(serial(), true)));
}

TEST(a_factor_alone_has_the_bits_it_has_beside_the_other_one) {
  factors_of_one_gradient(ScalarType::Float32);
  factors_of_one_gradient(ScalarType::BFloat16);
}

TEST(empty_lists_batches_and_dimensions_do_nothing) {
  update_factors<float>({}, 0.5, 0.5, threads(2));
  float F = 3.0f;
  update_factors<float>({{0, 1, 4, 4, nullptr, nullptr, ScalarType::Float32, nullptr},
                         {1, 1, 0, 4, nullptr, nullptr, ScalarType::Float32, nullptr},
                         {1, 1, 1, 0, &F, nullptr, ScalarType::Float32, nullptr}},
                        0.5, 0.5, serial());
  CHECK(F == 1.5f);
}

TEST(beta_zero_does_not_read_the_factor) {
  std::vector<double> F(9, std::nan(""));
  const std::vector<double> G = {1, 2, 3};
  update_factors<double>({{1, 1, 3, 1, F.data(), G.data(), ScalarType::Float64, nullptr}}, 0.0, 1.0, serial());
  CHECK((F == std::vector<double>{1, 2, 3, 2, 4, 6, 3, 6, 9}));
}

TEST(alpha_zero_does_not_read_the_gradient) {
  std::vector<double> F = {4};
  const std::vector<double> G = {std::nan("")};
  update_factors<double>({{1, 1, 1, 1, F.data(), G.data(), ScalarType::Float64, nullptr}}, 0.25, 0.0, serial());
  CHECK(F[0] == 1.0);
}

TEST(a_nan_stays_in_its_matrix) {
  const int64_t batch = 3, m = 40, n = 24;
  const auto F = definite<float>(batch, m, 0.1, 5);
  auto G = normal<float>(batch * m * n, 6);
  auto clean = F, dirty = F;
  update_factors<float>({{batch, 1, m, n, clean.data(), G.data(), ScalarType::Float32, nullptr}}, 0.9, 0.1, threads(2));
  G[m * n + 5] = std::nanf("");
  update_factors<float>({{batch, 1, m, n, dirty.data(), G.data(), ScalarType::Float32, nullptr}}, 0.9, 0.1, threads(2));
  const size_t bytes = m * m * sizeof(float);
  CHECK(std::memcmp(clean.data(), dirty.data(), bytes) == 0);
  CHECK(std::memcmp(clean.data() + 2 * m * m, dirty.data() + 2 * m * m, bytes) == 0);
  CHECK(std::isnan(dirty[m * m]));
}

TEST(weights) {
  const int64_t m = 19, n = 34;
  const auto G = normal<double>(m * n, 7);
  const auto WL = definite<double>(1, m, 0.1, 8), WR = definite<double>(1, n, 0.1, 9);
  std::vector<double> L(m * m, 0.0), R(n * n, 0.0);
  update_factors<double>({{1, 1, m, n, L.data(), G.data(), ScalarType::Float64, WR.data()},
                          {1, m, n, 1, R.data(), G.data(), ScalarType::Float64, WL.data()}},
                         0.0, 1.0, threads(2));
  const auto GW = multiply(m, n, n, G.data(), false, WR.data(), false);
  const auto WG = multiply(m, n, m, WL.data(), false, G.data(), false);
  CHECK_SMALL(relative_error(L, multiply(m, m, n, GW.data(), false, G.data(), true)), 1e-13);
  CHECK_SMALL(relative_error(R, multiply(n, n, m, G.data(), true, WG.data(), false)), 1e-13);
  CHECK(symmetric_to_the_bit(m, L.data()) && symmetric_to_the_bit(n, R.data()));
}

TEST(half_precision_gradients_are_read_exactly) {
  // 1, -2, 0.5, the smallest subnormal 2^-24, infinity.
  const std::vector<uint16_t> half = {0x3c00, 0xc000, 0x3800, 0x0001, 0x7c00};
  const std::vector<double> values = {1, -2, 0.5, 0x1p-24, std::numeric_limits<double>::infinity()};
  for (size_t i = 0; i < half.size(); ++i) {
    double F = 0.0;
    update_factors<double>({{1, 1, 1, 1, &F, &half[i], ScalarType::Float16, nullptr}}, 0.0, 1.0, serial());
    CHECK(F == values[i] * values[i]);
  }
  const std::vector<uint16_t> bfloat = {0x3f80, 0xc040, 0x0080};  // 1, -3, 2^-126
  const std::vector<double> bfloat_values = {1, -3, 0x1p-126};
  for (size_t i = 0; i < bfloat.size(); ++i) {
    double F = 0.0;
    update_factors<double>({{1, 1, 1, 1, &F, &bfloat[i], ScalarType::BFloat16, nullptr}}, 0.0, 1.0, serial());
    CHECK(F == bfloat_values[i] * bfloat_values[i]);
  }
}

template <class T>
void power_step(int64_t batch, int64_t samples, int64_t m, int64_t n) {
  const auto G = normal<T>(batch * samples * m * n, 10);
  const auto L = definite<T>(batch, m, 0.1, 11), R = definite<T>(batch, n, 0.1, 12);
  const std::vector<T> next = SAME_BITS([&](const Parallel& parallel) {
    std::vector<T> out(static_cast<size_t>(batch * (m * m + n * n)));
    kron_power_step<T>({batch, samples, m, n, G.data(), scalar_type_of<T>(), L.data(), R.data(), out.data(),
                        out.data() + batch * m * m, nullptr},
                       parallel);
    return out;
  });
  std::vector<double> expected(next.size(), 0.0);
  for (int64_t b = 0; b < batch; ++b)
    for (int64_t s = 0; s < samples; ++s) {
      const T* g = G.data() + (b * samples + s) * m * n;
      const auto GR = multiply(m, n, n, g, false, R.data() + b * n * n, false);
      const auto LG = multiply(m, n, m, L.data() + b * m * m, false, g, false);
      const auto left = multiply(m, m, n, GR.data(), false, g, true);
      const auto right = multiply(n, n, m, g, true, LG.data(), false);
      const double weight = 1.0 / static_cast<double>(samples);
      for (int64_t i = 0; i < m * m; ++i) expected[b * m * m + i] += weight * left[i];
      for (int64_t i = 0; i < n * n; ++i) expected[batch * m * m + b * n * n + i] += weight * right[i];
    }
  CHECK_SMALL(relative_error(next, expected), 8.0 * static_cast<double>(samples + m + n) * rounding<T>());
  for (int64_t b = 0; b < batch; ++b) {
    CHECK(symmetric_to_the_bit(m, next.data() + b * m * m));
    CHECK(symmetric_to_the_bit(n, next.data() + batch * m * m + b * n * n));
  }
}

TEST(power_step_matches_the_definition_with_any_threads) {
  power_step<float>(1, 1, 1, 1);
  power_step<float>(2, 5, 7, 3);
  power_step<double>(2, 5, 7, 3);
  power_step<float>(1, 130, 65, 33);
}

}  // namespace
