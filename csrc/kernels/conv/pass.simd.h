// Rows of pixels by number.
#pragma once

#include "cpu/integers.h"

namespace medkern::MK_ISA {

// Offset of row number `row` of n, d, h.
MK_INLINE int64_t row_offset(const int64_t count[4], const int64_t step[4], int64_t row) {
  const int64_t h = row % count[2], d = row / count[2] % count[1], n = row / count[2] / count[1];
  return n * step[0] + d * step[1] + h * step[2];
}

}  // namespace medkern::MK_ISA
