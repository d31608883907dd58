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
#include "cpu/vec.h"

namespace medkern::MK_ISA {
namespace {

constexpr int64_t kChunk = 16384;  // elements of a task

// Calls step(offset, lanes) for every vector of the arrays, in parallel.
template <class T, class Step>
MK_INLINE void for_all(int64_t count, Step step) {
  constexpr int64_t kLanes = Vec<T>::kLanes;
  parallel_for((count + kChunk - 1) / kChunk, count * 4, [&](int64_t task, int) {
    const int64_t begin = task * kChunk, end = begin + kChunk < count ? begin + kChunk : count;
    int64_t i = begin;
    for (; i + kLanes <= end; i += kLanes) step(i, kLanes);
    if (i < end) step(i, end - i);
  });
}

template <class T>
MK_INLINE Vec<T> load(const T* p, int64_t lanes) {
  return lanes == Vec<T>::kLanes ? Vec<T>::load(p) : Vec<T>::load(p, lanes);
}

template <class T>
MK_INLINE void store(Vec<T> value, T* p, int64_t lanes) {
  lanes == Vec<T>::kLanes ? value.store(p) : value.store(p, lanes);
}

template <class T>
void sgd_step_of(const SgdArgs& a) {
  using V = Vec<T>;
  T* param = static_cast<T*>(a.param);
  T* buffer = static_cast<T*>(a.buffer);
  const T* grad = static_cast<const T*>(a.grad);
  const V rate(static_cast<T>(-a.lr)), decay(static_cast<T>(a.weight_decay));
  const V momentum(static_cast<T>(a.momentum)), fresh(static_cast<T>(1 - a.dampening));
  const bool decays = a.weight_decay != 0;
  for_all<T>(a.count, [&](int64_t i, int64_t lanes) {
    const V p = load(param + i, lanes);
    V g = load(grad + i, lanes);
    if (decays) g = fma(decay, p, g);
    if (buffer != nullptr) {
      const V b = fma(momentum, load(buffer + i, lanes), fresh * g);
      store(b, buffer + i, lanes);
      g = a.nesterov ? fma(momentum, b, g) : b;
    }
    store(fma(rate, g, p), param + i, lanes);
  });
}

template <class T>
void adam_step_of(const AdamArgs& a) {
  using V = Vec<T>;
  T* param = static_cast<T*>(a.param);
  T* exp_avg = static_cast<T*>(a.exp_avg);
  T* exp_avg_sq = static_cast<T*>(a.exp_avg_sq);
  const T* grad = static_cast<const T*>(a.grad);
  const V beta1(static_cast<T>(a.beta1)), fresh1(static_cast<T>(1 - a.beta1));
  const V beta2(static_cast<T>(a.beta2)), fresh2(static_cast<T>(1 - a.beta2));
  const V eps(static_cast<T>(a.eps)), root_scale(static_cast<T>(a.root_scale));
  const V rate(static_cast<T>(a.rate)), penalty(static_cast<T>(a.penalty));
  const V kept(static_cast<T>(a.kept));
  const bool decays = a.penalty != 0, shrinks = a.kept != 1;
  for_all<T>(a.count, [&](int64_t i, int64_t lanes) {
    V p = load(param + i, lanes);
    V g = load(grad + i, lanes);
    if (decays) g = fma(penalty, p, g);
    if (shrinks) p *= kept;
    const V m = fma(beta1, load(exp_avg + i, lanes), fresh1 * g);
    const V v = fma(beta2, load(exp_avg_sq + i, lanes), fresh2 * g * g);
    store(m, exp_avg + i, lanes);
    store(v, exp_avg_sq + i, lanes);
    store(p - rate * m / fma(sqrt(v), root_scale, eps), param + i, lanes);
  });
}

void sgd_step(const SgdArgs& a) {
  a.dtype == Dtype::f32 ? sgd_step_of<float>(a) : sgd_step_of<double>(a);
}

void adam_step(const AdamArgs& a) {
  a.dtype == Dtype::f32 ? adam_step_of<float>(a) : adam_step_of<double>(a);
}

}  // namespace

extern const OptimKernels optim_kernels;
constinit const OptimKernels optim_kernels = {
    .sgd_step = sgd_step,
    .adam_step = adam_step,
};

}  // namespace medkern::MK_ISA
