// The eigenbasis kernels for n > 64, by tiles; eigenbasis.cu chooses between them and those of one block a matrix.
#pragma once

#include <vector>

#include "kernels/cuda/solver.h"
#include "kernels/cuda/stream.h"
#include "kernels/eigenbasis.h"

namespace kronla::cuda {

// The contract of update_in_blocks. `solver` is what BasisMethod::Eigh asks for eigenvectors, one call for all matrices
// of one size, those that need none included.
template <class T>
void update_by_tiles(const std::vector<BasisGroup<T>>& groups, double tol, int64_t max_steps, const Stream& stream,
                     Solver<T> solver = solve_symmetric<T>);

// The contract of eigh; one call of `solver` for all matrices of one size.
template <class T>
void eigh_by_solver(const std::vector<BasisGroup<T>>& groups, const Stream& stream,
                    Solver<T> solver = solve_symmetric<T>);

}  // namespace kronla::cuda
