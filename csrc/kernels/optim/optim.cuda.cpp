// CUDA kernels of the optimizer steps: what the checked arguments come to on the device.
#include "kernels/optim/optim.cuda.h"

#include "cuda/align.h"
#include "cuda/launch.h"
#include "kernels/optim/optim.h"

namespace medkern::cuda {
namespace {

// For float32 and float64.
Kernel sgds[2] = {{"optim", "optim_sgd_f32"}, {"optim", "optim_sgd_f64"}};
Kernel adams[2] = {{"optim", "optim_adam_f32"}, {"optim", "optim_adam_f64"}};

// A thread for every vector, or for every element of arrays that aren't aligned.
Grid grid_for(int64_t count, Dtype dtype, bool aligned) {
  const int64_t each = aligned ? kWalkThreads * vector_lanes(size_of(dtype)) : kWalkThreads;
  return {static_cast<uint32_t>(divide_up(count, each))};
}

void sgd_step(const SgdArgs& a) {
  const SgdKernelArgs p{a.param,
                        a.buffer,
                        a.grad,
                        a.count,
                        a.lr,
                        a.momentum,
                        1 - a.dampening,
                        a.weight_decay,
                        a.nesterov,
                        are_aligned({a.param, a.buffer, a.grad})};
  launch(sgds[a.dtype == Dtype::f64], grid_for(a.count, a.dtype, p.aligned != 0), kWalkThreads, 0,
         p);
}

void adam_step(const AdamArgs& a) {
  AdamKernelArgs p{};
  p.param = a.param;
  p.exp_avg = a.exp_avg;
  p.exp_avg_sq = a.exp_avg_sq;
  p.grad = a.grad;
  p.count = a.count;
  p.beta1 = a.beta1;
  p.fresh1 = 1 - a.beta1;
  p.beta2 = a.beta2;
  p.fresh2 = 1 - a.beta2;
  p.eps = a.eps;
  p.penalty = a.penalty;
  p.kept = a.kept;
  p.rate = a.rate;
  p.root_scale = a.root_scale;
  p.aligned = are_aligned({a.param, a.exp_avg, a.exp_avg_sq, a.grad});
  launch(adams[a.dtype == Dtype::f64], grid_for(a.count, a.dtype, p.aligned != 0), kWalkThreads, 0,
         p);
}

}  // namespace

extern const OptimKernels optim_kernels;
constinit const OptimKernels optim_kernels = {
    .sgd_step = sgd_step,
    .adam_step = adam_step,
};

}  // namespace medkern::cuda
