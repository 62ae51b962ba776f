// What a .cu file sees of CUDA where it is compiled as plain C++ for the host.
//
// Supported: blocks of whole warps in grids of up to three dimensions, one after the other; dynamic shared memory and
// arrays in shared memory (through the macros of device/platform.cuh, for `extern __shared__` is not C++); block and warp
// barriers, shuffles, votes; warp-level matrix products; asynchronous copies; atomics.
// Not: clusters, mbarrier, TMA, wgmma, blocks that wait for one another.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>

#include "emulator/graph.h"
#include "emulator/sanitizers.h"
#include "emulator/scheduler.h"
#include "emulator/tensor_cores.h"
#include "emulator/thread.h"
#include "emulator/warp.h"

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __noinline__
#define __launch_bounds__(...)
#define __grid_constant__

using dim3 = kronla::emulator::Index3;
using std::max;
using std::min;

struct alignas(8) float2 {
  float x, y;
};
struct alignas(16) float4 {
  float x, y, z, w;
};
struct alignas(16) double2 {
  double x, y;
};
struct alignas(8) uint2 {
  uint32_t x, y;
};
struct alignas(16) uint4 {
  uint32_t x, y, z, w;
};

inline uint32_t __float_as_uint(float x) { return kronla::emulator::bits_of(x); }
inline float __uint_as_float(uint32_t bits) { return kronla::emulator::float_of(bits); }
inline int __float_as_int(float x) { return static_cast<int>(kronla::emulator::bits_of(x)); }
inline float __int_as_float(int bits) { return kronla::emulator::float_of(static_cast<uint32_t>(bits)); }
inline float __fmaf_rn(float a, float b, float c) { return std::fma(a, b, c); }
inline double __fma_rn(double a, double b, double c) { return std::fma(a, b, c); }
inline float rsqrtf(float x) { return 1.0f / std::sqrt(x); }
inline double rsqrt(double x) { return 1.0 / std::sqrt(x); }
inline int __popc(uint32_t x) { return __builtin_popcount(x); }
inline int __ffs(int x) { return __builtin_ffs(x); }
inline int __clz(int x) { return x == 0 ? 32 : __builtin_clz(static_cast<unsigned>(x)); }
inline float __fadd_rn(float a, float b) { return a + b; }
inline float __fsub_rn(float a, float b) { return a - b; }
inline float __fmul_rn(float a, float b) { return a * b; }
inline double __dadd_rn(double a, double b) { return a + b; }
inline double __dsub_rn(double a, double b) { return a - b; }
inline double __dmul_rn(double a, double b) { return a * b; }
template <class T>
T __ldg(const T* pointer) {
  return *pointer;
}
template <class T>
T __ldcg(const T* pointer) {
  return *pointer;
}
template <class T>
T __ldcs(const T* pointer) {
  return *pointer;
}
template <class T>
void __stcg(T* pointer, T value) {
  *pointer = value;
}
template <class T>
void __stcs(T* pointer, T value) {
  *pointer = value;
}
inline void __threadfence() { kronla::emulator::memory_fence(); }
inline void __threadfence_block() { kronla::emulator::memory_fence(); }

// Atomics: a thread is never interrupted within one. They order nothing but what was fenced before.
namespace kronla::emulator {
template <class T, class Change>
T change_atomically(T* target, Change&& change) {
  before_atomic();
  const UncheckedAccess unchecked;
  const T old = *target;
  *target = change(old);
  return old;
}
}  // namespace kronla::emulator

template <class T>
T atomicAdd(T* target, T value) {
  return kronla::emulator::change_atomically(target, [&](T old) { return static_cast<T>(old + value); });
}
template <class T>
T atomicSub(T* target, T value) {
  return kronla::emulator::change_atomically(target, [&](T old) { return static_cast<T>(old - value); });
}
template <class T>
T atomicAnd(T* target, T value) {
  return kronla::emulator::change_atomically(target, [&](T old) { return old & value; });
}
template <class T>
T atomicXor(T* target, T value) {
  return kronla::emulator::change_atomically(target, [&](T old) { return old ^ value; });
}
template <class T>
T atomicMax(T* target, T value) {
  return kronla::emulator::change_atomically(target, [&](T old) { return std::max(old, value); });
}
template <class T>
T atomicMin(T* target, T value) {
  return kronla::emulator::change_atomically(target, [&](T old) { return std::min(old, value); });
}
template <class T>
T atomicOr(T* target, T value) {
  return kronla::emulator::change_atomically(target, [&](T old) { return old | value; });
}
template <class T>
T atomicExch(T* target, T value) {
  return kronla::emulator::change_atomically(target, [&](T) { return value; });
}
template <class T>
T atomicCAS(T* target, T expected, T value) {
  return kronla::emulator::change_atomically(target, [&](T old) { return old == expected ? value : old; });
}
