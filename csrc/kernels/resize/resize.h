// Resizing: what the kernels are given once every argument has been checked.
#pragma once

#include "core/dtype.h"
#include "kernels/image.h"

namespace medkern {

struct ResizeArgs {
  Dtype dtype;
  bool linear;  // else nearest
  bool align_corners;
  double ratio[3];  // elements of x per element of y
  Image x;          // dx in the backward pass
  Image y;          // dy in the backward pass
};

struct ResizeKernels {
  void (*forward)(const ResizeArgs&);
  void (*backward)(const ResizeArgs&);
};

}  // namespace medkern
