// Warp-level matrix products and the loads that feed them (PTX ISA: mma.sync, ldmatrix).
//
// Lane l has g = l / 4 and t = l % 4. D[16, 8] += A[16, k] B[k, 8] in words of 32 bits, each one float or two 16-bit
// neighbours in k, so that a row of A has 8 words whatever the type:
//     a[0] (g, t)  a[1] (g + 8, t)  a[2] (g, t + 4)  a[3] (g + 8, t + 4)       b[0] (t, g)  b[1] (t + 4, g)
//     d[0] (g, 2t)  d[1] (g, 2t + 1)  d[2] (g + 8, 2t)  d[3] (g + 8, 2t + 1)
#pragma once

#include "kernels/cuda/device/platform.cuh"

namespace kronla::cuda {

// k = 8; of each float the upper 19 bits are used.
__device__ __forceinline__ void mma_tf32(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2] KRONLA_CALLER) {
#if defined(__CUDACC__)
  asm volatile("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0,%1,%2,%3},{%4,%5,%6,%7},{%8,%9},{%0,%1,%2,%3};\n"
               : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
               : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
#else
  emulator::mma("tf32 product", &emulator::mma_tf32, d, a, b, caller);
#endif
}

// k = 16; products of bfloat16 are exact in the float accumulator.
__device__ __forceinline__ void mma_bf16(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2] KRONLA_CALLER) {
#if defined(__CUDACC__)
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3},{%4,%5,%6,%7},{%8,%9},{%0,%1,%2,%3};\n"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
#else
  emulator::mma("bf16 product", &emulator::mma_bf16, d, a, b, caller);
#endif
}

__device__ __forceinline__ void mma_fp16(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2] KRONLA_CALLER) {
#if defined(__CUDACC__)
  asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3},{%4,%5,%6,%7},{%8,%9},{%0,%1,%2,%3};\n"
               : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
               : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
#else
  emulator::mma("fp16 product", &emulator::mma_fp16, d, a, b, caller);
#endif
}

// D[8, 8] += A[8, 4] B[4, 8]: a (g, t), b (t, g), d[0] (g, 2t), d[1] (g, 2t + 1). IEEE fused multiply-adds.
__device__ __forceinline__ void mma_fp64(double& d0, double& d1, double a, double b KRONLA_CALLER) {
#if defined(__CUDACC__)
  asm volatile("mma.sync.aligned.m8n8k4.row.col.f64.f64.f64.f64 {%0,%1},{%2},{%3},{%0,%1};\n"
               : "+d"(d0), "+d"(d1)
               : "d"(a), "d"(b));
#else
  double d[2] = {d0, d1};
  emulator::mma("fp64 product", &emulator::mma_fp64, d, &a, &b, caller);
  d0 = d[0];
  d1 = d[1];
#endif
}

// Four 8×8 matrices of 16-bit elements (or 8×4 of 32-bit ones) from shared memory. Lane 8q + r gives the address, aligned
// to 16 bytes, of row r of matrix q; each lane gets word t of row g of all four. `kTransposed` (16-bit only): elements 2t
// and 2t + 1 of column g.
template <bool kTransposed>
__device__ __forceinline__ void load_matrices(uint32_t (&words)[4], const void* row KRONLA_CALLER) {
#if defined(__CUDACC__)
  const unsigned source = static_cast<unsigned>(__cvta_generic_to_shared(row));
  if constexpr (kTransposed) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];\n"
                 : "=r"(words[0]), "=r"(words[1]), "=r"(words[2]), "=r"(words[3])
                 : "r"(source)
                 : "memory");
  } else {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];\n"
                 : "=r"(words[0]), "=r"(words[1]), "=r"(words[2]), "=r"(words[3])
                 : "r"(source)
                 : "memory");
  }
#else
  emulator::load_matrices<4, kTransposed>(words, row, caller);
#endif
}

// x = high + low + an error of at most one unit of the last place of x: `high` is x rounded to the 11 bits of TF32 (the
// hardware would truncate), `low` the exact rest, of which the product uses 11 bits. Integer arithmetic runs at twice the
// rate of cvt.rna.tf32. A NaN whose payload overflows here stays one in `low`.
__device__ __forceinline__ void split_tf32(float x, uint32_t& high, uint32_t& low) {
  high = (__float_as_uint(x) + 0x1000u) & 0xffffe000u;
  low = __float_as_uint(x - __uint_as_float(high));
}

}  // namespace kronla::cuda
