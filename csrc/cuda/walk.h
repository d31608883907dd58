// The loops of an element-wise kernel as the device takes them; kernels/loops.cuda.h makes them of
// kernels/loops.h on the host, cuda/loops.h runs over them on the device.
#pragma once

#include "cuda/divide.h"
#include "cuda/types.h"

namespace medkern::cuda {

constexpr int kMostAxes = 8;

// Threads of a block that runs over a Walk, and steps that each of them takes: all its loads are on
// their way before the first result is stored. A block is started for every such stretch, rather
// than a fixed number of blocks that loop: then it doesn't matter how many of them fit at once.
constexpr int kWalkThreads = 256;
constexpr int kVectorSteps = 2;
constexpr int scalar_steps(int operands) { return operands > 3 ? 2 : 4; }

// Elements of a vector: 16 bytes of the operands' largest type.
constexpr int vector_lanes(size_t largest_item) { return static_cast<int>(16 / largest_item); }

// Axes are numbered from the innermost. A step is an element, or a vector along axis 0.
template <int operands>
struct Walk {
  uint32_t count;                       // of steps, below 2^31
  int32_t rank;                         // at least 1
  int32_t lanes;                        // elements of a step
  int32_t tail;                         // elements past the last whole vector, where rank is 1
  Divider size[kMostAxes];              // in steps; not used for the outermost
  int64_t stride[operands][kMostAxes];  // elements from step to step; 0 where an operand is spread
};

}  // namespace medkern::cuda
