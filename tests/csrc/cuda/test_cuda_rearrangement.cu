// rearrangement on the device: copies to the bit, products and power iterations against the definition in double.
#include <cmath>
#include <cstring>

#include "device.h"
#include "kernels/cuda/rearrangement.h"
#include "testing.h"

using namespace kronla;
using namespace kronla::testing;

namespace {

using Vector = std::vector<double>;

// Ĥ by the definition.
template <class T>
std::vector<T> rearranged(int64_t m, int64_t n, const T* H) {
  std::vector<T> result(m * m * n * n);
  for (int64_t i = 0; i < m; ++i)
    for (int64_t j = 0; j < n; ++j)
      for (int64_t k = 0; k < m; ++k)
        for (int64_t l = 0; l < n; ++l) result[(i * m + k) * n * n + j * n + l] = H[((i * n + j) * m + k) * n + l];
  return result;
}

struct Shape {
  int64_t m, n;
};
// Every width of words and vectors, several tiles of rows or of columns, empty ones; 1 × 65 has five tiles of columns.
const std::vector<Shape> kShapes = {{1, 1},  {1, 6},  {5, 1},  {3, 4},  {7, 9}, {17, 5}, {33, 2},
                                    {4, 33}, {3, 36}, {6, 16}, {1, 65}, {0, 3}, {3, 0}};
const std::vector<Shape> kFewShapes = {{7, 9}, {6, 16}, {3, 36}};
constexpr int64_t kBatch = 2;

template <class T>
void check_copies(const std::vector<Shape>& shapes) {
  for (const auto [m, n] : shapes) {
    const int64_t size = m * n * m * n;
    const auto H = normal<T>(kBatch * size, 1);
    const DeviceArray<T> H_device(H), M(std::vector<T>(H.size(), NAN)), back(std::vector<T>(H.size(), NAN));
    TestStream stream;
    cuda::rearrange<T>(kBatch, m, n, H_device.data(), M.data(), stream);
    cuda::unrearrange<T>(kBatch, m, n, M.data(), back.data(), stream);
    std::vector<T> expected;
    for (int64_t b = 0; b < kBatch; ++b) {
      const auto one = rearranged(m, n, H.data() + b * size);
      expected.insert(expected.end(), one.begin(), one.end());
    }
    CHECK(same_bits(M.values(), expected));
    CHECK(same_bits(back.values(), H));
  }
}

TEST(rearrange_is_the_definition_and_unrearrange_its_inverse) {
  check_copies<float>(kShapes);
  check_copies<double>(kShapes);
  in_every_order([] { check_copies<float>(kFewShapes); });
}

template <class T>
std::vector<T> matvec(int64_t batch, int64_t m, int64_t n, const T* H, const T* R) {
  const DeviceArray<T> H_device(std::vector<T>(H, H + batch * m * n * m * n)),
      R_device(std::vector<T>(R, R + batch * n * n));
  const DeviceArray<T> L(std::vector<T>(batch * m * m, NAN));
  TestStream stream;
  cuda::rearranged_matvec<T>(batch, m, n, H_device.data(), R_device.data(), L.data(), stream);
  return L.values();
}

template <class T>
std::vector<T> rmatvec(int64_t batch, int64_t m, int64_t n, const T* H, const T* L) {
  const DeviceArray<T> H_device(std::vector<T>(H, H + batch * m * n * m * n)),
      L_device(std::vector<T>(L, L + batch * m * m));
  const DeviceArray<T> R(std::vector<T>(batch * n * n, NAN));
  TestStream stream;
  cuda::rearranged_rmatvec<T>(batch, m, n, H_device.data(), L_device.data(), R.data(), stream);
  return R.values();
}

template <class T>
void check_products(const std::vector<Shape>& shapes) {
  for (const auto [m, n] : shapes) {
    const int64_t size = m * n * m * n;
    const auto H = normal<T>(kBatch * size, 2), L = normal<T>(kBatch * m * m, 3), R = normal<T>(kBatch * n * n, 4);
    const auto left = matvec(kBatch, m, n, H.data(), R.data()), right = rmatvec(kBatch, m, n, H.data(), L.data());
    Vector left_expected, right_expected;
    for (int64_t b = 0; b < kBatch; ++b) {
      const auto M = rearranged(m, n, H.data() + b * size);
      const auto l = multiply(m * m, 1, n * n, M.data(), false, R.data() + b * n * n, false);
      const auto r = multiply(n * n, 1, m * m, M.data(), true, L.data() + b * m * m, false);
      left_expected.insert(left_expected.end(), l.begin(), l.end());
      right_expected.insert(right_expected.end(), r.begin(), r.end());
      // The same bits alone.
      const auto left_alone = matvec(1, m, n, H.data() + b * size, R.data() + b * n * n);
      const auto right_alone = rmatvec(1, m, n, H.data() + b * size, L.data() + b * m * m);
      CHECK(std::equal(left_alone.begin(), left_alone.end(), left.begin() + b * m * m));
      CHECK(std::equal(right_alone.begin(), right_alone.end(), right.begin() + b * n * n));
    }
    CHECK_SMALL(relative_error(left, left_expected), 8.0 * static_cast<double>(n + 1) * rounding<T>());
    CHECK_SMALL(relative_error(right, right_expected), 8.0 * static_cast<double>(m + 1) * rounding<T>());
  }
}

TEST(products_match_the_stored_rearrangement) {
  check_products<float>(kShapes);
  check_products<double>(kShapes);
  in_every_order([] { check_products<float>(kFewShapes); });
}

// ---- the power iterations ----

template <class T>
struct Result {
  std::vector<T> L, R, sigma, cosine;
  std::vector<int32_t> info;
};

// Symmetric starts of some positive definite kind, not of unit norm.
template <class T>
Result<T> start(int64_t batch, int64_t m, int64_t n) {
  return {definite<T>(batch, m, 1.0, 50), definite<T>(batch, n, 0.5, 60), std::vector<T>(batch, T(-1)),
          std::vector<T>(batch, T(-1)), std::vector<int32_t>(batch, -1)};
}

// run(view of device memory, stream) with the result of the start on entry.
template <class T, class Run>
Result<T> on_device(int64_t m, int64_t n, const Result<T>& from, Run&& run) {
  const DeviceArray<T> L(from.L), R(from.R), sigma(from.sigma), cosine(from.cosine);
  const DeviceArray<int32_t> info(from.info);
  TestStream stream;
  run(NearestKronecker<T>{static_cast<int64_t>(from.info.size()), m, n, L.data(), R.data(), sigma.data(), cosine.data(),
                          info.data()},
      stream);
  return {L.values(), R.values(), sigma.values(), cosine.values(), info.values()};
}

template <class T>
Result<T> nearest(int64_t m, int64_t n, const std::vector<T>& H, int64_t steps, const Result<T>& from) {
  const DeviceArray<T> H_device(H);
  return on_device(m, n, from, [&](const auto& view, TestStream& stream) {
    cuda::nearest_kronecker<T>(view, H_device.data(), steps, stream);
  });
}

double norm(const Vector& x) {
  long double sum = 0.0;  // 10^5 terms of one sign: their rounding would be seen
  for (const double v : x) sum += static_cast<long double>(v) * v;
  return static_cast<double>(std::sqrt(sum));
}
void set_norm_to_1(Vector& x) {
  const double size = norm(x);
  for (double& v : x) v /= size;
}

// One matrix by the definition; H is symmetric.
Result<double> expected_nearest(int64_t m, int64_t n, const Vector& H, int64_t steps, Vector L, Vector R) {
  const Vector M = rearranged(m, n, H.data());
  set_norm_to_1(L);
  set_norm_to_1(R);
  for (int64_t step = 0; step < steps; ++step) {
    Vector L_next = multiply(m * m, 1, n * n, M.data(), false, R.data(), false);
    R = multiply(n * n, 1, m * m, M.data(), true, L.data(), false);
    L = L_next;
    set_norm_to_1(L);
    set_norm_to_1(R);
  }
  const Vector image = multiply(m * m, 1, n * n, M.data(), false, R.data(), false);
  double sigma = 0.0;
  for (int64_t i = 0; i < m * m; ++i) sigma += L[i] * image[i];
  return {L, R, {sigma}, {sigma / norm(H)}, {0}};
}

template <class T>
std::vector<T> part(const std::vector<T>& x, int64_t index, int64_t count) {
  return std::vector<T>(x.begin() + index * count, x.begin() + (index + 1) * count);
}

template <class T>
void check_same(const Result<T>& result, int64_t b, const Result<double>& expected, int64_t m, int64_t n,
                double tolerance) {
  CHECK(result.info[b] == 0);
  CHECK_SMALL(relative_error(part(result.L, b, m * m), expected.L), tolerance);
  CHECK_SMALL(relative_error(part(result.R, b, n * n), expected.R), tolerance);
  CHECK_SMALL(std::abs(result.sigma[b] / expected.sigma[0] - 1.0), tolerance);
  CHECK_SMALL(std::abs(result.cosine[b] / expected.cosine[0] - 1.0), tolerance);
  CHECK(symmetric_to_the_bit(m, result.L.data() + b * m * m));
  CHECK(symmetric_to_the_bit(n, result.R.data() + b * n * n));
}

template <class T>
void check_nearest(const std::vector<Shape>& shapes) {
  for (const auto [m, n] : shapes) {
    if (m == 0 || n == 0) continue;
    const int64_t mn = m * n;
    const auto H = definite<T>(kBatch, mn, 0.1, 30);
    const auto from = start<T>(kBatch, m, n);
    for (const int64_t steps : {0, 3}) {
      const auto result = nearest(m, n, H, steps, from);
      for (int64_t b = 0; b < kBatch; ++b) {
        const auto expected =
            expected_nearest(m, n, as<T, double>(part(H, b, mn * mn)), steps, as<T, double>(part(from.L, b, m * m)),
                             as<T, double>(part(from.R, b, n * n)));
        check_same(result, b, expected, m, n, 32.0 * static_cast<double>(m + n) * rounding<T>());
      }
    }
  }
}

TEST(power_steps_match_the_definition) {
  check_nearest<float>(kShapes);
  check_nearest<double>(kShapes);
  in_every_order([] { check_nearest<float>(kFewShapes); });
}

TEST(huge_and_tiny_matrices_are_scaled) {
  const int64_t m = 5, n = 6, mn = m * n;
  const auto from = start<float>(1, m, n);
  const auto H = definite<float>(1, mn, 0.1, 31);
  const auto plain = nearest(m, n, H, 3, from);
  for (const float scale : {0x1p120f, 0x1p-120f}) {
    auto scaled = H;
    for (float& x : scaled) x *= scale;
    const auto result = nearest(m, n, scaled, 3, from);
    CHECK(same_bits(result.L, plain.L) && same_bits(result.R, plain.R) && same_bits(result.cosine, plain.cosine));
    CHECK(result.sigma[0] == plain.sigma[0] * scale);
  }
}

TEST(bad_matrices_are_masked_and_others_do_not_see_them) {
  const int64_t m = 7, n = 4, mn = m * n, size = mn * mn;
  in_every_order([&] {
    auto H = definite<float>(5, mn, 0.1, 32);
    auto from = start<float>(5, m, n);
    H[1 * size + 3] = NAN;                          // above the diagonal: seen too
    std::fill_n(H.begin() + 2 * size, size, 0.0f);  // 0 keeps the start
    from.R[3 * n * n + 1] = INFINITY;
    const auto result = nearest(m, n, H, 2, from);
    CHECK((result.info == std::vector<int32_t>{0, 3, 0, 3, 0}));
    for (const int64_t b : {1, 3}) {
      for (const float x : part(result.L, b, m * m)) CHECK(std::isnan(x));
      for (const float x : part(result.R, b, n * n)) CHECK(std::isnan(x));
      CHECK(std::isnan(result.sigma[b]) && std::isnan(result.cosine[b]));
    }
    CHECK(result.sigma[2] == 0.0f && result.cosine[2] == 0.0f);
    Vector L = as<float, double>(part(from.L, 2, m * m));
    set_norm_to_1(L);
    CHECK_SMALL(relative_error(part(result.L, 2, m * m), L), 2.0 * rounding<float>());
    for (const int64_t b : {0, 4}) {
      const Result<float> one{part(from.L, b, m * m), part(from.R, b, n * n), {-1.0f}, {-1.0f}, {-1}};
      const auto alone = nearest(m, n, part(H, b, size), 2, one);
      CHECK(same_bits(alone.L, part(result.L, b, m * m)) && same_bits(alone.R, part(result.R, b, n * n)));
      CHECK(alone.sigma[0] == result.sigma[b] && alone.cosine[0] == result.cosine[b]);
    }
  });
}

TEST(nothing_to_do) {
  TestStream stream;
  cuda::rearrange<float>(0, 3, 3, nullptr, nullptr, stream);
  cuda::nearest_kronecker<float>({0, 2, 2, nullptr, nullptr, nullptr, nullptr, nullptr}, nullptr, 3, stream);
  const auto result = nearest<float>(0, 2, {}, 3, {{}, {1, 2, 2, 4}, {-1}, {-1}, {-1}});
  CHECK(result.info[0] == 0 && result.sigma[0] == 0.0f && result.cosine[0] == 0.0f);
  CHECK_SMALL(relative_error(result.R, Vector{0.2, 0.4, 0.4, 0.8}), 1e-6);
}

// ---- from gradients ----

// samples × m × n values and their covariance; bfloat16 where `type` says so, in few bits that the format holds.
struct Gradients {
  std::vector<unsigned char> bytes;
  Vector values, covariance;
};
Gradients gradients(ScalarType type, int64_t batch, int64_t samples, int64_t mn, double size) {
  Gradients result{{}, normal<double>(batch * samples * mn, 40), Vector(batch * mn * mn, 0.0)};
  for (double& x : result.values) {
    const float rounded = static_cast<float>((std::round(x * 16.0) / 16.0 + 0.25) * size);
    x = rounded;
    uint32_t bits;
    std::memcpy(&bits, &rounded, sizeof bits);
    const uint16_t upper = static_cast<uint16_t>(bits >> 16);
    const auto* from = type == ScalarType::Float64   ? reinterpret_cast<const unsigned char*>(&x)
                       : type == ScalarType::Float32 ? reinterpret_cast<const unsigned char*>(&rounded)
                                                     : reinterpret_cast<const unsigned char*>(&upper);
    result.bytes.insert(result.bytes.end(), from, from + element_size(type));
  }
  for (int64_t b = 0; b < batch; ++b)
    for (int64_t s = 0; s < samples; ++s) {
      const double* g = result.values.data() + (b * samples + s) * mn;
      for (int64_t i = 0; i < mn; ++i)
        for (int64_t j = 0; j < mn; ++j)
          result.covariance[(b * mn + i) * mn + j] += g[i] * g[j] / static_cast<double>(samples);
    }
  return result;
}

struct Case {
  int64_t samples, m, n, steps;
};
// The Gram matrix of the samples or of the coordinates; several tiles of it; a depth that is cut, of either. A step takes
// a tile for each sample, so that many of them are only evaluated.
const std::vector<Case> kCases = {{1, 1, 1, 2},  {6, 5, 7, 2},   {6, 5, 7, 0},  {20, 3, 4, 1},
                                  {66, 9, 8, 1}, {3, 33, 16, 1}, {520, 2, 3, 0}};
const std::vector<Case> kFewCases = {{6, 5, 7, 2}, {520, 2, 3, 0}};

template <class T>
void check_from_gradients(ScalarType type, double size, const std::vector<Case>& cases) {
  for (const auto [samples, m, n, steps] : cases) {
    const int64_t mn = m * n;
    const auto G = gradients(type, kBatch, samples, mn, size);
    const DeviceArray<unsigned char> G_device(G.bytes);
    const auto from = start<T>(kBatch, m, n);
    const auto result =
        on_device(m, n, from, [&, samples = samples, steps = steps](const auto& view, TestStream& stream) {
          cuda::nearest_kronecker_from_gradients<T>(view, samples, G_device.data(), type, steps, stream);
        });
    for (int64_t b = 0; b < kBatch; ++b) {
      auto expected = expected_nearest(m, n, part(G.covariance, b, mn * mn), steps,
                                       as<T, double>(part(from.L, b, m * m)), as<T, double>(part(from.R, b, n * n)));
      check_same(result, b, expected, m, n, 64.0 * static_cast<double>(m + n) * rounding<T>());
    }
  }
}

TEST(gradients_and_their_covariance_agree) {
  check_from_gradients<float>(ScalarType::Float32, 1.0, kCases);
  check_from_gradients<double>(ScalarType::Float64, 1.0, kCases);
  in_every_order([] { check_from_gradients<float>(ScalarType::BFloat16, 1.0, kFewCases); });
  check_from_gradients<float>(ScalarType::Float32, 0x1p-60, kFewCases);
  check_from_gradients<double>(ScalarType::Float32, 1.0, kFewCases);
}

TEST(a_bad_gradient_is_masked) {
  const int64_t samples = 4, m = 6, n = 5, slab = samples * m * n;
  auto G = normal<float>(3 * slab, 41);
  G[slab + 7] = INFINITY;
  std::fill_n(G.begin() + 2 * slab, slab, 0.0f);
  const DeviceArray<float> G_device(G);
  const auto from = start<float>(3, m, n);
  const auto result = on_device(m, n, from, [&](const auto& view, TestStream& stream) {
    cuda::nearest_kronecker_from_gradients<float>(view, samples, G_device.data(), ScalarType::Float32, 2, stream);
  });
  CHECK((result.info == std::vector<int32_t>{0, 3, 0}));
  CHECK(std::isnan(result.L[m * m]) && std::isnan(result.R[n * n]) && std::isnan(result.sigma[1]));
  CHECK(result.sigma[2] == 0.0f && result.cosine[2] == 0.0f);
  const Result<float> one{part(from.L, 0, m * m), part(from.R, 0, n * n), {-1.0f}, {-1.0f}, {-1}};
  const auto alone = on_device(m, n, one, [&](const auto& view, TestStream& stream) {
    cuda::nearest_kronecker_from_gradients<float>(view, samples, G_device.data(), ScalarType::Float32, 2, stream);
  });
  CHECK(same_bits(alone.L, part(result.L, 0, m * m)) && alone.sigma[0] == result.sigma[0]);
}

}  // namespace
