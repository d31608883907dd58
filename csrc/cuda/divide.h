// Division by sizes.
//
// Divider: division of 32-bit numbers by one that is known before the kernel starts: a
// multiplication, an addition and a shift, where the device's division takes some twenty
// instructions.
//
// q = floor(a / d) = (high(a m) + a) >> s with s = ceil(log2 d) and
// m = floor(2^32 (2^s - d) / d) + 1, for all a < 2^31.
// Source: Granlund and Montgomery, Division by invariant integers using multiplication, 1994.
#pragma once

#include "cuda/types.h"

namespace medkern::cuda {

// The least whole number not below a / b, of numbers that are not negative.
inline int64_t divide_up(int64_t a, int64_t b) { return (a + b - 1) / b; }

struct Divider {
  uint32_t divisor, multiplier, shift;

  uint32_t quotient(uint32_t a) const {
    const uint32_t high = static_cast<uint32_t>((uint64_t{a} * multiplier) >> 32);
    return (high + a) >> shift;
  }
  uint32_t remainder(uint32_t a) const { return a - quotient(a) * divisor; }
  // a becomes the quotient; gives the remainder: takes the last axis off a flat index.
  uint32_t take(uint32_t& a) const {
    const uint32_t whole = quotient(a), rest = a - whole * divisor;
    a = whole;
    return rest;
  }
};

// On the host; `divisor` is in 1 .. 2^31 - 1.
inline Divider divider(uint32_t divisor) {
  uint32_t shift = 0;
  while ((uint64_t{1} << shift) < divisor) ++shift;
  const uint64_t multiplier =
      ((uint64_t{1} << 32) * ((uint64_t{1} << shift) - divisor)) / divisor + 1;
  return {divisor, static_cast<uint32_t>(multiplier), shift};
}

}  // namespace medkern::cuda
