// Where an output lies in x and which elements it reads there, on the device; the formulas are
// those of places.simd.h and spline.simd.h.
#pragma once

#include "cuda/device.h"
#include "cuda/loops.h"
#include "cuda/reduce.h"
#include "kernels/resample/resample.cuda.h"

namespace medkern::cuda {

// The elements that a place reads along one axis.
template <class T>
struct Ends {
  int32_t index[2];
  T weight[2], slope[2];  // 0 where it is outside
  T inside;
};

template <class T>
struct Neighbors {
  int32_t offset[8];  // of a neighbor, in elements from that of pixel 0
  T weight[8];
  T outside;
};

// t brought to where elements are; `sign` is d result / d t.
template <class T>
MK_INLINE T brought_inside(const ResampleKernelArgs& a, T t, int32_t size, T& sign) {
  const T last = static_cast<T>(size - 1);
  const T limit = sizeof(T) == 4 ? static_cast<T>(1e9) : static_cast<T>(1e15);
  sign = 1;
  if (a.beyond == kBeyondConstant) {
    if (t < -2) t = -2;
    return t > last + 2 ? last + 2 : t;
  }
  if (a.beyond == kBeyondWrap) {
    const T period = static_cast<T>(size);
    T turns = t / period;
    if (turns > limit) turns = limit;
    if (turns < -limit) turns = -limit;
    t = fma(floor(turns), -period, t);
    return t < 0 || t >= period ? static_cast<T>(0) : t;
  }
  if (a.beyond == kBeyondReflection) {
    const T low = a.mirrors_at_centers ? static_cast<T>(0) : static_cast<T>(-0.5);
    const T span = static_cast<T>(a.mirrors_at_centers ? size - 1 : size);
    if (span == 0) {
      sign = 0;
      return t == t ? static_cast<T>(0) : t;
    }
    T from = t - low;
    const bool below = from < 0;
    if (below) from = -from;
    T flips = from / span;
    if (flips > limit) flips = limit;
    flips = floor(flips);
    const T rest = fma(flips, -span, from), half = floor(flips * static_cast<T>(0.5));
    const bool even = half + half == flips;
    t = (even ? rest : span - rest) + low;
    sign = even != below ? static_cast<T>(1) : static_cast<T>(-1);
  }
  if (!(t > 0 && t < last)) sign = 0;
  if (t < 0) t = 0;
  return t > last ? last : t;
}

template <class T>
MK_INLINE void find_end(const ResampleKernelArgs& a, T t, int32_t size, Ends<T>& e) {
  T sign;
  t = brought_inside(a, t, size, sign);
  const T number = t == t ? t : static_cast<T>(0);
  const T below = a.linear    ? floor(number)
                  : a.ties_up ? floor(number + static_cast<T>(0.5))
                              : rint(number);
  e.index[0] = static_cast<int32_t>(below);
  e.index[1] = e.index[0] + (a.linear ? 1 : 0);
  if (a.beyond == kBeyondWrap) {
    if (e.index[0] >= size) e.index[0] -= size;
    if (e.index[1] >= size) e.index[1] -= size;
  }
  e.weight[1] = a.linear ? t - below : static_cast<T>(0);
  e.weight[0] = a.linear ? 1 - e.weight[1] : t == t ? static_cast<T>(1) : t;
  e.slope[1] = a.linear ? sign : static_cast<T>(0);
  e.slope[0] = -e.slope[1];
  bool all = true;
#pragma unroll
  for (int i = 0; i < 2; ++i) {
    if (e.index[i] >= 0 && e.index[i] < size) continue;
    e.index[i] = 0;
    e.weight[i] = e.slope[i] = 0;
    all = false;
  }
  e.inside = all ? static_cast<T>(1) : e.weight[0] + e.weight[1];
}

// The control points that element o of an axis of y reads, and their weights.
template <class T>
struct Knots {
  int32_t first;
  T weight[4];
};

template <class T>
MK_INLINE Knots<T> knots_at(const ResampleKernelArgs& a, const ResampleAxis& axis, int32_t o) {
  const int32_t spans = axis.control - (a.cubic ? 3 : 1);
  const double at = axis.out > 1 ? static_cast<double>(o) * spans / (axis.out - 1) : 0;
  Knots<T> knots;
  knots.first = min(static_cast<int32_t>(at), spans - 1);
  const T f = static_cast<T>(at - knots.first), g = 1 - f;
  if (a.cubic) {
    const T sixth = static_cast<T>(1.0 / 6);
    knots.weight[0] = g * g * g * sixth;
    knots.weight[1] = ((3 * f - 6) * f * f + 4) * sixth;
    knots.weight[2] = ((3 * g - 6) * g * g + 4) * sixth;
    knots.weight[3] = f * f * f * sixth;
  } else {
    knots.weight[0] = g;
    knots.weight[1] = f;
    knots.weight[2] = knots.weight[3] = 0;
  }
  return knots;
}

// Adds the displacement of output (d, h, w) along all axes.
template <class T>
MK_INLINE void add_spline(const ResampleKernelArgs& a, uint32_t n, int32_t d, int32_t h, int32_t w,
                          T (&place)[3]) {
  const ResampleAxis &depth = a.axis[0], &height = a.axis[1], &width = a.axis[2];
  const int taps = a.cubic ? 4 : 2, layers = a.rank == 3 ? taps : 1;
  Knots<T> of_d = {0, {1, 0, 0, 0}};
  if (a.rank == 3) of_d = knots_at<T>(a, depth, d);
  const Knots<T> of_h = knots_at<T>(a, height, h), of_w = knots_at<T>(a, width, w);
  const int32_t points = depth.control * height.control * width.control;
  const T* point =
      static_cast<const T*>(a.displacement) + static_cast<int64_t>(n) * a.rank * points;
  T sum[3] = {0, 0, 0};
#pragma unroll 1
  for (int i = 0; i < layers; ++i) {
#pragma unroll 1
    for (int j = 0; j < taps; ++j) {
      T outer = 0;
#pragma unroll
      for (int k = 0; k < 4; ++k) {
#pragma unroll
        for (int l = 0; l < 4; ++l) {
          if (k == i && l == j) outer = of_d.weight[k] * of_h.weight[l];
        }
      }
      const int32_t line =
          ((of_d.first + i) * height.control + of_h.first + j) * width.control + of_w.first;
#pragma unroll
      for (int k = 0; k < 4; ++k) {
        if (k >= taps) continue;
        const T weight = outer * of_w.weight[k];
#pragma unroll
        for (int axis = 0; axis < 3; ++axis) {
          if (axis < 3 - a.rank) continue;
          sum[axis] = fma(weight, point[(axis - (3 - a.rank)) * points + line + k], sum[axis]);
        }
      }
    }
  }
#pragma unroll
  for (int axis = 0; axis < 3; ++axis) place[axis] += sum[axis];
}

// Coordinates in x of pixel `pixel` of sample n of y.
template <class T>
MK_INLINE void find_place(const ResampleKernelArgs& a, uint32_t n, uint32_t pixel, T (&place)[3]) {
  place[0] = 0;
  if (a.grid != nullptr) {
    const T* grid =
        static_cast<const T*>(a.grid) + (static_cast<int64_t>(n) * a.pixels + pixel) * a.rank;
#pragma unroll
    for (int axis = 0; axis < 3; ++axis) {
      if (axis < 3 - a.rank) continue;
      place[axis] = fma(grid[2 - axis], static_cast<T>(a.axis[axis].scale),
                        static_cast<T>(a.axis[axis].shift));
    }
    return;
  }
  uint32_t rest = pixel;
  const int32_t w = static_cast<int32_t>(a.by_width.take(rest));
  const int32_t h = static_cast<int32_t>(a.by_height.take(rest));
  const int32_t d = static_cast<int32_t>(rest);
  const int rank = a.rank;
  const double* matrix = a.matrix + static_cast<int64_t>(n) * rank * (rank + 1);
#pragma unroll
  for (int axis = 0; axis < 3; ++axis) {
    if (axis < 3 - rank) continue;
    const double* m = matrix + (axis - (3 - rank)) * (rank + 1);
    double at = fma(m[rank - 1], static_cast<double>(w), m[rank]);
    at = fma(m[rank - 2], static_cast<double>(h), at);
    if (rank == 3) at = fma(m[0], static_cast<double>(d), at);
    place[axis] = static_cast<T>(at);
  }
  if (a.displacement != nullptr) add_spline(a, n, d, h, w, place);
}

template <class T>
MK_INLINE void find_ends(const ResampleKernelArgs& a, const T (&place)[3], Ends<T> (&ends)[3]) {
  ends[0] = {{0, 0}, {1, 0}, {0, 0}, 1};
#pragma unroll
  for (int axis = 0; axis < 3; ++axis) {
    if (axis < 3 - a.rank) continue;
    find_end(a, place[axis], a.axis[axis].size, ends[axis]);
  }
}

template <class T>
MK_INLINE int32_t neighbor_offset(const ResampleKernelArgs& a, const Ends<T> (&ends)[3], int i,
                                  int j, int l) {
  return ((ends[0].index[i] * a.axis[1].size + ends[1].index[j]) * a.axis[2].size +
          ends[2].index[l]) *
         a.x_step;
}

template <class T>
MK_INLINE void find_neighbors(const ResampleKernelArgs& a, const T (&place)[3],
                              Neighbors<T>& near) {
  Ends<T> ends[3];
  find_ends(a, place, ends);
#pragma unroll
  for (int k = 0; k < 8; ++k) {
    const int i = k / 4, j = k / 2 % 2, l = k % 2;
    near.weight[k] = ends[0].weight[i] * (ends[1].weight[j] * ends[2].weight[l]);
    near.offset[k] = neighbor_offset(a, ends, i, j, l);
  }
  near.outside = 1 - ends[0].inside * ends[1].inside * ends[2].inside;
}

}  // namespace medkern::cuda
