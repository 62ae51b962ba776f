#include "kernels/cpu/simd/gemm.h"

#include <utility>

#include "instruction_sets.h"
#include "kernels/cpu/simd/kernels.h"
#include "kernels/cpu/simd/passes.h"
#include "testing.h"

using namespace kronla;
using namespace kronla::testing;

namespace {

struct Shape {
  int64_t m, n, k;
};

// A block in the middle of a larger C, from rows and columns in the middle of larger A and B: right there, and nothing
// else is touched.
template <class T>
void check_block(const kernels::Kernels<T>& set, const Shape& shape, bool a_transposed, bool b_transposed, bool lower) {
  const auto [m, n, k] = shape;
  const int64_t lda = (a_transposed ? m : k) + 3, ldb = (b_transposed ? k : n) + 5, ldc = n + 7;
  const int64_t row = m / 3, row_end = m - m / 5, column = n / 4, column_end = n - n / 7;
  const std::vector<T> A = normal<T>((a_transposed ? k : m) * lda, 1), B = normal<T>((b_transposed ? n : k) * ldb, 2);
  const std::vector<T> C0 = normal<T>(m * ldc, 3);
  std::vector<T> C = C0, workspace(kernels::kWorkspace);
  const T alpha = T(0.75), beta = T(-0.5);
  set.block({k, A.data(), a_transposed ? 1 : lda, a_transposed ? lda : 1, B.data(), b_transposed ? 1 : ldb,
             b_transposed ? ldb : 1, alpha, beta, C.data(), ldc, lower},
            {row, row_end, column, column_end}, workspace.data());
  double worst = 0.0;
  bool outside = true;
  for (int64_t i = 0; i < m; ++i)
    for (int64_t j = 0; j < ldc; ++j) {
      const double before = static_cast<double>(C0[i * ldc + j]), after = static_cast<double>(C[i * ldc + j]);
      if (i < row || i >= row_end || j < column || j >= column_end) {
        outside = outside && before == after;
        continue;
      }
      if (lower && j > i) continue;
      double sum = 0.0, size = 0.0;
      for (int64_t l = 0; l < k; ++l) {
        const double term = static_cast<double>(A[a_transposed ? l * lda + i : i * lda + l]) *
                            static_cast<double>(B[b_transposed ? j * ldb + l : l * ldb + j]);
        sum += term;
        size += std::abs(term);
      }
      worst = std::max(worst, std::abs(after - (0.75 * sum - 0.5 * before)) / (size + std::abs(before)));
    }
  CHECK(outside);
  CHECK_SMALL(worst, (2.0 + std::sqrt(static_cast<double>(k))) * rounding<T>());
}

// The block of a symmetric product that lies on the diagonal or below it, and its mirror image; nothing else is touched.
template <class T>
void check_mirrored(const kernels::Kernels<T>& set, int64_t k, const kernels::Range& range) {
  const int64_t n = 150, ldc = n + 3;
  const std::vector<T> A = normal<T>(n * k, 1), C0 = normal<T>(n * ldc, 2);
  std::vector<T> C = C0, plain = C0, workspace(kernels::kWorkspace);
  kernels::Product<T> product{k, A.data(), k, 1, A.data(), 1, k, T(0.75), T(-0.5), plain.data(), ldc, true};
  set.block(product, range, workspace.data());
  product.C = C.data();
  product.mirrored = true;
  const Memory ahead[kAhead] = {{}, {A.data(), n * k * static_cast<int64_t>(sizeof(T))}, {}};
  product.ahead = ahead;  // what is fetched changes no result
  set.block(product, range, workspace.data());
  const auto within = [&](int64_t i, int64_t j) {
    return j <= i && i >= range.row && i < range.row_end && j >= range.column && j < range.column_end;
  };
  bool right = true;
  for (int64_t i = 0; i < n; ++i)
    for (int64_t j = 0; j < ldc; ++j) {
      const T expected = within(i, j)            ? plain[i * ldc + j]
                         : j < n && within(j, i) ? plain[j * ldc + i]
                                                 : C0[i * ldc + j];
      right = right && C[i * ldc + j] == expected;
    }
  CHECK(right);
}

template <class T>
void mirrored_blocks() {
  for (const auto& [name, set] : every_set<T>())
    for (const int64_t k : {3, 40, 300})
      for (const kernels::Range& range : {kernels::Range{0, 1, 0, 1},
                                          {0, 37, 0, 37},
                                          {16, 80, 16, 80},
                                          {32, 149, 32, 149},
                                          {64, 129, 0, 64},
                                          {100, 107, 32, 100}})
        check_mirrored(*set, k, range);
}

template <class T>
void every_block() {
  for (const auto& [name, set] : every_set<T>())
    for (const Shape& shape : {Shape{1, 1, 1},
                               {9, 5, 3},
                               {17, 33, 8},
                               {40, 40, 40},
                               {64, 100, 31},
                               {131, 67, 300},
                               {70, 90, 1100},
                               {256, 256, 20}})
      for (const bool a : {false, true})
        for (const bool b : {false, true})
          for (const bool lower : {false, true}) check_block(*set, shape, a, b, lower);
}

// The distances of rows at which A and B are packed rather than read where they lie.
template <class T>
void far_rows() {
  const int64_t m = 37, n = 45, k = 290, far = 1031;
  for (const auto& [name, set] : every_set<T>())
    for (const bool a_transposed : {false, true})
      for (const bool b_transposed : {false, true}) {
        const std::vector<T> A = normal<T>(k * far, 1), B = normal<T>(k * far, 2);
        std::vector<T> C(m * n), workspace(kernels::kWorkspace), a(m * k), b(k * n);
        set->block({k, A.data(), a_transposed ? 1 : far, a_transposed ? far : 1, B.data(), b_transposed ? 1 : far,
                    b_transposed ? far : 1, T(1), T(0), C.data(), n, false},
                   {0, m, 0, n}, workspace.data());
        for (int64_t l = 0; l < k; ++l) {
          for (int64_t i = 0; i < m; ++i) a[i * k + l] = A[a_transposed ? l * far + i : i * far + l];
          for (int64_t j = 0; j < n; ++j) b[l * n + j] = B[b_transposed ? j * far + l : l * far + j];
        }
        CHECK_SMALL(relative_error(C, multiply(m, n, k, a.data(), false, b.data(), false)), 40 * rounding<T>());
      }
}

template <class T>
void blocks_and_threads(int64_t m, int64_t n, int64_t k) {
  const std::vector<T> A = normal<T>(m * k, 1), B = normal<T>(k * n, 2);
  const std::vector<T> C = SAME_BITS([&](const Parallel& team) {
    std::vector<T> C(m * n, std::numeric_limits<T>::quiet_NaN());  // beta = 0 must not read it
    gemm(team, Op::N, Op::N, m, n, k, T(1), A.data(), k, B.data(), n, T(0), C.data(), n);
    return C;
  });
  CHECK_SMALL(relative_error(C, multiply(m, n, k, A.data(), false, B.data(), false)), 10 * rounding<T>());
  // A row of C has the same bits in a product of that row alone.
  std::vector<T> row(n);
  gemm({}, Op::N, Op::N, 1, n, k, T(1), A.data() + (m / 2) * k, k, B.data(), n, T(0), row.data(), n);
  CHECK(std::equal(row.begin(), row.end(), C.begin() + (m / 2) * n));
}

template <class T>
void symmetric_products() {
  for (const auto& [n, k] :
       {std::pair<int64_t, int64_t>{1, 41}, {7, 41}, {16, 41}, {33, 41}, {257, 41}, {600, 41}, {130, 90}}) {
    const std::vector<T> A = normal<T>(n * k, 1);
    for (const Op op : {Op::N, Op::T}) {
      const int64_t lda = op == Op::N ? k : n;
      const std::vector<T> C = SAME_BITS([&](const Parallel& team) {
        std::vector<T> C(n * n);
        syrk(team, op, n, k, T(1), A.data(), lda, T(0), C.data(), n, {true, {}});
        std::vector<T> later(n * n);
        syrk(team, op, n, k, T(1), A.data(), lda, T(0), later.data(), n);
        mirror_lower(n, later.data());
        CHECK(same_bits(C, later));
        return C;
      });
      const bool transposed = op == Op::T;
      CHECK_SMALL(relative_error(C, multiply(n, n, k, A.data(), transposed, A.data(), !transposed)),
                  10 * rounding<T>());
      std::vector<T> whole(n * n);
      gemm({}, op, op == Op::N ? Op::T : Op::N, n, n, k, T(1), A.data(), lda, A.data(), lda, T(0), whole.data(), n);
      CHECK(same_bits(C, whole));  // symmetric to the bit by itself
    }
  }
}

uint16_t to_bfloat16(float x) {
  uint32_t bits;
  std::memcpy(&bits, &x, sizeof bits);
  return static_cast<uint16_t>(bits >> 16);
}

// G Gᵀ of rows that hold pairs, Gᵀ G of rows that are interleaved.
void products_of_pairs() {
  if (!has_bfloat16_products()) return;
  for (const int64_t n : {1, 9, 40, 300})
    for (const int64_t k : {2, 6, 33, 130, 700})
      for (const bool interleaved : {false, true}) {
        if (!interleaved && k % 2 != 0) continue;
        const std::vector<float> source = normal<float>(n * k, 1);
        std::vector<uint16_t> G(n * k);
        std::vector<float> wide(n * k);
        for (int64_t i = 0; i < n * k; ++i) {
          G[i] = to_bfloat16(source[i]);
          const uint32_t bits = static_cast<uint32_t>(G[i]) << 16;
          std::memcpy(&wide[i], &bits, sizeof bits);
        }
        const int64_t pairs = (k + 1) / 2, row = interleaved ? n : pairs;
        std::vector<Bfloat16Pair> X(pairs * n);
        if (interleaved) {
          interleave_rows(k, n, G.data(), X.data());
        } else {
          std::memcpy(X.data(), G.data(), G.size() * sizeof G[0]);
        }
        const std::vector<float> C = SAME_BITS([&](const Parallel& team) {
          std::vector<float> C(n * n);
          gemmt_of_pairs(team, interleaved ? Op::T : Op::N, interleaved ? Op::N : Op::T, n, pairs, 1.0f, X.data(), row,
                         X.data(), row, 0.0f, C.data(), n, {true, {}});
          return C;
        });
        CHECK_SMALL(relative_error(C, multiply(n, n, k, wide.data(), interleaved, wide.data(), !interleaved)),
                    10 * rounding<float>());
        CHECK(symmetric_to_the_bit(n, C.data()));
      }
}

// X as bfloat16 has it, rounded to nearest, ties to even; in float.
std::vector<float> rounded(std::vector<float> X) {
  for (float& x : X) {
    uint32_t bits;
    std::memcpy(&bits, &x, sizeof bits);
    bits = (bits + 0x7fff + (bits >> 16 & 1)) & 0xffff0000u;
    std::memcpy(&x, &bits, sizeof bits);
  }
  return X;
}

// Products of what was rounded and paired along k, by rows and by columns, k odd and even.
void products_of_rounded_matrices() {
  if (!has_bfloat16_products()) return;
  const int64_t m = 70, n = 133;
  for (const int64_t k : {1, 2, 33, 301}) {
    const int64_t pairs = (k + 1) / 2;
    const std::vector<float> A = normal<float>(m * k, 1), At = normal<float>(k * m, 2), B = normal<float>(k * n, 3),
                             Bt = normal<float>(n * k, 4), C0 = normal<float>(m * n, 5);
    for (const bool a_transposed : {false, true})
      for (const bool b_transposed : {false, true}) {
        const std::vector<float>& a = a_transposed ? At : A;
        const std::vector<float>& b = b_transposed ? Bt : B;
        const std::vector<float> C = SAME_BITS([&](const Parallel& team) {
          std::vector<Bfloat16Pair> a_pairs(pairs * m), b_pairs(pairs * n);
          a_transposed ? pair_rows(team, k, m, a.data(), a_pairs.data())
                       : pair_columns(team, m, k, a.data(), a_pairs.data());
          b_transposed ? pair_columns(team, n, k, b.data(), b_pairs.data())
                       : pair_rows(team, k, n, b.data(), b_pairs.data());
          std::vector<float> C = C0;
          gemm_of_pairs(team, a_transposed ? Op::T : Op::N, b_transposed ? Op::T : Op::N, m, n, pairs, 1.0f,
                        a_pairs.data(), a_transposed ? m : pairs, b_pairs.data(), b_transposed ? pairs : n, 1.0f,
                        C.data(), n);
          return C;
        });
        std::vector<double> expected =
            multiply(m, n, k, rounded(a).data(), a_transposed, rounded(b).data(), b_transposed);
        for (int64_t i = 0; i < m * n; ++i) expected[i] += static_cast<double>(C0[i]);
        CHECK_SMALL(relative_error(C, expected), 4 * rounding<float>());
      }
  }
}

// L Lᵀ = A, and W L⁻ᵀ times Lᵀ is W again, for triangles within a larger matrix and any number of rows.
template <class T>
void triangles() {
  for (const auto& [name, set] : every_set<T>())
    for (const int64_t n : {1, 2, 7, 8, 16, 17, 31, 32}) {
      const int64_t ld = n + 3;
      const std::vector<T> A = definite<T>(1, n, 0.1, 1);
      std::vector<T> L(n * ld, std::numeric_limits<T>::quiet_NaN());
      for (int64_t i = 0; i < n; ++i)
        std::copy_n(A.data() + i * n, i + 1, L.data() + i * ld);  // NaN above the diagonal
      CHECK(set->cholesky(n, L.data(), ld));
      std::vector<T> lower(n * n);
      for (int64_t i = 0; i < n; ++i) std::copy_n(L.data() + i * ld, i + 1, lower.data() + i * n);
      CHECK_SMALL(relative_error(multiply(n, n, n, lower.data(), false, lower.data(), true), A), 4 * rounding<T>());
      for (const int64_t m : {1, 5, 8, 16, 33, 64, 70, 130}) {
        const std::vector<T> W0 = normal<T>(m * ld, 2);
        std::vector<T> W = W0, solved(m * n), before(m * n);
        set->solve(m, n, L.data(), ld, W.data(), ld);
        for (int64_t i = 0; i < m; ++i) {
          std::copy_n(W.data() + i * ld, n, solved.data() + i * n);
          std::copy_n(W0.data() + i * ld, n, before.data() + i * n);
          CHECK(std::equal(W.begin() + i * ld + n, W.begin() + (i + 1) * ld, W0.begin() + i * ld + n));
        }
        CHECK_SMALL(relative_error(multiply(m, n, n, solved.data(), false, lower.data(), true), before),
                    20 * rounding<T>());
      }
      std::vector<T> indefinite = A;
      indefinite[n * n - 1] = T(-1);
      CHECK(!set->cholesky(n, indefinite.data(), n));
    }
}

template <class T>
void nothing_to_add() {
  std::vector<T> C = normal<T>(6, 1), before = C;
  gemm<T>({}, Op::N, Op::N, 2, 3, 0, T(1), nullptr, 1, nullptr, 3, T(2), C.data(), 3);
  for (size_t i = 0; i < C.size(); ++i) CHECK(C[i] == T(2) * before[i]);
  C[0] = std::numeric_limits<T>::quiet_NaN();
  gemm<T>({}, Op::N, Op::N, 2, 3, 0, T(1), nullptr, 1, nullptr, 3, T(0), C.data(), 3);
  for (const T c : C) CHECK(c == T(0));
}

}  // namespace

