// CUDA's warp and block intrinsics on the emulator, under CUDA's names. Masks may be partial; every lane in the mask must
// come to the same intrinsic.
#pragma once

#include <cstdint>

#include "emulator/scheduler.h"
#include "emulator/thread.h"

#define threadIdx (::kronla::emulator::thread_index())
#define blockIdx (::kronla::emulator::block_index())
#define blockDim (::kronla::emulator::block_size())
#define gridDim (::kronla::emulator::grid_size())
inline constexpr int warpSize = 32;

#define KRONLA_CALLED_FROM ::kronla::emulator::Place caller = KRONLA_PLACE

namespace kronla::emulator {

template <class T>
struct Exchange {
  T given, received;
  int source;
};

// Lane `source` of the mask gives; where it is outside the mask CUDA leaves the value undefined: here it is a failure.
template <class T>
void exchange(void* const arguments[32]) {
  for (int i = 0; i < 32; ++i) {
    if (arguments[i] == nullptr) continue;
    auto* mine = static_cast<Exchange<T>*>(arguments[i]);
    const auto* other = static_cast<const Exchange<T>*>(arguments[mine->source & 31]);
    if (other == nullptr) throw Failure("a shuffle reads a lane that is not in its mask.");
    mine->received = other->given;
  }
}

template <class T>
T shuffle(uint32_t mask, T value, int source, Place place) {
  Exchange<T> mine{value, value, source};
  warp_collective("shuffle", mask, place, &exchange<T>, &mine);
  return mine.received;
}

// `combine` without a state of its own, of the values of all lanes in the mask, in their order.
template <class T, class Combine>
T reduce(uint32_t mask, T value, Combine, Place place) {
  Exchange<T> mine{value, value, 0};
  const Collective all = [](void* const arguments[32]) {
    const Exchange<T>* first = nullptr;
    T total{};
    for (int i = 0; i < 32; ++i) {
      if (arguments[i] == nullptr) continue;
      const auto* lane = static_cast<const Exchange<T>*>(arguments[i]);
      total = first == nullptr ? lane->given : Combine{}(total, lane->given);
      first = lane;
    }
    for (int i = 0; i < 32; ++i)
      if (arguments[i] != nullptr) static_cast<Exchange<T>*>(arguments[i])->received = total;
  };
  warp_collective("reduction", mask, place, all, &mine);
  return mine.received;
}

struct Vote {
  bool given;
  uint32_t ballot;
};

inline void count_votes(void* const arguments[32]) {
  uint32_t ballot = 0;
  for (int i = 0; i < 32; ++i)
    if (arguments[i] != nullptr && static_cast<const Vote*>(arguments[i])->given) ballot |= 1u << i;
  for (int i = 0; i < 32; ++i)
    if (arguments[i] != nullptr) static_cast<Vote*>(arguments[i])->ballot = ballot;
}

inline uint32_t vote(uint32_t mask, bool given, Place place) {
  Vote mine{given, 0};
  warp_collective("vote", mask, place, &count_votes, &mine);
  return mine.ballot;
}

struct BlockCount {
  bool given;
  int count;
};

inline void count_block(void* const* arguments, int threads) {
  int count = 0;
  for (int i = 0; i < threads; ++i) count += static_cast<const BlockCount*>(arguments[i])->given ? 1 : 0;
  for (int i = 0; i < threads; ++i) static_cast<BlockCount*>(arguments[i])->count = count;
}

inline int block_count(bool given, Place place) {
  BlockCount mine{given, 0};
  block_barrier(place, &count_block, &mine);
  return mine.count;
}

}  // namespace kronla::emulator

inline void __syncthreads(KRONLA_CALLED_FROM) { kronla::emulator::block_barrier(caller); }
inline int __syncthreads_count(int predicate, KRONLA_CALLED_FROM) {
  return kronla::emulator::block_count(predicate != 0, caller);
}
inline int __syncthreads_or(int predicate, KRONLA_CALLED_FROM) {
  return kronla::emulator::block_count(predicate != 0, caller) > 0;
}
inline int __syncthreads_and(int predicate, KRONLA_CALLED_FROM) {
  return kronla::emulator::block_count(predicate == 0, caller) == 0;
}

inline void __syncwarp(uint32_t mask = 0xffffffffu, KRONLA_CALLED_FROM) {
  kronla::emulator::warp_collective("warp barrier", mask, caller, nullptr, nullptr, true);
}

template <class T>
T __shfl_sync(uint32_t mask, T value, int source, int width = 32, KRONLA_CALLED_FROM) {
  const int first = kronla::emulator::lane() & ~(width - 1);
  return kronla::emulator::shuffle(mask, value, first + (source & (width - 1)), caller);
}
template <class T>
T __shfl_xor_sync(uint32_t mask, T value, int flips, int width = 32, KRONLA_CALLED_FROM) {
  const int lane = kronla::emulator::lane(), first = lane & ~(width - 1), source = lane ^ flips;
  return kronla::emulator::shuffle(mask, value, source < first + width ? source : lane, caller);
}
template <class T>
T __shfl_up_sync(uint32_t mask, T value, unsigned delta, int width = 32, KRONLA_CALLED_FROM) {
  const int lane = kronla::emulator::lane(), first = lane & ~(width - 1), source = lane - static_cast<int>(delta);
  return kronla::emulator::shuffle(mask, value, source >= first ? source : lane, caller);
}
template <class T>
T __shfl_down_sync(uint32_t mask, T value, unsigned delta, int width = 32, KRONLA_CALLED_FROM) {
  const int lane = kronla::emulator::lane(), first = lane & ~(width - 1), source = lane + static_cast<int>(delta);
  return kronla::emulator::shuffle(mask, value, source < first + width ? source : lane, caller);
}

// Over the lanes of the mask, as sm_80 has it for integers.
template <class T>
T __reduce_add_sync(uint32_t mask, T value, KRONLA_CALLED_FROM) {
  return kronla::emulator::reduce(mask, value, [](T a, T b) { return static_cast<T>(a + b); }, caller);
}
template <class T>
T __reduce_max_sync(uint32_t mask, T value, KRONLA_CALLED_FROM) {
  return kronla::emulator::reduce(mask, value, [](T a, T b) { return a < b ? b : a; }, caller);
}
template <class T>
T __reduce_min_sync(uint32_t mask, T value, KRONLA_CALLED_FROM) {
  return kronla::emulator::reduce(mask, value, [](T a, T b) { return b < a ? b : a; }, caller);
}

inline uint32_t __ballot_sync(uint32_t mask, int predicate, KRONLA_CALLED_FROM) {
  return kronla::emulator::vote(mask, predicate != 0, caller);
}
inline int __any_sync(uint32_t mask, int predicate, KRONLA_CALLED_FROM) {
  return kronla::emulator::vote(mask, predicate != 0, caller) != 0;
}
inline int __all_sync(uint32_t mask, int predicate, KRONLA_CALLED_FROM) {
  return kronla::emulator::vote(mask, predicate == 0, caller) == 0;
}
