// What the sanitizers must be told of fibers. Nothing where none is on.
//
// AddressSanitizer: which stack is in use. ThreadSanitizer: each fiber is a thread, switches order nothing, and barriers
// order what CUDA says they order; it is then a race detector for kernels, whatever the order of the turns.
#pragma once

#include <cstddef>

#include "emulator/context.h"

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif
#if defined(KRONLA_RACE_DETECTOR)
#include <sanitizer/tsan_interface.h>
extern "C" {
void AnnotateIgnoreReadsBegin(const char* file, int line);
void AnnotateIgnoreReadsEnd(const char* file, int line);
void AnnotateIgnoreWritesBegin(const char* file, int line);
void AnnotateIgnoreWritesEnd(const char* file, int line);
}
#endif

namespace kronla::emulator {

#if defined(__SANITIZE_ADDRESS__)

inline constexpr bool kAddressSanitizer = true;

struct FiberSanitizer {
  const void* stack = nullptr;
  size_t bytes = 0;
  void* fake_stack = nullptr;
  void start(void* begin, size_t size) {
    stack = begin;
    bytes = size;
  }
  void adopt() {}  // the scheduler's stack is known once the first fiber was entered from it
};
inline void poison(void* begin, size_t bytes) { ASAN_POISON_MEMORY_REGION(begin, bytes); }
inline void unpoison(void* begin, size_t bytes) { ASAN_UNPOISON_MEMORY_REGION(begin, bytes); }
inline void entered_fiber(FiberSanitizer& from) { __sanitizer_finish_switch_fiber(nullptr, &from.stack, &from.bytes); }
inline void switch_fiber(Context& from, FiberSanitizer& leaves, Context& to, FiberSanitizer& enters) {
  __sanitizer_start_switch_fiber(&leaves.fake_stack, enters.stack, enters.bytes);
  switch_context(from, to);
  // Back again, from a fiber whose stack need not be learnt: fibers say theirs at the start.
  const void* stack;
  size_t bytes;
  __sanitizer_finish_switch_fiber(leaves.fake_stack, &stack, &bytes);
}

#else

inline constexpr bool kAddressSanitizer = false;
inline void poison(void*, size_t) {}
inline void unpoison(void*, size_t) {}

#if defined(KRONLA_RACE_DETECTOR)
struct FiberSanitizer {
  void* fiber = nullptr;
  bool owned = false;
  FiberSanitizer() = default;
  FiberSanitizer(const FiberSanitizer&) = delete;
  FiberSanitizer& operator=(const FiberSanitizer&) = delete;
  ~FiberSanitizer() {
    if (owned) __tsan_destroy_fiber(fiber);
  }
  void start(void*, size_t) {
    fiber = __tsan_create_fiber(0);
    owned = true;
  }
  void adopt() { fiber = __tsan_get_current_fiber(); }
};
inline void entered_fiber(FiberSanitizer&) {}
// Not instrumented: its return address is that of another fiber's frame.
__attribute__((no_sanitize("thread"))) inline void switch_fiber(Context& from, FiberSanitizer&, Context& to,
                                                                FiberSanitizer& enters) {
  __tsan_switch_to_fiber(enters.fiber, __tsan_switch_to_fiber_no_sync);
  switch_context(from, to);
}
#else
struct FiberSanitizer {
  void start(void*, size_t) {}
  void adopt() {}
};
inline void entered_fiber(FiberSanitizer&) {}
inline void switch_fiber(Context& from, FiberSanitizer&, Context& to, FiberSanitizer&) { switch_context(from, to); }
#endif

#endif

#if defined(KRONLA_RACE_DETECTOR)
inline constexpr bool kRaceDetector = true;
inline void tsan_release(void* token) { __tsan_release(token); }
inline void tsan_acquire(void* token) { __tsan_acquire(token); }
// The emulator's own looks into the stacks of lanes.
struct UncheckedAccess {
  UncheckedAccess() {
    AnnotateIgnoreReadsBegin(__FILE__, __LINE__);
    AnnotateIgnoreWritesBegin(__FILE__, __LINE__);
  }
  ~UncheckedAccess() {
    AnnotateIgnoreWritesEnd(__FILE__, __LINE__);
    AnnotateIgnoreReadsEnd(__FILE__, __LINE__);
  }
};
#else
inline constexpr bool kRaceDetector = false;
inline void tsan_release(void*) {}
inline void tsan_acquire(void*) {}
struct UncheckedAccess {
  UncheckedAccess() {}
  ~UncheckedAccess() {}
};
#endif

}  // namespace kronla::emulator