TEST(every_block_float32) { every_block<float>(); }
TEST(every_block_float64) { every_block<double>(); }
TEST(far_rows_float32) { far_rows<float>(); }
TEST(far_rows_float64) { far_rows<double>(); }
TEST(blocks_and_threads_float32) {
  blocks_and_threads<float>(530, 290, 70);
  blocks_and_threads<float>(128, 130, 100);  // one block, unless a team would stand by
}
TEST(blocks_and_threads_float64) {
  blocks_and_threads<double>(530, 290, 70);
  blocks_and_threads<double>(128, 130, 100);  // one block, unless a team would stand by
}
TEST(symmetric_products_float32) { symmetric_products<float>(); }
TEST(symmetric_products_float64) { symmetric_products<double>(); }
TEST(mirror_images_of_blocks_stand_where_they_belong) {
  mirrored_blocks<float>();
  mirrored_blocks<double>();
}

TEST(products_of_pairs_of_bfloat16) { products_of_pairs(); }
TEST(products_of_matrices_rounded_to_bfloat16) { products_of_rounded_matrices(); }
TEST(triangles_float32) { triangles<float>(); }
TEST(triangles_float64) { triangles<double>(); }
TEST(nothing_to_add_float32) { nothing_to_add<float>(); }
TEST(nothing_to_add_float64) { nothing_to_add<double>(); }
