// Family `eigenbasis` on CUDA: the contract of kernels/eigenbasis.h, with pointers to device memory.
//
// n ≤ 64: one block a matrix, all steps in one launch and in shared memory; so too in float32 for n ≤ 128 where the
// device's shared memory allows it (eigenbasis_wide.h). Beyond: tiles of 64 × 64 and a fixed sequence of launches for
// max_steps steps; a matrix that is done leaves the lists of work, on the device. Both the rotation and the QR step end
// in one orthonormalisation by Cholesky of the float64 Gram matrix (device/cholesky_qr.cuh), repeated where the Gram
// matrix of the result says so.
//
// Different from the CPU: orthogonality is read off the Gram matrix that a second pass would need, not from probes, and
// columns without a rank of their own are replaced by pseudo-random vectors, not completed by reflections.
//
// `eigh` and BasisMethod::Eigh are Jacobi's, in double, for n ≤ 64. Beyond, they are cuSOLVER's in T (solver.h), one
// call for each size of a list: not for a CUDA graph, and std::runtime_error where there is no cuSOLVER.
//
// A step for n beyond one block takes 6 launches and, for each pass of the orthonormalisation (3 in float, 5 in double),
// 2 and 2 for every 64 columns; the kernels after the decision deal out the tiles of the matrices that still move
// (device/work_list.cuh), so that a pass which no matrix needs costs the launches alone.
//
// Workspace for n > 64, a matrix: 3 n² elements of T and 2 n² doubles, rows padded to 16 bytes, and O(n) more; what
// cuSOLVER wants comes on top.
#pragma once

#include <vector>

#include "kernels/cuda/stream.h"
#include "kernels/eigenbasis.h"

namespace kronla::cuda {

template <class T>
void update_eigenbasis(const std::vector<BasisGroup<T>>& groups, double tol, int64_t max_steps, const Stream& stream);

template <class T>
void eigh(const std::vector<BasisGroup<T>>& groups, const Stream& stream);

template <class T>
void off_diagonal_ratio(int64_t batch, int64_t n, const T* A, const T* Q, T* ratio, const Stream& stream);

template <class T>
void orthonormalize(int64_t batch, int64_t m, int64_t n, const T* S, T* Q, int32_t* info, const Stream& stream);

}  // namespace kronla::cuda
