// Means, sums of squares and sums of products of short stretches of memory, for the normalization
// kernels. To be included by *.simd.cpp files only.
//
// A stretch is short enough (kNormRunChunk numbers, or kNormColumnChunk rows) for its second
// reading to hit the cache and for its float32 sums to keep their digits; stretches are merged in
// float64.
#pragma once

#include "cpu/lanes.h"

namespace medkern::MK_ISA {

// mean, and m2 = sum of (x - mean)^2.
struct Moments {
  double mean, m2;
};

// Moments of `a` and `b` together (Chan, Golub, LeVeque), which cover na and nb numbers; nb > 0.
MK_INLINE Moments merged(Moments a, double na, Moments b, double nb) {
  const double share = nb / (na + nb), delta = b.mean - a.mean;
  return {a.mean + delta * share, a.m2 + b.m2 + delta * delta * (na * share)};
}

// Sums of 4 accumulators, so that additions overlap and each sees a quarter of the terms.
template <class T>
struct Sum4 {
  Vec<T> part[4] = {Vec<T>::zero(), Vec<T>::zero(), Vec<T>::zero(), Vec<T>::zero()};
  MK_INLINE Vec<T> total() const { return (part[0] + part[1]) + (part[2] + part[3]); }
};

// Calls visit(row, which) for 0 .. rows - 1, `which` being the accumulator of a Sum4 to use.
template <class Visit>
MK_INLINE void for_each_row4(int64_t rows, Visit visit) {
  int64_t r = 0;
  for (; r + 4 <= rows; r += 4) {
    visit(r, 0);
    visit(r + 1, 1);
    visit(r + 2, 2);
    visit(r + 3, 3);
  }
  for (; r < rows; ++r) visit(r, 0);
}

// `shift` is a first guess of the mean, rounded to T; s and q are the sums of (x - shift) and
// (x - shift)^2 of n numbers. x - shift is exact or nearly so wherever the spread is small against
// the mean, which is where it matters.
MK_INLINE Moments moments_from_shift(double shift, double s, double q, double n) {
  const double m2 = q - s * s / n;
  return {shift + s / n, m2 < 0 ? 0 : m2};
}

// Of n contiguous numbers, 0 < n <= kNormRunChunk.
template <class T>
MK_INLINE Moments run_moments(const T* x, int64_t n) {
  using V = Vec<T>;
  constexpr int64_t kLanes = V::kLanes;
  const int64_t blocks = n / (4 * kLanes), rest = blocks * 4 * kLanes;
  Sum4<T> first;
  for (int64_t b = 0; b < blocks; ++b)
    for (int k = 0; k < 4; ++k) first.part[k] += V::load(x + (4 * b + k) * kLanes);
  for_each_vector<T>(n - rest,
                     [&](int64_t i, int64_t m) { first.part[0] += load_lanes(x + rest + i, m); });
  const T shift = sum(first.total()) / static_cast<T>(n);

  Sum4<T> s, q;
  const V center(shift);
  for (int64_t b = 0; b < blocks; ++b)
    for (int k = 0; k < 4; ++k) {
      const V d = V::load(x + (4 * b + k) * kLanes) - center;
      s.part[k] += d;
      q.part[k] = fma(d, d, q.part[k]);
    }
  for_each_vector<T>(n - rest, [&](int64_t i, int64_t m) {
    V d = load_lanes(x + rest + i, m) - center;
    for (int64_t lane = m; lane < kLanes; ++lane) d.v[lane] = 0;
    s.part[0] += d;
    q.part[0] = fma(d, d, q.part[0]);
  });
  return moments_from_shift(shift, sum(s.total()), sum(q.total()), static_cast<double>(n));
}

// Of each of `lanes` adjacent columns over `rows` rows, 0 < rows. Memory that will be read soon,
// `rows` vectors from `next` on, is fetched meanwhile: in order, where columns would skip.
template <class T>
MK_INLINE void column_moments(const T* x, int64_t rows, int64_t stride, int64_t lanes,
                              const T* next, double* mean, double* m2) {
  using V = Vec<T>;
  Sum4<T> first, s, q;
  for_each_row4(rows, [&](int64_t r, int k) {
    __builtin_prefetch(next + r * V::kLanes);
    first.part[k] += load_lanes(x + r * stride, lanes);
  });
  const V shift = first.total() / V(static_cast<T>(rows));
  for_each_row4(rows, [&](int64_t r, int k) {
    const V d = load_lanes(x + r * stride, lanes) - shift;
    s.part[k] += d;
    q.part[k] = fma(d, d, q.part[k]);
  });
  const V s_total = s.total(), q_total = q.total();
  for (int64_t i = 0; i < lanes; ++i) {
    const Moments m =
        moments_from_shift(shift[i], s_total[i], q_total[i], static_cast<double>(rows));
    mean[i] = m.mean;
    m2[i] = m.m2;
  }
}

}  // namespace medkern::MK_ISA
