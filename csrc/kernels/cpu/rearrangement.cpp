#include "kernels/rearrangement.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "kernels/cpu/batch.h"
#include "kernels/cpu/simd/kernels.h"
#include "kernels/cpu/simd/passes.h"

namespace kronla {

template <class T>
void rearrange(int64_t batch, int64_t m, int64_t n, const T* H, T* rearranged, const Parallel& parallel) {
  const int64_t mn = m * n;
  if (mn == 0) return;
  for_each(worth(parallel, static_cast<double>(batch * mn * mn)), batch * m, [&](int64_t piece, Worker&) {
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
  for_each(worth(parallel, static_cast<double>(batch * mn * mn)), batch * m, [&](int64_t piece, Worker&) {
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
  for_each(worth(parallel, static_cast<double>(batch * mn * mn)), batch * m, [&](int64_t piece, Worker& worker) {
    const int64_t b = piece / m, i = piece % m;
    double* sum = worker.take<double>(m);
    sum_block_rows<T>({n, m, n, H + (b * m + i) * n * mn, mn, R + b * n * n, nullptr, 0, sum, nullptr,
                       worker.take<T>(m * kernels::kLanes)});
    std::copy_n(sum, m, L + b * m * m + i * m);
  });
}

template <class T>
void rearranged_rmatvec(int64_t batch, int64_t m, int64_t n, const T* H, const T* L, T* R, const Parallel& parallel) {
  const int64_t mn = m * n;
  for_each(worth(parallel, static_cast<double>(batch * mn * mn)), batch * n, [&](int64_t piece, Worker& worker) {
    const int64_t b = piece / n, j = piece % n;
    T* parts = worker.take<T>(m * n);  // of row (i, j) of H, for each i
    sum_block_rows<T>({m, m, n, H + b * mn * mn + j * mn, n * mn, nullptr, L + b * m * m, m, nullptr, parts, nullptr});
    double* sum = worker.take<double>(n);
    std::fill_n(sum, n, 0.0);
    for (int64_t i = 0; i < m; ++i)
      for (int64_t c = 0; c < n; ++c) sum[c] += static_cast<double>(parts[i * n + c]);
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
