// Softmax and cross-entropy on CUDA: what the host gives the device.
#pragma once

#include "cuda/divide.h"
#include "cuda/types.h"

namespace medkern::cuda {

constexpr int kSoftmaxThreads = 256;
// Threads that take a row of medium length.
constexpr int kRowGroup = 8;
// Numbers of a row that a thread keeps in registers: of one that it takes alone, with a group, or
// with a warp or block.
constexpr int kNumbersAlone = 16, kNumbersOfGroup = 8, kRowNumbers = 32;

// Memory [outer][axis][inner]; an element is a pair (outer, inner).
struct SoftmaxKernelArgs {
  int64_t elements, inner;
  uint32_t axis;
  bool logarithmic;
  bool vectors;  // copies 16 bytes at once; then the numbers of a tile have no gaps
  // Tiles of up to `tile` elements with their axis, in shared memory: the number (a, e) lies at
  // a * step + e * pitch. Of inner 1 there are `tiles` in all, else for each outer index.
  uint32_t tile, step, pitch;
  Divider by_tiles, by_axis, by_tile;  // by_tile: by the copies that make a row of `tile` numbers
  const void *x, *dy;                  // backward of softmax: y in x's place
  void* y;                             // dx in the backward pass
};

struct CrossEntropyKernelArgs {
  SoftmaxKernelArgs softmax;  // of the logits
  const void *target, *weight;
  int32_t target_bytes;  // 8, 4 or 1
  uint32_t* fault;       // gets this number if a target is neither a class nor ignored
  uint32_t fault_number;
  int64_t ignore_index;
  double smoothing, smoothing_each;  // e and e / C
  void* losses;                      // one per element, or nullptr
  double* partials;                  // [block][2]: sums of losses and of weight[target]
  uint32_t blocks;
  void* loss;  // reduced, or nullptr
  double* total_weight;
  bool mean;
  // Backward only.
  const void* dloss;
  bool dloss_per_element;
};

}  // namespace medkern::cuda
