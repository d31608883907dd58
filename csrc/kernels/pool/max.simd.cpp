// Max pooling, sliding and adaptive, on the CPU.
//
//   y[n, c, o] = max over positions t of window o of x[n, c, start(o) + t * dilation]
//   dx[n, c, i] = sum of dy[n, c, o] over the windows o that i won
//
// Channels-last  one task per row of y, pixel by pixel, vectors of channels over a list of the
//                window's positions. The backward pass: where windows are tiles (stride = kernel,
//                the usual 2x2) a task is a row of windows, each spread over its elements; else a
//                row of dx, to which all windows over it are added. This file knows one-byte
//                indices there; 64-bit ones are scattered (scatter.simd.cpp).
// Contiguous     rows of y, vectors of outputs (max_lines.simd.h). Backward
//                pairs of elements side by side, other windows plane by plane, scalar. Adaptive
//                windows and mixed formats element by element.
// Work    one comparison per window position; backward one per element of dx and window over it.
// Memory  x read once (while a row of windows fits the cache), y and the indices written once; in
//         the backward pass dy and the indices are read and dx is written once.
// Exact; NaN wins, and of equal values the first in row-major order. Gradients of overlapping
// windows are added in row-major order of the windows.
#include "kernels/pool/max_lines.simd.h"
#include "kernels/pool/winners.h"

