// The kernels of each instruction set that this processor runs, for tests that look at all of them.
#pragma once

#include <utility>
#include <vector>

#include "kernels/cpu/simd/kernels.h"

namespace kronla::testing {

// By name.
template <class T>
std::vector<std::pair<const char*, const kernels::Kernels<T>*>> every_set() {
  std::vector<std::pair<const char*, const kernels::Kernels<T>*>> sets = {{"portable", kernels::portable<T>()}};
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) sets.push_back({"avx2", kernels::avx2<T>()});
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq"))
    sets.push_back({"avx512", kernels::avx512<T>()});
#endif
  return sets;
}

}  // namespace kronla::testing
