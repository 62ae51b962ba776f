// Warp-level matrix products and matrix loads, lane for lane as in the PTX ISA (mma.sync, ldmatrix).
//
// The products are formed exactly, added in double and, for float accumulators, rounded towards zero once per
// instruction: tensor cores truncate too, so that an accumulation too long to be accurate on the device is so here.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

#include "emulator/number_formats.h"
#include "emulator/sanitizers.h"
#include "emulator/scheduler.h"
#include "emulator/thread.h"

namespace kronla::emulator {

template <class Accumulator, class Element>
struct MmaArguments {
  Accumulator* d;
  const Element* a;
  const Element* b;
};

inline float towards_zero(double x) {
  const float rounded = static_cast<float>(x);
  if (std::isinf(rounded) && !std::isinf(x)) return rounded;
  return std::fabs(static_cast<double>(rounded)) > std::fabs(x) ? std::nextafterf(rounded, 0.0f) : rounded;
}

template <class Arguments>
const Arguments& of_lane(void* const arguments[32], int lane) {
  if (arguments[lane] == nullptr) throw Failure("a matrix instruction needs all lanes of the warp.");
  return *static_cast<const Arguments*>(arguments[lane]);
}

// D[16, 8] += A[16, depth] B[depth, 8]; a word holds `per_word` neighbours in k. decode(word, which) -> double.
template <int kDepth, int kPerWord, class Decode>
void mma_m16n8(void* const arguments[32], Decode decode) {
  using Arguments = MmaArguments<float, uint32_t>;
  double A[16][kDepth], B[kDepth][8];
  for (int l = 0; l < 32; ++l) {
    const Arguments& of = of_lane<Arguments>(arguments, l);
    const int g = l / 4, k = l % 4 * kPerWord, half = kDepth / 2;
    for (int w = 0; w < kPerWord; ++w) {
      A[g][k + w] = decode(of.a[0], w);
      A[g + 8][k + w] = decode(of.a[1], w);
      A[g][k + half + w] = decode(of.a[2], w);
      A[g + 8][k + half + w] = decode(of.a[3], w);
      B[k + w][g] = decode(of.b[0], w);
      B[k + half + w][g] = decode(of.b[1], w);
    }
  }
  for (int l = 0; l < 32; ++l)
    for (int e = 0; e < 4; ++e) {
      float& d = of_lane<Arguments>(arguments, l).d[e];
      const int i = l / 4 + e / 2 * 8, j = l % 4 * 2 + e % 2;
      double sum = d;
      for (int k = 0; k < kDepth; ++k) sum += A[i][k] * B[k][j];
      d = towards_zero(sum);
    }
}

inline void mma_tf32(void* const arguments[32]) {
  // The low 13 bits of a word are not looked at.
  mma_m16n8<8, 1>(arguments, [](uint32_t word, int) { return static_cast<double>(float_of(word & 0xffffe000u)); });
}
inline void mma_bf16(void* const arguments[32]) {
  mma_m16n8<16, 2>(arguments, [](uint32_t word, int which) {
    return static_cast<double>(bfloat16_to_float(static_cast<uint16_t>(word >> 16 * which)));
  });
}
inline void mma_fp16(void* const arguments[32]) {
  mma_m16n8<16, 2>(arguments, [](uint32_t word, int which) {
    return static_cast<double>(float16_to_float(static_cast<uint16_t>(word >> 16 * which)));
  });
}

// D[8, 8] += A[8, 4] B[4, 8] in double, a chain of fused multiply-adds.
inline void mma_fp64(void* const arguments[32]) {
  using Arguments = MmaArguments<double, double>;
  for (int l = 0; l < 32; ++l)
    for (int e = 0; e < 2; ++e) {
      double& d = of_lane<Arguments>(arguments, l).d[e];
      const int i = l / 4, j = l % 4 * 2 + e;
      for (int k = 0; k < 4; ++k)
        d = std::fma(*of_lane<Arguments>(arguments, i * 4 + k).a, *of_lane<Arguments>(arguments, j * 4 + k).b, d);
    }
}

template <class Accumulator, class Element>
void mma(const char* what, Collective product, Accumulator* d, const Element* a, const Element* b, Place place) {
  MmaArguments<Accumulator, Element> mine{d, a, b};
  warp_collective(what, 0xffffffffu, place, product, &mine);
}

// ldmatrix: `kCount` 8×8 matrices of 16-bit elements; lane 8q + r gives the address of row r of matrix q.
struct LoadMatrix {
  const void* row;
  uint32_t* words;
  const void* rows[32] = {};  // those of all lanes
};

template <int kCount, bool kTransposed>
void load_matrix(void* const arguments[32]) {
  for (int q = 0; q < kCount; ++q) {
    uint16_t matrix[8][8];
    for (int r = 0; r < 8; ++r) {
      const void* row = of_lane<LoadMatrix>(arguments, 8 * q + r).row;
      for (int l = 0; l < 32; ++l) static_cast<LoadMatrix*>(arguments[l])->rows[8 * q + r] = row;
      if (reinterpret_cast<uintptr_t>(row) % 16 != 0)
        throw Failure("ldmatrix reads a row that is not aligned to 16 bytes.");
      if (!in_shared_memory(row, 16)) throw Failure("ldmatrix reads a row outside shared memory.");
      std::memcpy(matrix[r], row, 16);
    }
    for (int l = 0; l < 32; ++l) {
      const int g = l / 4, t = l % 4 * 2;
      const uint32_t low = kTransposed ? matrix[t][g] : matrix[g][t];
      const uint32_t high = kTransposed ? matrix[t + 1][g] : matrix[g][t + 1];
      of_lane<LoadMatrix>(arguments, l).words[q] = low | high << 16;
    }
  }
}

// The instruction of one lane. For the race detector the lane reads what it was given once more, by itself: whoever wrote
// that must have been ordered before.
template <int kCount, bool kTransposed>
void load_matrices(uint32_t (&words)[kCount], const void* row, Place place) {
  LoadMatrix mine{row, words};
  warp_collective("matrix load", 0xffffffffu, place, &load_matrix<kCount, kTransposed>, &mine);
  if (!kRaceDetector) return;
  const int g = lane() / 4, t = lane() % 4 * 2;
  for (int q = 0; q < kCount; ++q)
    for (int half = 0; half < 2; ++half) {
      const auto* from = static_cast<const uint16_t*>(mine.rows[8 * q + (kTransposed ? t + half : g)]);
      asm volatile("" : : "r"(from[kTransposed ? g : t + half]));
    }
}

}  // namespace kronla::emulator
