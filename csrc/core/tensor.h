// The one checking layer: turns the caller's DLTensor into a checked TensorView, or fails with a
// message that names the argument, what was expected and what came.
#pragma once

#include <cstdint>
#include <ostream>

#include "core/dtype.h"
#include "core/status.h"
#include "medkern/base.h"

namespace medkern {

// A tensor whose sizes, strides and byte count are known to be sound.
struct TensorView {
  const char* name;  // of the argument, for messages
  void* data;
  Dtype dtype;
  DLDevice device;
  int rank;
  int64_t shape[MK_MAX_RANK];
  int64_t strides[MK_MAX_RANK];  // in elements, none negative
  int64_t count;                 // product of the shape

  template <class T>
  T* as() const {
    return static_cast<T*>(data);
  }
};

// Checks that `tensor` is present, has at most MK_MAX_RANK dimensions, a known dtype, sizes and
// strides that are not negative, and a byte extent that fits 64 bits.
TensorView view(const char* op, const char* name, const DLTensor* tensor);

// The same for an argument that may be NULL: then data is nullptr and rank 0.
TensorView optional_view(const char* op, const char* name, const DLTensor* tensor);

// "(2, 3, 8, 8)", written only when a message is: every check passes one along.
struct ShapeText {
  int rank;
  const int64_t* shape;
};
std::ostream& operator<<(std::ostream& out, const ShapeText& text);
inline ShapeText shape_text(int rank, const int64_t* shape) { return {rank, shape}; }
inline ShapeText shape_text(const TensorView& x) { return {x.rank, x.shape}; }

void expect_rank(const char* op, const TensorView& x, int rank);
void expect_shape(const char* op, const TensorView& x, int rank, const int64_t* shape);
void expect_same_shape(const char* op, const TensorView& x, const TensorView& like);
// float32 or float64.
void expect_float(const char* op, const TensorView& x);
// On a CUDA device float16 and bfloat16 as well.
void expect_float_or_half(const char* op, const TensorView& x);
// On a CUDA device bfloat16 as well.
void expect_float_or_bfloat(const char* op, const TensorView& x);
// Anything but float16 and bfloat16.
void expect_wide(const char* op, const TensorView& x);
void expect_dtype(const char* op, const TensorView& x, Dtype dtype);
void expect_same_dtype(const char* op, const TensorView& x, const TensorView& like);
void expect_same_device(const char* op, const TensorView& x, const TensorView& like);
void expect_contiguous(const char* op, const TensorView& x);
// Contiguous or channels-last.
void expect_dense(const char* op, const TensorView& x);
// Contiguous, channels-last, or some channels of a channels-last image.
void expect_image_layout(const char* op, const TensorView& x);
// The same strides, where a dimension has more than one element: one offset finds an element in
// both. Both have the same shape.
void expect_same_layout(const char* op, const TensorView& x, const TensorView& like);
// Fails if the memory extents of the two meet.
void expect_no_overlap(const char* op, const TensorView& output, const TensorView& input);
// Fails if they meet, unless they are the same elements in the same memory: for operations that
// may run in place.
void expect_same_or_no_overlap(const char* op, const TensorView& output, const TensorView& input);
// No two elements of an output share memory.
void expect_distinct(const char* op, const TensorView& output);
// A size at least 1, an index below size, ...: `value` within [low, high].
void expect_range(const char* op, const char* name, int64_t value, int64_t low, int64_t high);
// `desc` is present and its struct_size at least `bytes`.
void expect_descriptor(const char* op, const void* desc, size_t struct_size, size_t bytes);
// `bytes` of scratch memory were passed where `needed` are.
void expect_workspace(const char* op, const void* workspace, size_t bytes, size_t needed);

bool is_contiguous(const TensorView& x);
// Channels vary fastest: (N, C, spatial...) in shape, (N, spatial..., C) in memory.
bool is_channels_last(const TensorView& x);
// Some of the channels of such an image: the same, but with other channels between the pixels.
bool is_channel_slice(const TensorView& x);

// Product and sum that fail with MK_OUT_OF_MEMORY when they leave 64 bits; the factors are not
// negative.
int64_t checked_mul(const char* op, int64_t a, int64_t b);
int64_t checked_add(const char* op, int64_t a, int64_t b);

// Copies `rank` sizes to a caller's output_shape argument.
void give_shape(const char* op, int64_t* output, int rank, const int64_t* shape);

}  // namespace medkern
