#include "kernels/cpu/simd/gemm.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <limits>
#include <memory>
#include <new>
#include <numeric>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <vector>

#include "kernels/cpu/simd/kernels.h"
#include "kernels/cpu/threads.h"
#include "kernels/probe_signs.h"

namespace kronla {
namespace {

using kernels::Kernels;
using kernels::Product;
using kernels::Range;

enum class Set { Avx512, Avx2, Portable };

bool runs(Set set) {
#if defined(__x86_64__)
  if (set == Set::Avx512)
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") &&
           __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("fma");
  if (set == Set::Avx2) return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
#endif
  return set == Set::Portable;
}

Set choose() {
  const char* demanded = std::getenv("KRONLA_ISA");
  for (const auto& [name, set] : {std::pair{"avx512", Set::Avx512}, {"avx2", Set::Avx2}, {"portable", Set::Portable}}) {
    if (demanded != nullptr && *demanded != '\0' && demanded != std::string(name)) continue;
    if (runs(set)) return set;
  }
  throw std::runtime_error("KRONLA_ISA is '" + std::string(demanded) +
                           "', and must be avx512, avx2 or portable, as far as this processor runs it.");
}

Set set() {
  static const Set chosen = choose();
  return chosen;
}

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

constexpr int64_t kRowsShared = 64;  // of a matrix that passes go over: cut the same way for any team

int64_t pieces_of(int64_t m) { return (m + kRowsShared - 1) / kRowsShared; }

// Calls body(piece, first row, rows) for the pieces of a matrix of m rows and n columns.
template <class Body>
void share_rows(const Parallel& team, int64_t m, int64_t n, Body&& body) {
  constexpr int64_t kWorthSharing = 100000;  // elements
  share(m * n < kWorthSharing ? Parallel{} : team, pieces_of(m),
        [&](int64_t i) { body(i, i * kRowsShared, std::min(kRowsShared, m - i * kRowsShared)); });
}

// A pair is moved as one element of 32 bits, which a float is as good as any for.
const float* as_floats(const Bfloat16Pair* pairs) { return reinterpret_cast<const float*>(pairs); }
float* as_floats(Bfloat16Pair* pairs) { return reinterpret_cast<float*>(pairs); }

}  // namespace

template <class T>
const Kernels<T>& kernels::chosen() {
#if defined(__x86_64__)
  if (set() == Set::Avx512) return *kernels::avx512<T>();
  if (set() == Set::Avx2) return *kernels::avx2<T>();
#endif
  return *kernels::portable<T>();
}
template const Kernels<float>& kernels::chosen<float>();
template const Kernels<double>& kernels::chosen<double>();

const char* instruction_set() { return set() == Set::Avx512 ? "avx512" : set() == Set::Avx2 ? "avx2" : "portable"; }

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

template <class T>
void mirror_lower(int64_t n, T* A) {
  kernels::chosen<T>().mirror_lower(n, A);
}

template <class T>
void mirror_upper(int64_t n, T* A) {
  kernels::chosen<T>().mirror_upper(n, A);
}

template <class T>
void transpose(int64_t m, int64_t n, const T* A, int64_t lda, T* B, int64_t ldb) {
  kernels::chosen<T>().transpose(m, n, A, lda, B, ldb);
}

template <class T>
T largest_magnitude(int64_t count, const T* x) {
  return kernels::chosen<T>().largest(count, x);
}

template <class T>
double sum_of_squares(int64_t count, const T* x) {
  return kernels::chosen<T>().squares(count, x);
}

template <class T>
void sum_block_rows(const kernels::BlockRows<T>& rows) {
  kernels::chosen<T>().block_rows(rows);
}

template <class T>
void gather_columns(int64_t m, int64_t n, const int64_t* from, const T* X, T* Y, Worker& worker) {
  const Worker::Scope scope(worker);
  kernels::chosen<T>().gather_columns(m, n, from, X, Y, worker.take<T>(kernels::kStrip * n));
}

template <class T>
void column_products(int64_t m, int64_t n, const T* X, int64_t ldx, const T* Y, int64_t ldy, double* sums) {
  kernels::chosen<T>().column_products(m, n, X, ldx, Y, ldy, sums);
}

template <class From, class To>
void scale_columns(int64_t m, int64_t n, const From* X, int64_t ldx, const double* scales, To* Y, int64_t ldy) {
  if constexpr (std::is_same_v<From, To>) {
    kernels::chosen<From>().scale_columns(m, n, X, ldx, scales, Y, ldy);
  } else if constexpr (std::is_same_v<To, double>) {
    kernels::chosen<From>().widen_columns(m, n, X, ldx, scales, Y, ldy);
  } else {
    kernels::chosen<To>().narrow_columns(m, n, X, ldx, scales, Y, ldy);
  }
}
template void scale_columns(int64_t, int64_t, const float*, int64_t, const double*, float*, int64_t);
template void scale_columns(int64_t, int64_t, const double*, int64_t, const double*, double*, int64_t);
template void scale_columns(int64_t, int64_t, const float*, int64_t, const double*, double*, int64_t);
template void scale_columns(int64_t, int64_t, const double*, int64_t, const double*, float*, int64_t);

template <class T>
void rayleigh_quotients(const Parallel& team, int64_t n, const T* Q, const T* AQ, double* quotients) {
  std::vector<double> sums(pieces_of(n) * n);
  share_rows(team, n, n, [&](int64_t piece, int64_t first, int64_t rows) {
    column_products(rows, n, Q + first * n, n, AQ + first * n, n, sums.data() + piece * n);
  });
  std::fill_n(quotients, n, 0.0);
  for (int64_t i = 0; i < pieces_of(n); ++i)
    for (int64_t j = 0; j < n; ++j) quotients[j] += sums[i * n + j];
}

template <class T>
double orthogonality_gap(const Parallel& team, int64_t m, int64_t n, const T* Q) {
  constexpr int64_t probes = kernels::kProbing;
  const int64_t size = probes * n;
  std::vector<T> V(size), sums(pieces_of(m) * size);
  for (int64_t j = 0; j < n; ++j)
    for (int64_t k = 0; k < probes; ++k) V[k * n + j] = static_cast<T>(probe_sign(j, k));
  share_rows(team, m, n, [&](int64_t piece, int64_t first, int64_t rows) {
    kernels::chosen<T>().probe(rows, n, Q + first * n, V.data(), sums.data() + piece * size);
  });
  double squares = 0.0;
  for (int64_t j = 0; j < size; ++j) {
    double gap = -static_cast<double>(V[j]);
    for (int64_t i = 0; i < pieces_of(m); ++i) gap += static_cast<double>(sums[i * size + j]);
    squares += gap * gap;
  }
  return std::sqrt(squares / static_cast<double>(std::max<int64_t>(1, size)));
}

template <class T>
double residual(const Parallel& team, int64_t m, int64_t n, const T* X, const T* Y, const T* d, T* R) {
  std::vector<double> sums(pieces_of(m));
  share_rows(team, m, n, [&](int64_t piece, int64_t first, int64_t rows) {
    const int64_t at = first * n;
    sums[piece] = kernels::chosen<T>().residual(rows, n, X + at, Y + at, d, R + at);
  });
  return std::accumulate(sums.begin(), sums.end(), 0.0);
}

template <class T>
void rotation(int64_t n, const T* B, const T* diagonal, T floor, T* R) {
  kernels::chosen<T>().rotation(n, B, diagonal, floor, std::numeric_limits<T>::min(), R);
}

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
  template bool cholesky<T>(const Parallel&, int64_t, T*, int64_t);                                                  \
  template void mirror_lower<T>(int64_t, T*);                                                                        \
  template void mirror_upper<T>(int64_t, T*);                                                                        \
  template void transpose<T>(int64_t, int64_t, const T*, int64_t, T*, int64_t);                                      \
  template T largest_magnitude<T>(int64_t, const T*);                                                                \
  template double sum_of_squares<T>(int64_t, const T*);                                                              \
  template void sum_block_rows<T>(const kernels::BlockRows<T>&);                                                     \
  template void gather_columns<T>(int64_t, int64_t, const int64_t*, const T*, T*, Worker&);                          \
  template void column_products<T>(int64_t, int64_t, const T*, int64_t, const T*, int64_t, double*);                 \
  template void rayleigh_quotients<T>(const Parallel&, int64_t, const T*, const T*, double*);                        \
  template double orthogonality_gap<T>(const Parallel&, int64_t, int64_t, const T*);                                 \
  template double residual<T>(const Parallel&, int64_t, int64_t, const T*, const T*, const T*, T*);                  \
  template void rotation<T>(int64_t, const T*, const T*, T, T*);

KRONLA_INSTANTIATE(float)
KRONLA_INSTANTIATE(double)

}  // namespace kronla
