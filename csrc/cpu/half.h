// The 16-bit floats as they are stored: to float32 exactly, from it to the nearest, ties to even.
//
// float16 has 11 bits of precision and reaches 65504; bfloat16 is the upper half of a float32, with
// 8 bits. In whole numbers, so that loops over them become vectors; the denormal numbers of float16
// are right although float32's are flushed to zero. NaN stays NaN.
//
// To be included by *.simd.cpp files only, as cpu/vec.h.
#pragma once

#include "cpu/vec.h"

namespace medkern::MK_ISA {
namespace {

struct Float16 {
  uint16_t bits;
};
struct Bfloat16 {
  uint16_t bits;
};

template <class T>
constexpr bool is_half_type = false;
template <>
constexpr bool is_half_type<Float16> = true;
template <>
constexpr bool is_half_type<Bfloat16> = true;

MK_INLINE uint32_t bits_of(float x) { return __builtin_bit_cast(uint32_t, x); }
MK_INLINE float float_of(uint32_t bits) { return __builtin_bit_cast(float, bits); }

MK_INLINE float to_float(Bfloat16 x) { return float_of(uint32_t{x.bits} << 16); }

MK_INLINE void from_float(float x, Bfloat16& half) {
  const uint32_t bits = bits_of(x);
  const uint32_t rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
  const uint32_t nan = bits >> 16 | 0x40u;
  half.bits = static_cast<uint16_t>((bits & 0x7fffffffu) > 0x7f800000u ? nan : rounded);
}

constexpr uint32_t kLeastNormal = 0x38800000u;  // of float16: 2^-14

MK_INLINE float to_float(Float16 x) {
  const uint32_t sign = uint32_t{x.bits & 0x8000u} << 16, size = x.bits & 0x7fffu;
  const uint32_t normal = (size << 13) + ((127u - 15u) << 23);
  const uint32_t odd = (size << 13) | 0x7f800000u;  // infinity and NaN
  // size 2^-24 = (2^-14 + size 2^-24) - 2^-14
  const uint32_t denormal = bits_of(float_of(kLeastNormal + (size << 13)) - float_of(kLeastNormal));
  return float_of(sign | (size >= 0x7c00u ? odd : size < 0x400u ? denormal : normal));
}

MK_INLINE void from_float(float x, Float16& half) {
  const uint32_t bits = bits_of(x), sign = (bits >> 16) & 0x8000u, size = bits & 0x7fffffffu;
  const uint32_t normal = (size - ((127u - 15u) << 23) + 0xfffu + ((size >> 13) & 1u)) >> 13;
  // 0.5 has the unit of float16's denormal numbers: the sum rounds to them.
  const uint32_t denormal = bits_of(float_of(size) + 0.5f) - bits_of(0.5f);
  const uint32_t nan = 0x7e00u | ((size >> 13) & 0x3ffu);
  const uint32_t result = size > 0x7f800000u    ? nan
                          : size >= 0x477ff000u ? 0x7c00u  // from 65520 on
                          : size < kLeastNormal ? denormal
                                                : normal;
  half.bits = static_cast<uint16_t>(sign | result);
}

// A float32 that rounds to the same 16-bit number as x: where x lies between two float32 the one
// whose last bit is set, which is never a tie.
MK_INLINE float odd_float(double x) {
  const float near = static_cast<float>(x);
  const double back = near;
  const double size = x < 0 ? -x : x, near_size = back < 0 ? -back : back;
  uint32_t bits = bits_of(near);
  if (near_size > size) --bits;  // toward zero
  return back == x || x != x ? near : float_of(bits | 1u);
}
MK_INLINE float odd_float(float x) { return x; }
template <class Integer>
MK_INLINE float odd_float(Integer x) {
  return odd_float(static_cast<double>(x));
}

}  // namespace
}  // namespace medkern::MK_ISA
