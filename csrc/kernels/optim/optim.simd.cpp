// Optimizer steps on the CPU, in place.
//
//   SGD   g = grad + weight_decay p,  b = momentum b + (1 - dampening) g,
//         p -= lr (nesterov ? g + momentum b : b)
//   Adam  p *= kept,  g = grad + penalty p,  m = beta1 m + (1 - beta1) g,
//         v = beta2 v + (1 - beta2) g^2,  p -= rate m / (sqrt(v) root_scale + eps)
//
// One pass: every array is read once, and written once if it changes. Factors are computed in
// float64 and rounded to the arrays' dtype.
#include "kernels/optim/optim.h"

#include "core/parallel.h"
#include "cpu/lanes.h"

namespace medkern::MK_ISA {
namespace {

constexpr int64_t kChunk = 16384;  // elements of a task

// Calls step(offset, lanes) for every vector of the arrays, in parallel.
template <class T, class Step>
MK_INLINE void for_all(int64_t count, Step step) {
  parallel_for((count + kChunk - 1) / kChunk, count * 4, [&](int64_t task, int) {
    const int64_t begin = task * kChunk;
    for_each_vector<T>(smaller(kChunk, count - begin),
                       [&](int64_t i, int64_t lanes) { step(begin + i, lanes); });
  });
}

template <class T>
void sgd_step_of(const SgdArgs& a, const OptimItem& item) {
  using V = Vec<T>;
  T* param = static_cast<T*>(item.param);
  T* buffer = static_cast<T*>(item.state[0]);
  const T* grad = static_cast<const T*>(item.grad);
  const V rate(static_cast<T>(-a.lr)), decay(static_cast<T>(a.weight_decay));
  const V momentum(static_cast<T>(a.momentum)), fresh(static_cast<T>(1 - a.dampening));
  const bool decays = a.weight_decay != 0;
  for_all<T>(item.count, [&](int64_t i, int64_t lanes) {
    const V p = load_lanes(param + i, lanes);
    V g = load_lanes(grad + i, lanes);
    if (decays) g = fma(decay, p, g);
    if (buffer != nullptr) {
      const V b = fma(momentum, load_lanes(buffer + i, lanes), fresh * g);
      store_lanes(b, buffer + i, lanes);
      g = a.nesterov ? fma(momentum, b, g) : b;
    }
    store_lanes(fma(rate, g, p), param + i, lanes);
  });
}

template <class T>
void adam_step_of(const AdamArgs& a, const OptimItem& item) {
  using V = Vec<T>;
  T* param = static_cast<T*>(item.param);
  T* exp_avg = static_cast<T*>(item.state[0]);
  T* exp_avg_sq = static_cast<T*>(item.state[1]);
  const T* grad = static_cast<const T*>(item.grad);
  const V beta1(static_cast<T>(a.beta1)), fresh1(static_cast<T>(1 - a.beta1));
  const V beta2(static_cast<T>(a.beta2)), fresh2(static_cast<T>(1 - a.beta2));
  const V eps(static_cast<T>(a.eps)), root_scale(static_cast<T>(a.root_scale));
  const V rate(static_cast<T>(a.rate)), penalty(static_cast<T>(a.penalty));
  const V kept(static_cast<T>(a.kept));
  const bool decays = a.penalty != 0, shrinks = a.kept != 1;
  for_all<T>(item.count, [&](int64_t i, int64_t lanes) {
    V p = load_lanes(param + i, lanes);
    V g = load_lanes(grad + i, lanes);
    if (decays) g = fma(penalty, p, g);
    if (shrinks) p *= kept;
    const V m = fma(beta1, load_lanes(exp_avg + i, lanes), fresh1 * g);
    const V v = fma(beta2, load_lanes(exp_avg_sq + i, lanes), fresh2 * g * g);
    store_lanes(m, exp_avg + i, lanes);
    store_lanes(v, exp_avg_sq + i, lanes);
    store_lanes(p - rate * m / fma(sqrt(v), root_scale, eps), param + i, lanes);
  });
}

void sgd_step(const SgdArgs& a) {
  for (int64_t i = 0; i < a.items.count; ++i) {
    const OptimItem& item = a.items.items[i];
    a.items.dtype == Dtype::f32 ? sgd_step_of<float>(a, item) : sgd_step_of<double>(a, item);
  }
}

void adam_step(const AdamArgs& a) {
  for (int64_t i = 0; i < a.items.count; ++i) {
    const OptimItem& item = a.items.items[i];
    a.items.dtype == Dtype::f32 ? adam_step_of<float>(a, item) : adam_step_of<double>(a, item);
  }
}

}  // namespace

extern const OptimKernels optim_kernels;
constinit const OptimKernels optim_kernels = {
    .sgd_step = sgd_step,
    .adam_step = adam_step,
};

}  // namespace medkern::MK_ISA
