#include "emulator/thread.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>

#include "emulator/launch.h"
#include "emulator/memory.h"
#include "emulator/sanitizers.h"
#include "emulator/scheduler.h"

namespace kronla::emulator {
namespace {

// At its issue or at the wait; for the race detector at both, for in between nobody may touch what it writes.
void land(Copy& copy) {
  copy.landed = true;
  if (copy.source_bytes > 0) std::memcpy(copy.target, copy.source, copy.source_bytes);
  std::memset(static_cast<char*>(copy.target) + copy.source_bytes, 0, copy.bytes - copy.source_bytes);
}

}  // namespace

std::string describe(Place place) { return std::string(place.file) + ":" + std::to_string(place.line); }

const Index3& thread_index() { return self().index; }
const Index3& block_index() { return launch().at; }
const Index3& block_size() { return launch().block; }
const Index3& grid_size() { return launch().grid; }
int lane() { return self().linear % 32; }

unsigned char* shared_memory() { return launch().dynamic->begin(); }

void* shared_array(Place place, const char* name, size_t bytes, size_t alignment) {
  for (const SharedArray& array : launch().arrays)
    if (array.place == place && array.name == name) return array.memory->begin();
  const UncheckedAccess unchecked;  // whoever comes first makes it for all
  launch().arrays.push_back({place, name, std::make_unique<SharedMemory>(bytes, alignment, fill())});
  return launch().arrays.back().memory->begin();
}

bool in_shared_memory(const void* pointer, size_t bytes) {
  if (launch().dynamic->holds(pointer, bytes)) return true;
  return std::any_of(launch().arrays.begin(), launch().arrays.end(),
                     [&](const SharedArray& array) { return array.memory->holds(pointer, bytes); });
}

void block_barrier(Place place, BlockReduction reduce, void* argument) {
  Fiber& me = self();
  me.state = State::AtBlockBarrier;
  me.place = place;
  me.reduce = reduce;
  me.argument = argument;
  char* token = &launch().crew->barriers[me.barriers++ % 2];
  tsan_release(token);
  to_scheduler();
  tsan_acquire(token);
}

void warp_collective(const char* what, uint32_t mask, Place place, Collective collective, void* argument,
                     bool orders_memory) {
  Fiber& me = self();
  me.state = State::AtWarp;
  me.what = what;
  me.mask = mask;
  me.place = place;
  me.collective = collective;
  me.argument = argument;
  if (!orders_memory) return to_scheduler();
  char* token = &launch().crew->warp_barriers[me.linear / 32][me.warp_barriers++ % 2];
  tsan_release(token);
  to_scheduler();
  tsan_acquire(token);
}

void async_copy(void* shared, const void* global, int bytes, int source_bytes, Place place) {
  const auto aligned = [bytes](const void* p) { return reinterpret_cast<uintptr_t>(p) % bytes == 0; };
  const char* fault = nullptr;
  if (bytes != 4 && bytes != 8 && bytes != 16) {
    fault = "has 4, 8 or 16 bytes";
  } else if (source_bytes < 0 || source_bytes > bytes) {
    fault = "reads between no byte and all of its size";
  } else if (!in_shared_memory(shared, bytes)) {
    fault = "must go to shared memory: this one does not, or goes beyond it";
  } else if (!aligned(shared) || !aligned(global)) {
    fault = "must be aligned to its size on both sides: this one is not aligned";
  }
  if (fault != nullptr) {
    set_failure(describe(place) + ": an asynchronous copy " + fault + in_kernel() + ".");
    abandon();
  }
  Copy copy{shared, global, bytes, source_bytes, self().groups, false};
  const Order order = settings().order;
  if (kRaceDetector || order == Order::Reverse || (order == Order::Shuffled && (launch().engine() & 1) != 0))
    land(copy);
  self().copies.push_back(copy);
}

void async_commit() { ++self().groups; }

void async_wait(int newest_groups_left) {
  Fiber& me = self();
  const int last = me.groups - newest_groups_left;  // groups from here on may still be on their way
  size_t kept = 0;
  for (Copy& copy : me.copies) {
    if (copy.group >= last) {
      me.copies[kept++] = copy;
    } else if (kRaceDetector || !copy.landed) {
      land(copy);
    }
  }
  me.copies.resize(kept);
}

void memory_fence() {
  tsan_acquire(&launch().fence);
  tsan_release(&launch().fence);
}

void before_atomic() { tsan_acquire(&launch().fence); }

void set_failure(const std::string& sentence) { launch().failure = sentence; }

void abandon() {
  to_scheduler();
  std::abort();  // never resumed
}

}  // namespace kronla::emulator
