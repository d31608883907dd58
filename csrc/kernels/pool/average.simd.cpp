// Average pooling, sliding and adaptive, on the CPU. The backward pass: average_backward.simd.cpp.
//
//   y[n, c, o] = (sum of x[n, c, i] over the window of o) / divisor(o)
//
// divisor: the number of positions of the window inside x, or inside x and its padding.
//
// Channels-last  by rows of y (and, where these are few, blocks of channels), pixel by pixel,
//                vectors of channels over a list of the window's positions.
// Contiguous     rows of y, vectors of outputs; large windows one by one, their long runs in
//                vectors.
// Work    one addition per window position. Memory  x read and y written once.
// Numerics  sums of more than kDirectTaps terms are merged in float64 every kDirectTaps terms.
#include "cpu/shuffle.h"
#include "kernels/pool/sides.h"

namespace medkern::MK_ISA {
namespace {

// Vectors of double with as many lanes as a Vec<T>.
template <class T>
struct WideLanes;
template <>
struct WideLanes<float> {
  typedef double Native __attribute__((vector_size(MK_VECTOR_BYTES * 2)));
};
template <>
struct WideLanes<double> {
  typedef double Native __attribute__((vector_size(MK_VECTOR_BYTES)));
};

// The average over a box of one vector of channels; x points at the first of them.
template <class T>
Vec<T> average_channels(const Image& image, const T* x, const Side box[3], int64_t lanes) {
  using V = Vec<T>;
  using Wide = typename WideLanes<T>::Native;
  const bool full = lanes == V::kLanes, merged = taps_in(box) > kDirectTaps;
  V sum = V::zero();
  Wide total{};
  int64_t pending = 0;
  for (int64_t d = box[0].begin; d < box[0].end; ++d) {
    for (int64_t h = box[1].begin; h < box[1].end; ++h) {
      for (int64_t w = box[2].begin; w < box[2].end; ++w) {
        const T* from = x + spatial_offset(image, d, h, w);
        sum += full ? V::load(from) : V::load(from, lanes);
        if (merged && ++pending == kDirectTaps) {
          total += __builtin_convertvector(sum.v, Wide);
          sum = V::zero();
          pending = 0;
        }
      }
    }
  }
  if (!merged) return sum / V(static_cast<T>(divisor_of(box)));
  total += __builtin_convertvector(sum.v, Wide);
  return __builtin_convertvector(total / static_cast<double>(divisor_of(box)), typename V::Native);
}

// The averages of kVectors vectors of channels, the last of `lanes` lanes.
template <int kVectors, class T>
MK_INLINE void average_of_list(const OffsetList& list, Vec<T> divisor, const T* x, int64_t lanes,
                               T* y) {
  using V = Vec<T>;
  V sum[kVectors];
#pragma GCC unroll 4
  for (int k = 0; k < kVectors; ++k) sum[k] = V::zero();
  for (int i = 0; i < list.count; ++i) {
#pragma GCC unroll 4
    for (int k = 0; k < kVectors; ++k) {
      const T* from = x + list.offset[i] + k * V::kLanes;
      __builtin_prefetch(from + kFetchAhead<T>);
      sum[k] += load_lanes(from, lanes);
    }
  }
#pragma GCC unroll 4
  for (int k = 0; k < kVectors; ++k) store_lanes(sum[k] / divisor, y + k * V::kLanes, lanes);
}

// Channels [first, last) of a row of y.
template <class T>
void average_row(const AveragePoolArgs& a, int64_t n, int64_t od, int64_t oh, int64_t first,
                 int64_t last) {
  constexpr int64_t kLanes = Vec<T>::kLanes;
  const T* x = plane_of<const T>(a.x, n, 0);
  T* y_row = plane_of<T>(a.y, n, 0) + spatial_offset(a.y, od, oh, 0);
  const Interior inside = interior_of(a.windows, 2, a.x.size[2], a.y.size[2]);
  Side box[3] = {side_of(a, 0, od), side_of(a, 1, oh), {}};
  OffsetList list;
  bool list_is_inner = false;
  for (int64_t ow = 0; ow < a.y.size[2]; ++ow) {
    box[2] = side_of(a, 2, ow);
    T* y = y_row + ow * a.y.stride[2];
    if (taps_in(box) > kDirectTaps) {
      for (int64_t c = first; c < last; c += kLanes) {
        const int64_t lanes = least(last - c, kLanes);
        store_lanes(average_channels<T>(a.x, x + c, box, lanes), y + c, lanes);
      }
      continue;
    }
    // Windows inside x share their list, counted from the window's first element.
    int64_t start = 0;
    if (ow >= inside.begin && ow < inside.end) {
      start = box[2].begin;
      const Side from_zero[3] = {box[0], box[1], {0, box[2].end - start, 0}};
      if (!list_is_inner) list_offsets(a.x, from_zero, list);
      list_is_inner = true;
    } else {
      list_offsets(a.x, box, list);
      list_is_inner = false;
    }
    const T* from = x + start * a.x.stride[2];
    const Vec<T> divisor(static_cast<T>(divisor_of(box)));
    int64_t c = first;
    for (; c + 4 * kLanes <= last; c += 4 * kLanes) {
      average_of_list<4, T>(list, divisor, from + c, kLanes, y + c);
    }
    for (; c < last; c += kLanes) {
      average_of_list<1, T>(list, divisor, from + c, least(last - c, kLanes), y + c);
    }
  }
}

// A row of y of one channel, vectors of outputs; windows have at most kDirectTaps positions. kStep
// is the stride along W, or 0 for any; kPairs: windows are 2 wide, 2 apart.
template <int kStep, bool kPairs, class T>
void average_line(const AveragePoolArgs& a, Interior inside, int64_t n, int64_t c, int64_t od,
                  int64_t oh) {
  using V = Vec<T>;
  const Window& window = a.windows.window;
  const int64_t step = kStep != 0 ? kStep : window.stride[2], taps = window.kernel[2];
  const int64_t width = a.x.size[2], count = a.y.size[2];
  const Side sd = side_of(a, 0, od), sh = side_of(a, 1, oh);
  const T* x = plane_of<const T>(a.x, n, c) + spatial_offset(a.x, sd.begin, sh.begin, 0);
  T* y = plane_of<T>(a.y, n, c) + spatial_offset(a.y, od, oh, 0);
  const int64_t ahead = 2 * window.stride[1] * a.x.stride[1];  // as in max_lines.simd.h
  for (int64_t ow = 0; ow < count; ow += V::kLanes) {
    const int64_t lanes = least(V::kLanes, count - ow), start = ow * step - window.pad_before[2];
    const bool whole = ow >= inside.begin && ow + V::kLanes <= inside.end;
    V sum = V::zero(), divisor;
    for (int64_t d = 0; d < sd.end - sd.begin; ++d) {
      for (int64_t h = 0; h < sh.end - sh.begin; ++h) {
        const T* row = x + d * a.x.stride[0] + h * a.x.stride[1];
        __builtin_prefetch(row + start + ahead);
        __builtin_prefetch(row + start + ahead + V::kLanes);
        if (whole && kPairs) {
          const Halves<T> pair =
              deinterleave<T>(V::load(row + start), V::load(row + start + V::kLanes));
          sum = (sum + pair.even) + pair.odd;
        } else if (whole) {
          for (int64_t kw = 0; kw < taps; ++kw) sum += load_every(row + start + kw, step);
        } else {
          for (int64_t kw = 0; kw < taps; ++kw) {
            const int64_t first = start + kw;
            sum += load_every_inside(row, first, step, width, every_inside<T>(first, width), T(0));
          }
        }
      }
    }
    if (whole) {
      const Side box[3] = {sd, sh, {0, 0, taps}};
      divisor = V(static_cast<T>(divisor_of(box)));
    } else {
      for (int64_t i = 0; i < V::kLanes; ++i) {
        const Side box[3] = {sd, sh, side_of(a, 2, ow + least(i, lanes - 1))};
        divisor.v[i] = static_cast<T>(divisor_of(box));
      }
    }
    store_lanes(sum / divisor, y + ow, lanes);
  }
}

// The sum of `count` adjacent elements.
template <class T>
double sum_of_run(const T* x, int64_t count) {
  using V = Vec<T>;
  double total = 0;
  int64_t i = 0;
  while (i + V::kLanes <= count) {
    V lanes = V::zero();
    const int64_t end = least(count, i + kDirectTaps * V::kLanes);
    for (; i + V::kLanes <= end; i += V::kLanes) lanes += V::load(x + i);
    total += sum(lanes);
  }
  for (; i < count; ++i) total += x[i];
  return total;
}

// A row of y of one channel, window by window.
template <class T>
void average_elements(const AveragePoolArgs& a, int64_t n, int64_t c, int64_t od, int64_t oh) {
  const T* x = plane_of<const T>(a.x, n, c);
  T* y = plane_of<T>(a.y, n, c) + spatial_offset(a.y, od, oh, 0);
  Side box[3] = {side_of(a, 0, od), side_of(a, 1, oh), {}};
  for (int64_t ow = 0; ow < a.y.size[2]; ++ow) {
    box[2] = side_of(a, 2, ow);
    double total = 0;
    for (int64_t d = box[0].begin; d < box[0].end; ++d) {
      for (int64_t h = box[1].begin; h < box[1].end; ++h) {
        const T* run = x + spatial_offset(a.x, d, h, box[2].begin);
        const int64_t length = box[2].end - box[2].begin, step = a.x.stride[2];
        if (step == 1 && length >= Vec<T>::kLanes) {
          total += sum_of_run(run, length);
        } else {
          for (int64_t i = 0; i < length; ++i) total += run[i * step];
        }
      }
    }
    y[ow * a.y.stride[2]] = static_cast<T>(total / static_cast<double>(divisor_of(box)));
  }
}

template <class T>
void average_forward_of(const AveragePoolArgs& a) {
  const int64_t* size = a.y.size;
  const Window& window = a.windows.window;
  const int64_t taps = window.kernel[0] * window.kernel[1] * window.kernel[2];
  const int64_t work = a.y.n * a.y.c * spatial_count(a.y) * taps;
  if (has_channel_vectors(a.x) && has_channel_vectors(a.y)) {
    constexpr int64_t kFewRows = 16, kBlock = 2 * kChannelBlock;
    if (a.y.n * size[0] * size[1] >= kFewRows) {
      for_each_row(a.y, a.y.c * size[2] * (taps + 1), [&](int64_t n, int64_t od, int64_t oh) {
        average_row<T>(a, n, od, oh, 0, a.y.c);
      });
      return;
    }
    const int64_t blocks = (a.y.c + kBlock - 1) / kBlock;
    parallel_for(a.y.n * size[0] * size[1] * blocks, work, [&](int64_t task, int) {
      const int64_t row = task / blocks, first = task % blocks * kBlock;
      average_row<T>(a, row / (size[0] * size[1]), row / size[1] % size[0], row % size[1], first,
                     least(first + kBlock, a.y.c));
    });
    return;
  }
  const auto for_lines = [&](auto line) { for_each_line(a.y, size[2] * taps, work, line); };
  if (!has_lines(a.x) || !has_lines(a.y) || a.windows.adaptive || taps > kDirectTaps) {
    for_lines([&](int64_t n, int64_t c, int64_t od, int64_t oh) {
      average_elements<T>(a, n, c, od, oh);
    });
    return;
  }
  const Interior inside = interior_of(a.windows, 2, a.x.size[2], size[2]);
  const bool pairs = window.stride[2] == 2 && window.kernel[2] == 2;
  const auto line = pairs                   ? average_line<2, true, T>
                    : window.stride[2] == 1 ? average_line<1, false, T>
                    : window.stride[2] == 2 ? average_line<2, false, T>
                                            : average_line<0, false, T>;
  for_lines([&](int64_t n, int64_t c, int64_t od, int64_t oh) { line(a, inside, n, c, od, oh); });
}

}  // namespace

void average_forward(const AveragePoolArgs& a) {
  a.dtype == Dtype::f32 ? average_forward_of<float>(a) : average_forward_of<double>(a);
}

}  // namespace medkern::MK_ISA
