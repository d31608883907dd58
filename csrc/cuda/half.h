// The 16-bit floats as kernels store them. Kernels that are templates over T compute in Wide<T>.
#pragma once

#include "cuda/device.h"

namespace medkern::cuda {

// 11 bits of precision, up to 65504.
struct float16 {
  uint16_t bits;

  float16() = default;
  MK_INLINE explicit float16(float x) : bits(static_cast<uint16_t>(to_f16x2(x, 0))) {}
  MK_INLINE operator float() const { return from_f16(bits); }
};

// The upper half of a float32: 8 bits of precision.
struct bfloat16 {
  uint16_t bits;

  bfloat16() = default;
  MK_INLINE explicit bfloat16(float x) : bits(static_cast<uint16_t>(to_bf16x2(x, 0))) {}
  MK_INLINE operator float() const { return __uint_as_float(uint32_t{bits} << 16); }
};

template <class T>
constexpr bool is_half = false;
template <>
constexpr bool is_half<float16> = true;
template <>
constexpr bool is_half<bfloat16> = true;

// What is computed with where elements are stored as T.
template <class T>
struct WideOf {
  using Type = T;
};
template <>
struct WideOf<float16> {
  using Type = float;
};
template <>
struct WideOf<bfloat16> {
  using Type = float;
};
template <class T>
using Wide = typename WideOf<T>::Type;

// Two numbers rounded at once, the first in the lower half.
template <class T>
MK_INLINE uint32_t rounded_pair(float low, float high);
template <>
MK_INLINE uint32_t rounded_pair<float16>(float low, float high) {
  return to_f16x2(low, high);
}
template <>
MK_INLINE uint32_t rounded_pair<bfloat16>(float low, float high) {
  return to_bf16x2(low, high);
}

// A float32 that rounds to the same 16-bit number as x: where x lies between two float32 the one
// whose last bit is set, which is never a tie.
MK_INLINE float odd_float(double x) {
  const float near = static_cast<float>(x);
  const double back = near, size = x < 0 ? -x : x, near_size = back < 0 ? -back : back;
  uint32_t bits = __float_as_uint(near);
  if (near_size > size) --bits;  // toward zero
  return back == x || x != x ? near : __uint_as_float(bits | 1u);
}
MK_INLINE float odd_float(float x) { return x; }

}  // namespace medkern::cuda
