#include "cuda/fault.h"

#include <cstring>
#include <mutex>
#include <string>
#include <vector>

#include "core/status.h"
#include "cuda/runtime.h"

namespace medkern::cuda {
namespace {

struct Fault {
  const char *op, *argument;
  int64_t low, high;
};

std::mutex mutex;
std::vector<Fault>& faults() {
  static auto* all = new std::vector<Fault>;  // number n is element n - 1
  return *all;
}

}  // namespace

uint32_t* fault_word() {
  static uint32_t* word = [] {
    void* memory = nullptr;
    expect_success(runtime()->cudaHostAlloc(&memory, 64, kHostPortable | kHostMapped),
                   "memory shared with the host");
    std::memset(memory, 0, 64);
    return static_cast<uint32_t*>(memory);
  }();
  return word;
}

uint32_t fault_number(const char* op, const char* argument, int64_t low, int64_t high) {
  std::lock_guard<std::mutex> lock(mutex);
  uint32_t number = 0;
  for (Fault& fault : faults()) {
    ++number;
    if (std::strcmp(fault.op, op) == 0 && std::strcmp(fault.argument, argument) == 0) {
      fault.low = low, fault.high = high;
      return number;
    }
  }
  faults().push_back({op, argument, low, high});
  return number + 1;
}

void expect_no_fault() {
  auto* word = reinterpret_cast<volatile uint32_t*>(fault_word());
  const uint32_t number = *word;
  if (number == 0) return;
  *word = 0;
  std::lock_guard<std::mutex> lock(mutex);
  const Fault fault = faults()[number - 1];
  fail(MK_INVALID_ARGUMENT, fault.op, ": ", fault.argument, " must be in ", fault.low, " .. ",
       fault.high, ", found by a kernel that ran before");
}

}  // namespace medkern::cuda
