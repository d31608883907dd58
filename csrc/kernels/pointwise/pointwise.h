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

struct BinaryArgs {
  mk_binary_op op;
  Dtype dtype;  // f32 or f64
  Loops loops;  // y, a, b
  void* y;
  const void* a;
  const void* b;
};

struct CompareArgs {
  mk_compare_op op;
  Dtype dtype;  // of a and b
  Loops loops;  // y, a, b
  uint8_t* y;
  const void* a;
  const void* b;
};

struct WhereArgs {
  size_t item;  // bytes of an element of a, b and y: 1, 4 or 8
  Loops loops;  // y, mask, a, b
  void* y;
  const uint8_t* mask;
  const void* a;
  const void* b;
};

struct BinaryKernels {
  void (*binary)(const BinaryArgs&);
  void (*compare)(const CompareArgs&);
  void (*where)(const WhereArgs&);
};

struct UnaryKernels {
  void (*forward)(const UnaryArgs&);
  void (*backward)(const UnaryArgs&);
};

}  // namespace medkern
