#include "kernels/cpu/eigh/grading.h"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace kronla {

template <class T>
const int64_t* graded_order(int64_t n, const T* A, double bearable, Worker& worker) {
  double largest = 0.0;
  bool stays = true;
  for (int64_t i = 0; i < n; ++i) {
    const double size = std::abs(static_cast<double>(A[i * n + i]));
    stays = stays && !(largest > bearable * size);
    largest = std::max(largest, size);
  }
  if (stays) return nullptr;
  int64_t* order = worker.take<int64_t>(n);
  std::iota(order, order + n, int64_t{0});
  std::stable_sort(order, order + n,
                   [=](int64_t a, int64_t b) { return std::abs(A[a * n + a]) < std::abs(A[b * n + b]); });
  return order;
}

template <class T>
void permute_symmetric(int64_t n, const int64_t* order, const T* A, T* B) {
  for (int64_t i = 0; i < n; ++i)
    for (int64_t j = 0; j < n; ++j) B[i * n + j] = A[order[i] * n + order[j]];
}

template <class T>
void restore_order(int64_t n, const int64_t* order, T* A, Worker& worker) {
  const Worker::Scope scope(worker);
  T* copy = worker.take<T>(n * n);
  std::copy_n(A, n * n, copy);
  for (int64_t i = 0; i < n; ++i)
    for (int64_t j = 0; j < n; ++j) A[order[i] * n + order[j]] = copy[i * n + j];
}

template const int64_t* graded_order<float>(int64_t, const float*, double, Worker&);
template const int64_t* graded_order<double>(int64_t, const double*, double, Worker&);
template void permute_symmetric<float>(int64_t, const int64_t*, const float*, float*);
template void permute_symmetric<double>(int64_t, const int64_t*, const double*, double*);
template void restore_order<float>(int64_t, const int64_t*, float*, Worker&);
template void restore_order<double>(int64_t, const int64_t*, double*, Worker&);

}  // namespace kronla
