// The rotation of an eigenbasis: the formula is in kernels/eigenbasis.h.
#pragma once

#include "kernels/cpu/basis.h"

namespace kronla {

// Q ← the orthonormalised Q + QT for `basis`, whose Q it may be, after its `evaluate`.
template <class T>
void rotation_step(Basis<T>& basis, T* Q, Worker& worker);

}  // namespace kronla
