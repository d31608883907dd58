// Softmax and log-softmax along any axis on the CPU, forward and backward.
//
//   softmax      y = exp(x - m) / s,  m = max x, s = sum of exp(x - m);  dx = y (dy - sum of dy y)
//   log-softmax  y = (x - m) - log(s);                        dx = dy - exp(y) sum of dy
//
// Strip by strip (strips.h), or row by row: short rows in registers (rows.h). Each is read from
// memory once: its later readings hit the cache or a tile. One exponential per number. Large
// results of short rows are streamed.
#include "kernels/softmax/softmax.h"

#include "kernels/softmax/rows.h"

namespace medkern::MK_ISA {
namespace {

template <class T>
MK_INLINE void forward_strip(const Strip<T>& x, const Target<T>& y, bool logarithmic) {
  const Vec<T> m = strip_max(x);
  if (logarithmic) {
    const Vec<T> log_s = log(strip_sum<T>(x.axis, [&](int64_t a) { return exp(x.load(a) - m); }));
    for (int64_t a = 0; a < x.axis; ++a) y.store(a, (x.load(a) - m) - log_s);
    return;
  }
  const Vec<T> s = strip_sum<T>(x.axis, [&](int64_t a) {
    const Vec<T> e = exp(x.load(a) - m);
    y.store(a, e);
    return e;
  });
  const Vec<T> share = Vec<T>(T(1)) / s;
  for (int64_t a = 0; a < x.axis; ++a) y.store(a, y.load(a) * share);
}

template <class T>
void forward_row(const T* x, T* y, int64_t n, bool logarithmic) {
  using V = Vec<T>;
  const V m(row_max(x, n));
  const double s = row_sum<T>(n, [&](int64_t i, int64_t lanes) {
    const V e = exp(load_lanes(x + i, lanes) - m);
    if (!logarithmic) store_lanes(e, y + i, lanes);
    return e;
  });
  if (logarithmic) {
    const V log_s(static_cast<T>(__builtin_log(s)));
    for_each_vector<T>(n, [&](int64_t i, int64_t lanes) {
      store_lanes((load_lanes(x + i, lanes) - m) - log_s, y + i, lanes);
    });
  } else {
    const V share(static_cast<T>(1 / s));
    for_each_vector<T>(n, [&](int64_t i, int64_t lanes) {
      store_lanes(load_lanes(y + i, lanes) * share, y + i, lanes);
    });
  }
}

template <class T>
MK_INLINE void backward_strip(const Strip<T>& y, const Strip<T>& dy, const Target<T>& dx,
                              bool logarithmic) {
  if (logarithmic) {
    const Vec<T> s = strip_sum<T>(y.axis, [&](int64_t a) { return dy.load(a); });
    for (int64_t a = 0; a < y.axis; ++a) dx.store(a, fma(-exp(y.load(a)), s, dy.load(a)));
  } else {
    const Vec<T> s = strip_sum<T>(y.axis, [&](int64_t a) { return dy.load(a) * y.load(a); });
    for (int64_t a = 0; a < y.axis; ++a) dx.store(a, y.load(a) * (dy.load(a) - s));
  }
}

template <class T>
void backward_row(const T* y, const T* dy, T* dx, int64_t n, bool logarithmic) {
  using V = Vec<T>;
  const V s(static_cast<T>(row_sum<T>(n, [&](int64_t i, int64_t lanes) {
    const V g = load_lanes(dy + i, lanes);
    return logarithmic ? g : g * load_lanes(y + i, lanes);
  })));
  for_each_vector<T>(n, [&](int64_t i, int64_t lanes) {
    const V g = load_lanes(dy + i, lanes), value = load_lanes(y + i, lanes);
    store_lanes(logarithmic ? fma(-exp(value), s, g) : value * (g - s), dx + i, lanes);
  });
}

// Whether to stream to `y`, with that many arrays read and written in all.
template <class T>
MK_INLINE bool streams_rows(const SoftmaxShape& s, const void* y, int64_t arrays) {
  return s.axis % Vec<T>::kLanes == 0 &&
         may_stream(static_cast<const T*>(y), arrays * s.outer * s.axis * int64_t{sizeof(T)});
}

template <class T>
void forward_of(const SoftmaxArgs& a) {
  const SoftmaxShape& s = a.shape;
  const bool streams = streams_rows<T>(s, a.y, 2);
  for_blocks(s, [&](int64_t, int64_t begin, int64_t end) {
    if (has_short_rows<T>(s)) {
      with_row<T>(s.axis, streams, [&](auto row) {
        for (int64_t at = begin * s.axis; at < end * s.axis; at += s.axis) {
          forward_short_row(row, static_cast<const T*>(a.x) + at, static_cast<T*>(a.y) + at,
                            a.logarithmic);
        }
      });
      if (streams) end_stream();
      return;
    }
    if (has_long_rows(s)) {
      for (int64_t i = begin; i < end; ++i)
        forward_row(static_cast<const T*>(a.x) + i * s.axis, static_cast<T*>(a.y) + i * s.axis,
                    s.axis, a.logarithmic);
      return;
    }
    constexpr int64_t kLanes = Vec<T>::kLanes;
    if (has_blocks(s)) {
      BlockTile<T> tile;
      for (int64_t i = begin; i < end; i += kBlockLanes<T>) {
        const int64_t lanes = smaller(kBlockLanes<T>, end - i);
        load_block<T>(s, a.x, i, lanes, tile);
        for (int64_t k = 0; k < lanes; k += kLanes) {
          forward_strip(Strip<T>{tile + k, kBlockLanes<T>, s.axis, kLanes},
                        Target<T>{tile + k, kBlockLanes<T>, kLanes}, a.logarithmic);
        }
        store_block<T>(s, tile, i, lanes, a.y);
      }
      return;
    }
    Tile<T> in, out;
    for (int64_t i = begin; i < end; i += kLanes) {
      const int64_t lanes = smaller(kLanes, end - i);
      forward_strip(strip_at<T>(s, a.x, i, lanes, in), target_at<T>(s, a.y, i, lanes, out),
                    a.logarithmic);
      finish<T>(s, a.y, i, lanes, out);
    }
  });
}

template <class T>
void backward_of(const SoftmaxArgs& a) {
  const SoftmaxShape& s = a.shape;
  const bool streams = streams_rows<T>(s, a.y, 3);
  for_blocks(s, [&](int64_t, int64_t begin, int64_t end) {
    if (has_short_rows<T>(s)) {
      with_row<T>(s.axis, streams, [&](auto row) {
        for (int64_t at = begin * s.axis; at < end * s.axis; at += s.axis) {
          backward_short_row(row, static_cast<const T*>(a.x) + at, static_cast<const T*>(a.dy) + at,
                             static_cast<T*>(a.y) + at, a.logarithmic);
        }
      });
      if (streams) end_stream();
      return;
    }
    if (has_long_rows(s)) {
      for (int64_t i = begin; i < end; ++i)
        backward_row(static_cast<const T*>(a.x) + i * s.axis,
                     static_cast<const T*>(a.dy) + i * s.axis, static_cast<T*>(a.y) + i * s.axis,
                     s.axis, a.logarithmic);
      return;
    }
    constexpr int64_t kLanes = Vec<T>::kLanes;
    if (has_blocks(s)) {
      BlockTile<T> y, dy;
      for (int64_t i = begin; i < end; i += kBlockLanes<T>) {
        const int64_t lanes = smaller(kBlockLanes<T>, end - i);
        load_block<T>(s, a.x, i, lanes, y);
        load_block<T>(s, a.dy, i, lanes, dy);
        for (int64_t k = 0; k < lanes; k += kLanes) {
          backward_strip(Strip<T>{y + k, kBlockLanes<T>, s.axis, kLanes},
                         Strip<T>{dy + k, kBlockLanes<T>, s.axis, kLanes},
                         Target<T>{dy + k, kBlockLanes<T>, kLanes}, a.logarithmic);
        }
        store_block<T>(s, dy, i, lanes, a.y);
      }
      return;
    }
    Tile<T> in_y, in_dy, out;
    for (int64_t i = begin; i < end; i += kLanes) {
      const int64_t lanes = smaller(kLanes, end - i);
      backward_strip(strip_at<T>(s, a.x, i, lanes, in_y), strip_at<T>(s, a.dy, i, lanes, in_dy),
                     target_at<T>(s, a.y, i, lanes, out), a.logarithmic);
      finish<T>(s, a.y, i, lanes, out);
    }
  });
}

void forward(const SoftmaxArgs& a) {
  a.shape.dtype == Dtype::f32 ? forward_of<float>(a) : forward_of<double>(a);
}

void backward(const SoftmaxArgs& a) {
  a.shape.dtype == Dtype::f32 ? backward_of<float>(a) : backward_of<double>(a);
}

}  // namespace

extern const SoftmaxKernels softmax_kernels;
constinit const SoftmaxKernels softmax_kernels = {
    .forward = forward,
    .backward = backward,
};

}  // namespace medkern::MK_ISA
