#include "cuda/emulator/guard.h"

#include <dlfcn.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <ucontext.h>

#include <cstdint>
#include <cstdio>

#include "cuda/emulator/memory.h"

namespace medkern::cuda::emulator {
namespace {

constexpr int kSignals[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL};
constexpr size_t kStack = 64 << 10;

// Of the one guarded run at a time.
sigjmp_buf landing;
struct sigaction before[4];
pthread_t runner;
volatile int caught;
void* volatile caught_address;
void* volatile caught_instruction;
volatile bool caught_code, caught_write;

void handle(int number, siginfo_t* info, void* context) {
  if (pthread_equal(runner, pthread_self()) == 0) {
    // Another thread's, which is no business of the emulator: it fails again, as it would have.
    for (int i = 0; i < 4; ++i) {
      if (kSignals[i] == number) sigaction(number, &before[i], nullptr);
    }
    return;
  }
  if (number == SIGSEGV && open_memory(info->si_addr)) return;
  caught = number;
  caught_address = info->si_addr;
  // Without an address it is one of no page at all, or misaligned.
  caught_code = info->si_code == SI_KERNEL;
#if defined(__x86_64__)
  const auto& registers = static_cast<const ucontext_t*>(context)->uc_mcontext.gregs;
  caught_write = (registers[REG_ERR] & 2) != 0;
  caught_instruction = reinterpret_cast<void*>(registers[REG_RIP]);
#else
  static_cast<void>(context);
#endif
  siglongjmp(landing, 1);
}

// Where in the library it was, for its line numbers to be looked up.
std::string instruction() {
  Dl_info info;
  if (dladdr(caught_instruction, &info) == 0) return "";
  char text[32];
  const auto offset = static_cast<char*>(caught_instruction) - static_cast<char*>(info.dli_fbase);
  std::snprintf(text, sizeof text, "%#zx", static_cast<size_t>(offset));
  return std::string(" (instruction ") + text + " of " + info.dli_fname + ")";
}

Trap trap_of(std::string& report) {
  if (caught == SIGFPE) {
    report = "a division of integers by zero, or one that overflows";
    return Trap::arithmetic;
  }
  if (caught != SIGSEGV || caught_code) {
    report = "a misaligned address, or one that can't be";
    return Trap::misaligned;
  }
  report = std::string(caught_write ? "a write to " : "a read of ") +
           describe_address(caught_address) + instruction();
  return Trap::address;
}

}  // namespace

Trap run_guarded(void (*run)(void*), void* context, std::string& report) {
  static auto* stack = new unsigned char[kStack];
  runner = pthread_self();
  stack_t mine{}, others{};
  mine.ss_sp = stack;
  mine.ss_size = kStack;
  sigaltstack(&mine, &others);
  struct sigaction action{};
  action.sa_sigaction = handle;
  action.sa_flags = SA_SIGINFO | SA_ONSTACK;
  sigemptyset(&action.sa_mask);
  for (int i = 0; i < 4; ++i) sigaction(kSignals[i], &action, &before[i]);
  Trap trap = Trap::none;
  if (sigsetjmp(landing, 1) == 0) {
    run(context);
  } else {
    trap = trap_of(report);
  }
  for (int i = 0; i < 4; ++i) sigaction(kSignals[i], &before[i], nullptr);
  sigaltstack(&others, nullptr);
  std::string spilled;
  close_memory(spilled);
  if (trap == Trap::none && !spilled.empty()) {
    report = spilled;
    trap = Trap::spilled;
  }
  return trap;
}

}  // namespace medkern::cuda::emulator
