// Switching between the stacks of fibers.
//
// ucontext does it everywhere, with a system call for the signal mask each time: two thirds of the time of an emulated
// kernel. On x86-64 eight instructions do.
#pragma once

#include <cstddef>
#include <cstdint>

#if defined(__x86_64__)

extern "C" void kronla_emulator_switch(void** from, void* to);

namespace kronla::emulator {

struct Context {
  void* top = nullptr;  // of the stack of one that is not running
};

inline void prepare(Context& context, char* stack, size_t bytes, void (*entry)()) {
  auto* end = reinterpret_cast<uint64_t*>((reinterpret_cast<uintptr_t>(stack) + bytes) & ~uintptr_t{15});
  *--end = 0;  // the return address of `entry`, which never returns; the stack is then aligned as at a call
  *--end = reinterpret_cast<uint64_t>(entry);
  for (int saved = 0; saved < 6; ++saved) *--end = 0;
  context.top = end;
}

inline void switch_context(Context& from, Context& to) { kronla_emulator_switch(&from.top, to.top); }

}  // namespace kronla::emulator

#else

#include <ucontext.h>

namespace kronla::emulator {

struct Context {
  ucontext_t context;
};

inline void prepare(Context& context, char* stack, size_t bytes, void (*entry)()) {
  getcontext(&context.context);
  context.context.uc_stack.ss_sp = stack;
  context.context.uc_stack.ss_size = bytes;
  context.context.uc_link = nullptr;
  makecontext(&context.context, entry, 0);
}

inline void switch_context(Context& from, Context& to) { swapcontext(&from.context, &to.context); }

}  // namespace kronla::emulator

#endif
