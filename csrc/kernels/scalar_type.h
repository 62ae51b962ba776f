// The element types that a gradient may have. Accumulators are float or double, by template.
#pragma once

#include <cstdint>

namespace kronla {

enum class ScalarType : int32_t { Float64, Float32, BFloat16, Float16 };

template <class T>
constexpr ScalarType scalar_type_of();
template <>
constexpr ScalarType scalar_type_of<double>() {
  return ScalarType::Float64;
}
template <>
constexpr ScalarType scalar_type_of<float>() {
  return ScalarType::Float32;
}

constexpr int64_t element_size(ScalarType type) {
  return type == ScalarType::Float64 ? 8 : type == ScalarType::Float32 ? 4 : 2;
}

}  // namespace kronla
