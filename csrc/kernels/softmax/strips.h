// How softmax and cross-entropy go over [outer][axis][inner] memory: in strips, each a vector's
// worth of elements with the whole axis. To be included by *.simd.cpp files only.
//
// inner > 1            a strip lies in memory as it is, its axis at stride `inner`; where that is
//                      read more than once, a block of strips is copied to a tile first: lines that
//                      lie a power of two apart would drive each other out of the caches
// inner 1, short axis  elements are rows; a strip of them is transposed into a tile and back
// inner 1, long axis   row by row, vectors running along the axis
#pragma once

#include "core/parallel.h"
#include "cpu/lanes.h"
#include "cpu/math.h"
#include "cpu/shuffle.h"
#include "kernels/softmax/softmax.h"

namespace medkern::MK_ISA {

constexpr int64_t kTileAxis = 64;     // the longest axis of a tile
constexpr int64_t kRowChunk = 4096;   // numbers of a row, or
constexpr int64_t kStripChunk = 256;  // numbers of a lane, that are summed at once

MK_INLINE bool has_long_rows(const SoftmaxShape& s) { return s.inner == 1 && s.axis > kTileAxis; }

// Runs body(task, first element, past the last element) over all elements, in parallel.
template <class Body>
MK_INLINE void for_blocks(const SoftmaxShape& s, Body body) {
  const int64_t run = s.inner > 1 ? s.inner : s.outer, per_run = (run + s.block - 1) / s.block;
  // An exponential is about ten operations.
  parallel_for(s.tasks, s.outer * s.axis * s.inner * 10, [&](int64_t task, int) {
    const int64_t start = task / per_run * run, first = task % per_run * s.block;
    body(task, start + first, start + smaller(first + s.block, run));
  });
}

// Where a strip of up to kLanes elements lies: numbers [axis][lane] at `stride`.
template <class T>
struct Strip {
  const T* data;
  int64_t stride, axis, lanes;
  MK_INLINE Vec<T> load(int64_t a) const { return load_lanes(data + a * stride, lanes); }
};

template <class T>
using Tile = T[kTileAxis * Vec<T>::kLanes];

// A vector's worth of rows of a few numbers, where the compiler knows how many, turned and back.
template <int kAxis, class T>
MK_INLINE void turn_rows(const T* data, T* tile) {
  constexpr int kLanes = Vec<T>::kLanes;
  for (int i = 0; i < kLanes; ++i)
    for (int a = 0; a < kAxis; ++a) tile[a * kLanes + i] = data[i * kAxis + a];
}
template <int kAxis, class T>
MK_INLINE void turn_back(const T* tile, T* data) {
  constexpr int kLanes = Vec<T>::kLanes;
  for (int i = 0; i < kLanes; ++i)
    for (int a = 0; a < kAxis; ++a) data[i * kAxis + a] = tile[a * kLanes + i];
}

// The strip that starts at an element, transposed into `tile` if elements are rows.
template <class T>
MK_INLINE Strip<T> strip_at(const SoftmaxShape& s, const void* memory, int64_t element,
                            int64_t lanes, Tile<T>& tile) {
  constexpr int64_t kLanes = Vec<T>::kLanes;
  const T* data = static_cast<const T*>(memory);
  if (s.inner > 1) {
    const int64_t outer = element / s.inner;
    return {data + outer * s.axis * s.inner + element % s.inner, s.inner, s.axis, lanes};
  }
  data += element * s.axis;
  if (lanes == kLanes && s.axis <= 4) {
    s.axis == 2   ? turn_rows<2>(data, tile)
    : s.axis == 3 ? turn_rows<3>(data, tile)
    : s.axis == 4 ? turn_rows<4>(data, tile)
                  : turn_rows<1>(data, tile);
    return {tile, kLanes, s.axis, kLanes};
  }
  int64_t turned = 0;
  for (; lanes == kLanes && turned + kLanes <= s.axis; turned += kLanes) {
    turn_tile(data + turned, s.axis, tile + turned * kLanes, kLanes);
  }
  for (int64_t i = 0; i < lanes; ++i)
    for (int64_t a = turned; a < s.axis; ++a) tile[a * kLanes + i] = data[i * s.axis + a];
  for (int64_t i = lanes; i < kLanes; ++i)
    for (int64_t a = 0; a < s.axis; ++a) tile[a * kLanes + i] = 0;
  return {tile, kLanes, s.axis, kLanes};
}

// Where results for a strip go: to memory itself, or to a tile which finish() then transposes back.
template <class T>
struct Target {
  T* data;
  int64_t stride, lanes;
  MK_INLINE void store(int64_t a, Vec<T> value) const {
    store_lanes(value, data + a * stride, lanes);
  }
  MK_INLINE Vec<T> load(int64_t a) const { return load_lanes(data + a * stride, lanes); }
};

template <class T>
MK_INLINE Target<T> target_at(const SoftmaxShape& s, void* memory, int64_t element, int64_t lanes,
                              Tile<T>& tile) {
  if (s.inner == 1) return {tile, Vec<T>::kLanes, Vec<T>::kLanes};
  const int64_t outer = element / s.inner;
  T* data = static_cast<T*>(memory) + outer * s.axis * s.inner + element % s.inner;
  return {data, s.inner, lanes};
}

template <class T>
MK_INLINE void finish(const SoftmaxShape& s, void* memory, int64_t element, int64_t lanes,
                      const Tile<T>& tile) {
  if (s.inner > 1) return;
  T* data = static_cast<T*>(memory) + element * s.axis;
  if (lanes == Vec<T>::kLanes && s.axis <= 4) {
    s.axis == 2   ? turn_back<2>(tile, data)
    : s.axis == 3 ? turn_back<3>(tile, data)
    : s.axis == 4 ? turn_back<4>(tile, data)
                  : turn_back<1>(tile, data);
    return;
  }
  constexpr int64_t kLanes = Vec<T>::kLanes;
  int64_t turned = 0;
  for (; lanes == kLanes && turned + kLanes <= s.axis; turned += kLanes) {
    turn_tile(tile + turned * kLanes, kLanes, data + turned, s.axis);
  }
  for (int64_t i = 0; i < lanes; ++i)
    for (int64_t a = turned; a < s.axis; ++a) data[i * s.axis + a] = tile[a * kLanes + i];
}

// Blocks of strips that lie in memory as they are, with a short axis: tiles of [axis][kBlockLanes].
template <class T>
constexpr int64_t kBlockLanes = 4 * Vec<T>::kLanes;
template <class T>
using BlockTile = T[kTileAxis * kBlockLanes<T>];

MK_INLINE bool has_blocks(const SoftmaxShape& s) { return s.inner > 1 && s.axis <= kTileAxis; }

template <class T>
MK_INLINE int64_t offset_of(const SoftmaxShape& s, int64_t element) {
  return element / s.inner * s.axis * s.inner + element % s.inner;
}

// Copies up to kBlockLanes elements, with 0 behind the last of them, and begins to fetch the next.
template <class T>
MK_INLINE void load_block(const SoftmaxShape& s, const void* memory, int64_t element, int64_t lanes,
                          BlockTile<T>& tile) {
  constexpr int64_t kLanes = Vec<T>::kLanes;
  const T* data = static_cast<const T*>(memory) + offset_of<T>(s, element);
  for (int64_t a = 0; a < s.axis; ++a) {
    for (int64_t i = 0; i < lanes; i += kLanes) {
      const T* from = data + a * s.inner + i;
      __builtin_prefetch(from + kBlockLanes<T>);
      load_lanes(from, smaller(lanes - i, kLanes)).store(tile + a * kBlockLanes<T> + i);
    }
  }
}

template <class T>
MK_INLINE void store_block(const SoftmaxShape& s, const BlockTile<T>& tile, int64_t element,
                           int64_t lanes, void* memory) {
  constexpr int64_t kLanes = Vec<T>::kLanes;
  T* data = static_cast<T*>(memory) + offset_of<T>(s, element);
  for (int64_t a = 0; a < s.axis; ++a) {
    for (int64_t i = 0; i < lanes; i += kLanes) {
      store_lanes(Vec<T>::load(tile + a * kBlockLanes<T> + i), data + a * s.inner + i,
                  smaller(lanes - i, kLanes));
    }
  }
}

template <class T>
MK_INLINE Vec<T> strip_max(const Strip<T>& x) {
  Vec<T> m = x.load(0);
  for (int64_t a = 1; a < x.axis; ++a) m = max(m, x.load(a));
  return m;
}

// The sum of value(a) over the axis, chunk by chunk so that float32 keeps its digits.
template <class T, class Value>
MK_INLINE Vec<T> strip_sum(int64_t axis, Value value) {
  Vec<T> total = Vec<T>::zero();
  for (int64_t first = 0; first < axis; first += kStripChunk) {
    Vec<T> part = Vec<T>::zero();
    for (int64_t a = first; a < smaller(first + kStripChunk, axis); ++a) part += value(a);
    total += part;
  }
  return total;
}

template <class T>
MK_INLINE T row_max(const T* x, int64_t n) {
  constexpr int64_t kLanes = Vec<T>::kLanes;
  Vec<T> m = Vec<T>::load(x);  // rows are longer than a vector
  for (int64_t i = kLanes; i + kLanes <= n; i += kLanes) m = max(m, Vec<T>::load(x + i));
  m = max(m, Vec<T>::load(x + n - kLanes));
  T lanes[kLanes];
  m.store(lanes);
  for (int half = kLanes / 2; half > 0; half /= 2) {
    for (int i = 0; i < half; ++i) {
      const T other = lanes[i + half];
      lanes[i] = other > lanes[i] || other != other ? other : lanes[i];
    }
  }
  return lanes[0];
}

// The sum of value(i, lanes) over a row, in float64 from chunk to chunk.
template <class T, class Value>
MK_INLINE double row_sum(int64_t n, Value value) {
  constexpr int64_t kLanes = Vec<T>::kLanes;
  double total = 0;
  for (int64_t first = 0; first < n; first += kRowChunk) {
    const int64_t end = smaller(first + kRowChunk, n);
    Vec<T> part = Vec<T>::zero();
    int64_t i = first;
    for (; i + kLanes <= end; i += kLanes) part += value(i, kLanes);
    if (i < end) {
      Vec<T> last = value(i, end - i);
      for (int64_t lane = end - i; lane < kLanes; ++lane) last.v[lane] = 0;
      part += last;
    }
    total += sum(part);
  }
  return total;
}

}  // namespace medkern::MK_ISA
