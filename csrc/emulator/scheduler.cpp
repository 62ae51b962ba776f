#include "emulator/scheduler.h"

#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include "emulator/context.h"
#include "emulator/launch.h"
#include "emulator/memory.h"
#include "emulator/sanitizers.h"

#if defined(__SANITIZE_ADDRESS__)
// Between two allocations at least so much that must not be touched: a wrong index may be far off.
extern "C" const char* __asan_default_options() { return "redzone=2048"; }
#endif

namespace kronla::emulator {
namespace {

// The race detector knows a fiber as a thread, and what one thread does is in order. So that blocks are not, neighbours
// among them get crews of their own.
constexpr size_t kMostCrews = kRaceDetector ? 3 : 1;
constexpr size_t kMostStaticBytes = 48 * 1024;

// Where fibers return to: the stack of the host thread, the same in every launch.
thread_local Context host_context;
thread_local FiberSanitizer host_sanitizer;
// Fibers outlive a launch: they wait for the next block at the end of `enter`.
thread_local std::vector<std::unique_ptr<Fiber>> idle_fibers;

void enter() {
  entered_fiber(host_sanitizer);
  for (;;) {
    tsan_acquire(&launch().start);
    (*launch().body)();
    tsan_release(&launch().end);
    self().state = State::Done;
    to_scheduler();
  }
}

void resume(Fiber& fiber) {
  Launch& l = launch();
  l.current = &fiber;
  switch_fiber(host_context, host_sanitizer, fiber.context, fiber.sanitizer);
  l.current = nullptr;
  if (!l.failure.empty()) throw Failure(l.failure);
}

std::unique_ptr<Fiber> make_fiber() {
  if (!idle_fibers.empty()) {
    auto fiber = std::move(idle_fibers.back());
    idle_fibers.pop_back();
    return fiber;
  }
  auto fiber = std::make_unique<Fiber>();
  prepare(fiber->context, fiber->stack.begin(), Stack::kBytes, enter);
  fiber->sanitizer.start(fiber->stack.begin(), Stack::kBytes);
  return fiber;
}

template <class T>
void put_in_order(std::vector<T>& turns) {
  if (settings().order == Order::Shuffled) std::shuffle(turns.begin(), turns.end(), launch().engine);
}

template <class T>
std::vector<T> turns_of(T count) {
  std::vector<T> turns(count);
  for (T i = 0; i < count; ++i) turns[i] = settings().order == Order::Reverse ? count - 1 - i : i;
  return turns;
}

// Runs every collective of a warp that is complete; whether there was one.
bool run_collectives(Fiber* const* lanes) {
  for (int i = 0; i < 32; ++i) {
    const Fiber& first = *lanes[i];
    if (first.state != State::AtWarp) continue;
    if ((first.mask >> i & 1) == 0)
      throw Failure(describe(first.place) + ": lane " + std::to_string(i) + " is not in the mask of its own " +
                    first.what + in_kernel() + ".");
    bool complete = true;
    void* arguments[32] = {};
    for (int j = 0; j < 32 && complete; ++j) {
      if ((first.mask >> j & 1) == 0) continue;
      const Fiber& other = *lanes[j];
      complete = other.state == State::AtWarp && other.place == first.place && other.mask == first.mask &&
                 other.collective == first.collective;
      arguments[j] = other.argument;
    }
    if (!complete) continue;
    if (first.collective != nullptr) {
      const UncheckedAccess unchecked;  // the arguments lie on the stacks of the lanes
      try {
        first.collective(arguments);
      } catch (const Failure& failure) {
        throw Failure(describe(first.place) + ": " + failure.what());
      }
    }
    for (int j = 0; j < 32; ++j)
      if (first.mask >> j & 1) lanes[j]->state = State::Ready;
    return true;
  }
  return false;
}

// Runs one warp until all its lanes wait at a block barrier or have ended; false where others get a turn in between, after
// a collective.
bool run_warp(int warp) {
  Fiber* lanes[32];
  for (int i = 0; i < 32; ++i) lanes[i] = launch().crew->fibers[warp * 32 + i].get();
  std::vector<int> turns = turns_of(32);
  for (;;) {
    put_in_order(turns);
    for (const int i : turns)
      if (lanes[i]->state == State::Ready) resume(*lanes[i]);
    if (!run_collectives(lanes)) break;
    if (settings().order == Order::Shuffled && launch().engine() % 4 == 0) return false;
  }
  for (int i = 0; i < 32; ++i) {
    if (lanes[i]->state != State::AtWarp) continue;
    std::string others;
    for (int j = 0; j < 32 && others.empty(); ++j) {
      const Fiber& other = *lanes[j];
      if (other.state == State::Done) {
        others = "lane " + std::to_string(j) + " has ended";
      } else if (other.state == State::AtBlockBarrier || !(other.place == lanes[i]->place) ||
                 other.mask != lanes[i]->mask) {
        others = "lane " + std::to_string(j) + " waits at " + describe(other.place);
      }
    }
    throw Failure(describe(lanes[i]->place) + ": divergent " + lanes[i]->what + in_kernel() + ": lane " +
                  std::to_string(i) + " waits here, and " + others + ".");
  }
  return true;
}

// Runs all warps to the next block barrier.
void run_warps(std::vector<int>& warps) {
  put_in_order(warps);
  std::vector<int> running = warps;
  while (!running.empty()) running.erase(std::remove_if(running.begin(), running.end(), run_warp), running.end());
}

// Lets all threads pass the barrier they wait at; false where all have ended.
bool pass_barrier() {
  const auto& fibers = launch().crew->fibers;
  const Fiber* waiting = nullptr;
  const Fiber* elsewhere = nullptr;
  size_t ended = 0;
  for (const auto& fiber : fibers) {
    if (fiber->state == State::Done) {
      ++ended;
    } else if (waiting == nullptr) {
      waiting = fiber.get();
    } else if (!(fiber->place == waiting->place)) {
      elsewhere = fiber.get();
    }
  }
  if (waiting == nullptr) return false;
  const std::string here = describe(waiting->place) + ": divergent block barrier" + in_kernel() + ": thread " +
                           std::to_string(waiting->linear) + " waits here, and ";
  if (ended > 0) throw Failure(here + std::to_string(ended) + " of " + std::to_string(fibers.size()) + " have ended.");
  if (elsewhere != nullptr)
    throw Failure(here + "thread " + std::to_string(elsewhere->linear) + " at " + describe(elsewhere->place) + ".");
  if (waiting->reduce != nullptr) {
    std::vector<void*> arguments;
    for (const auto& fiber : fibers) arguments.push_back(fiber->argument);
    const UncheckedAccess unchecked;
    waiting->reduce(arguments.data(), static_cast<int>(arguments.size()));
  }
  for (const auto& fiber : fibers) fiber->state = State::Ready;
  return true;
}

void check_shared_memory(size_t shared_bytes) {
  const Launch& l = launch();
  bool untouched = l.dynamic->zones_untouched();
  size_t bytes = 0;
  for (const SharedArray& array : l.arrays) {
    untouched = untouched && array.memory->zones_untouched();
    bytes += array.memory->bytes();
  }
  if (!untouched)
    throw Failure("shared memory was written outside its " + std::to_string(shared_bytes) + " bytes" + in_kernel() +
                  ".");
  if (bytes > kMostStaticBytes || bytes + shared_bytes > settings().shared_limit)
    throw Failure("arrays of " + std::to_string(bytes) + " bytes beside " + std::to_string(shared_bytes) +
                  " dynamic ones do not fit in shared memory" + in_kernel() + ".");
}

void run_block(size_t shared_bytes) {
  Launch& l = launch();
  l.dynamic = std::make_unique<SharedMemory>(shared_bytes, 16, fill());
  l.arrays.clear();
  for (const auto& fiber : l.crew->fibers) {
    fiber->state = State::Ready;
    fiber->groups = 0;
    fiber->barriers = fiber->warp_barriers = 0;
  }
  std::vector<int> warps = turns_of(static_cast<int>(l.crew->fibers.size() / 32));
  do run_warps(warps);
  while (pass_barrier());
  tsan_acquire(&l.end);
  for (const auto& fiber : l.crew->fibers)
    if (!fiber->copies.empty())
      throw Failure("a thread ended before its asynchronous copies landed" + in_kernel() + ".");
  check_shared_memory(shared_bytes);
}

std::unique_ptr<Crew> make_crew(Index3 block) {
  auto crew = std::make_unique<Crew>();
  for (size_t i = 0; i < size_t{block.x} * block.y * block.z; ++i) {
    auto fiber = make_fiber();
    fiber->linear = static_cast<int>(i);
    fiber->index = Index3(i % block.x, i / block.x % block.y, i / (size_t{block.x} * block.y));
    crew->fibers.push_back(std::move(fiber));
  }
  return crew;
}

}  // namespace

Settings& settings() {
  thread_local Settings current;
  return current;
}

void to_scheduler() {
  Fiber& me = self();
  switch_fiber(me.context, me.sanitizer, host_context, host_sanitizer);
}

unsigned char fill() {
  return settings().order == Order::Forward ? 0xFF : settings().order == Order::Reverse ? 0x7E : 0xFE;
}

void run(const char* kernel, Index3 grid, Index3 block, size_t shared_bytes, const std::function<void()>& body) {
  const size_t threads = size_t{block.x} * block.y * block.z, blocks = size_t{grid.x} * grid.y * grid.z;
  const std::string name = kernel;
  if (active != nullptr) throw Failure(name + " was launched from inside a kernel.");
  if (threads == 0 || threads > 1024 || threads % 32 != 0)
    throw Failure(name + ": a block must have 32 to 1024 threads, in whole warps, got " + std::to_string(threads) +
                  ".");
  if (blocks == 0 || grid.y > 65535 || grid.z > 65535) throw Failure(name + ": the grid is empty or too large.");
  if (shared_bytes > settings().shared_limit)
    throw Failure(name + ": a block may have " + std::to_string(settings().shared_limit) +
                  " bytes of shared memory, asked for " + std::to_string(shared_bytes) + ".");
  Launch current;
  current.kernel = kernel;
  current.grid = grid;
  current.block = block;
  current.body = &body;
  current.engine.seed(settings().seed);
  host_sanitizer.adopt();
  while (current.crews.size() < std::min(kMostCrews, blocks)) current.crews.push_back(make_crew(block));
  const struct Activation {
    explicit Activation(Launch& l) { active = &l; }
    ~Activation() { active = nullptr; }
  } activation(current);
  std::vector<size_t> turns = turns_of(blocks);
  put_in_order(turns);
  tsan_release(&current.start);
  for (const size_t b : turns) {
    current.crew = current.crews[b % current.crews.size()].get();
    current.at = Index3(b % grid.x, b / grid.x % grid.y, b / (size_t{grid.x} * grid.y));
    run_block(shared_bytes);
  }
  // Where a launch fails its fibers are in the middle of a kernel: they are dropped with it.
  for (auto& crew : current.crews)
    for (auto& fiber : crew->fibers) idle_fibers.push_back(std::move(fiber));
}

}  // namespace kronla::emulator
