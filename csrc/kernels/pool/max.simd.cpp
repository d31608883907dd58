// Max pooling, sliding and adaptive, on the CPU.
//
//   y[n, c, o] = max over positions t of window o of x[n, c, start(o) + t * dilation]
//   dx[n, c, i] = sum of dy[n, c, o] over the windows o that i won
//
// Channels-last  one task per row of y, pixel by pixel, a vector of channels over the window. The
//                backward pass is cut by rows of dx and gathers: where windows are tiles (stride =
//                kernel, the usual 2x2) each element of dx has one candidate, else it looks at all
//                windows over it. This file knows one-byte indices there; 64-bit ones are
//                scattered (scatter.simd.cpp).
// Contiguous     one task per (n, c) plane; sliding windows by runs of outputs along W, one window
//                position after the other, adaptive ones element by element. Backward scalar.
// Work    one comparison per window position, forward and backward.
// Memory  x read once (while a row of windows fits the cache), y and the indices written once; in
//         the backward pass dy and the indices are read and dx is written once.
// Exact; NaN wins, and of equal values the first in row-major order. Gradients of overlapping
// windows are added in row-major order of the windows.
#include "core/parallel.h"
#include "kernels/pool/windows.h"

namespace medkern::MK_ISA {
namespace {

// Vectors of indices with as many lanes as a Vec<T>, as they lie in memory.
template <class T>
struct IndexLanes;
template <>
struct IndexLanes<float> {
  typedef uint8_t Bytes __attribute__((vector_size(MK_VECTOR_BYTES / 4), aligned(1), may_alias));
  typedef int64_t Longs __attribute__((vector_size(MK_VECTOR_BYTES * 2), aligned(8), may_alias));
};
template <>
struct IndexLanes<double> {
  typedef uint8_t Bytes __attribute__((vector_size(MK_VECTOR_BYTES / 8), aligned(1), may_alias));
  typedef int64_t Longs __attribute__((vector_size(MK_VECTOR_BYTES), aligned(8), may_alias));
};

// What is stored for a window position: its number (u8) or its flat spatial offset in x (i64). Both
// are base + the sum over the axes of tap * step.
struct Numbering {
  int64_t base, step[3];
  MK_INLINE int64_t operator()(int64_t kd, int64_t kh, int64_t kw) const {
    return base + kd * step[0] + kh * step[1] + kw * step[2];
  }
};

MK_INLINE Numbering numbering_of(const MaxPoolArgs& a, const Taps taps[3]) {
  if (a.index_dtype == Dtype::u8) {
    const int64_t* kernel = a.windows.window.kernel;
    return {0, {kernel[1] * kernel[2], kernel[2], 1}};
  }
  const int64_t w = a.x.size[2], hw = a.x.size[1] * w;
  return {taps[0].start * hw + taps[1].start * w + taps[2].start,
          {taps[0].dilation * hw, taps[1].dilation * w, taps[2].dilation}};
}

// The stored value where a window lies in the padding altogether: position 0 lies there too.
MK_INLINE int64_t no_winner(const MaxPoolArgs& a) { return a.index_dtype == Dtype::u8 ? 0 : -1; }

MK_INLINE bool is_empty(const Taps taps[3]) {
  return taps[0].begin >= taps[0].end || taps[1].begin >= taps[1].end ||
         taps[2].begin >= taps[2].end;
}

// Calls visit(kd, kh, kw, offset of that element in a plane of x) in row-major order.
template <class Visit>
MK_INLINE void for_each_tap(const Taps taps[3], const Image& x, Visit visit) {
  for (int64_t kd = taps[0].begin; kd < taps[0].end; ++kd)
    for (int64_t kh = taps[1].begin; kh < taps[1].end; ++kh)
      for (int64_t kw = taps[2].begin; kw < taps[2].end; ++kw)
        visit(kd, kh, kw, spatial_offset(x, taps[0].at(kd), taps[1].at(kh), taps[2].at(kw)));
}

template <class T>
MK_INLINE void store_numbers(const MaxPoolArgs& a, typename Vec<T>::Mask numbers, int64_t at,
                             int64_t lanes) {
  using Bytes = typename IndexLanes<T>::Bytes;
  using Longs = typename IndexLanes<T>::Longs;
  const bool full = lanes == Vec<T>::kLanes;
  if (a.index_dtype == Dtype::u8) {
    uint8_t* to = static_cast<uint8_t*>(a.indices.data) + at;
    if (full) *reinterpret_cast<Bytes*>(to) = __builtin_convertvector(numbers, Bytes);
    for (int64_t i = 0; !full && i < lanes; ++i) to[i] = static_cast<uint8_t>(numbers[i]);
  } else {
    int64_t* to = static_cast<int64_t*>(a.indices.data) + at;
    if (full) *reinterpret_cast<Longs*>(to) = __builtin_convertvector(numbers, Longs);
    for (int64_t i = 0; !full && i < lanes; ++i) to[i] = numbers[i];
  }
}

// A row of y, all channels; x, y and the indices have channels at stride 1.
template <class T>
void max_row(const MaxPoolArgs& a, int64_t n, int64_t od, int64_t oh) {
  using V = Vec<T>;
  const T* x = plane_of<const T>(a.x, n, 0);
  T* y = plane_of<T>(a.y, n, 0) + spatial_offset(a.y, od, oh, 0);
  const int64_t index_at = n * a.indices.stride_n + spatial_offset(a.indices, od, oh, 0);
  Taps taps[3] = {taps_of(a.windows, 0, od, a.x.size[0], a.y.size[0]),
                  taps_of(a.windows, 1, oh, a.x.size[1], a.y.size[1]),
                  {}};
  for (int64_t ow = 0; ow < a.y.size[2]; ++ow) {
    taps[2] = taps_of(a.windows, 2, ow, a.x.size[2], a.y.size[2]);
    const Numbering number = numbering_of(a, taps);
    const int64_t first =
        is_empty(taps) ? no_winner(a) : number(taps[0].begin, taps[1].begin, taps[2].begin);
    for (int64_t c = 0; c < a.x.c; c += V::kLanes) {
      const int64_t lanes = least(a.x.c - c, V::kLanes);
      const bool full = lanes == V::kLanes;
      V best = V(T(-__builtin_inf()));
      typename V::Mask best_number = typename V::Mask{} + static_cast<typename V::Int>(first);
      for_each_tap(taps, a.x, [&](int64_t kd, int64_t kh, int64_t kw, int64_t offset) {
        const T* from = x + offset + c;
        const V value = full ? V::load(from) : V::load(from, lanes);
        const auto wins = ((value > best) | (value != value)) & (best == best);
        best = select<T>(wins, value, best);
        const auto this_number =
            typename V::Mask{} + static_cast<typename V::Int>(number(kd, kh, kw));
        best_number = wins ? this_number : best_number;
      });
      best.store(y + ow * a.y.stride[2] + c, lanes);
      if (a.indices.data != nullptr) {
        store_numbers<T>(a, best_number, index_at + ow * a.indices.stride[2] + c, lanes);
      }
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

// Outputs [begin, begin + count) of a row along W, and their winners so far; number -1 for none.
constexpr int64_t kRun = 64;
template <class T>
struct Run {
  int64_t begin, count;
  T best[kRun];
  typename Vec<T>::Int number[kRun];
};

// Lets element from[i * step] compete in output first + i; kStep is the step, or 0 for any.
template <int kStep, class T>
void compete(Run<T>& run, int64_t first, int64_t count, const T* from, int64_t step, int64_t number,
             int64_t number_step) {
  using Int = typename Vec<T>::Int;
  T* best = run.best + first;
  Int* best_number = run.number + first;
  for (int64_t i = 0; i < count; ++i) {
    const T value = from[i * (kStep != 0 ? kStep : step)];
    const Int this_number = static_cast<Int>(number + i * number_step);
    const bool wins =
        ((value > best[i]) | (value != value) | (best_number[i] < 0)) & (best[i] == best[i]);
    best[i] = wins ? value : best[i];
    best_number[i] = wins ? this_number : best_number[i];
  }
}

// A run of outputs under sliding windows: every position of the window in turn, over the outputs
// for which it lies inside x.
template <class T>
void max_run(const MaxPoolArgs& a, const T* x, Run<T>& run, const Taps& td, const Taps& th) {
  const Window& window = a.windows.window;
  const int64_t stride = window.stride[2], width = a.x.size[2], height = a.x.size[1];
  const int64_t step = stride * a.x.stride[2];
  const bool local = a.index_dtype == Dtype::u8;
  for (int64_t i = 0; i < run.count; ++i) {
    run.best[i] = T(-__builtin_inf());
    run.number[i] = -1;
  }
  for (int64_t kd = td.begin; kd < td.end; ++kd) {
    for (int64_t kh = th.begin; kh < th.end; ++kh) {
      for (int64_t kw = 0; kw < window.kernel[2]; ++kw) {
        const int64_t shift = kw * window.dilation[2] - window.pad_before[2];
        if (shift >= width) continue;
        int64_t begin = shift >= 0 ? 0 : (-shift + stride - 1) / stride;
        int64_t end = (width - 1 - shift) / stride + 1;
        if (begin < run.begin) begin = run.begin;
        if (end > run.begin + run.count) end = run.begin + run.count;
        if (begin >= end) continue;
        const int64_t w = begin * stride + shift;
        const int64_t number = local ? (kd * window.kernel[1] + kh) * window.kernel[2] + kw
                                     : (td.at(kd) * height + th.at(kh)) * width + w;
        const T* from = x + spatial_offset(a.x, td.at(kd), th.at(kh), w);
        const auto body = step == 1 ? compete<1, T> : step == 2 ? compete<2, T> : compete<0, T>;
        body(run, begin - run.begin, end - begin, from, step, number, local ? 0 : stride);
      }
    }
  }
}

template <class T>
void max_sliding_plane(const MaxPoolArgs& a, int64_t n, int64_t c) {
  const T* x = plane_of<const T>(a.x, n, c);
  T* y = plane_of<T>(a.y, n, c);
  const int64_t index_at = n * a.indices.stride_n + c * a.indices.stride_c;
  const int64_t* count = a.y.size;
  Run<T> run;
  for (int64_t od = 0; od < count[0]; ++od) {
    const Taps td = taps_of(a.windows, 0, od, a.x.size[0], count[0]);
    for (int64_t oh = 0; oh < count[1]; ++oh) {
      const Taps th = taps_of(a.windows, 1, oh, a.x.size[1], count[1]);
      for (run.begin = 0; run.begin < count[2]; run.begin += kRun) {
        run.count = least(kRun, count[2] - run.begin);
        max_run<T>(a, x, run, td, th);
        T* to = y + spatial_offset(a.y, od, oh, run.begin);
        for (int64_t i = 0; i < run.count; ++i) to[i * a.y.stride[2]] = run.best[i];
        if (a.indices.data == nullptr) continue;
        const int64_t at = index_at + spatial_offset(a.indices, od, oh, run.begin);
        for (int64_t i = 0; i < run.count; ++i) {
          const int64_t number = run.number[i] < 0 ? no_winner(a) : run.number[i];
          store_number(a, at + i * a.indices.stride[2], number);
        }
      }
    }
  }
}

template <class T>
void max_plane(const MaxPoolArgs& a, int64_t n, int64_t c) {
  const T* x = plane_of<const T>(a.x, n, c);
  T* y = plane_of<T>(a.y, n, c);
  const int64_t index_at = n * a.indices.stride_n + c * a.indices.stride_c;
  const int64_t* count = a.y.size;
  Taps taps[3];
  for (int64_t od = 0; od < count[0]; ++od) {
    taps[0] = taps_of(a.windows, 0, od, a.x.size[0], count[0]);
    for (int64_t oh = 0; oh < count[1]; ++oh) {
      taps[1] = taps_of(a.windows, 1, oh, a.x.size[1], count[1]);
      for (int64_t ow = 0; ow < count[2]; ++ow) {
        taps[2] = taps_of(a.windows, 2, ow, a.x.size[2], count[2]);
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
        y[spatial_offset(a.y, od, oh, ow)] = best;
        if (a.indices.data == nullptr) continue;
        store_number(a, index_at + spatial_offset(a.indices, od, oh, ow), best_number);
      }
    }
  }
}

template <class T>
void max_forward_of(const MaxPoolArgs& a) {
  const int64_t* size = a.y.size;
  const int64_t* kernel = a.windows.window.kernel;
  const int64_t work = a.y.n * a.y.c * spatial_count(a.y) * kernel[0] * kernel[1] * kernel[2];
  const bool vectors = has_channel_vectors(a.x) && has_channel_vectors(a.y) &&
                       (a.indices.data == nullptr || has_channel_vectors(a.indices));
  // Numbers are kept in lanes of T's size.
  const bool numbers_fit = sizeof(T) == 8 || spatial_count(a.x) <= INT32_MAX;
  if (vectors && numbers_fit) {
    parallel_for(a.y.n * size[0] * size[1], work, [&](int64_t row, int) {
      max_row<T>(a, row / (size[0] * size[1]), row / size[1] % size[0], row % size[1]);
    });
  } else {
    const bool runs = numbers_fit && !a.windows.adaptive;
    parallel_for(a.y.n * a.y.c, work, [&](int64_t plane, int) {
      const int64_t n = plane / a.y.c, c = plane % a.y.c;
      runs ? max_sliding_plane<T>(a, n, c) : max_plane<T>(a, n, c);
    });
  }
}

// Lanes where the one-byte index is `number`.
template <class T>
MK_INLINE typename Vec<T>::Mask lanes_won(const uint8_t* indices, int64_t number, int64_t lanes) {
  using Bytes = typename IndexLanes<T>::Bytes;
  Bytes bytes{};
  if (lanes == Vec<T>::kLanes) {
    bytes = *reinterpret_cast<const Bytes*>(indices);
  } else {
    for (int64_t i = 0; i < lanes; ++i) bytes[i] = indices[i];
  }
  const auto numbers = __builtin_convertvector(bytes, typename Vec<T>::Mask);
  return numbers == static_cast<typename Vec<T>::Int>(number);
}

template <class T>
MK_INLINE void fill_zero(T* p, int64_t count) {
  for (int64_t i = 0; i < count; ++i) p[i] = 0;
}

MK_INLINE bool windows_are_tiles(const Window& w) {
  bool tiles = true;
  for (int i = 0; i < 3; ++i) {
    tiles &= w.stride[i] == w.kernel[i] && w.dilation[i] == 1 && w.pad_before[i] == 0;
  }
  return tiles;
}

// The rows of dx under one row of windows that don't overlap; the last task of an axis also takes
// what no window covers.
template <class T>
void max_backward_tiles(const MaxPoolArgs& a, int64_t n, int64_t od, int64_t oh) {
  using V = Vec<T>;
  const int64_t* kernel = a.windows.window.kernel;
  const int64_t *size = a.x.size, *count = a.y.size;
  const T* dy = plane_of<const T>(a.y, n, 0) + spatial_offset(a.y, od, oh, 0);
  const uint8_t* indices =
      plane_of<const uint8_t>(a.indices, n, 0) + spatial_offset(a.indices, od, oh, 0);
  const int64_t d_end = od + 1 == count[0] ? size[0] : (od + 1) * kernel[0];
  const int64_t h_end = oh + 1 == count[1] ? size[1] : (oh + 1) * kernel[1];
  const int64_t w_end = least(count[2] * kernel[2], size[2]), pixel = a.x.c;
  for (int64_t d = od * kernel[0]; d < d_end; ++d) {
    for (int64_t h = oh * kernel[1]; h < h_end; ++h) {
      const int64_t kd = d - od * kernel[0], kh = h - oh * kernel[1];
      T* dx = plane_of<T>(a.x, n, 0) + spatial_offset(a.x, d, h, 0);
      if (kd >= kernel[0] || kh >= kernel[1]) {
        fill_zero(dx, size[2] * pixel);
        continue;
      }
      const int64_t number = (kd * kernel[1] + kh) * kernel[2];
      int64_t w = 0;
      for (int64_t ow = 0; ow < count[2]; ++ow) {
        const T* from = dy + ow * a.y.stride[2];
        const uint8_t* index = indices + ow * a.indices.stride[2];
        for (int64_t kw = 0; kw < kernel[2] && w < w_end; ++kw, ++w) {
          int64_t c = 0;
          for (; c + V::kLanes <= pixel; c += V::kLanes) {
            const auto won = lanes_won<T>(index + c, number + kw, V::kLanes);
            select<T>(won, V::load(from + c), V::zero()).store(dx + w * pixel + c);
          }
          if (c < pixel) {
            const auto won = lanes_won<T>(index + c, number + kw, pixel - c);
            select<T>(won, V::load(from + c, pixel - c), V::zero())
                .store(dx + w * pixel + c, pixel - c);
          }
        }
      }
      fill_zero(dx + w_end * pixel, (size[2] - w_end) * pixel);
    }
  }
}

// A row of dx under windows of any kind.
template <class T>
void max_backward_row(const MaxPoolArgs& a, int64_t n, int64_t d, int64_t h) {
  using V = Vec<T>;
  const Window& window = a.windows.window;
  const T* dy = plane_of<const T>(a.y, n, 0);
  const uint8_t* indices = plane_of<const uint8_t>(a.indices, n, 0);
  T* dx = plane_of<T>(a.x, n, 0) + spatial_offset(a.x, d, h, 0);
  const Cover ds = outputs_over(a.windows, 0, d, a.x.size[0], a.y.size[0]);
  const Cover hs = outputs_over(a.windows, 1, h, a.x.size[1], a.y.size[1]);
  for (int64_t w = 0; w < a.x.size[2]; ++w) {
    const Cover ws = outputs_over(a.windows, 2, w, a.x.size[2], a.y.size[2]);
    for (int64_t c = 0; c < a.x.c; c += V::kLanes) {
      const int64_t lanes = least(a.x.c - c, V::kLanes);
      V total = V::zero();
      for (int64_t od = ds.begin; od < ds.end; ++od) {
        const int64_t kd = tap_at(window, 0, od, d);
        for (int64_t oh = hs.begin; oh < hs.end; ++oh) {
          const int64_t kh = tap_at(window, 1, oh, h);
          for (int64_t ow = ws.begin; ow < ws.end; ++ow) {
            const int64_t kw = tap_at(window, 2, ow, w);
            if ((kd | kh | kw) < 0) continue;
            const int64_t number = (kd * window.kernel[1] + kh) * window.kernel[2] + kw;
            const auto won =
                lanes_won<T>(indices + spatial_offset(a.indices, od, oh, ow) + c, number, lanes);
            const V gradient = V::load(dy + spatial_offset(a.y, od, oh, ow) + c, lanes);
            total += select<T>(won, gradient, V::zero());
          }
        }
      }
      total.store(dx + w * a.x.stride[2] + c, lanes);
    }
  }
}

template <class T>
void max_backward_plane(const MaxPoolArgs& a, int64_t n, int64_t c) {
  T* dx = plane_of<T>(a.x, n, c);
  const T* dy = plane_of<const T>(a.y, n, c);
  const uint8_t* indices = plane_of<const uint8_t>(a.indices, n, c);
  const int64_t unit = unit_of(a.x), elements = spatial_count(a.x), *count = a.y.size;
  for (int64_t i = 0; i < elements; ++i) dx[i * unit] = 0;
  Taps taps[3];
  for (int64_t od = 0; od < count[0]; ++od) {
    taps[0] = taps_of(a.windows, 0, od, a.x.size[0], count[0]);
    for (int64_t oh = 0; oh < count[1]; ++oh) {
      taps[1] = taps_of(a.windows, 1, oh, a.x.size[1], count[1]);
      for (int64_t ow = 0; ow < count[2]; ++ow) {
        taps[2] = taps_of(a.windows, 2, ow, a.x.size[2], count[2]);
        const Numbering number = numbering_of(a, taps);
        const int64_t winner = indices[spatial_offset(a.indices, od, oh, ow)];
        const T gradient = dy[spatial_offset(a.y, od, oh, ow)];
        for_each_tap(taps, a.x, [&](int64_t kd, int64_t kh, int64_t kw, int64_t offset) {
          if (number(kd, kh, kw) == winner) dx[offset] += gradient;
        });
      }
    }
  }
}

template <class T>
void max_backward_of(const MaxPoolArgs& a) {
  const int64_t work = a.x.n * a.x.c * spatial_count(a.x);
  const bool vectors =
      has_channel_vectors(a.x) && has_channel_vectors(a.y) && has_channel_vectors(a.indices);
  if (!vectors) {
    parallel_for(a.x.n * a.x.c, work, [&](int64_t plane, int) {
      max_backward_plane<T>(a, plane / a.x.c, plane % a.x.c);
    });
    return;
  }
  const bool tiles = windows_are_tiles(a.windows.window);
  const int64_t* rows = tiles ? a.y.size : a.x.size;
  parallel_for(a.x.n * rows[0] * rows[1], work, [&](int64_t row, int) {
    const int64_t n = row / (rows[0] * rows[1]), d = row / rows[1] % rows[0], h = row % rows[1];
    tiles ? max_backward_tiles<T>(a, n, d, h) : max_backward_row<T>(a, n, d, h);
  });
}

}  // namespace

void max_forward(const MaxPoolArgs& a) {
  a.dtype == Dtype::f32 ? max_forward_of<float>(a) : max_forward_of<double>(a);
}

void max_backward(const MaxPoolArgs& a) {
  a.dtype == Dtype::f32 ? max_backward_of<float>(a) : max_backward_of<double>(a);
}

}  // namespace medkern::MK_ISA
