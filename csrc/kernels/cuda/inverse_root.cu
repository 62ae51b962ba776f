#include "kernels/cuda/inverse_root.h"

#include <algorithm>
#include <cmath>
#include <iterator>
#include <limits>
#include <stdexcept>

#include "kernels/cuda/inverse_root_plan.h"

namespace kronla::cuda {
namespace {

template <size_t kCount>
void take_chain(const RootStep (&steps)[kCount], RootPlan& plan) {
  static_assert(kCount <= kLongestChain, "a chain must fit in the plan");
  plan.count = static_cast<int>(kCount);
  std::copy(std::begin(steps), std::end(steps), plan.steps);
}

// Whether there is a chain for r; the plan's, if so.
bool find_chain(int64_t r, RootPlan& plan) {
  switch (r) {
    case 2:
      take_chain(kRootSteps2, plan);
      return true;
    case 3:
      take_chain(kRootSteps3, plan);
      return true;
    case 4:
      take_chain(kRootSteps4, plan);
      return true;
    case 6:
      take_chain(kRootSteps6, plan);
      return true;
    case 8:
      take_chain(kRootSteps8, plan);
      return true;
    default:
      return false;
  }
}

}  // namespace

bool has_root_polynomials(int64_t r) {
  RootPlan plan{};
  return find_chain(r, plan);
}

RootPlan plan_of(const RootOptions& options, bool needed) {
  RootPlan plan{};
  if (needed && (!find_chain(options.r, plan) || options.s < 1))
    throw std::invalid_argument("kronla: there are no polynomials for this root.");
  plan.p = options.p;
  plan.r = static_cast<int>(options.r);
  plan.s = static_cast<int>(options.s);
  plan.damping = options.damping;
  plan.relative_damping = options.relative_damping;
  plan.rtol = options.rtol;
  plan.max_steps = static_cast<int>(std::min<int64_t>(options.max_steps, kLongestChain));
  plan.integer = options.p == std::floor(options.p) && options.p <= kLargestInteger;
  while (plan.wide < plan.count && plan.steps[plan.wide].low < kFloat64Below) ++plan.wide;
  return plan;
}

template <class T>
void inverse_root(const std::vector<RootGroup<T>>& groups, const RootOptions& options, const Stream& stream) {
  std::vector<RootGroup<T>> small, large, decomposed;
  const int64_t limit = largest_in_block();
  bool polynomials = false;
  for (const RootGroup<T>& group : groups) {
    const bool polynomial = group.method == RootMethod::Polynomial;
    polynomials = polynomials || polynomial;
    (group.n == 0 || (polynomial && group.n <= limit) ? small : polynomial ? large : decomposed).push_back(group);
  }
  const RootPlan plan = plan_of(options, polynomials);
  roots_in_blocks(small, plan, stream);
  roots_by_tiles(large, plan, stream);
  roots_by_eigh(decomposed, plan, stream);
}

template void inverse_root<float>(const std::vector<RootGroup<float>>&, const RootOptions&, const Stream&);
template void inverse_root<double>(const std::vector<RootGroup<double>>&, const RootOptions&, const Stream&);

}  // namespace kronla::cuda
