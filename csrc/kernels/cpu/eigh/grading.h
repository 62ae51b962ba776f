// The order of rows in which a graded matrix keeps its small eigenvalues. A reduction to tridiagonal form that begins with
// the last rows rounds the rest by u times what is left: where those rows hold the large elements, small eigenvalues keep
// their relative accuracy; where the first rows do, all are rounded by u ‖A‖ (Martin, Reinsch and Wilkinson 1968).
#pragma once

#include <cstdint>

#include "kernels/cpu/worker.h"

namespace kronla {

// order[n], in which the magnitudes of A's diagonal ascend, ties by index. nullptr where the rows may stay: none of these is
// much less than one before it.
template <class T>
const int64_t* graded_order(int64_t n, const T* A, Worker& worker);

// B_ij ← A_order[i],order[j] for a symmetric A[n,n], of which the lower triangle counts; both of B's.
template <class T>
void permute_symmetric(int64_t n, const int64_t* order, const T* A, T* B);

// The other way round, in place, of both triangles: A_order[i],order[j] ← A_ij.
template <class T>
void restore_order(int64_t n, const int64_t* order, T* A, Worker& worker);

}  // namespace kronla
