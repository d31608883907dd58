// Max pooling on the CPU, forward and backward.
//
//   y[n, c, o] = max over window positions t of x[n, c, o * stride - pad_before + t * dilation]
//
// Channels-last: one task per output row; within it, pixel by pixel, a vector of channels over the
// window. Otherwise:     one task per (n, c) plane, scalar. Backward is cut by channels, so that no
// two tasks write
//                the same element of dx however the windows overlap.
// Work  one comparison per window position. Memory  x read once (while a row of windows fits the
// cache), y and
//       the indices written once.
// Exact; NaN wins, and of equal values the first in row-major order.
#include "kernels/pool/pool.h"

#include "core/parallel.h"
#include "cpu/vec.h"

namespace medkern::MK_ISA {
namespace {

// Window positions [begin, end) along one axis that fall inside x, for the window that starts at
// `start`.
struct Taps {
  int64_t start, begin, end;
};

MK_INLINE Taps taps_inside(const Window& w, int axis, int64_t output, int64_t size) {
  const int64_t start = output * w.stride[axis] - w.pad_before[axis];
  const int64_t dilation = w.dilation[axis];
  const int64_t begin = start >= 0 ? 0 : (-start + dilation - 1) / dilation;
  int64_t end = start >= size ? 0 : (size - start + dilation - 1) / dilation;
  if (end > w.kernel[axis]) end = w.kernel[axis];
  return {start, begin, end};
}

// The flat spatial offset in x of window position `tap` of output (d, h, w); -1 in the padding.
MK_INLINE int64_t flat_offset(const Window& w, const int64_t size[3], const int64_t out[3],
                              int64_t tap) {
  int64_t at[3];
  for (int i = 2; i >= 0; --i) {
    at[i] = out[i] * w.stride[i] - w.pad_before[i] + tap % w.kernel[i] * w.dilation[i];
    if (at[i] < 0 || at[i] >= size[i]) return -1;
    tap /= w.kernel[i];
  }
  return (at[0] * size[1] + at[1]) * size[2] + at[2];
}

// Calls visit(tap number, spatial element offset in x) for each window position inside x, in order.
template <class Visit>
MK_INLINE void for_each_tap(const Window& w, const Image& x, const int64_t out[3], Visit visit) {
  const Taps td = taps_inside(w, 0, out[0], x.size[0]);
  const Taps th = taps_inside(w, 1, out[1], x.size[1]);
  const Taps tw = taps_inside(w, 2, out[2], x.size[2]);
  for (int64_t kd = td.begin; kd < td.end; ++kd) {
    const int64_t d = (td.start + kd * w.dilation[0]) * x.stride[0];
    for (int64_t kh = th.begin; kh < th.end; ++kh) {
      const int64_t dh = d + (th.start + kh * w.dilation[1]) * x.stride[1];
      const int64_t row = (kd * w.kernel[1] + kh) * w.kernel[2];
      for (int64_t kw = tw.begin; kw < tw.end; ++kw) {
        visit(row + kw, dh + (tw.start + kw * w.dilation[2]) * x.stride[2]);
      }
    }
  }
}

MK_INLINE int64_t spatial_offset(const Image& x, const int64_t at[3]) {
  return at[0] * x.stride[0] + at[1] * x.stride[1] + at[2] * x.stride[2];
}

// Position 0 stands for a window that lies in the padding altogether (tap -1): it lies there too.
MK_INLINE void store_index(const MaxPoolArgs& a, const int64_t out[3], int64_t at, int64_t tap) {
  if (tap < 0) tap = 0;
  if (a.index_dtype == Dtype::u8) {
    static_cast<uint8_t*>(a.indices.data)[at] = static_cast<uint8_t>(tap);
  } else {
    static_cast<int64_t*>(a.indices.data)[at] = flat_offset(a.window, a.x.size, out, tap);
  }
}

// One output pixel, all channels, a vector at a time; x and y have channels at stride 1.
template <class T>
void max_pixel(const MaxPoolArgs& a, int64_t n, const int64_t out[3]) {
  using V = Vec<T>;
  const T* x = static_cast<const T*>(a.x.data) + n * a.x.stride_n;
  T* y = static_cast<T*>(a.y.data) + n * a.y.stride_n + spatial_offset(a.y, out);
  const int64_t index_at = n * a.indices.stride_n + spatial_offset(a.indices, out);
  for (int64_t c = 0; c < a.x.c; c += V::kLanes) {
    const int64_t lanes = a.x.c - c < V::kLanes ? a.x.c - c : V::kLanes;
    V best = V(T(-__builtin_inf()));
    V best_tap = V(T(-1));  // tap numbers are below 2^24: exact in a float
    for_each_tap(a.window, a.x, out, [&](int64_t tap, int64_t offset) {
      const V value = V::load(x + offset + c, lanes);
      // Not <=: that is also true where either is NaN, and then only a first NaN may take over.
      const auto wins =
          ((value.v > best.v) | (value.v != value.v) | (best_tap.v < 0)) & (best.v == best.v);
      best = select<T>(wins, value, best);
      best_tap = select<T>(wins, V(static_cast<T>(tap)), best_tap);
    });
    best.store(y + c, lanes);
    if (a.indices.data == nullptr) continue;
    for (int64_t i = 0; i < lanes; ++i) {
      store_index(a, out, index_at + (c + i) * a.indices.stride_c,
                  static_cast<int64_t>(best_tap[i]));
    }
  }
}

// One output element.
template <class T>
void max_element(const MaxPoolArgs& a, int64_t n, int64_t c, const int64_t out[3]) {
  const T* x = static_cast<const T*>(a.x.data) + n * a.x.stride_n + c * a.x.stride_c;
  T best = T(-__builtin_inf());
  int64_t best_tap = -1;
  for_each_tap(a.window, a.x, out, [&](int64_t tap, int64_t offset) {
    const T value = x[offset];
    if ((value > best || value != value || best_tap < 0) && best == best) {
      best = value;
      best_tap = tap;
    }
  });
  static_cast<T*>(a.y.data)[n * a.y.stride_n + c * a.y.stride_c + spatial_offset(a.y, out)] = best;
  if (a.indices.data != nullptr) {
    const Image& i = a.indices;
    store_index(a, out, n * i.stride_n + c * i.stride_c + spatial_offset(i, out), best_tap);
  }
}

template <class T>
void max_forward_of(const MaxPoolArgs& a) {
  const int64_t* size = a.y.size;
  const int64_t taps = a.window.kernel[0] * a.window.kernel[1] * a.window.kernel[2];
  const int64_t work = a.y.n * a.y.c * size[0] * size[1] * size[2] * taps;
  // A tap number is exact in a float up to 2^24; larger windows go element by element.
  const bool channels_last = a.x.stride_c == 1 && a.y.stride_c == 1 && taps < (1 << 24);
  if (channels_last) {
    parallel_for(a.y.n * size[0] * size[1], work, [&](int64_t row, int) {
      int64_t out[3] = {row / size[1] % size[0], row % size[1], 0};
      for (; out[2] < size[2]; ++out[2]) max_pixel<T>(a, row / (size[0] * size[1]), out);
    });
  } else {
    parallel_for(a.y.n * a.y.c, work, [&](int64_t plane, int) {
      int64_t out[3];
      for (out[0] = 0; out[0] < size[0]; ++out[0])
        for (out[1] = 0; out[1] < size[1]; ++out[1])
          for (out[2] = 0; out[2] < size[2]; ++out[2])
            max_element<T>(a, plane / a.y.c, plane % a.y.c, out);
    });
  }
}

// Channels a backward task takes: one cache line of them, so that channels-last tasks don't share
// lines.
constexpr int64_t kChannelBlock = 16;

template <class T>
void max_backward_of(const MaxPoolArgs& a) {
  const int64_t* size = a.y.size;
  const int64_t blocks = (a.x.c + kChannelBlock - 1) / kChannelBlock;
  const int64_t work = a.x.n * a.x.c * a.x.size[0] * a.x.size[1] * a.x.size[2];
  parallel_for(a.x.n * blocks, work, [&](int64_t task, int) {
    const int64_t n = task / blocks, first = task % blocks * kChannelBlock;
    const int64_t last = first + kChannelBlock < a.x.c ? first + kChannelBlock : a.x.c;
    T* dx = static_cast<T*>(a.x.data) + n * a.x.stride_n;
    const T* dy = static_cast<const T*>(a.y.data) + n * a.y.stride_n;
    int64_t at[3];
    for (at[0] = 0; at[0] < a.x.size[0]; ++at[0])
      for (at[1] = 0; at[1] < a.x.size[1]; ++at[1])
        for (at[2] = 0; at[2] < a.x.size[2]; ++at[2])
          for (int64_t c = first; c < last; ++c) dx[c * a.x.stride_c + spatial_offset(a.x, at)] = 0;

    int64_t out[3];
    for (out[0] = 0; out[0] < size[0]; ++out[0])
      for (out[1] = 0; out[1] < size[1]; ++out[1])
        for (out[2] = 0; out[2] < size[2]; ++out[2])
          for (int64_t c = first; c < last; ++c) {
            const int64_t index_at =
                n * a.indices.stride_n + c * a.indices.stride_c + spatial_offset(a.indices, out);
            const int64_t winner =
                a.index_dtype == Dtype::u8
                    ? flat_offset(a.window, a.x.size, out,
                                  static_cast<const uint8_t*>(a.indices.data)[index_at])
                    : static_cast<const int64_t*>(a.indices.data)[index_at];
            if (winner < 0) continue;  // a window of padding only
            const int64_t w = a.x.size[2], hw = a.x.size[1] * w;
            const int64_t won[3] = {winner / hw, winner % hw / w, winner % w};
            dx[c * a.x.stride_c + spatial_offset(a.x, won)] +=
                dy[c * a.y.stride_c + spatial_offset(a.y, out)];
          }
  });
}

void max_forward(const MaxPoolArgs& a) {
  a.dtype == Dtype::f32 ? max_forward_of<float>(a) : max_forward_of<double>(a);
}

void max_backward(const MaxPoolArgs& a) {
  a.dtype == Dtype::f32 ? max_backward_of<float>(a) : max_backward_of<double>(a);
}

}  // namespace

extern const PoolKernels pool_kernels;
constinit const PoolKernels pool_kernels = {
    .max_forward = max_forward,
    .max_backward = max_backward,
};

}  // namespace medkern::MK_ISA
