// Optimizer steps on the device, in place.
//
//   SGD   g = grad + weight_decay p,  b = momentum b + (1 - dampening) g,
//         p -= lr (nesterov ? g + momentum b : b)
//   Adam  p *= kept,  g = grad + penalty p,  m = beta1 m + (1 - beta1) g,
//         v = beta2 v + (1 - beta2) g^2,  p -= rate m / (sqrt(v) root_scale + eps)
//
// One launch for many parameters, each with blocks of its own. One pass, 16 bytes of every array at
// a time: each is read once, and written once if it changes. Where a parameter is wanted in
// bfloat16 as well, it is rounded while it is at hand. Numerics  the CPU's operations in the CPU's
// order; factors are rounded to the arrays' dtype.
#include "cuda/loops.h"
#include "kernels/optim/optim.cuda.h"

namespace medkern::cuda {
namespace {

// The parameter of this block.
MK_INLINE int own_parameter(const ParameterList& list) {
  int at = 0;
#pragma unroll
  for (int step = kMostParameters / 2; step > 0; step /= 2) {
    if (at + step < list.used && list.of[at + step].first_block <= blockIdx.x) at += step;
  }
  return at;
}

// Calls vector(offset) for the thread's vector of the arrays and single(offset) for its element of
// those left over, or of all where arrays aren't aligned: there are threads enough.
template <int lanes, class Vector, class Single>
MK_INLINE void for_own(const OptimArrays& own, Vector vector, Single single) {
  const int64_t count = own.count;
  const int64_t thread = int64_t{blockIdx.x - own.first_block} * kWalkThreads + threadIdx.x;
  const int64_t vectors = own.aligned != 0 ? count / lanes : 0;
  if (thread < vectors) vector(thread * lanes);
  const int64_t left = vectors * lanes + thread;
  if (left < count) single(left);
}

template <int lanes, class T>
MK_INLINE void store_rounded(void* rounded, int64_t i, const Pack<T, lanes>& p) {
  if constexpr (sizeof(T) == sizeof(float)) {
    if (rounded != nullptr) store_rounded(static_cast<bfloat16*>(rounded) + i, p);
  }
}

template <class T>
struct Sgd {
  T rate, decay, momentum, fresh;
  bool decays, has_buffer, nesterov;

  MK_INLINE void step(T& p, T& b, T g) const {
    if (decays) g = fma(decay, p, g);
    if (has_buffer) {
      b = fma(momentum, b, fresh * g);
      g = nesterov ? fma(momentum, b, g) : b;
    }
    p = fma(rate, g, p);
  }
};

template <int lanes, class T>
MK_INLINE void sgd_lanes(const Sgd<T>& sgd, const OptimArrays& own, int64_t at) {
  T *param = static_cast<T*>(own.param) + at, *buffer = static_cast<T*>(own.state[0]) + at;
  const T* grad = static_cast<const T*>(own.grad) + at;
  auto p = load_pack<lanes>(static_cast<const T*>(param));
  const auto g = load_pack<lanes>(grad);
  auto b = sgd.has_buffer ? load_pack<lanes>(static_cast<const T*>(buffer)) : g;
#pragma unroll
  for (int i = 0; i < lanes; ++i) sgd.step(p.at[i], b.at[i], g.at[i]);
  store_pack<lanes>(param, p);
  if (sgd.has_buffer) store_pack<lanes>(buffer, b);
  store_rounded(own.rounded, at, p);
}

template <class T>
MK_INLINE void sgd_step(const SgdKernelArgs& a) {
  constexpr int lanes = vector_lanes(sizeof(T));
  const Sgd<T> sgd{static_cast<T>(-a.lr),
                   static_cast<T>(a.weight_decay),
                   static_cast<T>(a.momentum),
                   static_cast<T>(a.fresh),
                   a.weight_decay != 0,
                   a.has_buffer != 0,
                   a.nesterov != 0};
  const OptimArrays& own = a.list.of[own_parameter(a.list)];
  for_own<lanes>(
      own, [&](int64_t i) { sgd_lanes<lanes>(sgd, own, i); },
      [&](int64_t i) { sgd_lanes<1>(sgd, own, i); });
}

template <class T>
struct Adam {
  T beta1, fresh1, beta2, fresh2, eps, penalty, kept, rate, root_scale;
  bool decays, shrinks;

  MK_INLINE void step(T& p, T& m, T& v, T g) const {
    if (decays) g = fma(penalty, p, g);
    if (shrinks) p *= kept;
    m = fma(beta1, m, fresh1 * g);
    v = fma(beta2, v, fresh2 * g * g);
    p -= rate * m / fma(sqrt(v), root_scale, eps);
  }
};

template <int lanes, class T>
MK_INLINE void adam_lanes(const Adam<T>& adam, const OptimArrays& own, int64_t at) {
  T *param = static_cast<T*>(own.param) + at, *exp_avg = static_cast<T*>(own.state[0]) + at;
  T* exp_avg_sq = static_cast<T*>(own.state[1]) + at;
  const T* grad = static_cast<const T*>(own.grad) + at;
  auto p = load_pack<lanes>(static_cast<const T*>(param));
  auto m = load_pack<lanes>(static_cast<const T*>(exp_avg));
  auto v = load_pack<lanes>(static_cast<const T*>(exp_avg_sq));
  const auto g = load_pack<lanes>(grad);
#pragma unroll
  for (int i = 0; i < lanes; ++i) adam.step(p.at[i], m.at[i], v.at[i], g.at[i]);
  store_pack<lanes>(param, p);
  store_pack<lanes>(exp_avg, m);
  store_pack<lanes>(exp_avg_sq, v);
  store_rounded(own.rounded, at, p);
}

template <class T>
MK_INLINE void adam_step(const AdamKernelArgs& a) {
  constexpr int lanes = vector_lanes(sizeof(T));
  const Adam<T> adam{static_cast<T>(a.beta1),
                     static_cast<T>(a.fresh1),
                     static_cast<T>(a.beta2),
                     static_cast<T>(a.fresh2),
                     static_cast<T>(a.eps),
                     static_cast<T>(a.penalty),
                     static_cast<T>(a.kept),
                     static_cast<T>(a.rate),
                     static_cast<T>(a.root_scale),
                     a.penalty != 0,
                     a.kept != 1};
  const OptimArrays& own = a.list.of[own_parameter(a.list)];
  for_own<lanes>(
      own, [&](int64_t i) { adam_lanes<lanes>(adam, own, i); },
      [&](int64_t i) { adam_lanes<1>(adam, own, i); });
}

}  // namespace

MK_KERNEL(optim_sgd_f32, SgdKernelArgs, 256) { sgd_step<float>(args); }
MK_KERNEL(optim_sgd_f64, SgdKernelArgs, 256) { sgd_step<double>(args); }
MK_KERNEL(optim_adam_f32, AdamKernelArgs, 256) { adam_step<float>(args); }
MK_KERNEL(optim_adam_f64, AdamKernelArgs, 256) { adam_step<double>(args); }

}  // namespace medkern::cuda
