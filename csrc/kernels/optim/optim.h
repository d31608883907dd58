// Optimizer steps: what the kernels are given once every argument has been checked. All arrays have
// `count` elements in one order.
#pragma once

#include "core/dtype.h"

namespace medkern {

struct SgdArgs {
  Dtype dtype;
  int64_t count;
  void *param, *buffer;  // buffer may be nullptr
  const void* grad;
  double lr, momentum, dampening, weight_decay;
  bool nesterov;
};

struct AdamArgs {
  Dtype dtype;
  int64_t count;
  void *param, *exp_avg, *exp_avg_sq;
  const void* grad;
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
