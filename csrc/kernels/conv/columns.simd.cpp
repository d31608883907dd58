// Convolution backward with respect to the input (and transposed) of few pixels with many weights,
// which are read once, as they lie: packing them for one call would take longer than the sums.
//
//   z[pixel, (channel, tap)] = sum over source channels of source[pixel] weight[.., (channel, tap)]
//   result[p, channel] = act(bias + sum over taps that reach p of z[pixel of tap, (channel, tap)])
//
// Loops: tasks of a vector of result channels and some images; in a task chunks of source channels,
// whose weights are copied to the L2 cache as panels of (channel, tap), panels, tiles of pixels;
// then z by taps; then the pixels of the result, taps. Work 2 pixels taps channels result-channels
// flops. Memory: weights and result once, z in the L2 cache. Numerics: for each tap chains of fma
// over the channels of a chunk, one after the other; then the taps one after the other, beginning
// with the bias.
#include "core/parallel.h"
#include "cpu/integers.h"
#include "kernels/conv/algorithm.simd.h"
#include "kernels/conv/source.simd.h"
#include "kernels/gemm/tile.simd.h"

namespace medkern::MK_ISA {
namespace {

// Elements of a chunk's weights.
constexpr int64_t kChunkElements = 96 << 10;
// Elements of source pixels that meet all panels of a chunk one after the other.
constexpr int64_t kTogetherElements = 64 << 10;
// Elements of z for each lane that a task may have, and those of an image at most.
constexpr int64_t kTaskElements = 4096, kMostElements = 16384;
// Fewer weights are packed in no time.
constexpr int64_t kFewWeights = 1 << 16;

int64_t taps_of(const ConvArgs& a) {
  return a.window.kernel[0] * a.window.kernel[1] * a.window.kernel[2];
}

int64_t pixels_of(const Image& x) { return x.size[0] * x.size[1] * x.size[2]; }

template <class T>
struct Plan {
  int64_t pixels, taps, channels;
  int64_t pixel;           // elements of source from pixel to pixel
  int64_t columns, width;  // of z: (channel, tap) of a vector of channels; in whole vectors
  int64_t images, groups;  // of a task; groups of so many
  bool in_place;
  int64_t chunk;        // source channels
  T *source, *scratch;  // copy of source; [worker] panels and z twice
  int64_t panels, z;    // elements of them
  size_t bytes;
};

template <class T>
Plan<T> plan_of(const ConvArgs& a) {
  const Image& x = a.source;
  Plan<T> p{};
  p.pixels = pixels_of(x);
  p.taps = taps_of(a);
  p.channels = x.c;
  p.columns = p.taps * Vec<T>::kLanes;
  p.width = padded_columns<T>(p.columns);
  p.images = larger(kTaskElements / larger(p.pixels * p.taps, 1), 1);
  p.groups = (x.n + p.images - 1) / p.images;
  // Pixels whose distance is a multiple of a page would compete for the same places of the caches.
  const bool far = x.c * static_cast<int64_t>(sizeof(T)) % 4096 == 0;
  p.pixel = far ? x.c + Vec<T>::kLanes : x.c;
  // All pixels of all images lie one behind the other.
  p.in_place = !far && is_channels_last_image(x) &&
               (x.size[1] == 1 || x.stride[1] == x.size[2] * x.c) &&
               (x.size[0] == 1 || x.stride[0] == x.size[1] * x.size[2] * x.c) &&
               (x.n == 1 || x.stride_n == p.pixels * x.c);
  p.chunk = larger(smaller(kChunkElements / p.width, p.channels), 1);
  p.panels = p.chunk * (p.width + kPanel<T>);
  p.z = p.images * p.pixels * p.width;
  Pieces pieces{a.workspace};
  p.source = pieces.take<T>(p.in_place ? 0 : copied_elements(x, whole_region(x), p.pixel));
  p.scratch = pieces.take<T>(max_workers() * (p.panels + 2 * p.z));
  p.bytes = pieces.used;
  return p;
}

// Copies `count` rows of weights to panels: each row at once, for rows are far apart in memory.
template <class T>
MK_INLINE void copy_rows(const T* weight, int64_t weight_row, int64_t count, int64_t columns,
                         int64_t width, T* to) {
  constexpr int64_t kLanes = Vec<T>::kLanes;
  for (int64_t i = 0; i < count; ++i) {
    const T* from = weight + i * weight_row;
    for (int64_t j = 0; j < width; j += kLanes) {
      const int64_t panel = j / kPanel<T> * kPanel<T>, row = panel_width<T>(width - panel);
      const Vec<T> v = columns - j >= kLanes ? Vec<T>::load(from + j)
                                             : Vec<T>::load(from + j, larger(columns - j, 0));
      v.store(to + panel * count + i * row + j - panel);
    }
  }
}

// z[pixel][channel, tap] of `rows` pixels and `columns` columns of the weights, from `weight` on.
template <class T>
void multiply(const Plan<T>& p, const T* x, int64_t rows, const T* weight, int64_t weight_row,
              int64_t columns, T* panels, T* z) {
  const int64_t tiles = tiles_in(rows);
  for (int64_t k = 0; k < p.channels; k += p.chunk) {
    const int64_t count = smaller(p.channels - k, p.chunk);
    copy_rows(weight + k * weight_row, weight_row, count, columns, p.width, panels);
    // Tiles of so many pixels that they stay in the L2 cache for all panels.
    const int64_t together = larger(kTogetherElements / (count * kTileRows), 1);
    for (int64_t group = 0; group < tiles; group += together) {
      const int64_t last = smaller(group + together, tiles);
      for (int64_t column = 0; column < p.width; column += kPanel<T>) {
        for (int64_t i = group; i < last; ++i) {
          const int64_t first = tile_start(i, tiles, rows);
          run_tile(Tile<T>{
              .a = x + first * p.pixel + k,
              .a_row = p.pixel,
              .a_col = 1,
              .b = panels + column * count,
              .b_row = panel_width<T>(p.width - column),
              .c = z + first * p.width + column,
              .c_row = p.width,
              .k = count,
              .rows = tile_start(i + 1, tiles, rows) - first,
              .columns = smaller(p.width - column, kPanel<T>),
              .accumulate = k > 0,
          });
        }
      }
    }
  }
}

// Positions of a class along an axis that a number of it reads, and their taps.
struct Reach {
  int64_t first_tap, last_tap, position;  // of first_tap
};

MK_INLINE Reach reach_of(const AxisClass& c, int64_t number, int64_t size) {
  const int64_t start = c.in_first + number * c.in_step, step = c.in_tap_step;
  if (c.taps == 0) return {0, 0, 0};
  const int64_t first = start < 0 ? divide_up(-start, step) : 0;
  const int64_t last = start < size ? (size - 1 - start) / step + 1 : 0;
  return {first, smaller(last, c.taps), start + first * step};
}

// Sums the taps of one image for kLanes channels: z is [tap][pixel][lane].
template <class T>
void sum_taps(const ConvArgs& a, int64_t tap_step, const T* z, Vec<T> bias, int64_t lanes, T* to) {
  constexpr int64_t kLanes = Vec<T>::kLanes;
  const Image &x = a.source, &y = a.result;
  const bool relu = a.activation == Activation::relu;
  const int64_t* kernel = a.window.kernel;
  const auto visit = [&](int axis, auto body) {
    for (int64_t i = 0; i < axis_classes(a, axis); ++i) {
      const AxisClass c = axis_class(a, axis, i);
      for (int64_t j = 0; j < c.count; ++j) {
        body(c, reach_of(c, j, x.size[axis]), (c.out_first + j * c.out_step) * y.stride[axis]);
      }
    }
  };
  visit(0, [&](const AxisClass& cd, const Reach& rd, int64_t at_d) {
    visit(1, [&](const AxisClass& ch, const Reach& rh, int64_t at_h) {
      visit(2, [&](const AxisClass& cw, const Reach& rw, int64_t at_w) {
        Vec<T> sum = bias;
        int64_t d = rd.position;
        for (int64_t i = rd.first_tap; i < rd.last_tap; ++i, d += cd.in_tap_step) {
          int64_t h = rh.position;
          for (int64_t j = rh.first_tap; j < rh.last_tap; ++j, h += ch.in_tap_step) {
            int64_t w = rw.position;
            for (int64_t k = rw.first_tap; k < rw.last_tap; ++k, w += cw.in_tap_step) {
              const int64_t tap =
                  ((cd.tap_first + i * cd.tap_step) * kernel[1] + ch.tap_first + j * ch.tap_step) *
                      kernel[2] +
                  cw.tap_first + k * cw.tap_step;
              sum +=
                  Vec<T>::load(z + tap * tap_step + ((d * x.size[1] + h) * x.size[2] + w) * kLanes);
            }
          }
        }
        if (relu) sum = max(sum, Vec<T>::zero());
        T* at = to + at_d + at_h + at_w;
        if (y.c == 1 || y.stride_c == 1) return sum.store(at, lanes);
        alignas(64) T values[kLanes];
        sum.store(values);
        for (int64_t lane = 0; lane < lanes; ++lane) at[lane * y.stride_c] = values[lane];
      });
    });
  });
}

template <class T>
void run_of(const ConvArgs& a) {
  constexpr int64_t kLanes = Vec<T>::kLanes;
  const Plan<T> p = plan_of<T>(a);
  const Image& y = a.result;
  const T* x = p.in_place
                   ? static_cast<const T*>(a.source.data)
                   : copy_source<T>(a.source, whole_region(a.source), 1, p.pixel, p.source).data;
  const T* weight = static_cast<const T*>(a.weight);
  const int64_t weight_row = y.c * p.taps, vectors = divide_up(y.c, kLanes);
  const int64_t work = 2 * a.source.n * p.pixels * p.channels * weight_row;
  parallel_for(p.groups * vectors, work, [&](int64_t task, int worker) {
    const int64_t image = task / vectors * p.images, c = task % vectors * kLanes;
    const int64_t images = smaller(p.images, a.source.n - image), lanes = smaller(kLanes, y.c - c);
    const int64_t rows = images * p.pixels;
    T* panels = p.scratch + worker * (p.panels + 2 * p.z);
    T *z = panels + p.panels, *by_tap = z + p.z;
    multiply(p, x + image * p.pixels * p.pixel, rows, weight + c * p.taps, weight_row,
             lanes * p.taps, panels, z);
    for (int64_t row = 0; row < rows; ++row) {
      for_each_column(z + row * p.width, p.taps, lanes, p.taps, [&](int64_t tap, Vec<T> v) {
        v.store(by_tap + (tap * rows + row) * kLanes);
      });
    }
    const Vec<T> bias =
        a.bias == nullptr ? Vec<T>::zero() : Vec<T>::load(static_cast<const T*>(a.bias) + c, lanes);
    for (int64_t i = 0; i < images; ++i) {
      sum_taps(a, rows * kLanes, by_tap + i * p.pixels * kLanes, bias, lanes,
               static_cast<T*>(y.data) + (image + i) * y.stride_n + c * y.stride_c);
    }
  });
}

// By one image, whatever their number.
bool fits(const ConvArgs& a) {
  const int64_t weights = a.source.c * a.result.c * taps_of(a), pixels = pixels_of(a.source);
  return a.backward && a.groups == 1 && a.algorithm == Algorithm::automatic &&
         weights >= kFewWeights && pixels <= a.source.c && pixels * taps_of(a) <= kMostElements;
}

bool never(const ConvArgs&) { return false; }

size_t packed_bytes(const ConvArgs&) { return 0; }

void pack(const ConvArgs&, void*) {}

size_t workspace(const ConvArgs& a) {
  return a.dtype == Dtype::f32 ? plan_of<float>(a).bytes : plan_of<double>(a).bytes;
}

void run(const ConvArgs& a) { a.dtype == Dtype::f32 ? run_of<float>(a) : run_of<double>(a); }

}  // namespace

constinit const ConvAlgorithm columns_algorithm = {
    .fits = fits,
    .keeps = never,
    .packed_bytes = packed_bytes,
    .pack = pack,
    .workspace = workspace,
    .run = run,
};

}  // namespace medkern::MK_ISA
