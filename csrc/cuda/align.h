// Where memory starts, as the host looks at it to choose how wide a kernel's accesses are.
#pragma once

#include <cstddef>
#include <cstdint>
#include <initializer_list>

namespace medkern::cuda {

// At a multiple of `bytes`; 16 are the most that a thread reads or writes at once.
inline bool is_aligned(const void* memory, size_t bytes = 16) {
  return reinterpret_cast<uintptr_t>(memory) % bytes == 0;
}

// All of them at multiples of 16; what isn't there (nullptr) doesn't count.
inline bool are_aligned(std::initializer_list<const void*> memory) {
  bool all = true;
  for (const void* one : memory) all = all && is_aligned(one);
  return all;
}

}  // namespace medkern::cuda
