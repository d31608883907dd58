// The gradient of depthwise weights: every channel with weights of its own.
//
//   dweight[c, t] = sum over pixels p of dy[p, c] x[p stride + t dilation - pad, c]
//
// Loops: chunks of rows of dy, one task each; in a chunk rows, vectors of channels, blocks of up to
// 3x3 taps whose sums stay in registers, pixels. Pixels at the sides, where taps fall outside x, go
// tap by tap, so that x is read where it lies, without its padding.
// Work 2 pixels taps channels flops, one load for each fma: bound by loads from the L1 cache, and
// below about ten taps by memory. Numerics: sums of a row, rows of a chunk added one after the
// other, then chunks.
#include "core/parallel.h"
#include "kernels/conv/pass.simd.h"
#include "kernels/conv/source.simd.h"
#include "kernels/conv/weight.simd.h"

namespace medkern::MK_ISA {
namespace {

// Taps of a block along each axis.
constexpr int kBlock = 3;
// Multiplications of a chunk at least, and chunks at most.
constexpr int64_t kChunkWork = 1 << 16, kMostChunks = 16;

template <class T>
struct Plan {
  int64_t channels, taps, rows, chunks;
  bool x_in_place, dy_in_place;
  T *x, *dy, *partial;  // copies, and sums [chunk][tap][channel]
  size_t bytes;
};

template <class T>
Plan<T> plan_of(const ConvWeightArgs& a) {
  Plan<T> p{};
  const int64_t* kernel = a.window.kernel;
  p.channels = a.x.c;
  p.taps = kernel[0] * kernel[1] * kernel[2];
  p.rows = a.dy.n * a.dy.size[0] * a.dy.size[1];
  const int64_t row_work = larger(a.dy.size[2] * p.channels * p.taps, 1);
  p.chunks = smaller(p.rows, divide_up(p.rows * row_work, kChunkWork));
  p.chunks = larger(smaller(p.chunks, kMostChunks), 1);
  p.x_in_place = is_channels_last_image(a.x);
  p.dy_in_place = is_channels_last_image(a.dy);
  Pieces pieces{a.workspace};
  p.x = pieces.take<T>(p.x_in_place ? 0 : copied_elements(a.x, whole_region(a.x), a.x.c));
  p.dy = pieces.take<T>(p.dy_in_place ? 0 : copied_elements(a.dy, whole_region(a.dy), a.dy.c));
  p.partial = pieces.take<T>(p.chunks * p.taps * p.channels);
  p.bytes = pieces.used;
  return p;
}

// Some pixels of a row of dy and a block of taps.
template <class T>
struct Strip {
  const T* dy;
  int64_t dy_step, pixels;
  const T* x[kBlock];       // of the first pixel and column of taps, for each row of taps
  int64_t x_step, x_tap;    // from pixel to pixel, and from tap to tap
  T* sums[kBlock];          // for each row of taps
  int64_t sums_tap, lanes;  // from tap to tap; channels
};

template <class T, int kRows, int kColumns, bool kWhole>
void add_taps(const Strip<T>& s) {
  using V = Vec<T>;
  const auto load = [&](const T* p) { return kWhole ? V::load(p) : V::load(p, s.lanes); };
  V acc[kRows][kColumns];
#pragma GCC unroll 3
  for (int r = 0; r < kRows; ++r)
#pragma GCC unroll 3
    for (int c = 0; c < kColumns; ++c) acc[r][c] = V::zero();
  const T* dy = s.dy;
  const T* x[kRows];
#pragma GCC unroll 3
  for (int r = 0; r < kRows; ++r) x[r] = s.x[r];
  for (int64_t i = 0; i < s.pixels; ++i) {
    const V d = load(dy);
    dy += s.dy_step;
#pragma GCC unroll 3
    for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 3
      for (int c = 0; c < kColumns; ++c) acc[r][c] = fma(d, load(x[r] + c * s.x_tap), acc[r][c]);
      x[r] += s.x_step;
    }
  }
#pragma GCC unroll 3
  for (int r = 0; r < kRows; ++r)
#pragma GCC unroll 3
    for (int c = 0; c < kColumns; ++c) {
      T* to = s.sums[r] + c * s.sums_tap;
      (acc[r][c] + load(to)).store(to, s.lanes);
    }
}

template <class T>
using StripFunction = void (*)(const Strip<T>&);

template <class T, bool kWhole>
constexpr StripFunction<T> kByTaps[kBlock][kBlock] = {
    {add_taps<T, 1, 1, kWhole>, add_taps<T, 1, 2, kWhole>, add_taps<T, 1, 3, kWhole>},
    {add_taps<T, 2, 1, kWhole>, add_taps<T, 2, 2, kWhole>, add_taps<T, 2, 3, kWhole>},
    {add_taps<T, 3, 1, kWhole>, add_taps<T, 3, 2, kWhole>, add_taps<T, 3, 3, kWhole>},
};

template <class T>
MK_INLINE void add_taps_of(const Strip<T>& s, int64_t rows, int64_t columns) {
  s.lanes == Vec<T>::kLanes ? kByTaps<T, true>[rows - 1][columns - 1](s)
                            : kByTaps<T, false>[rows - 1][columns - 1](s);
}

// The pixels [first, last) of an axis for which tap `tap` falls inside x.
MK_INLINE void inside(const ConvWeightArgs& a, int axis, int64_t tap, int64_t& first,
                      int64_t& last) {
  const Window& w = a.window;
  const int64_t shift = tap * w.dilation[axis] - w.pad_before[axis], stride = w.stride[axis];
  first = smaller(shift < 0 ? divide_up(-shift, stride) : 0, a.dy.size[axis]);
  const int64_t room = a.x.size[axis] - shift;
  last = larger(smaller(room > 0 ? divide_up(room, stride) : 0, a.dy.size[axis]), first);
}

// Adds a row of dy under up to kBlock rows of taps, whose x and sums (of channel, column of taps
// and pixel 0) `row` has, to the sums.
template <class T>
void add_rows(const ConvWeightArgs& a, const Plan<T>& p, Strip<T> row, int64_t rows) {
  const int64_t kernel = a.window.kernel[2], pixels = a.dy.size[2];
  Strip<T> s = row;
  const auto add = [&](int64_t c, int64_t pixel, int64_t count, int64_t tap, int64_t taps) {
    s.lanes = smaller(p.channels - c, Vec<T>::kLanes);
    s.dy = row.dy + pixel * s.dy_step + c;
    s.pixels = count;
    for (int64_t r = 0; r < rows; ++r) {
      s.x[r] = row.x[r] + tap * s.x_tap + pixel * s.x_step + c;
      s.sums[r] = row.sums[r] + tap * s.sums_tap + c;
    }
    add_taps_of(s, rows, taps);
  };
  for (int64_t column = 0; column < kernel; column += kBlock) {
    const int64_t end = smaller(column + kBlock, kernel);
    // Pixels that have all these columns of taps inside x.
    int64_t first = 0, last = pixels;
    for (int64_t tap = column; tap < end; ++tap) {
      int64_t tap_first, tap_last;
      inside(a, 2, tap, tap_first, tap_last);
      first = larger(first, tap_first);
      last = smaller(last, tap_last);
    }
    if (first >= last) first = last = pixels;
    if (first < last) {
      for (int64_t c = 0; c < p.channels; c += Vec<T>::kLanes) {
        add(c, first, last - first, column, end - column);
      }
    }
    // The others one by one, with the columns they have.
    for (int64_t pixel = 0; pixel < pixels; ++pixel) {
      if (pixel == first) pixel = last;
      if (pixel == pixels) break;
      int64_t begin = end, past = column;
      for (int64_t tap = column; tap < end; ++tap) {
        int64_t tap_first, tap_last;
        inside(a, 2, tap, tap_first, tap_last);
        if (pixel < tap_first || pixel >= tap_last) continue;
        begin = smaller(begin, tap);
        past = tap + 1;
      }
      if (begin >= past) continue;
      for (int64_t c = 0; c < p.channels; c += Vec<T>::kLanes)
        add(c, pixel, 1, begin, past - begin);
    }
  }
}

// Adds row number `row` of dy to the sums [tap][channel].
template <class T>
void add_row(const ConvWeightArgs& a, const Plan<T>& p, const Source<T>& x, const Source<T>& dy,
             int64_t row, T* sums) {
  const Window& w = a.window;
  const int64_t h = row % a.dy.size[1], d = row / a.dy.size[1] % a.dy.size[0];
  const int64_t n = row / a.dy.size[1] / a.dy.size[0], at[2] = {d, h};
  Strip<T> s{};
  s.dy = dy.data + n * dy.stride_n + d * dy.stride[0] + h * dy.stride[1];
  s.dy_step = dy.stride[2];
  s.x_step = w.stride[2] * x.stride[2];
  s.x_tap = w.dilation[2] * x.stride[2];
  s.sums_tap = p.channels;
  int64_t rows = 0;  // of taps, inside x
  const int64_t all = w.kernel[0] * w.kernel[1];
  for (int64_t t = 0; t < all; ++t) {
    const int64_t tap[2] = {t / w.kernel[1], t % w.kernel[1]};
    const T* from = x.data + n * x.stride_n - w.pad_before[2] * x.stride[2];
    bool there = true;
    for (int i = 0; i < 2; ++i) {
      const int64_t position = at[i] * w.stride[i] + tap[i] * w.dilation[i] - w.pad_before[i];
      there &= position >= 0 && position < a.x.size[i];
      from += position * x.stride[i];
    }
    if (there) {
      s.x[rows] = from;
      s.sums[rows++] = sums + t * w.kernel[2] * p.channels;
    }
    if (rows == kBlock || (rows > 0 && t == all - 1)) {
      add_rows(a, p, s, rows);
      rows = 0;
    }
  }
}

template <class T>
void depthwise_of(const ConvWeightArgs& a) {
  const Plan<T> p = plan_of<T>(a);
  const Source<T> x = p.x_in_place ? source_in_place<T>(a.x)
                                   : copy_source<T>(a.x, whole_region(a.x), 1, p.channels, p.x);
  const Source<T> dy = p.dy_in_place
                           ? source_in_place<T>(a.dy)
                           : copy_source<T>(a.dy, whole_region(a.dy), 1, p.channels, p.dy);
  const int64_t size = p.taps * p.channels;
  parallel_for(p.chunks, 2 * p.rows * a.dy.size[2] * size, [&](int64_t chunk, int) {
    T* sums = p.partial + chunk * size;
    zero(sums, size);
    const int64_t last = p.rows * (chunk + 1) / p.chunks;
    for (int64_t row = p.rows * chunk / p.chunks; row < last; ++row) {
      add_row(a, p, x, dy, row, sums);
    }
  });
  const int64_t vectors = divide_up(p.channels, Vec<T>::kLanes);
  parallel_for(vectors, p.chunks * size, [&](int64_t vector, int) {
    const int64_t c = vector * Vec<T>::kLanes, lanes = smaller(p.channels - c, Vec<T>::kLanes);
    for (int64_t t = 0; t < p.taps; ++t) {
      const T* from = p.partial + t * p.channels + c;
      Vec<T> sum = Vec<T>::load(from, lanes);
      for (int64_t chunk = 1; chunk < p.chunks; ++chunk) {
        sum += Vec<T>::load(from + chunk * size, lanes);
      }
      T* to = static_cast<T*>(a.dweight) + c * p.taps + t;
      for (int64_t lane = 0; lane < lanes; ++lane) to[lane * p.taps] = sum[lane];
    }
  });
}

}  // namespace

bool weight_is_depthwise(const ConvWeightArgs& a) {
  return a.groups > 1 && a.groups == a.x.c && a.groups == a.dy.c;
}

size_t weight_depthwise_workspace(const ConvWeightArgs& a) {
  return a.dtype == Dtype::f32 ? plan_of<float>(a).bytes : plan_of<double>(a).bytes;
}

void weight_depthwise(const ConvWeightArgs& a) {
  a.dtype == Dtype::f32 ? depthwise_of<float>(a) : depthwise_of<double>(a);
}

}  // namespace medkern::MK_ISA
