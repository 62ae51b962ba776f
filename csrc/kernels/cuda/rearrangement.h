// Family `rearrangement` on CUDA: the contract of kernels/rearrangement.h, with pointers to device memory.
//
// The products read H once: a block takes a tile of the rearrangement, a thread four neighbouring columns of it. Partial
// sums go to scratch and are added in order by a second kernel. The power iterations decide everything on the device.
// Tiles and the order of summation follow from m, n and the number of samples alone.
//
// H is scaled by a power of two on the way in nearest_kronecker, so that no sum overflows.
//
// Workspace, elements of T, by a tile of q rows (16 … 512) and 1024 columns at most: rearranged_matvec batch · 2 m² n²/1024,
// rearranged_rmatvec batch · m² n²/q, nearest_kronecker half of both, and batch · 3 (m² + n²);
// nearest_kronecker_from_gradients: that of kron_power_step, batch · (samples m n + m² + n²), and partial tiles of the Gram
// matrix whose norm it takes.
#pragma once

#include "kernels/cuda/stream.h"
#include "kernels/rearrangement.h"

namespace kronla::cuda {

template <class T>
void rearrange(int64_t batch, int64_t m, int64_t n, const T* H, T* rearranged, const Stream& stream);
template <class T>
void unrearrange(int64_t batch, int64_t m, int64_t n, const T* rearranged, T* H, const Stream& stream);

template <class T>
void rearranged_matvec(int64_t batch, int64_t m, int64_t n, const T* H, const T* R, T* L, const Stream& stream);
template <class T>
void rearranged_rmatvec(int64_t batch, int64_t m, int64_t n, const T* H, const T* L, T* R, const Stream& stream);

template <class T>
void nearest_kronecker(const NearestKronecker<T>& result, const T* H, int64_t steps, const Stream& stream);
template <class T>
void nearest_kronecker_from_gradients(const NearestKronecker<T>& result, int64_t samples, const void* G,
                                      ScalarType G_type, int64_t steps, const Stream& stream);

}  // namespace kronla::cuda
