// What the launchers of inverse_root share: the options with the chain of polynomials, as a kernel parameter.
#pragma once

#include <cstdint>
#include <vector>

#include "kernels/cuda/eigenbasis.h"
#include "kernels/cuda/stream.h"
#include "kernels/inverse_root.h"
#include "kernels/inverse_root_schedules.h"

namespace kronla::cuda {

inline constexpr int kLongestChain = 13;
inline constexpr int kExactResidual = 64;       // up to here the residual is formed, above it is estimated
inline constexpr double kLargestInteger = 1e6;  // p, to which its residual is one of an integer
inline constexpr int kFloat64Size = 16;         // up to here all steps run in float64
inline constexpr double kFloat64Below = 1e-2;  // steps whose interval begins below run in float64 (measured on the CPU)
inline constexpr double kNormSlack = 1.0 + 1e-6;  // of ‖D‖_F ≥ λmax, for rounding

struct RootPlan {
  double p, damping, relative_damping, rtol;
  int r, s, max_steps;
  bool integer;  // p
  int count;     // steps of the chain; the last is for float64 alone
  int wide;      // how many of them run in float64 when T is float32
  RootStep steps[kLongestChain];
};

// With a chain only where one is `needed`.
RootPlan plan_of(const RootOptions& options, bool needed);

// n ≤ kLargestInBlock at most; how large depends on the device.
inline constexpr int kLargestInBlock = 128;
int largest_in_block();

template <class T>
void roots_in_blocks(const std::vector<RootGroup<T>>& groups, const RootPlan& plan, const Stream& stream);
// `solve`: eigh of eigenbasis.h, or what a test puts in its place.
template <class T>
void roots_by_eigh(const std::vector<RootGroup<T>>& groups, const RootPlan& plan, const Stream& stream,
                   void (*solve)(const std::vector<BasisGroup<double>>&, const Stream&) = &eigh<double>);
template <class T>
void roots_by_tiles(const std::vector<RootGroup<T>>& groups, const RootPlan& plan, const Stream& stream);

}  // namespace kronla::cuda
