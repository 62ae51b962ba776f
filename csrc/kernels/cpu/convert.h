// Gradients of any type, read in the accumulator's type.
#pragma once

#include <cstdint>
#include <cstring>

#include "kernels/cpu/worker.h"
#include "kernels/scalar_type.h"

namespace kronla {

inline float from_bfloat16(uint16_t bits) {
  const uint32_t wide = static_cast<uint32_t>(bits) << 16;
  float value;
  std::memcpy(&value, &wide, sizeof value);
  return value;
}

// IEEE binary16. Shifted to float's layout and multiplied by 2^112, which also rights the subnormals;
// infinities and NaNs (an exponent of all ones) get float's exponent of all ones.
inline float from_float16(uint16_t bits) {
  const uint32_t sign = static_cast<uint32_t>(bits & 0x8000u) << 16;
  const uint32_t magnitude = static_cast<uint32_t>(bits & 0x7fffu) << 13;
  float value;
  std::memcpy(&value, &magnitude, sizeof value);
  value *= 0x1p112f;
  uint32_t wide;
  std::memcpy(&wide, &value, sizeof wide);
  if (magnitude >= 0x0f800000u) wide |= 0x7f800000u;
  wide |= sign;
  std::memcpy(&value, &wide, sizeof value);
  return value;
}

template <class T>
void convert(ScalarType type, const void* source, int64_t count, T* target) {
  switch (type) {
    case ScalarType::Float64:
      for (int64_t i = 0; i < count; ++i) target[i] = static_cast<T>(static_cast<const double*>(source)[i]);
      break;
    case ScalarType::Float32:
      for (int64_t i = 0; i < count; ++i) target[i] = static_cast<T>(static_cast<const float*>(source)[i]);
      break;
    case ScalarType::BFloat16:
      for (int64_t i = 0; i < count; ++i)
        target[i] = static_cast<T>(from_bfloat16(static_cast<const uint16_t*>(source)[i]));
      break;
    case ScalarType::Float16:
      for (int64_t i = 0; i < count; ++i)
        target[i] = static_cast<T>(from_float16(static_cast<const uint16_t*>(source)[i]));
      break;
  }
}

// `count` elements of G from `offset` on, as T: G itself where it has that type, else a converted copy.
template <class T>
const T* read_as(ScalarType type, const void* G, int64_t offset, int64_t count, Worker& worker) {
  const char* source = static_cast<const char*>(G) + offset * element_size(type);
  if (type == scalar_type_of<T>()) return reinterpret_cast<const T*>(source);
  T* copy = worker.take<T>(count);
  convert(type, source, count, copy);
  return copy;
}

}  // namespace kronla
