// From Loops to what element-wise kernels on the device run over.
#pragma once

#include "core/status.h"
#include "cuda/align.h"
#include "cuda/walk.h"
#include "kernels/loops.h"

namespace medkern::cuda {

// A kernel's numbers of steps are 32-bit, and go past the last one by less than a block's.
constexpr int64_t kMostSteps = INT32_MAX;

struct Operand {
  const void* data;
  size_t item;  // bytes of an element
};

// Loops in steps of `lanes` elements along the innermost axis. A walk along a single axis may leave
// a tail, along several the innermost size is a multiple of lanes.
template <int operands>
Walk<operands> walk_in_steps(const Loops& loops, int lanes) {
  const int inner = loops.rank - 1;
  Walk<operands> walk{};
  walk.rank = loops.rank;
  walk.lanes = lanes;
  walk.tail = static_cast<int32_t>(loops.size[inner] % lanes);
  int64_t count = 1;
  for (int axis = 0; axis < loops.rank; ++axis) {
    const int i = inner - axis, step = axis == 0 ? lanes : 1;
    const int64_t size = loops.size[i] / step;
    count *= size;
    require(count <= kMostSteps,
            "CUDA kernels go over at most 2^31 - 1 elements at once, or vectors of 16 bytes where "
            "memory is contiguous");
    if (size > 0) walk.size[axis] = divider(static_cast<uint32_t>(size));
    for (int k = 0; k < operands; ++k) walk.stride[k][axis] = loops.stride[k][i] * step;
  }
  walk.count = static_cast<uint32_t>(count);
  return walk;
}

// Whether steps can be vectors of `lanes` elements: every operand moves by single elements along
// the innermost axis or not at all, and none of its vectors starts at an unaligned address.
template <int operands>
bool takes_vectors(const Loops& loops, const Operand (&operand)[operands], int lanes) {
  const int inner = loops.rank - 1;
  bool vectors = loops.rank == 1 || loops.size[inner] % lanes == 0;
  for (int k = 0; k < operands; ++k) {
    const int64_t along = loops.stride[k][inner];
    if (along == 0 && k > 0) continue;
    vectors = vectors && along == 1 && is_aligned(operand[k].data, lanes * operand[k].item);
    for (int i = 0; i < inner; ++i) vectors = vectors && loops.stride[k][i] % lanes == 0;
  }
  return vectors;
}

// Steps are vectors of 16 bytes of the largest item wherever memory allows.
template <int operands>
Walk<operands> walk_over(const Loops& loops, const Operand (&operand)[operands]) {
  size_t largest = 1;
  for (const Operand& o : operand) largest = o.item > largest ? o.item : largest;
  const int lanes = vector_lanes(largest);
  return walk_in_steps<operands>(loops, takes_vectors(loops, operand, lanes) ? lanes : 1);
}

// Blocks of kWalkThreads threads for it.
template <int operands>
uint32_t walk_blocks(const Walk<operands>& walk) {
  const int64_t each = kWalkThreads * (walk.lanes > 1 ? kVectorSteps : scalar_steps(operands));
  const int64_t blocks = divide_up(walk.count, each);
  return static_cast<uint32_t>(blocks > 0 ? blocks : 1);
}

}  // namespace medkern::cuda
