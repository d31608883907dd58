// Fibers: stacks of their own that one thread of the host runs in turns. A switch saves and loads
// the registers that a function must keep, some 5 ns (x86-64; elsewhere ucontext, slower).
//
// Stacks are mapped once and used again; a page that can't be accessed lies below each.
#pragma once

#include <cstddef>
#include <cstdint>

#if !defined(__x86_64__)
#include <ucontext.h>
#endif

namespace medkern::cuda::emulator {

struct Fiber {
#if defined(__x86_64__)
  void* stack_pointer = nullptr;
#else
  ucontext_t context;
#endif
  unsigned char* top = nullptr;  // of the stack; the thread of the host itself has none here
};

// Goes on in `to`, until something switches back to `from`.
void switch_fiber(Fiber& from, Fiber& to);

// A fiber that begins with `entry`, which must never return.
Fiber* take_fiber(void (*entry)());
// It may be running still, but must not be switched to again.
void give_fiber(Fiber* fiber);
// All are free again; none may be running.
void give_all_fibers();

// Whether the address lies below a fiber's stack.
bool is_below_stack(const void* address);

}  // namespace medkern::cuda::emulator
