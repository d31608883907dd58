// The data types kernels know. Most take float32 and float64; indices and masks are integers. The
// 16-bit types are for storage: what computes with them sums in float32.
#pragma once

#include <cstddef>
#include <cstdint>

namespace medkern {

enum class Dtype : uint8_t { f32, f64, i32, i64, u8, f16, bf16 };

constexpr bool is_half(Dtype dtype) { return dtype == Dtype::f16 || dtype == Dtype::bf16; }

constexpr size_t size_of(Dtype dtype) {
  return dtype == Dtype::u8                           ? 1
         : is_half(dtype)                             ? 2
         : dtype == Dtype::f32 || dtype == Dtype::i32 ? 4
                                                      : 8;
}

const char* name_of(Dtype dtype);

}  // namespace medkern
