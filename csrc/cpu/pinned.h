// For loops over many pointers, in *.simd.cpp files.
#pragma once

#include "cpu/vec.h"

namespace medkern::MK_ISA {

// A pointer the compiler must keep in a register of its own: left to itself it would keep one per
// row of a tile and spill.
template <class T>
MK_INLINE const T* pinned(const T* p) {
  __asm__("" : "+r"(p));
  return p;
}

}  // namespace medkern::MK_ISA
