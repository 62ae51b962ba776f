// The work lists of orthonormalize_passes.h.
#pragma once

#include "kernels/cuda/device/cholesky_qr.cuh"
#include "kernels/cuda/device/work_list.cuh"
#include "kernels/cuda/orthonormalize_passes.h"

namespace kronla::cuda {

enum class QrStage { Gram = 0, Panels = 1 };  // what a pass begins with, and what only those go through that need it

template <class T>
__host__ __device__ constexpr int64_t qr_counts(int64_t runs) {
  return runs * qr_passes<T>() * 2;
}

// `at` is run · passes + pass.
__device__ __forceinline__ WorkList qr_work(const QrGroup& group, int at, QrStage stage) {
  return {group.counts + 2 * at + static_cast<int>(stage), group.entries + static_cast<int>(stage) * group.batch};
}

// In pass 0 of a run.
template <class T>
__device__ __forceinline__ void start_passes(const QrGroup& group, int run, int entry) {
  group.state[entry].deficient = 0;
  append(qr_work(group, run * qr_passes<T>(), QrStage::Gram), entry);
}

}  // namespace kronla::cuda
