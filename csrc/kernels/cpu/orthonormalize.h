// The orthonormal factor of one matrix: shared by `orthonormalize` and the steps on an eigenbasis.
#pragma once

#include <cstdint>

#include "kernels/cpu/worker.h"

namespace kronla {

// Q[m,n] ← the Q of S[m,n] = QR with diag(R) > 0 for a finite S; Q may be S. False where S is rank-deficient.
template <class T>
bool orthonormalize_columns(int64_t m, int64_t n, const T* S, T* Q, Worker& worker);

// The same in T alone, in place, for columns that are not far from orthonormal: a second time where the first
// is found not to be enough. False where that does not do; W is lost then.
template <class T>
bool polish_columns(int64_t m, int64_t n, T* W, Worker& worker);

}  // namespace kronla
