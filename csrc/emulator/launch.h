// A launch on its way: its blocks, their threads and what they share. For the emulator alone.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "emulator/context.h"
#include "emulator/memory.h"
#include "emulator/sanitizers.h"
#include "emulator/thread.h"

namespace kronla::emulator {

enum class State { Ready, AtBlockBarrier, AtWarp, Done };

struct Copy {
  void* target;
  const void* source;
  int bytes, source_bytes;
  int group;
  bool landed;
};

struct Fiber {
  Context context;
  Stack stack;
  FiberSanitizer sanitizer;
  Index3 index;
  int linear = 0;
  State state = State::Done;
  Place place;
  const char* what = "";
  uint32_t mask = 0;
  Collective collective = nullptr;
  BlockReduction reduce = nullptr;
  void* argument = nullptr;
  std::vector<Copy> copies;
  int groups = 0;
  unsigned barriers = 0, warp_barriers = 0;  // passed so far
};

struct SharedArray {
  Place place;
  std::string name;
  std::unique_ptr<SharedMemory> memory;
};

// The threads of a block. Barriers take turns with two tokens: who has passed one and comes to the next must not order
// those that have not yet left the first.
struct Crew {
  std::vector<std::unique_ptr<Fiber>> fibers;
  char barriers[2] = {}, warp_barriers[32][2] = {};
};

struct Launch {
  const char* kernel;
  Index3 grid, block, at;
  const std::function<void()>* body;
  std::vector<std::unique_ptr<Crew>> crews;
  Crew* crew = nullptr;
  Fiber* current = nullptr;
  std::unique_ptr<SharedMemory> dynamic;
  std::vector<SharedArray> arrays;
  std::string failure;
  std::mt19937 engine;
  char start = 0, end = 0, fence = 0;  // tokens for the race detector
};

inline thread_local Launch* active = nullptr;

inline Launch& launch() { return *active; }
inline Fiber& self() { return *active->current; }
inline std::string in_kernel() { return std::string(" in ") + launch().kernel; }

// Gives back the turn of the running thread; returns when it has the next one.
void to_scheduler();

// What new shared memory holds: each may hide a fault that another one shows. Bytes 0xFF are NaN and -1, the others 1e38
// and -1e38 as a float, 1e305 and -1e303 as a double.
unsigned char fill();

}  // namespace kronla::emulator
