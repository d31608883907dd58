// Running code that may touch memory it mustn't, and coming back from it with a report.
#pragma once

#include <string>

namespace medkern::cuda::emulator {

enum class Trap { none, address, misaligned, arithmetic, spilled };

// Runs it with the device's memory within reach. What stops it: an address out of bounds or
// misaligned, a division of integers by zero; `report` then tells which. A write past an
// allocation's end into what alignment leaves free is found when it is done (`spilled`).
Trap run_guarded(void (*run)(void*), void* context, std::string& report);

template <class F>
Trap run_guarded(F&& body, std::string& report) {
  return run_guarded([](void* context) { (*static_cast<F*>(context))(); }, &body, report);
}

}  // namespace medkern::cuda::emulator
