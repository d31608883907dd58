// Average pooling, sliding and adaptive, on the CPU.
//
//   y[n, c, o]  = (sum of x[n, c, i] over the window of o) / divisor(o)
//   dx[n, c, i] = sum of dy[n, c, o] / divisor(o) over the windows o that i lies in
//
// divisor: the number of positions of the window inside x, or inside x and its padding.
//
// Channels-last  one task per row (and, where rows are few, per block of channels), pixel by pixel,
//                a vector of channels over the window; backward by rows of dx, gathering.
// Contiguous     one task per (n, c) plane; long runs of a window are summed in vectors.
// Work    one addition per window position. Memory  x read and y written once.
// Numerics  sums of more than kDirectTaps terms are merged in float64 every kDirectTaps terms.
//           Gradients of overlapping windows are added in row-major order of the windows.
#include "kernels/pool/windows.h"

namespace medkern::MK_ISA {
namespace {

constexpr int64_t kDirectTaps = 64;

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

// A window's part along one axis: elements [begin, end) of x and its share of the divisor.
struct Side {
  int64_t begin, end, divisor;
};

MK_INLINE Side side_of(const AveragePoolArgs& a, int axis, int64_t o) {
  const int64_t size = a.x.size[axis];
  const Taps taps = taps_of(a.windows, axis, o, size, a.y.size[axis]);
  const int64_t begin = taps.at(taps.begin);
  Side side = {begin, taps.end > taps.begin ? taps.at(taps.end) : begin, 0};
  side.divisor = side.end - side.begin;
  if (a.count_include_pad && !a.windows.adaptive) {
    const Window& w = a.windows.window;
    side.divisor = least(taps.start + w.kernel[axis], size + w.pad_after[axis]) - taps.start;
  }
  if (side.divisor < 1) side.divisor = 1;  // an empty window averages to 0
  return side;
}

MK_INLINE int64_t divisor_of(const Side box[3]) {
  return box[0].divisor * box[1].divisor * box[2].divisor;
}

MK_INLINE int64_t taps_in(const Side box[3]) {
  return (box[0].end - box[0].begin) * (box[1].end - box[1].begin) * (box[2].end - box[2].begin);
}

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

// Channels [first, last) of a row of y.
template <class T>
void average_row(const AveragePoolArgs& a, int64_t n, int64_t od, int64_t oh, int64_t first,
                 int64_t last) {
  const T* x = plane_of<const T>(a.x, n, 0);
  T* y = plane_of<T>(a.y, n, 0) + spatial_offset(a.y, od, oh, 0);
  Side box[3] = {side_of(a, 0, od), side_of(a, 1, oh), {}};
  for (int64_t ow = 0; ow < a.y.size[2]; ++ow) {
    box[2] = side_of(a, 2, ow);
    for (int64_t c = first; c < last; c += Vec<T>::kLanes) {
      const int64_t lanes = least(last - c, Vec<T>::kLanes);
      average_channels<T>(a.x, x + c, box, lanes).store(y + ow * a.y.stride[2] + c, lanes);
    }
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

template <class T>
void average_plane(const AveragePoolArgs& a, int64_t n, int64_t c) {
  const T* x = plane_of<const T>(a.x, n, c);
  T* y = plane_of<T>(a.y, n, c);
  Side box[3];
  for (int64_t od = 0; od < a.y.size[0]; ++od) {
    box[0] = side_of(a, 0, od);
    for (int64_t oh = 0; oh < a.y.size[1]; ++oh) {
      box[1] = side_of(a, 1, oh);
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
        y[spatial_offset(a.y, od, oh, ow)] =
            static_cast<T>(total / static_cast<double>(divisor_of(box)));
      }
    }
  }
}

template <class T>
void average_forward_of(const AveragePoolArgs& a) {
  const int64_t* size = a.y.size;
  const int64_t* kernel = a.windows.window.kernel;
  const int64_t work = a.y.n * a.y.c * spatial_count(a.y) * kernel[0] * kernel[1] * kernel[2];
  if (has_channel_vectors(a.x) && has_channel_vectors(a.y)) {
    constexpr int64_t kFewRows = 16;
    const int64_t rows = a.y.n * size[0] * size[1];
    const int64_t block = rows < kFewRows ? 2 * kChannelBlock : a.y.c;
    const int64_t blocks = (a.y.c + block - 1) / block;
    parallel_for(rows * blocks, work, [&](int64_t task, int) {
      const int64_t row = task / blocks, first = task % blocks * block;
      average_row<T>(a, row / (size[0] * size[1]), row / size[1] % size[0], row % size[1], first,
                     least(first + block, a.y.c));
    });
  } else {
    parallel_for(a.y.n * a.y.c, work,
                 [&](int64_t plane, int) { average_plane<T>(a, plane / a.y.c, plane % a.y.c); });
  }
}

// A row of dx, all channels.
template <class T>
void average_backward_row(const AveragePoolArgs& a, int64_t n, int64_t d, int64_t h) {
  using V = Vec<T>;
  const T* dy = plane_of<const T>(a.y, n, 0);
  T* row = plane_of<T>(a.x, n, 0) + spatial_offset(a.x, d, h, 0);
  const Cover ds = outputs_over(a.windows, 0, d, a.x.size[0], a.y.size[0]);
  const Cover hs = outputs_over(a.windows, 1, h, a.x.size[1], a.y.size[1]);
  for (int64_t w = 0; w < a.x.size[2]; ++w) {
    const Cover ws = outputs_over(a.windows, 2, w, a.x.size[2], a.y.size[2]);
    T* dx = row + w * a.x.stride[2];
    bool first = true;
    for (int64_t od = ds.begin; od < ds.end; ++od) {
      for (int64_t oh = hs.begin; oh < hs.end; ++oh) {
        for (int64_t ow = ws.begin; ow < ws.end; ++ow) {
          const Side box[3] = {side_of(a, 0, od), side_of(a, 1, oh), side_of(a, 2, ow)};
          const V share = V(static_cast<T>(1.0 / static_cast<double>(divisor_of(box))));
          const T* from = dy + spatial_offset(a.y, od, oh, ow);
          for (int64_t c = 0; c < a.x.c; c += V::kLanes) {
            const int64_t lanes = least(a.x.c - c, V::kLanes);
            const V part = V::load(from + c, lanes) * share;
            (first ? part : V::load(dx + c, lanes) + part).store(dx + c, lanes);
          }
          first = false;
        }
      }
    }
    for (int64_t c = 0; first && c < a.x.c; ++c) dx[c] = 0;
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
  const int64_t* size = a.x.size;
  const int64_t work = a.x.n * a.x.c * spatial_count(a.x);
  if (has_channel_vectors(a.x) && has_channel_vectors(a.y)) {
    parallel_for(a.x.n * size[0] * size[1], work, [&](int64_t row, int) {
      average_backward_row<T>(a, row / (size[0] * size[1]), row / size[1] % size[0], row % size[1]);
    });
  } else {
    parallel_for(a.x.n * a.x.c, work, [&](int64_t plane, int) {
      average_backward_plane<T>(a, plane / a.x.c, plane % a.x.c);
    });
  }
}

}  // namespace

void average_forward(const AveragePoolArgs& a) {
  a.dtype == Dtype::f32 ? average_forward_of<float>(a) : average_forward_of<double>(a);
}

void average_backward(const AveragePoolArgs& a) {
  a.dtype == Dtype::f32 ? average_backward_of<float>(a) : average_backward_of<double>(a);
}

}  // namespace medkern::MK_ISA
