// The gradient of depthwise weights: every channel with weights of its own.
//
//   dweight[c, t] = sum over pixels p of dy[p, c] x[p stride + t dilation - pad, c]
//
// Loops: chunks of rows of dy, one task each; in a chunk strips of pixels so narrow that the rows
// of x which a row of dy shares with the next stay in the L1 cache, rows, blocks of up to 3x3 taps
// whose sums stay in registers, vectors of channels, pixels. Pixels at the sides, where taps fall
// outside x, go tap by tap, so that x is read where it lies, without its padding.
// Work 2 pixels taps channels flops. Four neighbors share what they read: with 3x3 taps and stride
// 1, 22 vectors for 36 fma. Below about ten taps bound by memory. Numerics: sums of a strip's row,
// those of a chunk added one after the other, then chunks.
#include "core/parallel.h"
#include "kernels/conv/pass.simd.h"
#include "kernels/conv/source.simd.h"
#include "kernels/conv/weight.simd.h"

namespace medkern::MK_ISA {
namespace {

// Taps of a block along each axis.
constexpr int kBlock = 3;
// Pixels that share what they read, where neighbors do.
constexpr int kPixels = 4;
// Multiplications of a chunk at least, and chunks at most.
constexpr int64_t kStripBytes = 32 << 10;
constexpr int64_t kChunkWork = 1 << 16, kMostChunks = 16;

template <class T>
struct Plan {
  int64_t channels, taps, rows, chunks, strip;
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
  // With more taps than a block, the arithmetic covers what comes from the L2 cache.
  const int64_t read = (kernel[0] * kernel[1] * a.window.stride[2] + 1) * p.channels;
  const int64_t strip = kStripBytes / static_cast<int64_t>(sizeof(T)) / larger(read, 1);
  p.strip = p.taps > kBlock * kBlock ? a.dy.size[2] : larger(strip / kPixels, 2) * kPixels;
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

// kStep columns of taps lie between neighbors, which then share what they read of x; 0 if not.
template <class T, int kRows, int kColumns, int kStep, bool kWhole>
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
  int64_t i = 0;
  if constexpr (kStep > 0) {
    for (; i + kPixels <= s.pixels; i += kPixels) {
      V d[kPixels];
#pragma GCC unroll 4
      for (int j = 0; j < kPixels; ++j) d[j] = load(dy + j * s.dy_step);
      dy += kPixels * s.dy_step;
#pragma GCC unroll 3
      for (int r = 0; r < kRows; ++r) {
        constexpr int kRead = (kPixels - 1) * kStep + kColumns;
        V from[kRead];
#pragma GCC unroll 16
        for (int j = 0; j < kRead; ++j) from[j] = load(x[r] + j * s.x_tap);
#pragma GCC unroll 4
        for (int j = 0; j < kPixels; ++j)
#pragma GCC unroll 3
          for (int c = 0; c < kColumns; ++c) acc[r][c] = fma(d[j], from[j * kStep + c], acc[r][c]);
        x[r] += kPixels * s.x_step;
      }
    }
  }
  for (; i < s.pixels; ++i) {
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

template <class T, int kStep, bool kWhole>
constexpr StripFunction<T> kByTaps[kBlock][kBlock] = {
    {add_taps<T, 1, 1, 0, kWhole>, add_taps<T, 1, 2, kStep, kWhole>,
     add_taps<T, 1, 3, kStep, kWhole>},
    {add_taps<T, 2, 1, 0, kWhole>, add_taps<T, 2, 2, kStep, kWhole>,
     add_taps<T, 2, 3, kStep, kWhole>},
    {add_taps<T, 3, 1, 0, kWhole>, add_taps<T, 3, 2, kStep, kWhole>,
     add_taps<T, 3, 3, kStep, kWhole>},
};

template <class T>
MK_INLINE void add_taps_of(const Strip<T>& s, int64_t rows, int64_t columns) {
  const auto& functions = s.lanes < Vec<T>::kLanes  ? kByTaps<T, 0, false>
                          : s.x_step == s.x_tap     ? kByTaps<T, 1, true>
                          : s.x_step == 2 * s.x_tap ? kByTaps<T, 2, true>
                                                    : kByTaps<T, 0, true>;
  functions[rows - 1][columns - 1](s);
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

// Adds the pixels [begin, end) of a row of dy under up to kBlock rows of taps, whose x and sums (of
// channel, column of taps and pixel 0) `row` has, to the sums.
template <class T>
void add_rows(const ConvWeightArgs& a, const Plan<T>& p, const Strip<T>& row, int64_t rows,
              int64_t begin, int64_t end) {
  const int64_t kernel = a.window.kernel[2];
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
    const int64_t last_column = smaller(column + kBlock, kernel);
    // Pixels that have all these columns of taps inside x.
    int64_t first = begin, last = end;
    for (int64_t tap = column; tap < last_column; ++tap) {
      int64_t tap_first, tap_last;
      inside(a, 2, tap, tap_first, tap_last);
      first = larger(first, tap_first);
      last = smaller(last, tap_last);
    }
    if (first >= last) first = last = end;
    if (first < last) {
      for (int64_t c = 0; c < p.channels; c += Vec<T>::kLanes) {
        add(c, first, last - first, column, last_column - column);
      }
    }
    // The others one by one, with the columns they have.
    for (int64_t pixel = begin; pixel < end; ++pixel) {
      if (pixel == first) pixel = last;
      if (pixel == end) break;
      int64_t from = last_column, past = column;
      for (int64_t tap = column; tap < last_column; ++tap) {
        int64_t tap_first, tap_last;
        inside(a, 2, tap, tap_first, tap_last);
        if (pixel < tap_first || pixel >= tap_last) continue;
        from = smaller(from, tap);
        past = tap + 1;
      }
      if (from >= past) continue;
      for (int64_t c = 0; c < p.channels; c += Vec<T>::kLanes) add(c, pixel, 1, from, past - from);
    }
  }
}

// Adds the pixels [begin, end) of row number `row` of dy to the sums [tap][channel].
template <class T>
void add_row(const ConvWeightArgs& a, const Plan<T>& p, const Source<T>& x, const Source<T>& dy,
             int64_t row, int64_t begin, int64_t end, T* sums) {
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
      add_rows(a, p, s, rows, begin, end);
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
    const int64_t first_row = p.rows * chunk / p.chunks, last_row = p.rows * (chunk + 1) / p.chunks;
    for (int64_t begin = 0; begin < a.dy.size[2]; begin += p.strip) {
      const int64_t end = smaller(begin + p.strip, a.dy.size[2]);
      for (int64_t row = first_row; row < last_row; ++row) {
        add_row(a, p, x, dy, row, begin, end, sums);
      }
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
