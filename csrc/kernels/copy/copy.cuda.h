// Copies and padding: what the device's kernels are given.
#pragma once

#include "cuda/walk.h"

namespace medkern::cuda {

struct CopyKernelArgs {
  Walk<2> walk;  // y, x
  void* y;
  const void* x;
  int32_t to_bool;
};

struct FillKernelArgs {
  Walk<1> walk;
  void* y;
  double value;
  int32_t to_bool;
};

// y[o, j, i] = x[o, j, i], where y is contiguous along i and x along j. A block turns a tile of
// 2^i_bits by 2^j_bits elements, kTurned in all.
constexpr int kTurned = 4096, kTurnedThreads = 256;
struct TurnKernelArgs {
  void* y;
  const void* x;
  int32_t i_bits, j_bits;
  uint32_t i_size, j_size;
  int64_t x_step, y_step;    // of x along i, of y along j
  Divider i_tiles, j_tiles;  // tiles are numbered along i, then j, then the outer axes
  int32_t outer_rank;        // from the innermost
  Divider outer[kMostAxes];
  int64_t outer_x[kMostAxes], outer_y[kMostAxes];
};

// Axes from the innermost of y. Lengths along axis 0 are in vectors of `lanes` elements.
struct PadKernelArgs {
  void* y;
  const void* x;
  double value;
  int64_t count;  // of vectors of y, below 2^31
  int32_t rank, mode, lanes;
  Divider y_size[kMostAxes];
  int32_t x_size[kMostAxes], before[kMostAxes];
  int64_t x_stride[kMostAxes], y_stride[kMostAxes];
};

// Axes from the innermost of dx. count: of elements of dx.
struct UnpadKernelArgs {
  void* dx;
  const void* dy;
  int64_t count;
  int32_t rank, mode;
  Divider x_size[kMostAxes];
  int32_t y_size[kMostAxes], before[kMostAxes];
  int64_t x_stride[kMostAxes], y_stride[kMostAxes];
};

}  // namespace medkern::cuda
