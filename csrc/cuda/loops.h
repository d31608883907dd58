// Running over the elements of several tensors with any strides on the device.
//
// Order   a thread takes steps that lie a block's width apart, so that neighbors touch neighboring
//         memory; a step is 16 bytes of the largest operand where all are contiguous along the
//         innermost axis (or don't move along it), else an element.
// Work    a step's place is found by a multiplication and a shift per axis past the first.
// Memory  every operand once.
#pragma once

#include "cuda/half.h"
#include "cuda/walk.h"

namespace medkern::cuda {

// Elements that are loaded and stored together.
template <class T, int lanes>
struct alignas(sizeof(T) * lanes < 16 ? sizeof(T) * lanes : 16) Pack {
  T at[lanes];
};
template <int lanes, class T>
MK_INLINE Pack<T, lanes> load_pack(const T* p) {
  return *reinterpret_cast<const Pack<T, lanes>*>(p);
}
template <int lanes, class T>
MK_INLINE void store_pack(T* p, const Pack<T, lanes>& pack) {
  *reinterpret_cast<Pack<T, lanes>*>(p) = pack;
}

// Elements as they are computed with, and their way back, where those of 16 bits are rounded.
template <class T, int lanes>
MK_INLINE Pack<Wide<T>, lanes> widened(const Pack<T, lanes>& pack) {
  Pack<Wide<T>, lanes> wide;
#pragma unroll
  for (int i = 0; i < lanes; ++i) wide.at[i] = static_cast<Wide<T>>(pack.at[i]);
  return wide;
}
template <int lanes, class T>
MK_INLINE Pack<Wide<T>, lanes> load_wide(const T* p) {
  return widened(load_pack<lanes>(p));
}
template <class T, int lanes>
MK_INLINE Pack<T, lanes> rounded(const Pack<Wide<T>, lanes>& wide) {
  Pack<T, lanes> pack;
  if constexpr (is_half<T> && lanes % 2 == 0) {
    Pack<uint32_t, lanes / 2> pairs;
#pragma unroll
    for (int i = 0; i < lanes / 2; ++i) {
      pairs.at[i] = rounded_pair<T>(wide.at[2 * i], wide.at[2 * i + 1]);
    }
    pack = reinterpret_cast<const Pack<T, lanes>&>(pairs);
  } else {
#pragma unroll
    for (int i = 0; i < lanes; ++i) pack.at[i] = static_cast<T>(wide.at[i]);
  }
  return pack;
}
template <int lanes, class T>
MK_INLINE void store_rounded(T* p, const Pack<Wide<T>, lanes>& wide) {
  store_pack(p, rounded<T>(wide));
}

// The offsets of some steps in the first `used` operands. Steps past the
// last one give offsets that are not to be used.
template <int steps, int used, int operands>
MK_INLINE void find_steps(const Walk<operands>& walk, const uint32_t (&step)[steps],
                          int64_t (&offset)[steps][used]) {
  uint32_t rest[steps];
#pragma unroll
  for (int u = 0; u < steps; ++u) {
    rest[u] = step[u];
    for (int k = 0; k < used; ++k) offset[u][k] = 0;
  }
  const int last = walk.rank - 1;
#pragma unroll 1
  for (int axis = 0; axis < last; ++axis) {
#pragma unroll
    for (int u = 0; u < steps; ++u) {
      const uint32_t at = walk.size[axis].take(rest[u]);
      for (int k = 0; k < used; ++k) offset[u][k] += at * walk.stride[k][axis];
    }
  }
#pragma unroll
  for (int u = 0; u < steps; ++u) {
    for (int k = 0; k < used; ++k) offset[u][k] += rest[u] * walk.stride[k][last];
  }
}

// The thread's steps of a kernel that runs over the walk once.
template <int steps>
MK_INLINE void own_steps(uint32_t (&step)[steps]) {
#pragma unroll
  for (int u = 0; u < steps; ++u) {
    step[u] = (blockIdx.x * steps + u) * kWalkThreads + threadIdx.x;
  }
}

// What one step reads: a pack of every input.
template <int lanes, class... X>
struct Inputs {
  MK_INLINE void load(const int64_t*, const int64_t (*)[kMostAxes]) {}
  template <class F, class... Before>
  MK_INLINE auto apply(int, F f, Before... before) const {
    return f(before...);
  }
};
template <int lanes, class X, class... Rest>
struct Inputs<lanes, X, Rest...> {
  Pack<X, lanes> first;
  Inputs<lanes, Rest...> rest;

  MK_INLINE void load(const int64_t* offset, const int64_t (*stride)[kMostAxes], const X* x,
                      const Rest*... others) {
    if (lanes > 1 && stride[0][0] == 0) {
      const X value = x[offset[0]];
      for (int i = 0; i < lanes; ++i) first.at[i] = value;
    } else {
      first = load_pack<lanes>(x + offset[0]);
    }
    rest.load(offset + 1, stride + 1, others...);
  }
  // f of lane i of every input.
  template <class F, class... Before>
  MK_INLINE auto apply(int i, F f, Before... before) const {
    return rest.apply(i, f, before..., first.at[i]);
  }
};

template <int steps, int lanes, int operands, class F, class Y, class... X>
MK_INLINE void map_steps(const Walk<operands>& walk, F f, Y* y, const X*... x) {
  uint32_t step[steps];
  int64_t offset[steps][operands];
  own_steps(step);
  find_steps(walk, step, offset);
  Inputs<lanes, X...> in[steps];
#pragma unroll
  for (int u = 0; u < steps; ++u) {
    if (step[u] < walk.count) in[u].load(offset[u] + 1, walk.stride + 1, x...);
  }
#pragma unroll
  for (int u = 0; u < steps; ++u) {
    if (step[u] >= walk.count) continue;
    Pack<Y, lanes> result;
#pragma unroll
    for (int i = 0; i < lanes; ++i) result.at[i] = in[u].apply(i, f);
    store_pack<lanes>(y + offset[u][0], result);
  }
}

template <class... T>
constexpr size_t largest_size() {
  size_t largest = 1;
  ((largest = sizeof(T) > largest ? sizeof(T) : largest), ...);
  return largest;
}

// y = f(x...) for every element of the walk, whose operands are y, x... . y may be one of the x.
template <int operands, class F, class Y, class... X>
MK_INLINE void map_elements(const Walk<operands>& walk, F f, Y* y, const X*... x) {
  static_assert(operands == 1 + sizeof...(X));
  constexpr int lanes = vector_lanes(largest_size<Y, X...>());
  if (walk.lanes == 1) return map_steps<scalar_steps(operands), 1>(walk, f, y, x...);
  map_steps<kVectorSteps, lanes>(walk, f, y, x...);
  if (blockIdx.x == 0 && static_cast<int32_t>(threadIdx.x) < walk.tail) {
    int64_t offset[operands];
    for (int k = 0; k < operands; ++k) {
      offset[k] = walk.stride[k][0] != 0 ? int64_t{walk.count} * lanes + threadIdx.x : 0;
    }
    Inputs<1, X...> in;
    in.load(offset + 1, walk.stride + 1, x...);
    y[offset[0]] = in.apply(0, f);
  }
}

}  // namespace medkern::cuda