namespace medkern::MK_ISA {
namespace {

constexpr int kMostTaps = 256;

// Window positions inside x: where they lie and their numbers.
template <class T>
struct TapList {
  int count;
  int64_t offset[kMostTaps];
  typename Vec<T>::Int number[kMostTaps];
};

MK_INLINE int64_t taps_in(const Taps taps[3]) {
  return is_empty(taps) ? 0
                        : (taps[0].end - taps[0].begin) * (taps[1].end - taps[1].begin) *
                              (taps[2].end - taps[2].begin);
}

template <class T>
MK_INLINE void list_taps(const MaxPoolArgs& a, const Taps taps[3], TapList<T>& list) {
  const Numbering number = numbering_of(a, taps);
  list.count = 0;
  for_each_tap(taps, a.x, [&](int64_t kd, int64_t kh, int64_t kw, int64_t offset) {
    list.offset[list.count] = offset;
    list.number[list.count++] = static_cast<typename Vec<T>::Int>(number(kd, kh, kw));
  });
}

// kVectors vectors of channels of a pixel of y, the last of `lanes` lanes; x points at the first of
// them and the window's first element, at number `shift`.
template <int kVectors, class T>
MK_INLINE void max_of_taps(const MaxPoolArgs& a, const TapList<T>& list, const T* x, int64_t shift,
                           int64_t lanes, T* y, int64_t index_at) {
  using V = Vec<T>;
  Contest<T> contests[kVectors];
  const auto load = [&](int64_t tap, int k) {
    const T* from = x + list.offset[tap] + k * V::kLanes;
    __builtin_prefetch(from + kFetchAhead<T>);
    return kVectors == 1 ? load_lanes(from, lanes) : V::load(from);
  };
  const auto start = [&] {
#pragma GCC unroll 4
    for (int k = 0; k < kVectors; ++k) contests[k].start(load(0, k), all_lanes<T>(list.number[0]));
  };
  hold<T>(contests, start, [&](auto compete) {
    for (int64_t tap = 1; tap < list.count; ++tap) {
#pragma GCC unroll 4
      for (int k = 0; k < kVectors; ++k) {
        compete(contests[k], load(tap, k), all_lanes<T>(list.number[tap]));
      }
    }
  });
#pragma GCC unroll 4
  for (int k = 0; k < kVectors; ++k) {
    store_lanes(contests[k].best, y + k * V::kLanes, lanes);
    if (a.indices.data == nullptr) continue;
    store_numbers<T>(a, contests[k].number + static_cast<typename V::Int>(shift),
                     index_at + k * V::kLanes, lanes);
  }
}

// A pixel whose window has too many positions for a list, or none.
template <class T>
void max_pixel(const MaxPoolArgs& a, const Taps taps[3], const T* x, T* y, int64_t index_at) {
  using V = Vec<T>;
  const Numbering number = numbering_of(a, taps);
  const int64_t first =
      is_empty(taps) ? no_winner(a) : number(taps[0].begin, taps[1].begin, taps[2].begin);
  for (int64_t c = 0; c < a.x.c; c += V::kLanes) {
    const int64_t lanes = least(a.x.c - c, V::kLanes);
    Contest<T> contest;
    contest.start(V(T(-__builtin_inf())), all_lanes<T>(first));
    for_each_tap(taps, a.x, [&](int64_t kd, int64_t kh, int64_t kw, int64_t offset) {
      contest.compete_exactly(load_lanes(x + offset + c, lanes), all_lanes<T>(number(kd, kh, kw)));
    });
    store_lanes(contest.best, y + c, lanes);
    if (a.indices.data != nullptr) store_numbers<T>(a, contest.number, index_at + c, lanes);
  }
}

// A row of y, all channels; x, y and the indices have channels at stride 1.
template <class T>
void max_row(const MaxPoolArgs& a, int64_t n, int64_t od, int64_t oh) {
  constexpr int64_t kLanes = Vec<T>::kLanes;
  const T* x = plane_of<const T>(a.x, n, 0);
  T* y_row = plane_of<T>(a.y, n, 0) + spatial_offset(a.y, od, oh, 0);
  const int64_t index_row = n * a.indices.stride_n + spatial_offset(a.indices, od, oh, 0);
  const Window& window = a.windows.window;
  const bool local = a.index_dtype == Dtype::u8;
  const Interior inside = interior_of(a.windows, 2, a.x.size[2], a.y.size[2]);
  Taps taps[3] = {taps_of(a.windows, 0, od, a.x.size[0], a.y.size[0]),
                  taps_of(a.windows, 1, oh, a.x.size[1], a.y.size[1]),
                  {}};
  TapList<T> list;
  bool list_is_inner = false;
  for (int64_t ow = 0; ow < a.y.size[2]; ++ow) {
    taps[2] = taps_of(a.windows, 2, ow, a.x.size[2], a.y.size[2]);
    T* y = y_row + ow * a.y.stride[2];
    const int64_t index_at = index_row + ow * a.indices.stride[2], positions = taps_in(taps);
    if (positions == 0 || positions > kMostTaps) {
      max_pixel<T>(a, taps, x, y, index_at);
      continue;
    }
    // Windows inside x share their list, counted from the window's first element.
    int64_t start = 0;
    if (ow >= inside.begin && ow < inside.end) {
      if (!list_is_inner) {
        const Taps from_zero[3] = {taps[0], taps[1], {0, 0, window.kernel[2], window.dilation[2]}};
        list_taps<T>(a, from_zero, list);
      }
      list_is_inner = true;
      start = taps[2].start;
    } else {
      list_taps<T>(a, taps, list);
      list_is_inner = false;
    }
    const T* from = x + start * a.x.stride[2];
    const int64_t shift = local ? 0 : start;
    int64_t c = 0;
    for (; c + 4 * kLanes <= a.x.c; c += 4 * kLanes) {
      max_of_taps<4, T>(a, list, from + c, shift, kLanes, y + c, index_at + c);
    }
    for (; c + 2 * kLanes <= a.x.c; c += 2 * kLanes) {
      max_of_taps<2, T>(a, list, from + c, shift, kLanes, y + c, index_at + c);
    }
    for (; c < a.x.c; c += kLanes) {
      max_of_taps<1, T>(a, list, from + c, shift, least(a.x.c - c, kLanes), y + c, index_at + c);
    }
  }
}

MK_INLINE void store_number(const MaxPoolArgs& a, int64_t at, int64_t number) {
  if (a.index_dtype == Dtype::u8) {
    static_cast<uint8_t*>(a.indices.data)[at] = static_cast<uint8_t>(number);
  } else {
    static_cast<int64_t*>(a.indices.data)[at] = number;
  }
}

// A row of y of one channel, element by element, whatever the strides.
template <class T>
void max_elements(const MaxPoolArgs& a, int64_t n, int64_t c, int64_t od, int64_t oh) {
  const T* x = plane_of<const T>(a.x, n, c);
  T* y = plane_of<T>(a.y, n, c) + spatial_offset(a.y, od, oh, 0);
  const int64_t index_at =
      n * a.indices.stride_n + c * a.indices.stride_c + spatial_offset(a.indices, od, oh, 0);
  Taps taps[3] = {taps_of(a.windows, 0, od, a.x.size[0], a.y.size[0]),
                  taps_of(a.windows, 1, oh, a.x.size[1], a.y.size[1]),
                  {}};
  for (int64_t ow = 0; ow < a.y.size[2]; ++ow) {
    taps[2] = taps_of(a.windows, 2, ow, a.x.size[2], a.y.size[2]);
    const Numbering number = numbering_of(a, taps);
    T best = T(-__builtin_inf());
    int64_t best_number =
        is_empty(taps) ? no_winner(a) : number(taps[0].begin, taps[1].begin, taps[2].begin);
    for_each_tap(taps, a.x, [&](int64_t kd, int64_t kh, int64_t kw, int64_t offset) {
      const T value = x[offset];
      if ((value > best || value != value) && best == best) {
        best = value;
        best_number = number(kd, kh, kw);
      }
    });
    y[ow * a.y.stride[2]] = best;
    if (a.indices.data != nullptr) {
      store_number(a, index_at + ow * a.indices.stride[2], best_number);
    }
  }
}

template <class T>
void max_forward_of(const MaxPoolArgs& a) {
  const int64_t* size = a.y.size;
  const Window& window = a.windows.window;
  const int64_t taps = window.kernel[0] * window.kernel[1] * window.kernel[2];
  const int64_t work = a.y.n * a.y.c * spatial_count(a.y) * taps;
  const bool indexed = a.indices.data != nullptr;
  // Numbers are kept in lanes of T's size.
  const bool numbers_fit = sizeof(T) == 8 || spatial_count(a.x) <= INT32_MAX;
  if (has_channel_vectors(a.x) && has_channel_vectors(a.y) &&
      (!indexed || has_channel_vectors(a.indices)) && numbers_fit) {
    for_each_row(a.y, a.y.c * size[2] * (taps + 1),
                 [&](int64_t n, int64_t od, int64_t oh) { max_row<T>(a, n, od, oh); });
    return;
  }
  const auto for_lines = [&](auto line) { for_each_line(a.y, size[2] * taps, work, line); };
  if (!has_lines(a.x) || !has_lines(a.y) || (indexed && !has_lines(a.indices)) || !numbers_fit ||
      a.windows.adaptive) {
    for_lines(
        [&](int64_t n, int64_t c, int64_t od, int64_t oh) { max_elements<T>(a, n, c, od, oh); });
    return;
  }
  const LineShape<T> shape = line_shape<T>(a);
  const bool pairs = window.stride[2] == 2 && window.kernel[2] == 2 && window.dilation[2] == 1;
  const auto line = pairs                   ? max_line<2, true, T>
                    : window.stride[2] == 1 ? max_line<1, false, T>
                    : window.stride[2] == 2 ? max_line<2, false, T>
                                            : max_line<0, false, T>;
  for_lines([&](int64_t n, int64_t c, int64_t od, int64_t oh) { line(a, shape, n, c, od, oh); });
}

// ---- backward ----

// The rows of dx under one row of windows that are tiles; the last task of an axis also takes what
// no window covers.
template <class T>
void max_backward_tiles(const MaxPoolArgs& a, int64_t n, int64_t od, int64_t oh) {
  constexpr int64_t kLanes = Vec<T>::kLanes;
  const bool streams = streams_pixels<T>(a.x, bytes_of<T>(a.x) + bytes_of<T>(a.y));
  const int64_t* kernel = a.windows.window.kernel;
  const int64_t *size = a.x.size, *count = a.y.size;
  const T* dy = plane_of<const T>(a.y, n, 0) + spatial_offset(a.y, od, oh, 0);
  const uint8_t* numbers =
      plane_of<const uint8_t>(a.indices, n, 0) + spatial_offset(a.indices, od, oh, 0);
  T* dx = plane_of<T>(a.x, n, 0);
  Taps taps[3] = {taps_of(a.windows, 0, od, size[0], count[0]),
                  taps_of(a.windows, 1, oh, size[1], count[1]),
                  {0, 0, kernel[2], 1}};
  TapList<T> list;
  list_taps<T>(a, taps, list);
  for (int64_t ow = 0; ow < count[2]; ++ow) {
    const int64_t start = ow * kernel[2];
    if (start + kernel[2] > size[2]) {  // the last window reaches over the edge
      taps[2].end = size[2] - start;
      list_taps<T>(a, taps, list);
    }
    for (int64_t c = 0; c < a.x.c; c += kLanes) {
      const int64_t lanes = least(a.x.c - c, kLanes);
      const Vec<T> gradient = load_lanes(dy + ow * a.y.stride[2] + c, lanes);
      const auto number = load_numbers<T>(numbers + ow * a.indices.stride[2] + c, lanes);
      T* to = dx + start * a.x.stride[2] + c;
      for (int64_t tap = 0; tap < list.count; ++tap) {
        put(where_number_is<T>(number, list.number[tap], gradient), to + list.offset[tap], lanes,
            streams);
      }
    }
  }
  const int64_t d_begin = od * kernel[0], h_begin = oh * kernel[1];
  const int64_t d_end = od + 1 == count[0] ? size[0] : d_begin + kernel[0];
  const int64_t h_end = oh + 1 == count[1] ? size[1] : h_begin + kernel[1];
  for (int64_t d = d_begin; d < d_end; ++d) {
    for (int64_t h = h_begin; h < h_end; ++h) {
      const bool covered = d < d_begin + kernel[0] && h < h_begin + kernel[1];
      for (int64_t w = covered ? least(count[2] * kernel[2], size[2]) : 0; w < size[2]; ++w) {
        fill_zero(dx + spatial_offset(a.x, d, h, w), a.x.c);
      }
    }
  }
  if (streams) end_stream();
}

// A row of dx under windows of any kind: row of windows by row of windows, which are added to it.
template <class T>
void max_backward_row(const MaxPoolArgs& a, int64_t n, int64_t d, int64_t h) {
  using V = Vec<T>;
  const Window& window = a.windows.window;
  const int64_t *size = a.x.size, *count = a.y.size;
  const T* dy = plane_of<const T>(a.y, n, 0);
  const uint8_t* numbers = plane_of<const uint8_t>(a.indices, n, 0);
  T* row = plane_of<T>(a.x, n, 0) + spatial_offset(a.x, d, h, 0);
  for (int64_t w = 0; w < size[2]; ++w) fill_zero(row + w * a.x.stride[2], a.x.c);
  const Cover ds = outputs_over(a.windows, 0, d, size[0], count[0]);
  const Cover hs = outputs_over(a.windows, 1, h, size[1], count[1]);
  const int64_t step = window.dilation[2] * a.x.stride[2];
  for (int64_t od = ds.begin; od < ds.end; ++od) {
    for (int64_t oh = hs.begin; oh < hs.end; ++oh) {
      const int64_t kd = tap_at(window, 0, od, d), kh = tap_at(window, 1, oh, h);
      if ((kd | kh) < 0) continue;
      const int64_t first = (kd * window.kernel[1] + kh) * window.kernel[2];
      for (int64_t ow = 0; ow < count[2]; ++ow) {
        const Taps tw = taps_of(a.windows, 2, ow, size[2], count[2]);
        const T* from = dy + spatial_offset(a.y, od, oh, ow);
        const uint8_t* index = numbers + spatial_offset(a.indices, od, oh, ow);
        for_each_vector<T>(a.x.c, [&](int64_t c, int64_t lanes) {
          const V gradient = load_lanes(from + c, lanes);
          const auto number = load_numbers<T>(index + c, lanes);
          T* dx = row + tw.start * a.x.stride[2] + c;
          for (int64_t kw = tw.begin; kw < tw.end; ++kw) {
            const V won = where_number_is<T>(number, first + kw, gradient);
            store_lanes(load_lanes(dx + kw * step, lanes) + won, dx + kw * step, lanes);
          }
        });
      }
    }
  }
}

template <class T>
void max_backward_of(const MaxPoolArgs& a) {
  const int64_t work = a.x.n * a.x.c * spatial_count(a.x);
  const Window& window = a.windows.window;
  const bool tiles = windows_are_tiles(window) && spatial_count(a.y) > 0;
  if (has_channel_vectors(a.x) && has_channel_vectors(a.y) && has_channel_vectors(a.indices)) {
    const auto body = tiles ? max_backward_tiles<T> : max_backward_row<T>;
    for_each_row_of(tiles ? a.y : a.x, a.x,
                    [&](int64_t n, int64_t d, int64_t h) { body(a, n, d, h); });
  } else if (tiles && window.kernel[2] == 2 && has_lines(a.x) && has_lines(a.y) &&
             has_lines(a.indices)) {
    for_each_line(a.y, a.y.size[2] * window.kernel[0] * window.kernel[1] * 2, work,
                  [&](int64_t n, int64_t c, int64_t od, int64_t oh) {
                    max_backward_pairs<T>(a, n, c, od, oh);
                  });
  } else {
    parallel_for(a.x.n * a.x.c, work, [&](int64_t plane, int) {
      max_backward_plane<T>(a, plane / a.x.c, plane % a.x.c);
    });
  }
}

}  // namespace

void max_forward(const MaxPoolArgs& a) {
  a.dtype == Dtype::f32 ? max_forward_of<float>(a) : max_forward_of<double>(a);
}

void max_backward(const MaxPoolArgs& a) {
  a.dtype == Dtype::f32 ? max_backward_of<float>(a) : max_backward_of<double>(a);
}

}  // namespace medkern::MK_ISA
