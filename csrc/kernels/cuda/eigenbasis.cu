#include "kernels/cuda/eigenbasis.h"

#include <stdexcept>

#include "kernels/cuda/device/block_product.cuh"
#include "kernels/cuda/device/jacobi.cuh"
#include "kernels/cuda/eigenbasis_block.h"
#include "kernels/cuda/eigenbasis_tiled.h"
#include "kernels/cuda/eigenbasis_wide.h"
#include "kernels/cuda/jacobi.h"

namespace kronla::cuda {

template <class T>
void update_eigenbasis(const std::vector<BasisGroup<T>>& groups, double tol, int64_t max_steps, const Stream& stream) {
  std::vector<BasisGroup<T>> small, wide, large;
  for (const BasisGroup<T>& group : groups) {
    if (group.method == BasisMethod::NearEigh)
      throw std::invalid_argument("kronla: BasisMethod::NearEigh is for CPUs alone.");
    const bool solved = group.method == BasisMethod::Eigh && max_steps > 0;
    (group.n <= kBlockMost                                             ? small
     : std::is_same_v<T, float> && !solved && fits_wide_block(group.n) ? wide
                                                                       : large)
        .push_back(group);
  }
  update_in_blocks(small, tol, max_steps, stream);
  if constexpr (std::is_same_v<T, float>) update_in_wide_blocks(wide, tol, max_steps, stream);
  update_by_tiles(large, tol, max_steps, stream);
}

template <class T>
void eigh(const std::vector<BasisGroup<T>>& groups, const Stream& stream) {
  std::vector<BasisGroup<T>> small, large;
  for (const BasisGroup<T>& group : groups) (group.n <= kJacobiMost ? small : large).push_back(group);
  eigh_by_jacobi(small, stream);
  eigh_by_solver(large, stream);
}

template <class T>
void off_diagonal_ratio(int64_t batch, int64_t n, const T* A, const T* Q, T* ratio, const Stream& stream) {
  update_eigenbasis<T>({{batch, n, A, Q, BasisMethod::Automatic, nullptr, nullptr, ratio, nullptr, nullptr}}, 0.0, 0,
                       stream);
}

template void update_eigenbasis<float>(const std::vector<BasisGroup<float>>&, double, int64_t, const Stream&);
template void update_eigenbasis<double>(const std::vector<BasisGroup<double>>&, double, int64_t, const Stream&);
template void eigh<float>(const std::vector<BasisGroup<float>>&, const Stream&);
template void eigh<double>(const std::vector<BasisGroup<double>>&, const Stream&);
template void off_diagonal_ratio<float>(int64_t, int64_t, const float*, const float*, float*, const Stream&);
template void off_diagonal_ratio<double>(int64_t, int64_t, const double*, const double*, double*, const Stream&);

}  // namespace kronla::cuda
