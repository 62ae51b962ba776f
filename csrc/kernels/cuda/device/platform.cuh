// One source, two compilers: nvcc for the device, and a C++ compiler for the host emulator. Nothing else may ask which.
#pragma once

#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <tuple>
#include <type_traits>

#if defined(__CUDACC__)

#include <cuda_runtime.h>

// A kernel parameter that stays in the constant bank, where indexing it is cheap; up to 32,764 bytes in all.
#define KRONLA_PARAMETER(Type) const __grid_constant__ Type
// The block's dynamic shared memory: as many elements as the launch gave.
#define KRONLA_SHARED(Type, name)                          \
  extern __shared__ __align__(16) unsigned char shared_[]; \
  Type* name = reinterpret_cast<Type*>(shared_)
// An array in shared memory of a size known to the compiler.
#define KRONLA_SHARED_ARRAY(Type, name, count) __shared__ Type name[count]
// A last parameter of what all lanes of a warp must come to together: for the emulator, the place of the call.
#define KRONLA_CALLER

#else

#include "emulator/emulator.h"

#define KRONLA_PARAMETER(Type) const Type&
#define KRONLA_SHARED(Type, name) Type* name = reinterpret_cast<Type*>(::kronla::emulator::shared_memory())
#define KRONLA_SHARED_ARRAY(Type, name, count) \
  Type* name = static_cast<Type*>(             \
      ::kronla::emulator::shared_array({__FILE__, __LINE__}, #name, (count) * sizeof(Type), alignof(Type)))
#define KRONLA_CALLER , [[maybe_unused]] ::kronla::emulator::Place caller = KRONLA_PLACE

#endif

namespace kronla::cuda {

// The largest parameter of a kernel: CUDA 12.1 and later pass 32,764 bytes from sm_70 on; a little is left for others.
inline constexpr size_t kParameterBytes = 32000;
inline constexpr size_t kSmallParameterBytes = 4000;  // what every CUDA passes

#if defined(__CUDACC__)

inline void check(cudaError_t status, const char* name) {
  if (status == cudaSuccess) return;
  throw std::runtime_error(std::string("kronla: the launch of ") + name + " failed: " + cudaGetErrorString(status) +
                           ".");
}

// kernel(arguments...) on `grid` blocks of `threads` with `shared_bytes` of dynamic shared memory each. Throws, in one
// sentence, where the launch is refused; what goes wrong while it runs is told by CUDA at the next synchronisation.
template <class... Parameters, class... Arguments>
void launch(const char* name, void (*kernel)(Parameters...), dim3 grid, int threads, size_t shared_bytes, void* stream,
            const Arguments&... arguments) {
  // More than 48 KB, static arrays included, must be asked for (which is no stream operation, so capture allows it). No
  // kernel here has 16 KB of static ones.
  if (shared_bytes > 32 * 1024) {
    check(cudaFuncSetAttribute(reinterpret_cast<const void*>(kernel), cudaFuncAttributeMaxDynamicSharedMemorySize,
                               static_cast<int>(shared_bytes)),
          name);
  }
  kernel<<<grid, threads, shared_bytes, static_cast<cudaStream_t>(stream)>>>(arguments...);
  check(cudaGetLastError(), name);
}

#else

template <class... Parameters, class... Arguments>
void launch(const char* name, void (*kernel)(Parameters...), dim3 grid, int threads, size_t shared_bytes, void*,
            const Arguments&... arguments) {
  emulator::Graph::submit([=, values = std::tuple<std::decay_t<Parameters>...>(arguments...)] {
    emulator::run(name, grid, dim3(threads), shared_bytes, [&] { std::apply(kernel, values); });
  });
}

#endif

}  // namespace kronla::cuda
