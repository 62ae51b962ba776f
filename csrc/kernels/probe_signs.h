// Fixed ±1 vectors that probe a matrix E: the mean of ‖Ev‖² over them estimates ‖E‖_F² (Hutchinson 1990).
#pragma once

#include <cstdint>

#if defined(__CUDACC__)
#define KRONLA_HOST_DEVICE __host__ __device__
#else
#define KRONLA_HOST_DEVICE
#endif

namespace kronla {

constexpr int64_t kProbes = 32;  // at most; fewer where less certainty will do

// Element `row` of vector `probe`: a bit of the splitmix64 hash of the position (Steele, Lea and Flood 2014).
KRONLA_HOST_DEVICE constexpr double probe_sign(int64_t row, int64_t probe) {
  uint64_t z = static_cast<uint64_t>(row * kProbes + probe + 1) * 0x9e3779b97f4a7c15ull;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
  return ((z ^ (z >> 31)) & 1) != 0 ? 1.0 : -1.0;
}

}  // namespace kronla
