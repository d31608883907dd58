// Softmax and cross-entropy: what the kernels are given once every argument has been checked.
#pragma once

#include "core/dtype.h"
#include "core/tensor.h"

namespace medkern {

// Memory [outer][axis][inner] without gaps, the sums running over axis. An element is a pair
// (outer, inner). A task takes `block` elements, which share their outer index unless inner is 1.
struct SoftmaxShape {
  Dtype dtype;
  int64_t outer, axis, inner;
  int64_t block, tasks;
};

// Of the dense tensor x, which has elements, along its dimension dim.
SoftmaxShape softmax_shape(const TensorView& x, int dim);

struct SoftmaxArgs {
  SoftmaxShape shape;
  bool logarithmic;
  const void *x, *dy;  // backward: y in x's place
  void* y;             // backward: dx
};

struct SoftmaxKernels {
  void (*forward)(const SoftmaxArgs&);
  void (*backward)(const SoftmaxArgs&);
};

// Element i of targets and losses is element i of the shape.
struct CrossEntropyArgs {
  SoftmaxShape shape;
  Dtype target_dtype;
  int64_t ignore_index;
  double smoothing;
  const void *logits, *target, *weight;
  void* losses;          // one per element, or nullptr
  void* loss;            // their sum, or mean, or nullptr
  double* total_weight;  // the sum of weight[target]; read by the backward pass
  bool mean;             // the loss is the sum of losses over total_weight, 0 where that is 0
  double* partials;      // [CrossEntropyKernels::partials][2]: sums of losses and of weight[target]
  // Backward only.
  const void* dloss;
  bool dloss_per_element;
  void* dlogits;
};

struct CrossEntropyKernels {
  // The kernels look at targets themselves: on a CUDA device a fault is reported by
  // synchronization. Else targets are checked before.
  bool check_targets;
  // How many partial sums there are of each kind.
  int64_t (*partials)(const SoftmaxShape&);
  void (*forward)(const CrossEntropyArgs&);
  void (*backward)(const CrossEntropyArgs&);
};

}  // namespace medkern
