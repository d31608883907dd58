// Which variant of a kernel takes what elements: the same list for all families whose kernels read
// vectors of 16 bytes where they can.
#pragma once

#include "core/dtype.h"
#include "cuda/launch.h"

namespace medkern::cuda {

// Vectors of four float32, float32, float64, vectors of eight bfloat16, bfloat16.
using Variants = Kernel[5];
#define MK_VARIANTS(file, name) \
  {{file, name "_f32x4"},       \
   {file, name "_f32"},         \
   {file, name "_f64"},         \
   {file, name "_bf16x8"},      \
   {file, name "_bf16"}}

// The same without vectors.
using Types = Kernel[3];
#define MK_TYPES(file, name) {{file, name "_f32"}, {file, name "_f64"}, {file, name "_bf16"}}

// Of what is float32 beside bfloat16: parameters and statistics.
using WideTypes = Kernel[2];
#define MK_WIDE_TYPES(file, name) {{file, name "_f32"}, {file, name "_f64"}}

// Elements of a vector of 16 bytes; 1 of those that have no such kernels.
constexpr int64_t lanes_of(Dtype dtype) {
  return dtype == Dtype::f32 ? 4 : dtype == Dtype::bf16 ? 8 : 1;
}

constexpr int variant_of(Dtype dtype, bool vectors) {
  const int scalar = dtype == Dtype::f32 ? 1 : dtype == Dtype::f64 ? 2 : 4;
  return vectors ? scalar - 1 : scalar;
}
constexpr int type_of(Dtype dtype) { return dtype == Dtype::f32 ? 0 : dtype == Dtype::f64 ? 1 : 2; }
constexpr int wide_type_of(Dtype dtype) { return dtype == Dtype::f64 ? 1 : 0; }

// What elements are computed with.
constexpr size_t wide_size_of(Dtype dtype) { return dtype == Dtype::f64 ? 8 : 4; }

}  // namespace medkern::cuda
