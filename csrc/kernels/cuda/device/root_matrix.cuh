// The damped matrix D of inverse_root, and what the kernels of the family read off it.
#pragma once

#include "kernels/cuda/device/reduce.cuh"
#include "kernels/cuda/inverse_root_plan.h"
#include "kernels/status.h"

namespace kronla::cuda {

// D / unit in float64, unit = 1/(scale again), a power of two near D's largest element: every square stays in range.
struct Damping {
  double scale = 1.0, shift = 0.0, again = 1.0;
  __device__ __forceinline__ double unit() const { return 1.0 / (scale * again); }
  // Element of D / unit from A's; ‖D‖ from its lower triangle.
  template <class T>
  __device__ __forceinline__ double operator()(T a, bool diagonal) const {
    return (static_cast<double>(a) * scale + (diagonal ? shift : 0.0)) * again;
  }
};

// The power of two that brings a largest magnitude to [1, 2); 1 for 0. `least`: the smallest exponent of A's type.
__device__ __forceinline__ double power_of_two_scale(double magnitude, int least) {
  if (!(magnitude > 0.0)) return 1.0;
  const int exponent = ilogb(magnitude);
  return ldexp(1.0, -(exponent > least ? exponent : least));
}

// Calls body(element, i, j) for the lower triangle of A[n, n], by all threads, neighbours by neighbours.
template <class T, class Body>
__device__ __forceinline__ void for_each_below(int n, const T* A, Body&& body) {
  const int warps = static_cast<int>(blockDim.x) / 32, lane = static_cast<int>(threadIdx.x) % 32;
  for (int i = static_cast<int>(threadIdx.x) / 32; i < n; i += warps)
    for (int j = lane; j <= i; j += 32) body(A[int64_t{i} * n + j], i, j);
}

// False, for all threads of the block, where A[n, n] has an element that is not finite.
template <class T>
__device__ __forceinline__ bool find_damping(int n, const T* A, const RootPlan& plan, double* shared,
                                             Damping& damping) {
  constexpr bool kWide = sizeof(T) == 8;
  constexpr double kLargest = kWide ? 1.7976931348623157e308 : 3.4028234663852886e38;
  constexpr int kLeast = kWide ? -1021 : -125;
  double largest = 0.0;
  bool finite = true;
  for (int64_t e = threadIdx.x; e < int64_t{n} * n; e += blockDim.x) {
    const double a = fabs(static_cast<double>(A[e]));
    finite = finite && a <= kLargest;
    if (a > largest) largest = a;
  }
  if (__syncthreads_or(!finite)) return false;
  largest = block_max(largest, shared);  // of A and of the damping: neither may overflow in units of the other
  damping.scale = power_of_two_scale(largest > plan.damping ? largest : plan.damping, kLeast);

  double squares = 0.0;
  if (plan.relative_damping != 0.0) {
    for_each_below(n, A, [&](T a, int i, int j) {
      const double d = static_cast<double>(a) * damping.scale;
      squares += (i == j ? 1.0 : 2.0) * d * d;
    });
    squares = block_sum(squares, shared);
  }
  damping.shift = plan.damping * damping.scale + plan.relative_damping * sqrt(squares);

  largest = 0.0;
  for_each_below(n, A, [&](T a, int i, int j) {
    const double d = fabs(damping(a, i == j));
    if (d > largest) largest = d;
  });
  damping.again = power_of_two_scale(block_max(largest, shared), -1021);
  return true;
}

// Where a spectrum in [low, high] enters the chain: M = D steps[first].high / high, steps first … stop − 1.
struct RootSchedule {
  int first, stop;
  double scale;
};
__host__ __device__ inline RootSchedule schedule_of(const RootPlan& plan, double low, double high, bool all_wide) {
  const int end = all_wide ? plan.count : plan.count - 1;
  int first = 0;
  while (first + 2 < plan.count && plan.steps[first + 1].low <= low / high * plan.steps[first + 1].high) ++first;
  const int stop = end - first <= plan.max_steps ? end : first + plan.max_steps;
  return {first, stop, plan.steps[first].high / high};
}

template <class T>
__device__ __forceinline__ T not_a_number() {
  return static_cast<T>(__int_as_float(0x7fffffff));
}

}  // namespace kronla::cuda
