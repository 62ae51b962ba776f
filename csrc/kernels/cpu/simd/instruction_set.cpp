#include "kernels/cpu/simd/instruction_set.h"

#include <cstdlib>
#include <stdexcept>
#include <string>
#include <utility>

#include "kernels/cpu/simd/kernels.h"

namespace kronla {
namespace {

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

}  // namespace

template <class T>
const kernels::Kernels<T>& kernels::chosen() {
#if defined(__x86_64__)
  if (set() == Set::Avx512) return *kernels::avx512<T>();
  if (set() == Set::Avx2) return *kernels::avx2<T>();
#endif
  return *kernels::portable<T>();
}
template const kernels::Kernels<float>& kernels::chosen<float>();
template const kernels::Kernels<double>& kernels::chosen<double>();

const char* instruction_set() { return set() == Set::Avx512 ? "avx512" : set() == Set::Avx2 ? "avx2" : "portable"; }

}  // namespace kronla
