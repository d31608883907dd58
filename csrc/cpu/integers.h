// Integer arithmetic of loops. To be included by *.simd.cpp files only, as cpu/vec.h.
#pragma once

#include "cpu/vec.h"

namespace medkern::MK_ISA {

MK_INLINE int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }
MK_INLINE int64_t larger(int64_t a, int64_t b) { return a > b ? a : b; }
MK_INLINE int64_t divide_up(int64_t a, int64_t b) { return (a + b - 1) / b; }

}  // namespace medkern::MK_ISA
