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

// IEEE binary16, by normal numbers of float alone: a thread may take subnormal ones for 0. The exponent is rebiased by
// 112; a subnormal is 2^-14 + itself minus 2^-14; infinities and NaNs get float's exponent of all ones.
inline float from_float16(uint16_t bits) {
  const uint32_t sign = static_cast<uint32_t>(bits & 0x8000u) << 16;
  const uint32_t magnitude = static_cast<uint32_t>(bits & 0x7fffu) << 13;
  const bool small = magnitude < 0x00800000u, special = magnitude >= 0x0f800000u;
  const uint32_t wide = magnitude + (small ? 113u << 23 : special ? 224u << 23 : 112u << 23);
  float value;
  std::memcpy(&value, &wide, sizeof value);
  if (small) value -= 0x1p-14f;
  uint32_t result;
  std::memcpy(&result, &value, sizeof result);
  result |= sign;
  std::memcpy(&value, &result, sizeof value);
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
