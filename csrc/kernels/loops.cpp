#include "kernels/loops.h"

#include <utility>

namespace medkern {
namespace {

// Whether dimension `outer` of every operand continues where `inner` ends.
bool can_merge(const Loops& loops, int operands, int outer, int inner) {
  for (int k = 0; k < operands; ++k) {
    if (loops.stride[k][outer] != loops.stride[k][inner] * loops.size[inner]) return false;
  }
  return true;
}

void swap_dimensions(Loops& loops, int operands, int i, int j) {
  std::swap(loops.size[i], loops.size[j]);
  for (int k = 0; k < operands; ++k) std::swap(loops.stride[k][i], loops.stride[k][j]);
}

// Whether dimension i belongs outside of j: larger steps first, in the output before the inputs.
bool is_outer(const Loops& loops, int operands, int i, int j) {
  for (int k = 0; k < operands; ++k) {
    if (loops.stride[k][i] != loops.stride[k][j]) return loops.stride[k][i] > loops.stride[k][j];
  }
  return false;
}

}  // namespace

int broadcast_shape(const char* op, std::initializer_list<const TensorView*> operands,
                    int64_t shape[MK_MAX_RANK]) {
  int rank = 0;
  for (const TensorView* x : operands) rank = x->rank > rank ? x->rank : rank;
  for (int i = 0; i < rank; ++i) shape[i] = 1;
  for (const TensorView* x : operands) {
    for (int j = 0; j < x->rank; ++j) {
      int64_t& size = shape[rank - x->rank + j];
      require(size == x->shape[j] || size == 1 || x->shape[j] == 1, op, ": ", x->name, " of shape ",
              shape_text(*x), " does not broadcast with ", (*operands.begin())->name, " of shape ",
              shape_text(**operands.begin()));
      if (size == 1) size = x->shape[j];
    }
  }
  return rank;
}

Loops loops_over(std::initializer_list<const TensorView*> list) {
  const int operands = static_cast<int>(list.size());
  const TensorView* const* operand = list.begin();
  const TensorView& output = *operand[0];
  Loops loops{};
  for (int i = 0; i < output.rank; ++i) {
    if (output.shape[i] == 1) continue;
    loops.size[loops.rank] = output.shape[i];
    for (int k = 0; k < operands; ++k) {
      const int j = i - (output.rank - operand[k]->rank);
      const bool stretched = j < 0 || operand[k]->shape[j] == 1;
      loops.stride[k][loops.rank] = stretched ? 0 : operand[k]->strides[j];
    }
    // Insertion from the end keeps the order of equal steps.
    for (int j = loops.rank; j > 0 && is_outer(loops, operands, j, j - 1); --j) {
      swap_dimensions(loops, operands, j, j - 1);
    }
    ++loops.rank;
  }
  int last = 0;
  for (int i = 1; i < loops.rank; ++i) {
    if (can_merge(loops, operands, last, i)) {
      loops.size[last] *= loops.size[i];
      for (int k = 0; k < operands; ++k) loops.stride[k][last] = loops.stride[k][i];
    } else {
      swap_dimensions(loops, operands, ++last, i);
    }
  }
  if (loops.rank == 0) loops.size[0] = 1;
  loops.rank = last + 1;
  return loops;
}

}  // namespace medkern
