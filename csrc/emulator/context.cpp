#include "emulator/context.h"

#if defined(__x86_64__)
// The registers that a called function must keep, and the stack pointer.
asm(R"(
.text
.globl kronla_emulator_switch
.hidden kronla_emulator_switch
.type kronla_emulator_switch, @function
kronla_emulator_switch:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
.size kronla_emulator_switch, .-kronla_emulator_switch
)");
#endif
