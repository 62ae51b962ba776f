// The host emulator's scheduler: every thread of a block is a fiber, and one host thread runs them all.
//
// A warp runs alone to the next block barrier, and a lane alone to the next warp collective: the largest skew that CUDA
// allows, so that whoever relies on a barrier that is not there reads what has not been written yet. The order in which
// warps, lanes and blocks get their turn is one of three; a right kernel gives the same answer in all of them. With the
// order changes what else the device leaves open:
//
//                                   forward              reverse              shuffled
//     asynchronous copies land      at the wait          at once              either, by chance
//     a warp's turn ends            at a block barrier   at a block barrier   or after a warp collective, by chance
//     shared memory holds at first  NaN, -1              huge numbers         hugely negative ones
#pragma once

#include <cstddef>
#include <functional>
#include <stdexcept>

#include "emulator/thread.h"

namespace kronla::emulator {

enum class Order { Forward, Reverse, Shuffled };

struct Settings {
  Order order = Order::Forward;
  unsigned seed = 1;                 // of Order::Shuffled
  size_t shared_limit = 227 * 1024;  // bytes of shared memory a block may ask for; sm_80 has 163 KB
  int multiprocessors = 4;           // of the device that launchers see
};
Settings& settings();

// What a launch throws where a kernel is wrong: one sentence, with file and line where there is one.
class Failure : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

// Runs `body` once for each thread of each block. Throws Failure.
void run(const char* kernel, Index3 grid, Index3 block, size_t shared_bytes, const std::function<void()>& body);

}  // namespace kronla::emulator
