// What a thread of an emulated kernel calls.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#if __cplusplus >= 202002L
#include <source_location>
#endif

namespace kronla::emulator {

struct Index3 {
  unsigned x = 1, y = 1, z = 1;
  Index3(unsigned x_ = 1, unsigned y_ = 1, unsigned z_ = 1) : x(x_), y(y_), z(z_) {}
};

// A place in a kernel. The column tells apart what stands on one line, as in `a ? __syncwarp() : __syncwarp()`.
struct Place {
  const char* file = "";
  unsigned line = 0, column = 0;
  bool operator==(const Place& other) const {
    return line == other.line && column == other.column && (file == other.file || std::strcmp(file, other.file) == 0);
  }
};
// The caller's, as the default of a parameter. (C++17 does not tell the column.)
#if __cplusplus >= 202002L
#define KRONLA_COLUMN std::source_location::current().column()
#else
#define KRONLA_COLUMN 0
#endif
#define KRONLA_PLACE {__builtin_FILE(), __builtin_LINE(), KRONLA_COLUMN}
std::string describe(Place place);

const Index3& thread_index();
const Index3& block_index();
const Index3& block_size();
const Index3& grid_size();
int lane();

// The block's dynamic shared memory, and arrays that all threads of a block share, told apart by their place.
unsigned char* shared_memory();
void* shared_array(Place place, const char* name, size_t bytes, size_t alignment);
bool in_shared_memory(const void* pointer, size_t bytes);

// Waits for all threads of the block. `reduce`, if given, runs once on all `arguments` (one per thread, in order).
using BlockReduction = void (*)(void* const* arguments, int count);
void block_barrier(Place place, BlockReduction reduce = nullptr, void* argument = nullptr);

// Waits for the lanes in `mask`, which must come to the same collective; `collective` then runs once. arguments[lane] is
// what that lane gave, nullptr for lanes outside the mask. `orders_memory`: as __syncwarp does, and a shuffle does not.
using Collective = void (*)(void* const arguments[32]);
void warp_collective(const char* what, uint32_t mask, Place place, Collective collective, void* argument,
                     bool orders_memory = false);

// Asynchronous copies to shared memory: they land between here and the wait. Bytes beyond `source_bytes` become 0.
void async_copy(void* shared, const void* global, int bytes, int source_bytes, Place place);
void async_commit();
void async_wait(int newest_groups_left);

// Atomics and fences, for the race detector: an atomic sees what others wrote before their last fence.
void memory_fence();
void before_atomic();

// Ends the launch with a Failure, from inside a kernel. In two steps: what lies on the fiber's stack in the second is never
// destroyed, so the sentence must be gone by then.
void set_failure(const std::string& sentence);
[[noreturn]] void abandon();

}  // namespace kronla::emulator
