// Pointwise operations: what the kernels are given once every argument has been checked.
#pragma once

#include "core/dtype.h"
#include "kernels/loops.h"
#include "medkern/pointwise.h"

namespace medkern {

struct UnaryArgs {
  mk_unary_op op;
  Dtype dtype;  // f32 or f64
  double a, b;
  Loops loops;        // forward: y, x; backward: dx, dy, saved
  void* y;            // dx
  const void* x;      // dy
  const void* saved;  // backward only
};

struct UnaryKernels {
  void (*forward)(const UnaryArgs&);
  void (*backward)(const UnaryArgs&);
};

}  // namespace medkern
