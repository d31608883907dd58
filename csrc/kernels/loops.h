// The loops of an operation that goes over tensors element by element: the dimensions of the output
// with the strides of every operand, ordered and merged so that the innermost loop is as long as
// the memory allows.
#pragma once

#include <cstdint>
#include <initializer_list>

#include "core/tensor.h"

namespace medkern {

constexpr int kMostOperands = 4;

struct Loops {
  int rank;                   // at least 1
  int64_t size[MK_MAX_RANK];  // outermost first; none is 1 unless it is the only one
  int64_t stride[kMostOperands][MK_MAX_RANK];  // in elements; 0 where an operand is broadcast
};

// The shape the operands broadcast to: aligned at the last dimension, a size of 1 stretches. Gives
// its rank.
int broadcast_shape(const char* op, std::initializer_list<const TensorView*> operands,
                    int64_t shape[MK_MAX_RANK]);

// The loops over operands of which the first, the output, has the full shape and the others
// broadcast to it. The order follows the output's strides.
Loops loops_over(std::initializer_list<const TensorView*> operands);

}  // namespace medkern
