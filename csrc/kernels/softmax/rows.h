// Softmax along short rows of adjacent numbers: a row at a time, in registers, its sums and largest
// value by folding vectors. To be included by *.simd.cpp files only.
#pragma once

#include "cpu/stream.h"
#include "kernels/softmax/softmax.h"
#include "kernels/softmax/strips.h"

namespace medkern::MK_ISA {

constexpr int kMostRowVectors = 4;
// Shorter rows are turned, so that a vector holds as many of them as it has lanes.
constexpr int64_t kShortestRow = 5;

template <class T>
MK_INLINE bool has_short_rows(const SoftmaxShape& s) {
  return s.inner == 1 && s.axis >= kShortestRow && s.axis <= kMostRowVectors * Vec<T>::kLanes;
}

// The larger of a and b; either if one is NaN, which the sum of the row will be then too.
MK_INLINE Vec<float> larger_of(Vec<float> a, Vec<float> b) { return detail::at_least(a, b); }
MK_INLINE Vec<double> larger_of(Vec<double> a, Vec<double> b) {
  return select<double>(a > b, a, b);
}

// Lanes i and i + half trade places.
template <int half, class T>
MK_INLINE Vec<T> swapped(Vec<T> v) {
  typename Vec<T>::Mask order;
  for (int i = 0; i < Vec<T>::kLanes; ++i) order[i] = i ^ half;
  return typename Vec<T>::Native(__builtin_shuffle(v.v, order));
}

// All lanes folded into one value, which every lane then has: halves first.
template <class T, class Fold>
MK_INLINE Vec<T> folded(Vec<T> v, Fold fold) {
  if constexpr (Vec<T>::kLanes > 8) v = fold(v, swapped<8>(v));
  if constexpr (Vec<T>::kLanes > 4) v = fold(v, swapped<4>(v));
  if constexpr (Vec<T>::kLanes > 2) v = fold(v, swapped<2>(v));
  return fold(v, swapped<1>(v));
}

// fold over the vectors of a row, and then over their lanes.
template <int kVectors, class T, class Fold>
MK_INLINE Vec<T> row_folded(const Vec<T> (&x)[kVectors], Fold fold) {
  Vec<T> all = x[0];
  for (int k = 1; k < kVectors; ++k) all = fold(all, x[k]);
  return folded(all, fold);
}

// Where a row lies: kVectors vectors, the last of `lanes` lanes.
template <int kVectors, class T>
struct Row {
  int64_t lanes;
  bool streams;

  // What is beyond the row is `rest`.
  MK_INLINE void load(const T* from, T rest, Vec<T> (&x)[kVectors]) const {
    constexpr int64_t kLanes = Vec<T>::kLanes;
    for (int k = 0; k < kVectors - 1; ++k) x[k] = Vec<T>::load(from + k * kLanes);
    const T* last = from + (kVectors - 1) * kLanes;
    __builtin_prefetch(last + kFetchAhead<T>);  // it may be masked
    x[kVectors - 1] =
        lanes == kLanes ? Vec<T>::load(last) : load_chosen(last, (1u << lanes) - 1, rest);
  }

  MK_INLINE void store(const Vec<T> (&x)[kVectors], T* to) const {
    for (int k = 0; k < kVectors; ++k) {
      put(x[k], to + k * Vec<T>::kLanes, k + 1 < kVectors ? Vec<T>::kLanes : lanes, streams);
    }
  }
};

template <int kVectors, class T>
MK_INLINE void forward_short_row(const Row<kVectors, T>& row, const T* x, T* y, bool logarithmic) {
  using V = Vec<T>;
  V value[kVectors], power[kVectors];
  row.load(x, T(-__builtin_inf()), value);
  const V m = row_folded(value, [](V a, V b) { return larger_of(a, b); });
  for (int k = 0; k < kVectors; ++k) power[k] = exp(value[k] - m);
  const V s = row_folded(power, [](V a, V b) { return a + b; });
  if (logarithmic) {
    const V log_s = log(s);
    for (int k = 0; k < kVectors; ++k) power[k] = (value[k] - m) - log_s;
  } else {
    const V share = V(T(1)) / s;
    for (int k = 0; k < kVectors; ++k) power[k] = power[k] * share;
  }
  row.store(power, y);
}

template <int kVectors, class T>
MK_INLINE void backward_short_row(const Row<kVectors, T>& row, const T* y, const T* dy, T* dx,
                                  bool logarithmic) {
  using V = Vec<T>;
  V value[kVectors], g[kVectors], term[kVectors];
  row.load(y, T(0), value);
  row.load(dy, T(0), g);
  for (int k = 0; k < kVectors; ++k) term[k] = logarithmic ? g[k] : g[k] * value[k];
  const V s = row_folded(term, [](V a, V b) { return a + b; });
  for (int k = 0; k < kVectors; ++k) {
    term[k] = logarithmic ? fma(-exp(value[k]), s, g[k]) : value[k] * (g[k] - s);
  }
  row.store(term, dx);
}

// Calls visit(a Row with as many vectors as rows of the axis have).
template <class T, class Visit>
MK_INLINE void with_row(int64_t axis, bool streams, Visit visit) {
  const int64_t vectors = divide_up(axis, Vec<T>::kLanes);
  const int64_t lanes = axis - (vectors - 1) * Vec<T>::kLanes;
  vectors == 1   ? visit(Row<1, T>{lanes, streams})
  : vectors == 2 ? visit(Row<2, T>{lanes, streams})
  : vectors == 3 ? visit(Row<3, T>{lanes, streams})
                 : visit(Row<4, T>{lanes, streams});
}

}  // namespace medkern::MK_ISA
