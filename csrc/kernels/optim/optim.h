// Optimizer steps: what the kernels are given once every argument has been checked.
#pragma once

#include "core/dtype.h"

namespace medkern {

// A parameter and what goes with it: arrays of `count` elements in one order.
struct OptimItem {
  int64_t count;
  void* param;
  const void* grad;
  void* state[2];  // SGD: the buffer, which may be nullptr; Adam: exp_avg and exp_avg_sq
  void* rounded;   // gets param in bfloat16, or nullptr; on CUDA devices only
};

// Of one dtype; either all have a buffer or none has.
struct OptimItems {
  Dtype dtype;
  const OptimItem* items;
  int64_t count;
};

struct SgdArgs {
  OptimItems items;
  double lr, momentum, dampening, weight_decay;
  bool nesterov;
};

struct AdamArgs {
  OptimItems items;
  double beta1, beta2, eps;
  double penalty;     // added to the gradient per unit of param: weight_decay, or 0 if decoupled
  double kept;        // factor of param: 1, or 1 - lr weight_decay if decoupled
  double rate;        // lr / (1 - beta1^step)
  double root_scale;  // 1 / sqrt(1 - beta2^step)
};

struct OptimKernels {
  void (*sgd_step)(const SgdArgs&);
  void (*adam_step)(const AdamArgs&);
};

}  // namespace medkern
