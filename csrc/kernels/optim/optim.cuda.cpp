// CUDA kernels of the optimizer steps: what the checked arguments come to on the device.
#include "kernels/optim/optim.cuda.h"

#include "core/status.h"
#include "cuda/align.h"
#include "cuda/launch.h"
#include "kernels/optim/optim.h"

namespace medkern::cuda {
namespace {

// For float32 and float64.
Kernel sgds[2] = {{"optim", "optim_sgd_f32"}, {"optim", "optim_sgd_f64"}};
Kernel adams[2] = {{"optim", "optim_adam_f32"}, {"optim", "optim_adam_f64"}};

// Blocks of a parameter: a thread for every vector, or for every element of arrays that aren't
// aligned.
int64_t blocks_of(const OptimItem& item, Dtype dtype, bool aligned) {
  return divide_up(item.count,
                   aligned ? kWalkThreads * vector_lanes(size_of(dtype)) : kWalkThreads);
}

// Starts the kernel for all items, as many at a time as its arguments hold.
template <class Args>
void launch_all(Kernel (&kernels)[2], const OptimItems& all, Args& p) {
  int64_t blocks = 0;
  const auto start = [&] {
    launch(kernels[all.dtype == Dtype::f64], {static_cast<uint32_t>(blocks)}, kWalkThreads, 0, p);
    p.list.used = 0;
    blocks = 0;
  };
  for (int64_t i = 0; i < all.count; ++i) {
    const OptimItem& item = all.items[i];
    if (item.count == 0) continue;
    const bool aligned =
        are_aligned({item.param, item.grad, item.state[0], item.state[1], item.rounded});
    const int64_t own = blocks_of(item, all.dtype, aligned);
    require(own <= INT32_MAX, "a CUDA kernel's step takes up to 2^31 blocks of elements");
    if (p.list.used == kMostParameters || blocks + own > INT32_MAX) start();
    p.list.of[p.list.used++] = {item.param,   item.grad,  {item.state[0], item.state[1]},
                                item.rounded, item.count, static_cast<uint32_t>(blocks),
                                aligned};
    blocks += own;
  }
  if (p.list.used > 0) start();
}

void sgd_step(const SgdArgs& a) {
  SgdKernelArgs p{};
  p.lr = a.lr;
  p.momentum = a.momentum;
  p.fresh = 1 - a.dampening;
  p.weight_decay = a.weight_decay;
  p.has_buffer = a.items.items[0].state[0] != nullptr;
  p.nesterov = a.nesterov;
  launch_all(sgds, a.items, p);
}

void adam_step(const AdamArgs& a) {
  AdamKernelArgs p{};
  p.beta1 = a.beta1;
  p.fresh1 = 1 - a.beta1;
  p.beta2 = a.beta2;
  p.fresh2 = 1 - a.beta2;
  p.eps = a.eps;
  p.penalty = a.penalty;
  p.kept = a.kept;
  p.rate = a.rate;
  p.root_scale = a.root_scale;
  launch_all(adams, a.items, p);
}

}  // namespace

extern const OptimKernels optim_kernels;
constinit const OptimKernels optim_kernels = {
    .sgd_step = sgd_step,
    .adam_step = adam_step,
};

}  // namespace medkern::cuda
