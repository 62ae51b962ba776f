#include "kernels/rearrangement.h"

#include "testing.h"

using namespace kronla;
using namespace kronla::testing;

namespace {

// kron(L, R)[(i,j),(i',j')] = L[i,i'] R[j,j'], pairs row-major.
template <class T>
std::vector<T> kron(int64_t m, int64_t n, const std::vector<T>& L, const std::vector<T>& R) {
  std::vector<T> H(static_cast<size_t>(m * n * m * n));
  for (int64_t i = 0; i < m; ++i)
    for (int64_t j = 0; j < n; ++j)
      for (int64_t k = 0; k < m; ++k)
        for (int64_t l = 0; l < n; ++l) H[((i * n + j) * m + k) * n + l] = L[i * m + k] * R[j * n + l];
  return H;
}

// Ĥ by the definition.
template <class T>
std::vector<T> rearranged(int64_t m, int64_t n, const T* H) {
  std::vector<T> result(static_cast<size_t>(m * m * n * n));
  for (int64_t i = 0; i < m; ++i)
    for (int64_t j = 0; j < n; ++j)
      for (int64_t k = 0; k < m; ++k)
        for (int64_t l = 0; l < n; ++l) result[(i * m + k) * n * n + j * n + l] = H[((i * n + j) * m + k) * n + l];
  return result;
}

struct Shape {
  int64_t m, n;
};
const Shape kShapes[] = {{1, 1}, {1, 6}, {5, 1}, {3, 4}, {7, 9}, {17, 5}, {4, 33}};
constexpr int64_t kBatch = 3;

TEST(rearrange_is_the_definition_and_unrearrange_its_inverse) {
  for (const auto [m, n] : kShapes) {
    const int64_t size = m * n * m * n;
    const auto H = normal<float>(kBatch * size, 1);
    const auto M = SAME_BITS([&, m = m, n = n](const Parallel& parallel) {
      std::vector<float> out(H.size());
      rearrange(kBatch, m, n, H.data(), out.data(), parallel);
      return out;
    });
    for (int64_t b = 0; b < kBatch; ++b) {
      const auto expected = rearranged(m, n, H.data() + b * size);
      CHECK(std::memcmp(expected.data(), M.data() + b * size, size * sizeof(float)) == 0);
    }
    std::vector<float> back(H.size());
    unrearrange(kBatch, m, n, M.data(), back.data(), threads(2));
    CHECK(same_bits(back, H));
  }
}

template <class T>
void products() {
  for (const auto [m, n] : kShapes) {
    const int64_t size = m * n * m * n;
    const auto H = normal<T>(kBatch * size, 2), L = normal<T>(kBatch * m * m, 3), R = normal<T>(kBatch * n * n, 4);
    const auto left = SAME_BITS([&, m = m, n = n](const Parallel& parallel) {
      std::vector<T> out(L.size());
      rearranged_matvec(kBatch, m, n, H.data(), R.data(), out.data(), parallel);
      return out;
    });
    const auto right = SAME_BITS([&, m = m, n = n](const Parallel& parallel) {
      std::vector<T> out(R.size());
      rearranged_rmatvec(kBatch, m, n, H.data(), L.data(), out.data(), parallel);
      return out;
    });
    std::vector<double> left_expected, right_expected;
    for (int64_t b = 0; b < kBatch; ++b) {
      const auto M = rearranged(m, n, H.data() + b * size);
      const auto l = multiply(m * m, 1, n * n, M.data(), false, R.data() + b * n * n, false);
      const auto r = multiply(n * n, 1, m * m, M.data(), true, L.data() + b * m * m, false);
      left_expected.insert(left_expected.end(), l.begin(), l.end());
      right_expected.insert(right_expected.end(), r.begin(), r.end());
    }
    CHECK_SMALL(relative_error(left, left_expected), 8.0 * static_cast<double>(n * n + 1) * rounding<T>());
    CHECK_SMALL(relative_error(right, right_expected), 8.0 * static_cast<double>(m * m + 1) * rounding<T>());
  }
}

TEST(products_match_the_stored_rearrangement) {
  products<float>();
  products<double>();
}

TEST(nothing_to_do) {
  rearrange<float>(0, 3, 3, nullptr, nullptr, threads(2));
  rearrange<float>(2, 0, 3, nullptr, nullptr, threads(2));
  float L[4] = {1, 1, 1, 1};
  rearranged_matvec<float>(1, 2, 0, nullptr, nullptr, L, serial());
  CHECK(L[0] == 0.0f && L[3] == 0.0f);  // sums of nothing
  NearestKronecker<float> none{0, 2, 2, nullptr, nullptr, nullptr, nullptr, nullptr};
  nearest_kronecker<float>(none, nullptr, 3, threads(2));
}

template <class T>
struct Nearest {
  std::vector<T> L, R, sigma, cosine;
  std::vector<int32_t> info;
  Nearest(int64_t batch, int64_t m, int64_t n)
      : L(batch * m * m, T(0)), R(batch * n * n, T(0)), sigma(batch, T(-1)), cosine(batch, T(-1)), info(batch, -1) {
    for (int64_t b = 0; b < batch; ++b) {  // the start: identities of norm 1
      for (int64_t i = 0; i < m; ++i) L[(b * m + i) * m + i] = static_cast<T>(1.0 / std::sqrt(static_cast<double>(m)));
      for (int64_t i = 0; i < n; ++i) R[(b * n + i) * n + i] = static_cast<T>(1.0 / std::sqrt(static_cast<double>(n)));
    }
  }
  NearestKronecker<T> view(int64_t m, int64_t n) {
    const auto batch = static_cast<int64_t>(info.size());
    return {batch, m, n, L.data(), R.data(), sigma.data(), cosine.data(), info.data()};
  }
  std::vector<T> all() const {
    std::vector<T> x = L;
    for (const auto* part : {&R, &sigma, &cosine}) x.insert(x.end(), part->begin(), part->end());
    return x;
  }
};

TEST(an_exact_kronecker_product_is_found_in_one_step) {
  for (const auto [m, n] : kShapes) {
    std::vector<double> H;
    for (unsigned b = 0; b < kBatch; ++b) {
      const auto one = kron(m, n, definite<double>(1, m, 0.5, 10 + b), definite<double>(1, n, 0.5, 20 + b));
      H.insert(H.end(), one.begin(), one.end());
    }
    const auto all = SAME_BITS([&, m = m, n = n](const Parallel& parallel) {
      Nearest<double> result(kBatch, m, n);
      nearest_kronecker(result.view(m, n), H.data(), 1, parallel);
      return result.all();
    });
    Nearest<double> result(kBatch, m, n);
    nearest_kronecker(result.view(m, n), H.data(), 1, serial());
    CHECK(same_bits(all, result.all()));
    for (int64_t b = 0; b < kBatch; ++b) {
      const std::vector<double> L(result.L.begin() + b * m * m, result.L.begin() + (b + 1) * m * m);
      std::vector<double> R(result.R.begin() + b * n * n, result.R.begin() + (b + 1) * n * n);
      for (double& r : R) r *= result.sigma[b];
      const std::vector<double> expected(H.begin() + b * m * n * m * n, H.begin() + (b + 1) * m * n * m * n);
      CHECK_SMALL(relative_error(kron(m, n, L, R), expected), 1e-13);
      CHECK_SMALL(std::abs(result.cosine[b] - 1.0), 1e-13);
      CHECK(result.info[b] == 0);
      CHECK(symmetric_to_the_bit(m, L.data()) && symmetric_to_the_bit(n, R.data()));
    }
  }
}

TEST(gradients_and_their_covariance_agree) {
  const int64_t samples = 6, m = 5, n = 7, mn = m * n;
  const auto G = normal<double>(kBatch * samples * mn, 30);
  std::vector<double> H(kBatch * mn * mn, 0.0);
  for (int64_t b = 0; b < kBatch; ++b)
    for (int64_t s = 0; s < samples; ++s)
      for (int64_t i = 0; i < mn; ++i)
        for (int64_t j = 0; j < mn; ++j)
          H[(b * mn + i) * mn + j] += G[(b * samples + s) * mn + i] * G[(b * samples + s) * mn + j] / samples;
  for (const int64_t steps : {0, 1, 5}) {
    Nearest<double> stored(kBatch, m, n);
    nearest_kronecker(stored.view(m, n), H.data(), steps, serial());
    const auto sampled = SAME_BITS([&](const Parallel& parallel) {
      Nearest<double> result(kBatch, m, n);
      nearest_kronecker_from_gradients(result.view(m, n), samples, G.data(), ScalarType::Float64, steps, parallel);
      return result.all();
    });
    CHECK_SMALL(relative_error(sampled, stored.all()), 1e-12);
  }
}

TEST(zero_and_nan) {
  const int64_t m = 3, n = 4, size = m * n * m * n;
  auto H = std::vector<float>(3 * size, 0.0f);
  const auto good = kron(m, n, definite<float>(1, m, 0.5, 40), definite<float>(1, n, 0.5, 41));
  std::copy(good.begin(), good.end(), H.begin());
  std::copy(good.begin(), good.end(), H.begin() + size);
  H[size + 1] = std::nanf("");
  Nearest<float> result(3, m, n), alone(1, m, n);
  nearest_kronecker(result.view(m, n), H.data(), 2, threads(2));
  nearest_kronecker(alone.view(m, n), good.data(), 2, serial());
  CHECK((result.info == std::vector<int32_t>{0, 3, 0}));
  CHECK(std::isnan(result.sigma[1]) && std::isnan(result.cosine[1]) && std::isnan(result.L[m * m]));
  CHECK(result.sigma[2] == 0.0f && result.cosine[2] == 0.0f);
  CHECK(result.sigma[0] == alone.sigma[0]);
  CHECK(std::memcmp(result.L.data(), alone.L.data(), m * m * sizeof(float)) == 0);
}

}  // namespace
