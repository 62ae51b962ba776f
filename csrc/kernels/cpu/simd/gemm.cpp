#include "kernels/cpu/simd/gemm.h"

#include <algorithm>
#include <cstdlib>
#include <memory>
#include <new>
#include <vector>

#include "kernels/cpu/simd/instruction_set.h"
#include "kernels/cpu/simd/kernels.h"
#include "kernels/cpu/threads.h"

namespace kronla {
namespace {

using kernels::Product;
using kernels::Range;

// This thread's workspace.
template <class T>
T* workspace() {
  struct Free {
    void operator()(void* memory) const { std::free(memory); }
  };
  thread_local std::unique_ptr<void, Free> memory;
  if (memory == nullptr) memory.reset(std::aligned_alloc(64, kernels::kWorkspace * sizeof(T)));
  if (memory == nullptr) throw std::bad_alloc();
  return static_cast<T*>(memory.get());
}

// The end of part i of `count` equal parts of `size`, in multiples of 32.
int64_t part(int64_t size, int64_t count, int64_t i) { return std::min(size, (size * i / count + 31) / 32 * 32); }

bool worth_sharing(const Parallel& team, int64_t multiplications) {
  constexpr int64_t kWaking = 500000;  // multiplications in the time that it takes to wake a thread
  return team.threads > 1 && team.launch != nullptr && multiplications >= 2 * kWaking;
}

// Rows and columns of the blocks: smaller ones where a team would else stand by.
int64_t side_of_blocks(const Parallel& team, int64_t m, int64_t n, int64_t k, bool lower) {
  constexpr int64_t kLeast = 32;
  int64_t side = kernels::kBlock;
  if (!worth_sharing(team, m * n * k)) return side;
  const auto blocks = [&] {
    const int64_t down = (m + side - 1) / side, across = (n + side - 1) / side;
    return lower ? down * (down + 1) / 2 : down * across;
  };
  while (side > kLeast && blocks() < team.threads) side /= 2;
  return side;
}

template <class T>
void multiply(const Parallel& team, int64_t m, int64_t n, const Product<T>& product, bool pairs = false) {
  if (m == 0 || n == 0) return;
  if (product.k == 0 || product.alpha == T(0)) {
    for (int64_t i = 0; i < m; ++i)
      for (int64_t j = 0; j < (product.lower ? i + 1 : n); ++j) {
        T& c = product.C[i * product.ldc + j];
        c = product.beta == T(0) ? T(0) : product.beta * c;
        if (product.mirrored && j < i) product.C[j * product.ldc + i] = c;
      }
    return;
  }
  const auto block = pairs ? kernels::chosen<T>().block_of_pairs : kernels::chosen<T>().block;
  const int64_t side = side_of_blocks(team, m, n, product.k, product.lower);
  const int64_t down = (m + side - 1) / side, across = (n + side - 1) / side;
  if (down * across == 1) return block(product, {0, m, 0, n}, workspace<T>());
  Product<T> part_of = product;
  part_of.ahead = nullptr;  // for none of many blocks
  std::vector<Range> ranges;
  for (int64_t i = 0; i < down; ++i)
    for (int64_t j = 0; j < (product.lower ? i + 1 : across); ++j)
      ranges.push_back({part(m, down, i), part(m, down, i + 1), part(n, across, j), part(n, across, j + 1)});
  // Blocks on the diagonal are half the work: last, so that the threads end together.
  if (product.lower)
    std::stable_partition(ranges.begin(), ranges.end(), [](const Range& r) { return r.row != r.column; });
  share(team, static_cast<int64_t>(ranges.size()), [&](int64_t i) { block(part_of, ranges[i], workspace<T>()); });
}

template <class T>
Product<T> product_of(Op a, Op b, int64_t k, T alpha, const T* A, int64_t lda, const T* B, int64_t ldb, T beta, T* C,
                      int64_t ldc, bool lower, const Beside& beside) {
  return {k,
          A,
          a == Op::N ? lda : 1,
          a == Op::N ? 1 : lda,
          B,
          b == Op::N ? ldb : 1,
          b == Op::N ? 1 : ldb,
          alpha,
          beta,
          C,
          ldc,
          lower,
          beside.mirrored,
          beside.next};
}

// A pair is moved as one element of 32 bits, which a float is as good as any for.
const float* as_floats(const Bfloat16Pair* pairs) { return reinterpret_cast<const float*>(pairs); }
float* as_floats(Bfloat16Pair* pairs) { return reinterpret_cast<float*>(pairs); }

}  // namespace

template <class T>
void gemm(const Parallel& team, Op a, Op b, int64_t m, int64_t n, int64_t k, T alpha, const T* A, int64_t lda,
          const T* B, int64_t ldb, T beta, T* C, int64_t ldc, const Beside& beside) {
  multiply(team, m, n, product_of(a, b, k, alpha, A, lda, B, ldb, beta, C, ldc, false, beside));
}

template <class T>
void gemmt(const Parallel& team, Op a, Op b, int64_t n, int64_t k, T alpha, const T* A, int64_t lda, const T* B,
           int64_t ldb, T beta, T* C, int64_t ldc, const Beside& beside) {
  multiply(team, n, n, product_of(a, b, k, alpha, A, lda, B, ldb, beta, C, ldc, true, beside));
}

template <class T>
void syrk(const Parallel& team, Op a, int64_t n, int64_t k, T alpha, const T* A, int64_t lda, T beta, T* C, int64_t ldc,
          const Beside& beside) {
  gemmt(team, a, a == Op::N ? Op::T : Op::N, n, k, alpha, A, lda, A, lda, beta, C, ldc, beside);
}

bool has_bfloat16_products() { return kernels::chosen<float>().block_of_pairs != nullptr; }

void gemm_of_pairs(const Parallel& team, Op a, Op b, int64_t m, int64_t n, int64_t pairs, float alpha,
                   const Bfloat16Pair* A, int64_t lda, const Bfloat16Pair* B, int64_t ldb, float beta, float* C,
                   int64_t ldc, const Beside& beside) {
  multiply(team, m, n,
           product_of(a, b, pairs, alpha, as_floats(A), lda, as_floats(B), ldb, beta, C, ldc, false, beside), true);
}

void gemmt_of_pairs(const Parallel& team, Op a, Op b, int64_t n, int64_t pairs, float alpha, const Bfloat16Pair* A,
                    int64_t lda, const Bfloat16Pair* B, int64_t ldb, float beta, float* C, int64_t ldc,
                    const Beside& beside) {
  multiply(team, n, n, product_of(a, b, pairs, alpha, as_floats(A), lda, as_floats(B), ldb, beta, C, ldc, true, beside),
           true);
}

void pair_rows(const Parallel& team, int64_t m, int64_t n, const float* X, Bfloat16Pair* P) {
  share_rows(team, (m + 1) / 2, n, [&](int64_t, int64_t first, int64_t rows) {
    for (int64_t p = first; p < first + rows; ++p) {
      const float* x = X + 2 * p * n;
      kernels::chosen<float>().pair_rows(n, x, 2 * p + 1 < m ? x + n : nullptr, as_floats(P + p * n));
    }
  });
}

void interleave_rows(int64_t m, int64_t n, const uint16_t* X, Bfloat16Pair* P) {
  for (int64_t i = 0; i < m; i += 2)
    kernels::chosen<float>().interleave(n, X + i * n, i + 1 < m ? X + (i + 1) * n : nullptr, as_floats(P + i / 2 * n));
}

void pair_columns(const Parallel& team, int64_t m, int64_t n, const float* X, Bfloat16Pair* P) {
  share_rows(team, m, n, [&](int64_t, int64_t first, int64_t rows) {
    for (int64_t i = first; i < first + rows; ++i)
      kernels::chosen<float>().pair_neighbours(n, X + i * n, as_floats(P + i * ((n + 1) / 2)));
  });
}

namespace {

// The half of n at which a triangle is divided, in whole triangles of kSolve.
int64_t half(int64_t n) { return (n / 2 + kernels::kSolve - 1) / kernels::kSolve * kernels::kSolve; }

template <class T>
void solve(int64_t m, int64_t n, const T* L, int64_t ldl, T* W, int64_t ldw) {
  if (n <= kernels::kSolve) return kernels::chosen<T>().solve(m, n, L, ldl, W, ldw);
  const int64_t h = half(n);
  solve(m, h, L, ldl, W, ldw);
  gemm({}, Op::N, Op::T, m, n - h, h, T(-1), W, ldw, L + h * ldl, ldl, T(1), W + h, ldw);
  solve(m, n - h, L + h * ldl + h, ldl, W + h, ldw);
}

}  // namespace

template <class T>
void solve_right_transposed(const Parallel& team, int64_t m, int64_t n, const T* L, int64_t ldl, T* W, int64_t ldw) {
  // Rows that are solved at once, each with the same bits in any company: even shares, but L is read anew for each.
  int64_t rows = 256;
  if (worth_sharing(team, m * n * n / 2)) rows = std::clamp((m / team.threads + 31) / 32 * 32, int64_t{64}, rows);
  share(team, (m + rows - 1) / rows,
        [&](int64_t i) { solve(std::min(rows, m - i * rows), n, L, ldl, W + i * rows * ldw, ldw); });
}

template <class T>
bool cholesky(const Parallel& team, int64_t n, T* A, int64_t lda) {
  if (n <= kernels::kSolve) return kernels::chosen<T>().cholesky(n, A, lda);
  const int64_t h = half(n);
  T *side = A + h * lda, *rest = side + h;
  if (!cholesky(team, h, A, lda)) return false;
  solve_right_transposed(team, n - h, h, A, lda, side, lda);
  syrk(team, Op::N, n - h, h, T(-1), side, lda, T(1), rest, lda);
  return cholesky(team, n - h, rest, lda);
}

void lu_of_signed(int64_t n, double* A, double* signs) { kernels::chosen<double>().lu_of_signed(n, A, signs); }

void orthonormal_side_by_side(int64_t count, int64_t m, int64_t n, const float* S, float* Q, double* bounds,
                              Worker& worker) {
  static_assert(kSideBySide == kernels::kSide);
  const Worker::Scope scope(worker);
  const int64_t rows = (m + 3) / 4 * 4, columns = (n + 3) / 4 * 4;
  double* room = worker.take<double>(kSideBySide * ((rows + columns + 3) * columns + (m * n + 1) / 2));
  kernels::chosen<float>().orthonormal_side_by_side(count, m, n, S, Q, bounds, room);
}

#define KRONLA_INSTANTIATE(T)                                                                                        \
  template void gemm<T>(const Parallel&, Op, Op, int64_t, int64_t, int64_t, T, const T*, int64_t, const T*, int64_t, \
                        T, T*, int64_t, const Beside&);                                                              \
  template void gemmt<T>(const Parallel&, Op, Op, int64_t, int64_t, T, const T*, int64_t, const T*, int64_t, T, T*,  \
                         int64_t, const Beside&);                                                                    \
  template void syrk<T>(const Parallel&, Op, int64_t, int64_t, T, const T*, int64_t, T, T*, int64_t, const Beside&); \
  template void solve_right_transposed<T>(const Parallel&, int64_t, int64_t, const T*, int64_t, T*, int64_t);        \
  template bool cholesky<T>(const Parallel&, int64_t, T*, int64_t);

KRONLA_INSTANTIATE(float)
KRONLA_INSTANTIATE(double)

}  // namespace kronla
