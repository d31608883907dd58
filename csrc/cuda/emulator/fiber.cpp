#include "cuda/emulator/fiber.h"

#include <sys/mman.h>

#include <memory>
#include <new>
#include <vector>

#if defined(__x86_64__)
// Saves the registers that a function must keep and the stack pointer; loads the other's.
extern "C" void medkern_emulator_switch(void** save, void* load);
asm(R"(
.pushsection .text
.p2align 4
.globl medkern_emulator_switch
.hidden medkern_emulator_switch
.type medkern_emulator_switch, @function
medkern_emulator_switch:
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
.size medkern_emulator_switch, .-medkern_emulator_switch
.popsection
)");
#endif

namespace medkern::cuda::emulator {
namespace {

constexpr size_t kPage = 4096;
constexpr size_t kStack = 128 << 10;  // mapped, but only what is used takes memory
constexpr size_t kSlot = kPage + kStack;
constexpr size_t kSlots = 256;  // mapped at once

struct Pool {
  std::vector<unsigned char*> regions;
  std::vector<std::unique_ptr<Fiber>> all;
  std::vector<Fiber*> free;
};

Pool& pool() {
  static auto* one = new Pool;
  return *one;
}

void map_more(Pool& pool) {
  void* region = mmap(nullptr, kSlots * kSlot, PROT_NONE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_STACK, -1, 0);
  if (region == MAP_FAILED) throw std::bad_alloc();
  auto* begin = static_cast<unsigned char*>(region);
  pool.regions.push_back(begin);
  for (size_t i = 0; i < kSlots; ++i) {
    unsigned char* bottom = begin + i * kSlot + kPage;
    if (mprotect(bottom, kStack, PROT_READ | PROT_WRITE) != 0) throw std::bad_alloc();
    auto fiber = std::make_unique<Fiber>();
    // Tops at different offsets into their pages share no set of the caches.
    fiber->top = bottom + kStack - (i * 7 % 32) * 128;
    pool.free.push_back(fiber.get());
    pool.all.push_back(std::move(fiber));
  }
}

}  // namespace

#if defined(__x86_64__)

void switch_fiber(Fiber& from, Fiber& to) {
  medkern_emulator_switch(&from.stack_pointer, to.stack_pointer);
}

namespace {

void prepare(Fiber& fiber, void (*entry)()) {
  auto** words = reinterpret_cast<void**>(fiber.top);
  words[-1] = nullptr;  // where entry would return to
  words[-2] = reinterpret_cast<void*>(entry);
  for (int i = 3; i <= 8; ++i) words[-i] = nullptr;  // registers
  fiber.stack_pointer = words - 8;
}

}  // namespace

#else

void switch_fiber(Fiber& from, Fiber& to) { swapcontext(&from.context, &to.context); }

namespace {

void prepare(Fiber& fiber, void (*entry)()) {
  getcontext(&fiber.context);
  fiber.context.uc_stack.ss_sp = fiber.top - (kStack - kPage);
  fiber.context.uc_stack.ss_size = kStack - kPage;
  fiber.context.uc_link = nullptr;
  makecontext(&fiber.context, entry, 0);
}

}  // namespace

#endif

Fiber* take_fiber(void (*entry)()) {
  Pool& all = pool();
  if (all.free.empty()) map_more(all);
  Fiber* fiber = all.free.back();
  all.free.pop_back();
  prepare(*fiber, entry);
  return fiber;
}

void give_fiber(Fiber* fiber) { pool().free.push_back(fiber); }

void give_all_fibers() {
  Pool& all = pool();
  if (all.free.size() == all.all.size()) return;
  all.free.clear();
  for (const auto& fiber : all.all) all.free.push_back(fiber.get());
}

bool is_below_stack(const void* address) {
  for (const unsigned char* begin : pool().regions) {
    const auto* at = static_cast<const unsigned char*>(address);
    if (at >= begin && at < begin + kSlots * kSlot) return (at - begin) % kSlot < kPage;
  }
  return false;
}

}  // namespace medkern::cuda::emulator
