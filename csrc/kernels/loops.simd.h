// Running over Loops: in runs of the innermost dimension, cut into tasks by shape.
//
// To be included by *.simd.cpp files only, as cpu/vec.h.
#pragma once

#include "core/parallel.h"
#include "cpu/stream.h"
#include "kernels/loops.h"

namespace medkern::MK_ISA {

// Elements of a task: a 32nd of all, so that they are shared evenly, but enough to be worth handing
// over and no more than it takes for a long stretch of memory (where 65536 instead of 8192 are 1.4
// times as fast).
constexpr int64_t kLeastTask = 8192, kMostTask = 65536;
MK_INLINE int64_t task_elements(int64_t all) {
  const int64_t share = all / 32 / kLeastTask * kLeastTask;
  return share < kLeastTask ? kLeastTask : share > kMostTask ? kMostTask : share;
}

// Calls body(offset, n) for runs of at most n elements of the innermost dimension; offset[k] is
// where the run begins in operand k. `cost` is the work per element (see parallel_for).
template <int operands, class Body>
MK_INLINE void for_each_run(const Loops& loops, int64_t cost, Body body) {
  const int inner = loops.rank - 1;
  const int64_t length = loops.size[inner];
  int64_t rows = 1;
  for (int i = 0; i < inner; ++i) rows *= loops.size[i];
  const int64_t each = task_elements(rows * length);
  const int64_t pieces = length > each ? (length - 1) / each + 1 : 1;
  const int64_t task_rows = length < each ? each / length : 1;
  const int64_t row_tasks = (rows + task_rows - 1) / task_rows;
  parallel_for(row_tasks * pieces, rows * length * cost, [&](int64_t task, int) {
    const int64_t first = task / pieces * task_rows, begin = task % pieces * each;
    const int64_t n = pieces == 1 ? length : begin + each < length ? each : length - begin;
    int64_t at[MK_MAX_RANK], offset[operands];
    for (int k = 0; k < operands; ++k) offset[k] = begin * loops.stride[k][inner];
    for (int64_t i = inner - 1, rest = first; i >= 0; --i) {
      at[i] = rest % loops.size[i];
      rest /= loops.size[i];
      for (int k = 0; k < operands; ++k) offset[k] += at[i] * loops.stride[k][i];
    }
    const int64_t last = first + task_rows < rows ? first + task_rows : rows;
    for (int64_t row = first; row < last; ++row) {
      body(offset, n);
      for (int i = inner - 1; i >= 0; --i) {
        for (int k = 0; k < operands; ++k) offset[k] += loops.stride[k][i];
        if (++at[i] < loops.size[i]) break;
        for (int k = 0; k < operands; ++k) offset[k] -= loops.size[i] * loops.stride[k][i];
        at[i] = 0;
      }
    }
  });
}

// Whether the result should be streamed: with what is read it is too large for the caches, and its
// runs are long.
template <class T, int operands>
MK_INLINE bool streams_runs(const Loops& loops) {
  constexpr int64_t kLongRun = 1024;
  int64_t bytes = 0;
  for (int k = 0; k < operands; ++k) {
    int64_t elements = 1;
    for (int i = 0; i < loops.rank; ++i) elements *= loops.stride[k][i] != 0 ? loops.size[i] : 1;
    bytes += elements * int64_t{sizeof(T)};
  }
  return bytes > kStreamBytes && loops.size[loops.rank - 1] >= kLongRun;
}

// n <= kLanes elements `stride` apart; lanes past them are 0.
template <class T>
MK_INLINE Vec<T> load_strided(const T* p, int64_t stride, int64_t n) {
  if (stride == 1) return n == Vec<T>::kLanes ? Vec<T>::load(p) : Vec<T>::load(p, n);
  if (stride == 0) return Vec<T>(*p);
  T lanes[Vec<T>::kLanes] = {};
  for (int64_t i = 0; i < n; ++i) lanes[i] = p[i * stride];
  return Vec<T>::load(lanes);
}
template <class T>
MK_INLINE void store_strided(Vec<T> v, T* p, int64_t stride, int64_t n) {
  if (stride == 1) {
    if (n == Vec<T>::kLanes) {
      v.store(p);
    } else {
      v.store(p, n);
    }
    return;
  }
  for (int64_t i = 0; i < n; ++i) p[i * stride] = v[i];
}

// y = f(x) along a run of n elements, a vector at a time. The dense case has a loop of its own,
// which may stream.
template <class T, class F>
MK_INLINE void map_run(int64_t n, F f, T* y, int64_t stride_y, const T* x, int64_t stride_x,
                       bool streams) {
  constexpr int64_t lanes = Vec<T>::kLanes;
  int64_t i = 0;
  if (stride_y == 1 && stride_x == 1) {
    streams = streams && is_aligned(y);
    for (; i + lanes <= n; i += lanes)
      put(f(in_register(Vec<T>::load(x + i))), y + i, lanes, streams);
    if (i < n) f(Vec<T>::load(x + i, n - i)).store(y + i, n - i);
    if (streams) end_stream();
    return;
  }
  for (; i < n; i += lanes) {
    const int64_t count = n - i < lanes ? n - i : lanes;
    store_strided(f(load_strided(x + i * stride_x, stride_x, count)), y + i * stride_y, stride_y,
                  count);
  }
}

// y = f(a, b) along a run.
template <class T, class F>
MK_INLINE void map_run(int64_t n, F f, T* y, int64_t stride_y, const T* a, int64_t stride_a,
                       const T* b, int64_t stride_b, bool streams) {
  constexpr int64_t lanes = Vec<T>::kLanes;
  int64_t i = 0;
  if (stride_y == 1 && stride_a == 1 && stride_b == 1) {
    streams = streams && is_aligned(y);
    for (; i + lanes <= n; i += lanes) {
      const Vec<T> left = in_register(Vec<T>::load(a + i));
      const Vec<T> right = in_register(Vec<T>::load(b + i));
      put(f(left, right), y + i, lanes, streams);
    }
    if (i < n) f(Vec<T>::load(a + i, n - i), Vec<T>::load(b + i, n - i)).store(y + i, n - i);
    if (streams) end_stream();
    return;
  }
  for (; i < n; i += lanes) {
    const int64_t count = n - i < lanes ? n - i : lanes;
    store_strided(f(load_strided(a + i * stride_a, stride_a, count),
                    load_strided(b + i * stride_b, stride_b, count)),
                  y + i * stride_y, stride_y, count);
  }
}

}  // namespace medkern::MK_ISA
