// The arithmetic of pooling windows along one axis, in both directions: the part of x an output
// covers, and the outputs that cover an element of x. For *.simd.cpp files.
#pragma once

#include "cpu/stream.h"
#include "kernels/loops.simd.h"
#include "kernels/pool/pool.h"

namespace medkern::MK_ISA {
namespace {

// Window positions [begin, end) that lie inside x; position t is at start + t * dilation.
struct Taps {
  int64_t start, begin, end, dilation;
  MK_INLINE int64_t at(int64_t tap) const { return start + tap * dilation; }
};

// The window of output `o` along `axis`; `size` and `count` are those of x and y there.
MK_INLINE Taps taps_of(const PoolWindows& p, int axis, int64_t o, int64_t size, int64_t count) {
  if (p.adaptive) {
    const int64_t start = o * size / count;
    return {start, 0, ((o + 1) * size + count - 1) / count - start, 1};
  }
  const Window& w = p.window;
  const int64_t start = o * w.stride[axis] - w.pad_before[axis];
  const int64_t dilation = w.dilation[axis], kernel = w.kernel[axis];
  const int64_t begin = start >= 0 ? 0 : (-start + dilation - 1) / dilation;
  int64_t end = kernel;
  if (start + (kernel - 1) * dilation >= size) {
    end = start >= size ? 0 : (size - start + dilation - 1) / dilation;
  }
  return {start, begin, end, dilation};
}

// Outputs [begin, end) whose window lies inside x along `axis`; none of adaptive windows.
struct Interior {
  int64_t begin, end;
};

MK_INLINE Interior interior_of(const PoolWindows& p, int axis, int64_t size, int64_t count) {
  if (p.adaptive) return {0, 0};
  const Window& w = p.window;
  const int64_t stride = w.stride[axis], before = w.pad_before[axis];
  const int64_t room = size - 1 - w.dilation[axis] * (w.kernel[axis] - 1) + before;
  const int64_t begin = (before + stride - 1) / stride, past = room < 0 ? 0 : room / stride + 1;
  const int64_t end = past < count ? past : count;
  return {begin, end > begin ? end : begin};
}

MK_INLINE bool is_empty(const Taps taps[3]) {
  return taps[0].begin >= taps[0].end || taps[1].begin >= taps[1].end ||
         taps[2].begin >= taps[2].end;
}

// Windows that stand side by side: no two of them share an element, none begins in padding.
MK_INLINE bool windows_are_tiles(const Window& w) {
  bool tiles = true;
  for (int i = 0; i < 3; ++i) {
    tiles &= w.stride[i] == w.kernel[i] && w.dilation[i] == 1 && w.pad_before[i] == 0;
  }
  return tiles;
}

// Outputs [begin, end) whose window reaches over element `i` of x. With dilation some of them step
// over it: see tap_at.
struct Cover {
  int64_t begin, end;
};

MK_INLINE Cover outputs_over(const PoolWindows& p, int axis, int64_t i, int64_t size,
                             int64_t count) {
  if (p.adaptive) return {i * count / size, ((i + 1) * count + size - 1) / size};
  const Window& w = p.window;
  const int64_t at = i + w.pad_before[axis], stride = w.stride[axis];
  const int64_t extent = w.dilation[axis] * (w.kernel[axis] - 1) + 1;
  const int64_t begin = at < extent ? 0 : (at - extent) / stride + 1;
  const int64_t end = at / stride + 1;
  return {begin, end < count ? end : count};
}

// Which position of output o's window is element i of x; -1 if its steps miss it.
MK_INLINE int64_t tap_at(const Window& w, int axis, int64_t o, int64_t i) {
  const int64_t from_start = i + w.pad_before[axis] - o * w.stride[axis];
  if (w.dilation[axis] == 1) return from_start;
  return from_start % w.dilation[axis] == 0 ? from_start / w.dilation[axis] : -1;
}

// Element offset of a position; spatial dimensions are dense relative to each other in both memory
// formats, so this is also `unit` times the flat spatial index.
MK_INLINE int64_t spatial_offset(const Image& x, int64_t d, int64_t h, int64_t w) {
  return d * x.stride[0] + h * x.stride[1] + w * x.stride[2];
}

// Calls visit(kd, kh, kw, offset of that element in a plane of x) in row-major order.
template <class Visit>
MK_INLINE void for_each_tap(const Taps taps[3], const Image& x, Visit visit) {
  for (int64_t kd = taps[0].begin; kd < taps[0].end; ++kd)
    for (int64_t kh = taps[1].begin; kh < taps[1].end; ++kh)
      for (int64_t kw = taps[2].begin; kw < taps[2].end; ++kw)
        visit(kd, kh, kw, spatial_offset(x, taps[0].at(kd), taps[1].at(kh), taps[2].at(kw)));
}

MK_INLINE int64_t unit_of(const Image& x) {
  for (int axis = 2; axis > 0; --axis) {
    if (x.size[axis] > 1) return x.stride[axis];
  }
  return x.stride[0];
}

MK_INLINE int64_t spatial_count(const Image& x) { return x.size[0] * x.size[1] * x.size[2]; }

template <class T>
MK_INLINE int64_t bytes_of(const Image& x) {
  return x.n * x.c * spatial_count(x) * int64_t{sizeof(T)};
}

// Channels at stride 1: a pixel's channels are loaded a vector at a time. (The stride is 0 where
// there is one channel only.)
MK_INLINE bool has_channel_vectors(const Image& x) { return x.stride_c == 1; }

// Rows along W at stride 1: outputs side by side are computed a vector at a time.
MK_INLINE bool has_lines(const Image& x) { return x.stride[2] == 1 || x.size[2] == 1; }

// Calls body(n, c, od, oh) for every row of y, several rows to a task: those of about kTaskTaps
// window positions.
template <class Body>
MK_INLINE void for_each_line(const Image& y, int64_t taps_per_row, int64_t cost, Body body) {
  constexpr int64_t kTaskTaps = 32768;
  const int64_t per_plane = y.size[0] * y.size[1], rows = y.n * y.c * per_plane;
  const int64_t per_task = taps_per_row < kTaskTaps ? kTaskTaps / taps_per_row : 1;
  parallel_for((rows + per_task - 1) / per_task, cost, [&](int64_t task, int) {
    const int64_t first = task * per_task, plane = first / per_plane, line = first % per_plane;
    int64_t n = plane / y.c, c = plane % y.c, od = line / y.size[1], oh = line % y.size[1];
    for (int64_t left = rows - first < per_task ? rows - first : per_task; left > 0; --left) {
      body(n, c, od, oh);
      if (++oh < y.size[1]) continue;
      oh = 0;
      if (++od < y.size[0]) continue;
      od = 0;
      if (++c < y.c) continue;
      c = 0;
      ++n;
    }
  });
}

// Calls body(n, od, oh) for every row of y, all channels at once; `per_row` elements are read and
// written for each. A task takes neighboring rows: memory is faster in long stretches.
template <class Body>
MK_INLINE void for_each_row(const Image& y, int64_t per_row, Body body) {
  const int64_t per_sample = y.size[0] * y.size[1], rows = y.n * per_sample;
  const int64_t each = task_elements(rows * per_row);
  const int64_t per_task = each > per_row && per_row > 0 ? each / per_row : 1;
  parallel_for((rows + per_task - 1) / per_task, rows * per_row, [&](int64_t task, int) {
    const int64_t end = (task + 1) * per_task < rows ? (task + 1) * per_task : rows;
    for (int64_t row = task * per_task; row < end; ++row) {
      body(row / per_sample, row % per_sample / y.size[1], row % y.size[1]);
    }
  });
}

// The same, sharing out the elements of x.
template <class Body>
MK_INLINE void for_each_row_of(const Image& y, const Image& x, Body body) {
  const int64_t rows = y.size[0] * y.size[1];
  for_each_row(y, rows > 0 ? x.c * spatial_count(x) / rows : 0, body);
}

// Whether to stream to the pixels of a channels-last image, with `bytes` read and written in all.
template <class T>
MK_INLINE bool streams_pixels(const Image& x, int64_t bytes) {
  return x.c % Vec<T>::kLanes == 0 && may_stream(static_cast<const T*>(x.data), bytes);
}

// Channels a task takes where tasks are cut by channels: one cache line of float32, so that tasks
// don't share lines.
constexpr int64_t kChannelBlock = 16;

MK_INLINE int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }

template <class T>
MK_INLINE void fill_zero(T* p, int64_t count) {
  for (int64_t i = 0; i < count; ++i) p[i] = 0;
}

template <class T>
MK_INLINE T* plane_of(const Image& x, int64_t n, int64_t c) {
  return static_cast<T*>(x.data) + n * x.stride_n + c * x.stride_c;
}

}  // namespace
}  // namespace medkern::MK_ISA
