// Max pooling of contiguous images: vectors of outputs along W. Included by max.simd.cpp only.
#pragma once

#include "cpu/shuffle.h"
#include "kernels/pool/winners.h"

namespace medkern::MK_ISA {
namespace {

// The numbers that the lanes of outputs ow, ow + 1, ... start with: those of their windows' first
// positions inside x. `from_start` + row_number is that of position 0 along W.
template <class T>
MK_INLINE typename Vec<T>::Mask first_numbers(const MaxPoolArgs& a, bool some_rows, int64_t ow,
                                              typename Vec<T>::Mask from_start, int64_t row_number,
                                              int64_t number_step) {
  using Int = typename Vec<T>::Int;
  const Window& w = a.windows.window;
  if (!some_rows) return all_lanes<T>(no_winner(a));
  typename Vec<T>::Mask first = from_start + static_cast<Int>(row_number);
  for (int i = 0; i < Vec<T>::kLanes; ++i) {
    const int64_t start = (ow + i) * w.stride[2] - w.pad_before[2];
    if (start >= 0) break;
    const Taps taps = taps_of(a.windows, 2, ow + i, a.x.size[2], a.y.size[2]);
    if (taps.begin < taps.end) {
      first[i] += static_cast<Int>(taps.begin * number_step);
    } else {
      first[i] = static_cast<Int>(no_winner(a));
    }
  }
  return first;
}

// What all rows of y have in common.
template <class T>
struct LineShape {
  Interior inside;
  typename Vec<T>::Mask ramp;  // of 64-bit numbers from lane to lane
};

template <class T>
LineShape<T> line_shape(const MaxPoolArgs& a) {
  LineShape<T> shape{interior_of(a.windows, 2, a.x.size[2], a.y.size[2]), {}};
  for (int i = 0; i < Vec<T>::kLanes; ++i) {
    shape.ramp[i] = a.index_dtype == Dtype::u8
                        ? 0
                        : static_cast<typename Vec<T>::Int>(i * a.windows.window.stride[2]);
  }
  return shape;
}

// Window positions whose lanes inside x are found once for all rows, at the edges.
constexpr int64_t kMostEdgeTaps = 16;

// A row of y. kStep is the stride along W, or 0 for any; kPairs: windows are 2 wide, 2 apart.
template <int kStep, bool kPairs, class T>
void max_line(const MaxPoolArgs& a, const LineShape<T>& shape, int64_t n, int64_t c, int64_t od,
              int64_t oh) {
  using V = Vec<T>;
  using Numbers = typename V::Mask;
  using Int = typename V::Int;
  const Window& window = a.windows.window;
  const int64_t step = kStep != 0 ? kStep : window.stride[2];
  const int64_t taps_w = kPairs ? 2 : window.kernel[2], dilation = kPairs ? 1 : window.dilation[2];
  const int64_t width = a.x.size[2], count = a.y.size[2];
  const Taps td = taps_of(a.windows, 0, od, a.x.size[0], a.y.size[0]);
  const Taps th = taps_of(a.windows, 1, oh, a.x.size[1], a.y.size[1]);
  const Taps from_zero[3] = {td, th, {0, 0, taps_w, dilation}};
  const Numbering number = numbering_of(a, from_zero);
  const bool local = a.index_dtype == Dtype::u8,
             some_rows = !(td.begin >= td.end) && th.begin < th.end;
  const T* x =
      plane_of<const T>(a.x, n, c) + spatial_offset(a.x, td.at(td.begin), th.at(th.begin), 0);
  const int64_t x_step_d = td.dilation * a.x.stride[0], x_step_h = th.dilation * a.x.stride[1];
  T* y = plane_of<T>(a.y, n, c) + spatial_offset(a.y, od, oh, 0);
  const int64_t index_at =
      n * a.indices.stride_n + c * a.indices.stride_c + spatial_offset(a.indices, od, oh, 0);

  // What the next but one row of windows needs: jumping between rows, the processor's own
  // prefetching sees no pattern (4 times slower without).
  const int64_t ahead = 2 * window.stride[1] * a.x.stride[1];
  for (int64_t ow = 0; ow < count; ow += V::kLanes) {
    const int64_t lanes = least(V::kLanes, count - ow), start = ow * step - window.pad_before[2];
    const Numbers from_start = shape.ramp + static_cast<Int>(local ? 0 : start);
    Contest<T> contest[1];
    // Calls visit(row of x, number of its element 0) for the rows of the windows.
    const auto for_rows = [&](auto visit) {
      const T* plane = x;
      for (int64_t kd = td.begin; kd < td.end; ++kd, plane += x_step_d) {
        const T* row = plane;
        for (int64_t kh = th.begin; kh < th.end; ++kh, row += x_step_h) {
          __builtin_prefetch(row + start + ahead);
          __builtin_prefetch(row + start + ahead + V::kLanes);
          visit(row, number(kd, kh, 0));
        }
      }
    };
    const bool whole = some_rows && ow >= shape.inside.begin && ow + V::kLanes <= shape.inside.end;
    const auto begin = [&] {
      contest[0].start(V(T(-__builtin_inf())),
                       whole ? from_start + static_cast<Int>(number(td.begin, th.begin, 0))
                             : first_numbers<T>(a, some_rows, ow, from_start,
                                                number(td.begin, th.begin, 0), number.step[2]));
    };
    if (whole) {
      hold<T>(contest, begin, [&](auto compete) {
        for_rows([&](const T* row, int64_t at) {
          row += start;
          if constexpr (kPairs) {
            const Halves<T> pair = deinterleave<T>(V::load(row), V::load(row + V::kLanes));
            compete(contest[0], pair.even, from_start + static_cast<Int>(at));
            compete(contest[0], pair.odd, from_start + static_cast<Int>(at + 1));
          } else {
            for (int64_t kw = 0; kw < taps_w; ++kw, row += dilation, at += number.step[2]) {
              compete(contest[0], load_every(row, step), from_start + static_cast<Int>(at));
            }
          }
        });
      });
    } else {
      LanesInside inside[kMostEdgeTaps];
      for (int64_t kw = 0; kw < least(taps_w, kMostEdgeTaps); ++kw) {
        inside[kw] = every_inside<T>(start + kw * dilation, width);
      }
      hold<T>(contest, begin, [&](auto compete) {
        for_rows([&](const T* row, int64_t at) {
          for (int64_t kw = 0; kw < taps_w; ++kw) {
            const int64_t first = start + kw * dilation;
            const LanesInside lanes_in =
                kw < kMostEdgeTaps ? inside[kw] : every_inside<T>(first, width);
            compete(contest[0],
                    load_every_inside(row, first, step, width, lanes_in, T(-__builtin_inf())),
                    from_start + static_cast<Int>(at + kw * number.step[2]));
          }
        });
      });
    }
    store_lanes(contest[0].best, y + ow, lanes);
    if (a.indices.data != nullptr) store_numbers<T>(a, contest[0].number, index_at + ow, lanes);
  }
}

// The rows of dx under a row of windows that are tiles, two elements wide; the last row of windows
// of an axis also takes what no window covers.
template <class T>
void max_backward_pairs(const MaxPoolArgs& a, int64_t n, int64_t c, int64_t od, int64_t oh) {
  using V = Vec<T>;
  const int64_t* kernel = a.windows.window.kernel;
  const int64_t *size = a.x.size, *count = a.y.size;
  const T* dy = plane_of<const T>(a.y, n, c) + spatial_offset(a.y, od, oh, 0);
  const uint8_t* numbers =
      plane_of<const uint8_t>(a.indices, n, c) + spatial_offset(a.indices, od, oh, 0);
  T* dx = plane_of<T>(a.x, n, c);
  const int64_t d_begin = od * kernel[0], h_begin = oh * kernel[1];
  const int64_t d_end = od + 1 == count[0] ? size[0] : d_begin + kernel[0];
  const int64_t h_end = oh + 1 == count[1] ? size[1] : h_begin + kernel[1];
  const int64_t d_covered = least(d_begin + kernel[0], size[0]);
  const int64_t h_covered = least(h_begin + kernel[1], size[1]);
  const int64_t covered = least(2 * count[2], size[2]);
  for (int64_t ow = 0; ow < count[2]; ow += V::kLanes) {
    const int64_t lanes = least(V::kLanes, count[2] - ow);
    const V gradient = load_lanes(dy + ow, lanes);
    const auto number = load_numbers<T>(numbers + ow, lanes);
    const int64_t columns = least(2 * V::kLanes, covered - 2 * ow);
    for (int64_t d = d_begin; d < d_covered; ++d) {
      for (int64_t h = h_begin; h < h_covered; ++h) {
        const int64_t first = ((d - d_begin) * kernel[1] + h - h_begin) * 2;
        const Interleaved<T> pairs = interleave<T>(where_number_is<T>(number, first, gradient),
                                                   where_number_is<T>(number, first + 1, gradient));
        T* to = dx + spatial_offset(a.x, d, h, 2 * ow);
        store_lanes(pairs.low, to, least(columns, V::kLanes));
        if (columns > V::kLanes) store_lanes(pairs.high, to + V::kLanes, columns - V::kLanes);
      }
    }
  }
  for (int64_t d = d_begin; d < d_end; ++d) {
    for (int64_t h = h_begin; h < h_end; ++h) {
      const int64_t from = d < d_covered && h < h_covered ? covered : 0;
      fill_zero(dx + spatial_offset(a.x, d, h, from), size[2] - from);
    }
  }
}

// A plane of dx under windows of any kind: every gradient goes to the element that won.
template <class T>
void max_backward_plane(const MaxPoolArgs& a, int64_t n, int64_t c) {
  const Window& window = a.windows.window;
  const int64_t *kernel = window.kernel, *size = a.x.size, *count = a.y.size;
  T* dx = plane_of<T>(a.x, n, c);
  const T* dy = plane_of<const T>(a.y, n, c);
  const uint8_t* numbers = plane_of<const uint8_t>(a.indices, n, c);
  const int64_t unit = unit_of(a.x), elements = spatial_count(a.x);
  for (int64_t i = 0; i < elements; ++i) dx[i * unit] = 0;
  int64_t offset[256];  // of each position from the window's first
  for (int64_t number = 0; number < kernel[0] * kernel[1] * kernel[2]; ++number) {
    offset[number] = spatial_offset(a.x, number / (kernel[1] * kernel[2]) * window.dilation[0],
                                    number / kernel[2] % kernel[1] * window.dilation[1],
                                    number % kernel[2] * window.dilation[2]);
  }
  const Interior inside = interior_of(a.windows, 2, size[2], count[2]);
  for (int64_t od = 0; od < count[0]; ++od) {
    const Taps td = taps_of(a.windows, 0, od, size[0], count[0]);
    for (int64_t oh = 0; oh < count[1]; ++oh) {
      const Taps th = taps_of(a.windows, 1, oh, size[1], count[1]);
      const bool whole =
          td.begin == 0 && td.end == kernel[0] && th.begin == 0 && th.end == kernel[1];
      const T* from = dy + spatial_offset(a.y, od, oh, 0);
      const uint8_t* number = numbers + spatial_offset(a.indices, od, oh, 0);
      for (int64_t ow = 0; ow < count[2]; ++ow) {
        const int64_t winner = number[ow * a.indices.stride[2]];
        const T gradient = from[ow * a.y.stride[2]];
        if (!whole || ow < inside.begin || ow >= inside.end) {
          // Only here may the number be that of a position outside of x.
          const Taps tw = taps_of(a.windows, 2, ow, size[2], count[2]);
          const int64_t kd = winner / (kernel[1] * kernel[2]), kh = winner / kernel[2] % kernel[1];
          const int64_t kw = winner % kernel[2];
          if (kd < td.begin || kd >= td.end || kh < th.begin || kh >= th.end || kw < tw.begin ||
              kw >= tw.end) {
            continue;
          }
        }
        const int64_t start = ow * window.stride[2] - window.pad_before[2];
        dx[spatial_offset(a.x, td.start, th.start, start) + offset[winner]] += gradient;
      }
    }
  }
}

}  // namespace
}  // namespace medkern::MK_ISA
