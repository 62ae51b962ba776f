// The order of rows in which a graded matrix keeps its small eigenvalues. A reduction to tridiagonal form that begins with
// the last rows rounds the rest by u times what is left: where those rows hold the large elements, small eigenvalues keep
// their relative accuracy; where the first rows do, all are rounded by u ‖A‖ (Martin, Reinsch and Wilkinson 1968).
#pragma once

#include <cstdint>

#include "kernels/cpu/worker.h"

namespace kronla {

// How much smaller than an element of the diagonal before it one may be, before rows change places (4 to 8 % of a
// decomposition): that is what the rounding of small eigenvalues grows by. What is rounded to float32 afterwards bears more
// of float64's.
inline constexpr double kGraded = 0x1p12, kGradedBelowFloat32 = 0x1p26;

// order[n], in which the magnitudes of A's diagonal ascend, ties by index. nullptr where the rows may stay.
template <class T>
const int64_t* graded_order(int64_t n, const T* A, double bearable, Worker& worker);

// B_ij ← A_order[i],order[j] for a symmetric A[n,n].
template <class T>
void permute_symmetric(int64_t n, const int64_t* order, const T* A, T* B);

// The other way round, in place, of both triangles: A_order[i],order[j] ← A_ij.
template <class T>
void restore_order(int64_t n, const int64_t* order, T* A, Worker& worker);

}  // namespace kronla
