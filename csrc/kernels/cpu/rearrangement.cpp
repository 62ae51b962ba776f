#include "kernels/rearrangement.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "kernels/cpu/batch.h"
#include "kernels/cpu/dense.h"

namespace kronla {

template <class T>
void rearrange(int64_t batch, int64_t m, int64_t n, const T* H, T* rearranged, const Parallel& parallel) {
  const int64_t mn = m * n;
  if (mn == 0) return;
  for_each(parallel, batch * m, [&](int64_t piece, Worker&) {
    const int64_t b = piece / m, i = piece % m;
    const T* rows = H + b * mn * mn + i * n * mn;
    T* out = rearranged + b * mn * mn + i * m * n * n;
    for (int64_t k = 0; k < m; ++k)
      for (int64_t j = 0; j < n; ++j) std::copy_n(rows + j * mn + k * n, n, out + (k * n + j) * n);
  });
}

template <class T>
void unrearrange(int64_t batch, int64_t m, int64_t n, const T* rearranged, T* H, const Parallel& parallel) {
  const int64_t mn = m * n;
  if (mn == 0) return;
  for_each(parallel, batch * m, [&](int64_t piece, Worker&) {
    const int64_t b = piece / m, i = piece % m;
    const T* in = rearranged + b * mn * mn + i * m * n * n;
    T* rows = H + b * mn * mn + i * n * mn;
    for (int64_t k = 0; k < m; ++k)
      for (int64_t j = 0; j < n; ++j) std::copy_n(in + (k * n + j) * n, n, rows + j * mn + k * n);
  });
}

template <class T>
void rearranged_matvec(int64_t batch, int64_t m, int64_t n, const T* H, const T* R, T* L, const Parallel& parallel) {
  const int64_t mn = m * n;
  for_each(parallel, batch * m, [&](int64_t piece, Worker& worker) {
    const int64_t b = piece / m, i = piece % m;
    const T* rows = H + b * mn * mn + i * n * mn;
    const T* weights = R + b * n * n;
    double* sum = worker.take<double>(m);
    std::fill_n(sum, m, 0.0);
    for (int64_t j = 0; j < n; ++j)  // row (i,j) of H: the j-th rows of the blocks H_i0, H_i1, …
      for (int64_t k = 0; k < m; ++k) sum[k] += static_cast<double>(dot(n, rows + j * mn + k * n, weights + j * n));
    std::copy_n(sum, m, L + b * m * m + i * m);
  });
}

template <class T>
void rearranged_rmatvec(int64_t batch, int64_t m, int64_t n, const T* H, const T* L, T* R, const Parallel& parallel) {
  const int64_t mn = m * n;
  for_each(parallel, batch * n, [&](int64_t piece, Worker& worker) {
    const int64_t b = piece / n, j = piece % n;
    const T* weights = L + b * m * m;
    double* sum = worker.take<double>(n);
    T* row_sum = worker.take<T>(n);
    std::fill_n(sum, n, 0.0);
    for (int64_t i = 0; i < m; ++i) {
      const T* row = H + b * mn * mn + (i * n + j) * mn;
      std::fill_n(row_sum, n, T(0));
      for (int64_t k = 0; k < m; ++k)
        for (int64_t c = 0; c < n; ++c) row_sum[c] += weights[i * m + k] * row[k * n + c];
      for (int64_t c = 0; c < n; ++c) sum[c] += static_cast<double>(row_sum[c]);
    }
    std::copy_n(sum, n, R + b * n * n + j * n);
  });
}

template void rearrange<float>(int64_t, int64_t, int64_t, const float*, float*, const Parallel&);
template void rearrange<double>(int64_t, int64_t, int64_t, const double*, double*, const Parallel&);
template void unrearrange<float>(int64_t, int64_t, int64_t, const float*, float*, const Parallel&);
template void unrearrange<double>(int64_t, int64_t, int64_t, const double*, double*, const Parallel&);
template void rearranged_matvec<float>(int64_t, int64_t, int64_t, const float*, const float*, float*, const Parallel&);
template void rearranged_matvec<double>(int64_t, int64_t, int64_t, const double*, const double*, double*,
                                        const Parallel&);
template void rearranged_rmatvec<float>(int64_t, int64_t, int64_t, const float*, const float*, float*, const Parallel&);
template void rearranged_rmatvec<double>(int64_t, int64_t, int64_t, const double*, const double*, double*,
                                         const Parallel&);

}  // namespace kronla
