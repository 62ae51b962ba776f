// Elements of any gradient type, read in the type of a computation.
#pragma once

#include "kernels/cuda/device/platform.cuh"
#include "kernels/scalar_type.h"

namespace kronla::cuda {

__device__ __forceinline__ float bfloat16_to_float(uint16_t bits) {
  return __uint_as_float(static_cast<uint32_t>(bits) << 16);
}

__device__ __forceinline__ float float16_to_float(uint16_t bits) {
#if defined(__CUDACC__)
  float value;
  asm("cvt.f32.f16 %0, %1;\n" : "=f"(value) : "h"(bits));
  return value;
#else
  return emulator::float16_to_float(bits);
#endif
}

__device__ __forceinline__ float float_of_16(uint16_t bits, ScalarType type) {
  return type == ScalarType::BFloat16 ? bfloat16_to_float(bits) : float16_to_float(bits);
}

// element_size, for the device: nvcc does not let kernels call a host function, constexpr or not.
__device__ __forceinline__ int64_t bytes_of(ScalarType type) {
  return type == ScalarType::Float64 ? 8 : type == ScalarType::Float32 ? 4 : 2;
}

// Element `index` of an array of `type`, as T.
template <class T>
__device__ __forceinline__ T read_as(const void* data, ScalarType type, int64_t index) {
  switch (type) {
    case ScalarType::Float64:
      return static_cast<T>(static_cast<const double*>(data)[index]);
    case ScalarType::Float32:
      return static_cast<T>(static_cast<const float*>(data)[index]);
    case ScalarType::BFloat16:
      return static_cast<T>(bfloat16_to_float(static_cast<const uint16_t*>(data)[index]));
    default:
      return static_cast<T>(float16_to_float(static_cast<const uint16_t*>(data)[index]));
  }
}

}  // namespace kronla::cuda
