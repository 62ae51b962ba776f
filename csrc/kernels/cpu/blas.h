// The only door to LAPACK: decompositions. Row-major, single-threaded, `float` and `double`.
#pragma once

#include <cstdint>
#include <string>

#include "kernels/cpu/worker.h"

namespace kronla::blas {

// The thread count of OpenBLAS is global to the process; kronla parallelises over matrices, and two BLAS
// threads inside a parallel region cost a factor of 200. A check takes 1.5 ns.
void use_one_thread();

std::string config();     // e.g. "OpenBLAS 0.3.34 ... DYNAMIC_ARCH ..."
std::string core_name();  // the kernels in use, e.g. "Haswell"

// A[n,n] ← its eigenvectors as ROWS, w[n] ← its eigenvalues, ascending. Reads one triangle. True if converged.
template <class T>
bool eigh(int64_t n, T* A, T* w, Worker& worker);

// A[n,m], read as the transpose of S[m,n] (m ≥ n) ← Qᵀ of the Householder factorisation S = QR;
// signs[n] ← the signs of the diagonal of R (+1 for 0) and diagonal[n] ← its absolute values.
template <class T>
void householder_qr(int64_t m, int64_t n, T* A, T* signs, T* diagonal, Worker& worker);

}  // namespace kronla::blas
