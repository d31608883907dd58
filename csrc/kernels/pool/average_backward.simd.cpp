// The gradient of average pooling, sliding and adaptive, on the CPU.
//
//   dx[n, c, i] = sum of dy[n, c, o] / divisor(o) over the windows o that i lies in
//
// Channels-last  by rows of windows that are tiles (stride = kernel), else by rows of dx, to which
//                all windows over it are added.
// Contiguous     pairs of elements side by side; other windows plane by plane, scalar.
// Work    one addition per element of dx and window over it. Memory  dy read and dx written once,
//         large ones streamed.
// Gradients of overlapping windows are added in row-major order of the windows.
#include "cpu/shuffle.h"
#include "kernels/pool/sides.h"

namespace medkern::MK_ISA {
namespace {

template <class T>
MK_INLINE T share_of(const Side box[3]) {
  return static_cast<T>(1.0 / static_cast<double>(divisor_of(box)));
}

// The rows of dx under one row of windows that are tiles, of at most kDirectTaps positions, all
// channels; the last row of an axis also takes what no window covers.
template <class T>
void average_backward_tiles(const AveragePoolArgs& a, int64_t n, int64_t od, int64_t oh) {
  const int64_t* kernel = a.windows.window.kernel;
  const int64_t *size = a.x.size, *count = a.y.size;
  const T* dy = plane_of<const T>(a.y, n, 0) + spatial_offset(a.y, od, oh, 0);
  T* dx = plane_of<T>(a.x, n, 0);
  const bool streams = streams_pixels<T>(a.x, bytes_of<T>(a.x) + bytes_of<T>(a.y));
  Side box[3] = {side_of(a, 0, od), side_of(a, 1, oh), {}};
  OffsetList list;
  for (int64_t ow = 0; ow < count[2]; ++ow) {
    box[2] = side_of(a, 2, ow);
    const int64_t start = ow * kernel[2];
    if (ow == 0 || start + kernel[2] > size[2]) {  // the last may reach over the edge
      const Side from_zero[3] = {box[0], box[1], {0, box[2].end - start, 0}};
      list_offsets(a.x, from_zero, list);
    }
    const Vec<T> share(share_of<T>(box));
    T* to = dx + start * a.x.stride[2];
    for_each_vector<T>(a.x.c, [&](int64_t c, int64_t lanes) {
      const Vec<T> part = load_lanes(dy + ow * a.y.stride[2] + c, lanes) * share;
      for (int i = 0; i < list.count; ++i) put(part, to + list.offset[i] + c, lanes, streams);
    });
  }
  const int64_t d_end = od + 1 == count[0] ? size[0] : box[0].end;
  const int64_t h_end = oh + 1 == count[1] ? size[1] : box[1].end;
  for (int64_t d = od * kernel[0]; d < d_end; ++d) {
    for (int64_t h = oh * kernel[1]; h < h_end; ++h) {
      for (int64_t w = d < box[0].end && h < box[1].end ? box[2].end : 0; w < size[2]; ++w) {
        fill_zero(dx + spatial_offset(a.x, d, h, w), a.x.c);
      }
    }
  }
  if (streams) end_stream();
}

// A row of dx, all channels: row of windows by row of windows, which are added to it.
template <class T>
void average_backward_row(const AveragePoolArgs& a, int64_t n, int64_t d, int64_t h) {
  const int64_t *size = a.x.size, *count = a.y.size;
  const T* dy = plane_of<const T>(a.y, n, 0);
  T* row = plane_of<T>(a.x, n, 0) + spatial_offset(a.x, d, h, 0);
  for (int64_t w = 0; w < size[2]; ++w) fill_zero(row + w * a.x.stride[2], a.x.c);
  const Cover ds = outputs_over(a.windows, 0, d, size[0], count[0]);
  const Cover hs = outputs_over(a.windows, 1, h, size[1], count[1]);
  for (int64_t od = ds.begin; od < ds.end; ++od) {
    for (int64_t oh = hs.begin; oh < hs.end; ++oh) {
      Side box[3] = {side_of(a, 0, od), side_of(a, 1, oh), {}};
      for (int64_t ow = 0; ow < count[2]; ++ow) {
        box[2] = side_of(a, 2, ow);
        const Vec<T> share(share_of<T>(box));
        const T* from = dy + spatial_offset(a.y, od, oh, ow);
        for_each_vector<T>(a.x.c, [&](int64_t c, int64_t lanes) {
          const Vec<T> part = load_lanes(from + c, lanes) * share;
          for (int64_t w = box[2].begin; w < box[2].end; ++w) {
            T* dx = row + w * a.x.stride[2] + c;
            store_lanes(load_lanes(dx, lanes) + part, dx, lanes);
          }
        });
      }
    }
  }
}

// The rows of dx, of one channel, under a row of windows that are tiles, two elements wide; the
// last row of windows of an axis also takes what no window covers.
template <class T>
void average_backward_pairs(const AveragePoolArgs& a, int64_t n, int64_t c, int64_t od,
                            int64_t oh) {
  using V = Vec<T>;
  const int64_t* kernel = a.windows.window.kernel;
  const int64_t *size = a.x.size, *count = a.y.size;
  const T* dy = plane_of<const T>(a.y, n, c) + spatial_offset(a.y, od, oh, 0);
  T* dx = plane_of<T>(a.x, n, c);
  Side box[3] = {side_of(a, 0, od), side_of(a, 1, oh), side_of(a, 2, 0)};
  const V share(share_of<T>(box));
  const int64_t whole = least(count[2], size[2] / 2);
  for (int64_t ow = 0; ow < whole; ow += V::kLanes) {
    const int64_t lanes = least(V::kLanes, whole - ow);
    const V part = load_lanes(dy + ow, lanes) * share;
    const Interleaved<T> pairs = interleave<T>(part, part);
    for (int64_t d = box[0].begin; d < box[0].end; ++d) {
      for (int64_t h = box[1].begin; h < box[1].end; ++h) {
        T* to = dx + spatial_offset(a.x, d, h, 2 * ow);
        store_lanes(pairs.low, to, least(2 * lanes, V::kLanes));
        if (2 * lanes > V::kLanes) store_lanes(pairs.high, to + V::kLanes, 2 * lanes - V::kLanes);
      }
    }
  }
  const int64_t d_end = od + 1 == count[0] ? size[0] : box[0].end;
  const int64_t h_end = oh + 1 == count[1] ? size[1] : box[1].end;
  for (int64_t d = od * kernel[0]; d < d_end; ++d) {
    for (int64_t h = oh * kernel[1]; h < h_end; ++h) {
      const bool covered = d < box[0].end && h < box[1].end;
      int64_t w = covered ? 2 * whole : 0;
      if (covered && whole < count[2]) {  // the last window reaches over the edge
        box[2] = side_of(a, 2, whole);
        dx[spatial_offset(a.x, d, h, w++)] = dy[whole] * share_of<T>(box);
      }
      fill_zero(dx + spatial_offset(a.x, d, h, w), size[2] - w);
    }
  }
}

template <class T>
void average_backward_plane(const AveragePoolArgs& a, int64_t n, int64_t c) {
  T* dx = plane_of<T>(a.x, n, c);
  const T* dy = plane_of<const T>(a.y, n, c);
  const int64_t unit = unit_of(a.x), elements = spatial_count(a.x);
  for (int64_t i = 0; i < elements; ++i) dx[i * unit] = 0;
  Side box[3];
  for (int64_t od = 0; od < a.y.size[0]; ++od) {
    box[0] = side_of(a, 0, od);
    for (int64_t oh = 0; oh < a.y.size[1]; ++oh) {
      box[1] = side_of(a, 1, oh);
      for (int64_t ow = 0; ow < a.y.size[2]; ++ow) {
        box[2] = side_of(a, 2, ow);
        const T share = static_cast<T>(1.0 / static_cast<double>(divisor_of(box)));
        const T part = dy[spatial_offset(a.y, od, oh, ow)] * share;
        const int64_t length = box[2].end - box[2].begin, step = a.x.stride[2];
        for (int64_t d = box[0].begin; d < box[0].end; ++d) {
          for (int64_t h = box[1].begin; h < box[1].end; ++h) {
            T* run = dx + spatial_offset(a.x, d, h, box[2].begin);
            for (int64_t i = 0; i < length; ++i) run[i * step] += part;
          }
        }
      }
    }
  }
}

template <class T>
void average_backward_of(const AveragePoolArgs& a) {
  const Window& window = a.windows.window;
  const int64_t work = a.x.n * a.x.c * spatial_count(a.x);
  const bool tiles = !a.windows.adaptive && windows_are_tiles(window) && spatial_count(a.y) > 0;
  if (has_channel_vectors(a.x) && has_channel_vectors(a.y)) {
    const bool listed =
        tiles && window.kernel[0] * window.kernel[1] * window.kernel[2] <= kDirectTaps;
    const auto body = listed ? average_backward_tiles<T> : average_backward_row<T>;
    for_each_row_of(listed ? a.y : a.x, a.x,
                    [&](int64_t n, int64_t d, int64_t h) { body(a, n, d, h); });
  } else if (tiles && window.kernel[2] == 2 && has_lines(a.x) && has_lines(a.y)) {
    for_each_line(a.y, a.y.size[2] * window.kernel[0] * window.kernel[1] * 2, work,
                  [&](int64_t n, int64_t c, int64_t od, int64_t oh) {
                    average_backward_pairs<T>(a, n, c, od, oh);
                  });
  } else {
    parallel_for(a.x.n * a.x.c, work, [&](int64_t plane, int) {
      average_backward_plane<T>(a, plane / a.x.c, plane % a.x.c);
    });
  }
}

}  // namespace

void average_backward(const AveragePoolArgs& a) {
  a.dtype == Dtype::f32 ? average_backward_of<float>(a) : average_backward_of<double>(a);
}

}  // namespace medkern::MK_ISA
