// Passes of Cholesky orthonormalisation on matrices of any size, by tiles: what a step of an eigenbasis and
// `orthonormalize` share. device/cholesky_qr.cuh has the method.
#pragma once

#include <cstdint>
#include <vector>

#include "kernels/cuda/stream.h"

namespace kronla::cuda {

// Of one matrix, in device memory.
struct QrState {
  int32_t again, deficient;
  double gap;  // ‖WᵀW − I‖_F² before the running pass
};

// A batch of W[m, n], rows `ld` apart, which become orthonormal.
struct QrGroup {
  double* W;        // [batch, m, ld]
  double* G;        // [batch, n, ld]
  double* columns;  // [batch, 3, n]: the sines before and after a pass, and the scales
  double* gaps;     // [batch, tiles of G's lower triangle]
  QrState* state;   // [batch]
  // Which matrices pass p of run r is about (qr_work): whoever forms W appends them to its pass 0; the passes do the rest.
  int32_t* counts;   // [runs, passes, 2], zero before the first run
  int32_t* entries;  // [2, batch]
  int batch, m, n, ld;
  int first_tile = 0;
};

// Rows of doubles that copies of 16 bytes may read.
inline int64_t qr_step(int64_t n) { return (n + 1) / 2 * 2; }

// The scratch memory of a group, with a new W.
template <class T>
QrGroup qr_group(int64_t batch, int64_t m, int64_t n, int64_t runs, const Stream& stream);

// The run-th time that the groups' W become orthonormal: a fixed sequence of launches. T is the type that the result will
// be rounded to.
template <class T>
void orthonormalize_passes(const std::vector<QrGroup>& groups, int64_t run, const Stream& stream);

}  // namespace kronla::cuda
