// factors and products on the device: every layout, copy width and arithmetic, against the definition in double.
#include <cmath>
#include <cstring>

#include "device.h"
#include "kernels/cuda/factors.h"
#include "testing.h"

using namespace kronla;
using namespace kronla::testing;
using cuda::Float32Method;

namespace {

// Values of any gradient type, and what they are in double.
struct Gradient {
  ScalarType type;
  std::vector<unsigned char> bytes;
  std::vector<double> values;
};

// 16-bit values are made of few bits, so that both formats hold them exactly.
Gradient gradient(ScalarType type, int64_t count, unsigned seed) {
  Gradient result{type, std::vector<unsigned char>(count * element_size(type)), normal<double>(count, seed)};
  for (int64_t i = 0; i < count; ++i) {
    double& x = result.values[i];
    const auto store = [&](auto stored) { std::memcpy(&result.bytes[i * sizeof stored], &stored, sizeof stored); };
    if (type == ScalarType::Float64) {
      store(x);
    } else if (type == ScalarType::Float32) {
      const float f = static_cast<float>(x);
      x = f;
      store(f);
    } else {
      x = std::round(x * 16.0) / 16.0;
      const float f = static_cast<float>(x);
      uint32_t bits;
      std::memcpy(&bits, &f, sizeof bits);
      const uint32_t exponent = bits >> 23 & 255;
      const uint32_t half = x == 0.0 ? 0 : (bits >> 16 & 0x8000u) | (exponent - 112) << 10 | (bits >> 13 & 1023);
      store(static_cast<uint16_t>(type == ScalarType::BFloat16 ? bits >> 16 : half));
    }
  }
  return result;
}

// F ← beta F + alpha Σ_o G_o W G_oᵀ by the definition; W [outer·inner]² or empty, of a single slab.
std::vector<double> expected_factor(int64_t batch, int64_t outer, int64_t dim, int64_t inner,
                                    const std::vector<double>& F, const std::vector<double>& G,
                                    const std::vector<double>& W, double beta, double alpha) {
  std::vector<double> result(F.size());
  const int64_t depth = outer * inner;
  const auto at = [&](int64_t b, int64_t i, int64_t k) {
    return G[((b * outer + k / inner) * dim + i) * inner + k % inner];
  };
  for (int64_t b = 0; b < batch; ++b) {
    std::vector<double> right(dim * depth);
    for (int64_t i = 0; i < dim; ++i)
      for (int64_t k = 0; k < depth; ++k) {
        double sum = W.empty() ? at(b, i, k) : 0.0;
        for (int64_t l = 0; !W.empty() && l < depth; ++l) sum += W[(b * depth + k) * depth + l] * at(b, i, l);
        right[i * depth + k] = sum;
      }
    for (int64_t i = 0; i < dim; ++i)
      for (int64_t j = 0; j < dim; ++j) {
        double sum = 0.0;
        for (int64_t k = 0; k < depth; ++k) sum += at(b, i, k) * right[j * depth + k];
        const double old = beta == 0.0 ? 0.0 : beta * F[(b * dim + i) * dim + j];
        result[(b * dim + i) * dim + j] = old + alpha * sum;
      }
  }
  return result;
}

struct Shape {
  int64_t batch, outer, dim, inner;
};
// Left and right factors and modes between; aligned to 16 bytes and not, below, at and above a tile and a stage.
const Shape kShapes[] = {{1, 1, 1, 1},   {2, 1, 5, 7},   {2, 7, 5, 1},   {1, 1, 64, 32}, {1, 32, 64, 1},
                         {1, 3, 20, 8},  {2, 3, 4, 5},   {1, 9, 33, 9},  {1, 1, 65, 40}, {1, 40, 65, 1},
                         {1, 1, 72, 20}, {1, 20, 72, 1}, {1, 300, 3, 2}, {3, 1, 2, 0},   {0, 1, 4, 4}};

template <class T>
std::vector<double> widened(const std::vector<T>& x) {
  return std::vector<double>(x.begin(), x.end());
}

template <class T>
double tolerance(int64_t terms) {
  return 4.0 * static_cast<double>(terms + 4) * rounding<T>();
}

template <class T>
void check_all_shapes(ScalarType type, Float32Method method) {
  std::vector<DeviceArray<T>> F;
  std::vector<std::vector<T>> F0;
  std::vector<Gradient> G;
  std::vector<DeviceArray<unsigned char>> G_device;
  std::vector<FactorGroup<T>> groups;
  for (const Shape& s : kShapes) {
    F0.push_back(definite<T>(s.batch, s.dim, 0.1, 1));
    F.emplace_back(F0.back());
    G.push_back(gradient(type, s.batch * s.outer * s.dim * s.inner, 2));
    G_device.emplace_back(G.back().bytes);
    groups.push_back({s.batch, s.outer, s.dim, s.inner, F.back().data(), G_device.back().data(), type, nullptr});
  }
  TestStream stream;
  cuda::update_factors(groups, 0.9, 0.25, stream, method);
  for (size_t i = 0; i < F.size(); ++i) {
    const Shape& s = kShapes[i];
    const auto expected =
        expected_factor(s.batch, s.outer, s.dim, s.inner, widened(F0[i]), G[i].values, {}, static_cast<T>(0.9), 0.25);
    const std::vector<T> result = F[i].values();
    CHECK_SMALL(relative_error(result, expected), tolerance<T>(s.outer * s.inner));
    for (int64_t b = 0; b < s.batch; ++b) CHECK(symmetric_to_the_bit(s.dim, result.data() + b * s.dim * s.dim));
  }
}

TEST(ragged_lists_in_every_type_and_order) {
  in_every_order([] { check_all_shapes<float>(ScalarType::Float32, Float32Method::Tf32x3); });
  check_all_shapes<float>(ScalarType::Float32, Float32Method::Fp32);
  in_every_order([] { check_all_shapes<float>(ScalarType::BFloat16, Float32Method::Tf32x3); });
  check_all_shapes<float>(ScalarType::Float16, Float32Method::Tf32x3);
  check_all_shapes<float>(ScalarType::Float64, Float32Method::Tf32x3);
  in_every_order([] { check_all_shapes<double>(ScalarType::Float64, Float32Method::Tf32x3); });
  check_all_shapes<double>(ScalarType::Float32, Float32Method::Tf32x3);
  check_all_shapes<double>(ScalarType::BFloat16, Float32Method::Tf32x3);
  check_all_shapes<double>(ScalarType::Float16, Float32Method::Tf32x3);
}

TEST(gradients_that_start_at_any_address) {
  for (const int64_t offset : {1, 2, 3}) {
    for (const ScalarType type : {ScalarType::Float32, ScalarType::BFloat16}) {
      const int64_t m = 8, n = 16;
      const Gradient G = gradient(type, m * n + offset, 3);
      const DeviceArray<unsigned char> G_device(G.bytes);
      const std::vector<double> values(G.values.begin() + offset, G.values.end());
      const DeviceArray<float> L(std::vector<float>(m * m, NAN)), R(std::vector<float>(n * n, NAN));
      const void* begin = G_device.data() + offset * element_size(type);
      TestStream stream;
      cuda::update_factors<float>(
          {{1, 1, m, n, L.data(), begin, type, nullptr}, {1, m, n, 1, R.data(), begin, type, nullptr}}, 0.0, 1.0,
          stream);
      CHECK_SMALL(
          relative_error(L.values(), expected_factor(1, 1, m, n, std::vector<double>(m * m), values, {}, 0.0, 1.0)),
          tolerance<float>(n));
      CHECK_SMALL(
          relative_error(R.values(), expected_factor(1, m, n, 1, std::vector<double>(n * n), values, {}, 0.0, 1.0)),
          tolerance<float>(m));
    }
  }
}

template <class T>
void weighted(int64_t batch, int64_t outer, int64_t dim, int64_t inner, ScalarType type) {
  const int64_t w = outer * inner;
  const auto F0 = definite<T>(batch, dim, 0.1, 4), W0 = definite<T>(batch, w, 0.1, 5);
  const Gradient G = gradient(type, batch * w * dim, 6);
  const DeviceArray<T> F(F0), W(W0);
  const DeviceArray<unsigned char> G_device(G.bytes);
  TestStream stream;
  cuda::update_factors<T>({{batch, outer, dim, inner, F.data(), G_device.data(), type, W.data()}}, 0.5, 0.5, stream);
  const auto expected = expected_factor(batch, outer, dim, inner, widened(F0), G.values, widened(W0), 0.5, 0.5);
  CHECK_SMALL(relative_error(F.values(), expected), tolerance<T>(2 * w));
  for (int64_t b = 0; b < batch; ++b) CHECK(symmetric_to_the_bit(dim, F.values().data() + b * dim * dim));
}

TEST(weights_on_either_side) {
  in_every_order([] {
    weighted<float>(2, 1, 33, 20, ScalarType::Float32);
    weighted<float>(2, 20, 33, 1, ScalarType::Float32);
  });
  weighted<float>(1, 1, 70, 65, ScalarType::BFloat16);
  weighted<float>(1, 65, 70, 1, ScalarType::Float16);
  weighted<double>(2, 1, 9, 20, ScalarType::Float64);
  weighted<double>(1, 20, 9, 1, ScalarType::Float32);
}

TEST(a_matrix_alone_has_the_bits_it_has_in_a_list) {
  const int64_t batch = 3, m = 70, n = 40;
  const auto F0 = definite<float>(batch, m, 0.1, 3);
  const Gradient G = gradient(ScalarType::Float32, batch * m * n, 4), other = gradient(ScalarType::Float32, 900, 5);
  const DeviceArray<unsigned char> G_device(G.bytes), other_device(other.bytes);
  const DeviceArray<float> together(F0), beside(std::vector<float>(900));
  TestStream stream;
  cuda::update_factors<float>({{1, 1, 30, 30, beside.data(), other_device.data(), ScalarType::Float32, nullptr},
                               {batch, 1, m, n, together.data(), G_device.data(), ScalarType::Float32, nullptr}},
                              0.9, 0.1, stream);
  for (int64_t b = 0; b < batch; ++b) {
    const DeviceArray<float> alone(std::vector<float>(F0.begin() + b * m * m, F0.begin() + (b + 1) * m * m));
    // At an address that allows only copies of single words.
    const std::vector<unsigned char> slice(G.bytes.begin() + b * m * n * 4 - (b > 0 ? 4 : 0),
                                           G.bytes.begin() + (b + 1) * m * n * 4);
    const DeviceArray<unsigned char> slice_device(slice);
    cuda::update_factors<float>(
        {{1, 1, m, n, alone.data(), slice_device.data() + (b > 0 ? 4 : 0), ScalarType::Float32, nullptr}}, 0.9, 0.1,
        stream);
    const std::vector<float> all = together.values();
    CHECK(same_bits(alone.values(), std::vector<float>(all.begin() + b * m * m, all.begin() + (b + 1) * m * m)));
  }
}

// Both factors of a small gradient, which is then read once, have the bits that each has alone.
void both_and_each(int64_t batch, int64_t m, int64_t n, ScalarType type, int64_t offset) {
  const auto L0 = definite<float>(batch, m, 0.1, 3), R0 = definite<float>(batch, n, 0.1, 4);
  const Gradient G = gradient(type, batch * m * n + offset, 5);
  const DeviceArray<unsigned char> G_device(G.bytes);
  const void* begin = G_device.data() + offset * element_size(type);
  const DeviceArray<float> L(L0), R(R0), L_alone(L0), R_alone(R0);
  const auto left = [&](const DeviceArray<float>& F) {
    return FactorGroup<float>{batch, 1, m, n, F.data(), begin, type, nullptr};
  };
  const auto right = [&](const DeviceArray<float>& F) {
    return FactorGroup<float>{batch, m, n, 1, F.data(), begin, type, nullptr};
  };
  TestStream stream;
  cuda::update_factors<float>({left(L), right(R)}, 0.9, 0.25, stream);
  cuda::update_factors<float>({left(L_alone)}, 0.9, 0.25, stream);
  cuda::update_factors<float>({right(R_alone)}, 0.9, 0.25, stream);
  CHECK(same_bits(L.values(), L_alone.values()));
  CHECK(same_bits(R.values(), R_alone.values()));
  const std::vector<double> values(G.values.begin() + offset, G.values.end());
  const auto expected = expected_factor(batch, 1, m, n, widened(L0), values, {}, static_cast<float>(0.9), 0.25);
  CHECK_SMALL(relative_error(L.values(), expected), tolerance<float>(n));
  for (int64_t b = 0; b < batch; ++b) CHECK(symmetric_to_the_bit(n, R.values().data() + b * n * n));
}

TEST(both_factors_of_a_small_gradient) {
  for (const ScalarType type : {ScalarType::Float32, ScalarType::BFloat16, ScalarType::Float16}) {
    in_every_order([&] { both_and_each(5, 7, 32, type, 0); });
    both_and_each(3, 20, 17, type, 1);
    both_and_each(9, 1, 1, type, 0);
    both_and_each(2, 64, 64, type, 0);
    both_and_each(2, 33, 50, type, 1);
    both_and_each(1, 5, 40, type, 0);
    both_and_each(1, 65, 40, type, 0);
  }
}

TEST(more_factors_than_one_launch_holds) {
  const int64_t count = 1300;
  const std::vector<float> G0 = normal<float>(count * 2, 7);
  const DeviceArray<float> F(std::vector<float>(count, 1.0f)), G(G0);
  std::vector<FactorGroup<float>> groups;
  for (int64_t i = 0; i < count; ++i)
    groups.push_back({1, 1, 1, 2, F.data() + i, G.data() + 2 * i, ScalarType::Float32, nullptr});
  TestStream stream;
  cuda::update_factors(groups, 1.0, 1.0, stream);
  const std::vector<float> result = F.values();
  for (int64_t i = 0; i < count; ++i)
    CHECK_SMALL(std::fabs(result[i] - (1.0 + G0[2 * i] * G0[2 * i] + G0[2 * i + 1] * G0[2 * i + 1])), 1e-5);
}

TEST(what_is_not_asked_for_is_not_read) {
  const DeviceArray<float> unread(std::vector<float>(9, NAN)), F(std::vector<float>(9, 4.0f));
  const DeviceArray<float> G(std::vector<float>{1, 2, 3});
  TestStream stream;
  cuda::update_factors<float>({{1, 1, 3, 1, unread.data(), G.data(), ScalarType::Float32, nullptr}}, 0.0, 1.0, stream);
  CHECK((unread.values() == std::vector<float>{1, 2, 3, 2, 4, 6, 3, 6, 9}));
  cuda::update_factors<float>({{1, 1, 3, 3, F.data(), nullptr, ScalarType::Float32, nullptr}}, 0.25, 0.0, stream);
  CHECK((F.values() == std::vector<float>(9, 1.0f)));
  cuda::update_factors<float>({}, 0.5, 0.5, stream);
}

TEST(non_finite_gradients_stay_so) {
  const std::vector<float> values = {NAN, 1.0f, 2.0f, 3.0f};
  std::vector<float> payload = values;  // the NaN that the device makes, on which rounding by integers would overflow
  const uint32_t all_ones = 0x7fffffffu;
  std::memcpy(&payload[0], &all_ones, sizeof all_ones);
  for (const auto& G0 : {values, payload, std::vector<float>{INFINITY, 1.0f, 2.0f, 3.0f}}) {
    const DeviceArray<float> G(G0), F(std::vector<float>(4, 0.0f));
    TestStream stream;
    cuda::update_factors<float>({{1, 1, 2, 2, F.data(), G.data(), ScalarType::Float32, nullptr}}, 0.5, 0.5, stream);
    const std::vector<float> result = F.values();
    CHECK(!std::isfinite(result[0]) && !std::isfinite(result[1]) && result[3] == 6.5f);
  }
}

// 100,000 terms of one sign: tensor cores that truncate would lose 1e-4 of the sum.
TEST(long_sums_keep_float32_accuracy) {
  const int64_t n = 100000;
  const std::vector<float> G0 = normal<float>(2 * n, 8);
  const DeviceArray<float> G(G0), F(std::vector<float>(4, 0.0f));
  TestStream stream;
  cuda::update_factors<float>({{1, 1, 2, n, F.data(), G.data(), ScalarType::Float32, nullptr}}, 0.0, 1.0, stream);
  CHECK_SMALL(relative_error(F.values(), multiply(2, 2, n, G0.data(), false, G0.data(), true)), 32 * rounding<float>());
}

// Sums that are cut into pieces, of tiles of a warp and of a block, in both layouts.
template <class T>
void long_sum(int64_t outer, int64_t dim, int64_t inner, ScalarType type) {
  const auto F0 = definite<T>(2, dim, 0.1, 3);
  const Gradient G = gradient(type, 2 * outer * dim * inner, 8);
  const DeviceArray<T> F(F0);
  const DeviceArray<unsigned char> G_device(G.bytes);
  TestStream stream;
  cuda::update_factors<T>({{2, outer, dim, inner, F.data(), G_device.data(), type, nullptr}}, 0.5, 0.25, stream);
  const auto expected = expected_factor(2, outer, dim, inner, widened(F0), G.values, {}, 0.5, 0.25);
  CHECK_SMALL(relative_error(F.values(), expected), 32 * rounding<T>());
  for (int64_t b = 0; b < 2; ++b) CHECK(symmetric_to_the_bit(dim, F.values().data() + b * dim * dim));
}

TEST(long_sums_are_cut) {
  in_every_order([] {
    long_sum<float>(1, 5, 2100, ScalarType::Float32);
    long_sum<float>(2100, 40, 1, ScalarType::BFloat16);
  });
  long_sum<float>(301, 6, 7, ScalarType::Float32);
  long_sum<float>(1, 66, 3000, ScalarType::Float16);
  long_sum<float>(3000, 33, 1, ScalarType::Float32);
  long_sum<double>(1, 33, 2100, ScalarType::Float64);
  long_sum<double>(2100, 4, 1, ScalarType::Float32);
}

template <class T>
void power_step(int64_t batch, int64_t samples, int64_t m, int64_t n, ScalarType type, bool scaled) {
  const Gradient G = gradient(type, batch * samples * m * n, 9);
  const auto L0 = definite<T>(batch, m, 0.1, 10), R0 = definite<T>(batch, n, 0.1, 11);
  std::vector<double> scale;
  for (int64_t b = 0; b < batch; ++b) scale.push_back(scaled ? 0.5 + static_cast<double>(b) : 1.0);
  const DeviceArray<T> L(L0), R(R0), L_next(std::vector<T>(L0.size(), NAN)), R_next(std::vector<T>(R0.size(), NAN));
  const DeviceArray<double> scale_device(scale);
  const DeviceArray<unsigned char> G_device(G.bytes);
  TestStream stream;
  cuda::kron_power_step<T>({batch, samples, m, n, G_device.data(), type, L.data(), R.data(), L_next.data(),
                            R_next.data(), scaled ? scale_device.data() : nullptr},
                           stream);
  std::vector<double> L_mean(L0.size(), 0.0), R_mean(R0.size(), 0.0);
  for (int64_t b = 0; b < batch; ++b)
    for (int64_t s = 0; s < samples; ++s) {
      const double* one = &G.values[(b * samples + s) * m * n];
      const double weight = scale[b] * scale[b] / static_cast<double>(samples);
      const auto GR = multiply(m, n, n, one, false, &R0[b * n * n], false);
      const auto LG = multiply(m, n, m, &L0[b * m * m], false, one, false);
      const auto left = multiply(m, m, n, GR.data(), false, one, true),
                 right = multiply(n, n, m, one, true, LG.data(), false);
      for (int64_t i = 0; i < m * m; ++i) L_mean[b * m * m + i] += weight * left[i];
      for (int64_t i = 0; i < n * n; ++i) R_mean[b * n * n + i] += weight * right[i];
    }
  CHECK_SMALL(relative_error(L_next.values(), L_mean), tolerance<T>(2 * n + samples));
  CHECK_SMALL(relative_error(R_next.values(), R_mean), tolerance<T>(2 * m + samples));
  for (int64_t b = 0; b < batch; ++b) CHECK(symmetric_to_the_bit(m, L_next.values().data() + b * m * m));
}

TEST(power_steps) {
  in_every_order([] { power_step<float>(2, 3, 5, 33, ScalarType::Float32, false); });
  power_step<float>(2, 9, 4, 3, ScalarType::BFloat16, true);
  power_step<float>(1, 5, 40, 36, ScalarType::Float16, false);
  power_step<float>(1, 70, 33, 4, ScalarType::Float32, true);  // the sum over samples is cut
  power_step<float>(1, 40, 8, 33, ScalarType::BFloat16, false);
  power_step<float>(1, 2, 65, 8, ScalarType::Float32, false);
  power_step<double>(2, 3, 5, 4, ScalarType::Float32, true);
}

}  // namespace
