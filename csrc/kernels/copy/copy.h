// Copies and padding: what the kernels are given once every argument has been checked.
#pragma once

#include "core/tensor.h"
#include "kernels/loops.h"
#include "medkern/copy.h"

namespace medkern {

struct CopyArgs {
  Loops loops;  // over y, x
  void* y;
  const void* x;
  Dtype y_dtype, x_dtype;
  bool to_bool;  // y, of one-byte elements, holds truth values
};

struct FillArgs {
  Loops loops;  // over y
  void* y;
  Dtype dtype;
  double value;
  bool to_bool;
};

struct PadArgs {
  Dtype dtype;
  int rank;
  mk_pad_mode mode;
  double value;
  int64_t before[MK_MAX_RANK];
  // x is the smaller side (dx in the backward pass), y the padded one (dy).
  int64_t x_size[MK_MAX_RANK], x_stride[MK_MAX_RANK];
  int64_t y_size[MK_MAX_RANK], y_stride[MK_MAX_RANK];
  void* x;
  void* y;
};

struct CopyKernels {
  void (*copy)(const CopyArgs&);
  void (*fill)(const FillArgs&);
  void (*pad)(const PadArgs&);
  void (*pad_backward)(const PadArgs&);
};

}  // namespace medkern
