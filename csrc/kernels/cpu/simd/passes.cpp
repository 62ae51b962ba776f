#include "kernels/cpu/simd/passes.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <type_traits>
#include <vector>

#include "kernels/cpu/simd/instruction_set.h"
#include "kernels/cpu/simd/kernels.h"
#include "kernels/cpu/threads.h"
#include "kernels/probe_signs.h"

namespace kronla {

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
void rotation(int64_t n, const T* B, const T* diagonal, T floor, T noise, T* R) {
  kernels::chosen<T>().rotation(n, B, diagonal, floor, noise, std::numeric_limits<T>::min(), R);
}

#define KRONLA_INSTANTIATE(T)                                                                        \
  template void mirror_lower<T>(int64_t, T*);                                                        \
  template void mirror_upper<T>(int64_t, T*);                                                        \
  template void transpose<T>(int64_t, int64_t, const T*, int64_t, T*, int64_t);                      \
  template T largest_magnitude<T>(int64_t, const T*);                                                \
  template double sum_of_squares<T>(int64_t, const T*);                                              \
  template void sum_block_rows<T>(const kernels::BlockRows<T>&);                                     \
  template void gather_columns<T>(int64_t, int64_t, const int64_t*, const T*, T*, Worker&);          \
  template void column_products<T>(int64_t, int64_t, const T*, int64_t, const T*, int64_t, double*); \
  template void rayleigh_quotients<T>(const Parallel&, int64_t, const T*, const T*, double*);        \
  template double orthogonality_gap<T>(const Parallel&, int64_t, int64_t, const T*);                 \
  template double residual<T>(const Parallel&, int64_t, int64_t, const T*, const T*, const T*, T*);  \
  template void rotation<T>(int64_t, const T*, const T*, T, T, T*);

KRONLA_INSTANTIATE(float)
KRONLA_INSTANTIATE(double)

}  // namespace kronla
