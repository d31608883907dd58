// Depthwise convolution, forward and backward with respect to the input: every channel with weights
// of its own.
//
//   y[pixel, c] = act(sum over taps t of x[pixel + t, c] w[t, c] + bias[c])
//
// The source is read in place, at any address, with zeros for what lies outside it; one whose
// channels don't lie side by side from a task's copy (boxes.simd.h). Weights are packed
// [tap][channel].
//
// Loops: tasks of a box of pixels; classes, rows of pixels, pixels in up to eights, vectors of
// channels, rows of taps, columns of taps in threes. Neighbors share what they read of a row: eight
// with three columns and stride 1, ten vectors for 24 multiplications. Memory-bound from about 20
// taps down. Numerics: the bias, then one chain of fma over the taps.
#include "core/parallel.h"
#include "cpu/lanes.h"
#include "kernels/conv/algorithm.simd.h"
#include "kernels/conv/boxes.simd.h"

namespace medkern::MK_ISA {
namespace {

constexpr int64_t kBoxBytes = 384 << 10;
constexpr int64_t kStripBytes = 24 << 10;
constexpr int64_t kFewTasks = 16, kFewPixels = 16;
// Pixels whose sums, and what they read of a row, are in registers.
constexpr int kPixels = MK_VECTOR_BYTES == 64 ? 8 : 4;

bool is_depthwise(const ConvArgs& a) {
  return a.groups > 1 && a.groups == a.source.c && a.groups == a.result.c;
}

int64_t tap_rows(const ConvArgs& a) { return a.window.kernel[0] * a.window.kernel[1]; }

template <class T>
void pack_of(const ConvArgs& a, T* packed) {
  const int64_t taps = taps_of(a.window);
  const T* weight = static_cast<const T*>(a.weight);
  for (int64_t t = 0; t < taps; ++t) {
    const TapPlace place = place_of_tap(a, t);
    T* to = packed + (place.before + place.number) * a.groups;
    for (int64_t c = 0; c < a.groups; ++c) to[c] = weight[c * taps + t];
  }
}

template <class T>
struct Plan {
  Boxes boxes;
  T* copies;  // a box's for each worker
  int64_t* all_offsets;
  size_t bytes;
};

template <class T>
Plan<T> plan_of(const ConvArgs& a) {
  Plan<T> p{};
  p.boxes = boxes_of(a, {.pixel = a.groups, .padding = true});
  cut_boxes(p.boxes,
            {
                .most_pixels = larger(divide_up(all_pixels(p.boxes), kFewTasks), kFewPixels),
                .most_elements = kBoxBytes / static_cast<int64_t>(sizeof(T)),
                .few_pixels = kFewPixels,
                .border = 0,
            });
  Pieces pieces{a.workspace};
  p.copies = pieces.take<T>(p.boxes.elements * max_workers());
  p.all_offsets = pieces.take<int64_t>(2 * tap_rows(a) * max_workers());
  p.bytes = pieces.used;
  return p;
}

// A row of pixels of one class.
template <class T>
struct Row {
  const T* source;  // of the first pixel and column of taps
  T* result;
  int64_t step, result_step;  // from pixel to pixel
  int64_t rows, columns;      // of taps
  int64_t column_step;
  const int64_t* offsets;  // of the rows of taps
  // Positions along the row of the source that lie in it, for each row of taps: from 0 to below
  // these. The first pixel's first column is `at`, and there are so many from pixel to pixel and
  // from column to column.
  const int64_t* widths;
  int64_t at, at_step, at_column_step;
  bool inside;  // all rows of taps
  const T* weights;
  const T* bias;
  bool relu;
  int64_t channels, result_channel;
};

// A row of taps for kPixels pixels and a vector of channels.
template <class T>
struct Line {
  const T* from;  // of the first pixel and column
  const T* weights;
  int64_t at, width;  // position of that, and of those that lie in the source
  int64_t count;      // pixels
  int64_t lanes;
};

template <class T, bool kWhole>
MK_INLINE Vec<T> load_of(const T* p, int64_t lanes) {
  return kWhole ? Vec<T>::load(p) : Vec<T>::load(p, lanes);
}

// Adds one column of taps.
template <class T, bool kInside, bool kWhole>
MK_INLINE void add_column(const Row<T>& row, const Line<T>& line, Vec<T> acc[kPixels]) {
  const Vec<T> weight = load_of<T, kWhole>(line.weights, line.lanes);
#pragma GCC unroll 8
  for (int i = 0; i < kPixels; ++i) {
    if (!kInside) {
      if (i >= line.count) break;
      const int64_t at = line.at + i * row.at_step;
      if (at < 0 || at >= line.width) {
        acc[i] = fma(Vec<T>::zero(), weight, acc[i]);
        continue;
      }
    }
    acc[i] = fma(load_of<T, kWhole>(line.from + i * row.step, line.lanes), weight, acc[i]);
  }
}

// Adds kColumns columns of taps side by side. kStep of them lie between neighbors, which share what
// they read.
template <class T, int kColumns, int kStep, bool kInside, bool kWhole>
MK_INLINE void add_columns(const Row<T>& row, const Line<T>& line, Vec<T> acc[kPixels]) {
  using V = Vec<T>;
  // As many at once as the registers hold.
  constexpr int kMost = kStep == 1 ? 7 : 3, kNow = kColumns < kMost ? kColumns : kMost;
  constexpr int kRead = (kPixels - 1) * kStep + kNow;
  V x[kRead];
  // In threes from one pointer: p, p + step, p + 2 step are addresses the processor forms itself.
  const T* from = line.from;
  const int64_t step = row.column_step;
#pragma GCC unroll 32
  for (int j = 0; j < kRead; ++j) {
    if (j > 0 && j % 3 == 0) {
      from += 3 * step;
      __asm__("" : "+r"(from));  // a register of its own, not one per column
    }
    const bool there = kInside || (line.at + j >= 0 && line.at + j < line.width);
    x[j] = there ? load_of<T, kWhole>(from + j % 3 * step, line.lanes) : V::zero();
  }
#pragma GCC unroll 7
  for (int t = 0; t < kNow; ++t) {
    const V weight = load_of<T, kWhole>(line.weights + t * row.channels, line.lanes);
#pragma GCC unroll 8
    for (int i = 0; i < kPixels; ++i) acc[i] = fma(x[i * kStep + t], weight, acc[i]);
  }
  if constexpr (kColumns > kNow) {
    Line<T> rest = line;
    rest.from += kNow * step;
    rest.weights += kNow * row.channels;
    rest.at += kNow;
    add_columns<T, kColumns - kNow, kStep, kInside, kWhole>(row, rest, acc);
  }
}

// The pixels from `pixel` on, the vector of channels from c on. kInside: a multiple of kPixels, and
// nothing they read lies outside the source; otherwise at most kPixels. kColumns: 0 for any number
// of columns anywhere.
template <class T, int kColumns, int kStep, bool kInside, bool kWhole>
void run_pixels(const Row<T>& row, int64_t pixel, int64_t pixels, int64_t c) {
  using V = Vec<T>;
  Line<T> line;
  line.lanes = kWhole ? V::kLanes : row.channels - c;
  line.count = kInside ? kPixels : pixels;
  const V bias = row.bias != nullptr ? load_of<T, kWhole>(row.bias + c, line.lanes) : V::zero();
  const int64_t end = pixel + pixels, columns = kColumns > 0 ? kColumns : row.columns;
  for (; pixel < end; pixel += kPixels) {
    const T* source = row.source + pixel * row.step + c;
    const int64_t at = row.at + pixel * row.at_step;
    line.weights = row.weights + c;
    V acc[kPixels];
#pragma GCC unroll 8
    for (int i = 0; i < kPixels; ++i) acc[i] = bias;
    for (int64_t r = 0; r < row.rows; ++r) {
      line.from = source + row.offsets[r];
      line.at = at;
      line.width = row.widths[r];
      if constexpr (kColumns > 0) {
        add_columns<T, kColumns, kStep, kInside, kWhole>(row, line, acc);
        line.weights += columns * row.channels;
      } else {
        for (int64_t t = 0; t < columns; ++t) {
          add_column<T, kInside, kWhole>(row, line, acc);
          line.weights += row.channels;
          line.from += row.column_step;
          line.at += row.at_column_step;
        }
      }
    }
    if (row.relu) {
#pragma GCC unroll 8
      for (int i = 0; i < kPixels; ++i) acc[i] = max(acc[i], V::zero());
    }
    T* to = row.result + pixel * row.result_step + c * row.result_channel;
    const int64_t step = row.result_step, channel = row.result_channel;
    if (channel == 1) {
#pragma GCC unroll 8
      for (int i = 0; i < kPixels; ++i) {
        if (!kInside && i >= line.count) break;
        kWhole ? acc[i].store(to + i * step) : acc[i].store(to + i * step, line.lanes);
      }
    } else {
      T staged[kPixels][V::kLanes];
#pragma GCC unroll 8
      for (int i = 0; i < kPixels; ++i) acc[i].store(staged[i]);
      for (int64_t lane = 0; lane < line.lanes; ++lane)
        for (int i = 0; i < line.count; ++i) to[i * step + lane * channel] = staged[i][lane];
    }
  }
}

// For a window of taps, inside the source or not, all lanes or some.
template <class T>
using PixelsFunction = void (*)(const Row<T>&, int64_t pixel, int64_t pixels, int64_t c);
template <class T>
struct PixelsFunctions {
  PixelsFunction<T> of[2][2];  // [inside][whole]
};
template <class T, int kColumns, int kStep>
constexpr PixelsFunctions<T> kFunctions = {{
    {run_pixels<T, kColumns, kStep, false, false>, run_pixels<T, kColumns, kStep, false, true>},
    {run_pixels<T, kColumns, kStep, true, false>, run_pixels<T, kColumns, kStep, true, true>},
}};

// The usual ones have functions of their own.
template <class T>
const PixelsFunctions<T>& functions_of(const Row<T>& row) {
  const bool neighbors = row.at_column_step == 1;
  if (neighbors && row.at_step == 1 && row.columns == 1) return kFunctions<T, 1, 1>;
  if (neighbors && row.at_step == 1 && row.columns == 2) return kFunctions<T, 2, 1>;
  if (neighbors && row.at_step == 1 && row.columns == 3) return kFunctions<T, 3, 1>;
  if (neighbors && row.at_step == 1 && row.columns == 5) return kFunctions<T, 5, 1>;
  if (neighbors && row.at_step == 1 && row.columns == 7) return kFunctions<T, 7, 1>;
  if (neighbors && row.at_step == 2 && row.columns == 3) return kFunctions<T, 3, 2>;
  if (neighbors && row.at_step == 2 && row.columns == 5) return kFunctions<T, 5, 2>;
  return kFunctions<T, 0, 0>;
}

// All channels of some pixels.
template <class T>
MK_INLINE void run_channels(const Row<T>& row, const PixelsFunctions<T>& functions, bool inside,
                            int64_t pixel, int64_t pixels) {
  int64_t c = 0;
  for (; c + Vec<T>::kLanes <= row.channels; c += Vec<T>::kLanes) {
    functions.of[inside][true](row, pixel, pixels, c);
  }
  if (c < row.channels) functions.of[inside][false](row, pixel, pixels, c);
}

template <class T>
MK_INLINE void run_row(const Row<T>& row, const PixelsFunctions<T>& functions, int64_t pixels) {
  // As many pixels one after the other as leave what they read in the L1 cache.
  const int64_t read = row.rows * row.step * static_cast<int64_t>(sizeof(T));
  const int64_t most = larger(kStripBytes / larger(read, 1) / kPixels, 1) * kPixels;
  const int64_t reach = (row.columns - 1) * row.at_column_step;
  const auto is_inside = [&](int64_t i) {
    const int64_t first = row.at + i * row.at_step, last = first + (kPixels - 1) * row.at_step;
    return row.inside && i + kPixels <= pixels && first >= 0 &&
           (row.rows == 0 || last + reach < row.widths[0]);
  };
  for (int64_t i = 0; i < pixels;) {
    int64_t end = i;
    while (end - i < most && is_inside(end)) end += kPixels;
    const bool inside = end > i;
    if (!inside) end = smaller(i + kPixels, pixels);
    run_channels(row, functions, inside, i, end - i);
    i = end;
  }
}

// All pixels of one class of a box.
template <class T>
MK_INLINE void run_box(const ConvArgs& a, const Boxes& b, const Box<T>& box, const T* weights,
                       int64_t* offsets) {
  int64_t* widths = offsets + tap_rows(a);
  Row<T> row{};
  row.step = box.step[3];
  row.result_step = b.result_step[3];
  row.rows = box.taps[0] * box.taps[1];
  row.columns = box.taps[2];
  row.column_step = box.tap_step[2];
  row.offsets = offsets;
  row.widths = widths;
  row.at = box.inside ? 0 : box.at[2];
  row.at_step = b.in_step[2];
  row.at_column_step = b.in_tap_step[2];
  row.weights = weights + box.taps_before * a.groups;
  row.bias = static_cast<const T*>(a.bias);
  row.relu = a.activation == Activation::relu;
  row.channels = a.groups;
  row.result_channel = a.result.stride_c;
  for (int64_t r = 0; r < row.rows; ++r) {
    offsets[r] = r / box.taps[1] * box.tap_step[0] + r % box.taps[1] * box.tap_step[1];
  }
  // Of a box inside the source nothing is read but what its pixels need.
  const int64_t last = (box.count[3] - 1) * row.at_step + (row.columns - 1) * row.at_column_step;
  const int64_t width = box.inside ? last + 1 : a.source.size[2];
  const PixelsFunctions<T>& functions = functions_of(row);
  for (int64_t n = 0; n < box.count[0]; ++n)
    for (int64_t d = 0; d < box.count[1]; ++d)
      for (int64_t h = 0; h < box.count[2]; ++h) {
        row.inside = true;
        for (int64_t r = 0; r < row.rows; ++r) {
          const int64_t at_d = box.at[0] + d * b.in_step[0] + r / box.taps[1] * b.in_tap_step[0];
          const int64_t at_h = box.at[1] + h * b.in_step[1] + r % box.taps[1] * b.in_tap_step[1];
          const bool there = box.inside || (at_d >= 0 && at_d < a.source.size[0] && at_h >= 0 &&
                                            at_h < a.source.size[1]);
          widths[r] = there ? width : 0;
          row.inside &= there;
        }
        row.source = box.source + n * box.step[0] + d * box.step[1] + h * box.step[2];
        row.result =
            box.result + n * b.result_step[0] + d * b.result_step[1] + h * b.result_step[2];
        run_row(row, functions, box.count[3]);
      }
}

template <class T>
void run_of(const ConvArgs& a) {
  const Plan<T> p = plan_of<T>(a);
  const Boxes& boxes = p.boxes;
  const T* weights = static_cast<const T*>(a.packed);
  const int64_t work = 2 * a.result.n * a.result.size[0] * a.result.size[1] * a.result.size[2] *
                       a.result.c * taps_of(a.window);
  parallel_for(boxes.number, work, [&](int64_t task, int worker) {
    int64_t* offsets = p.all_offsets + worker * 2 * tap_rows(a);
    T* copy = p.copies + worker * boxes.elements;
    for_each_class<T>(a, boxes, box_range(boxes, task), copy,
                      [&](const Box<T>& box) { run_box(a, boxes, box, weights, offsets); });
  });
}

template <class T>
struct Depthwise {
  static size_t packed_bytes(const ConvArgs& a) { return taps_of(a.window) * a.groups * sizeof(T); }
  static void pack(const ConvArgs& a, void* packed) { pack_of(a, static_cast<T*>(packed)); }
  static size_t workspace(const ConvArgs& a) { return plan_of<T>(a).bytes; }
  static void run(const ConvArgs& a) { run_of<T>(a); }
};

}  // namespace

constinit const ConvAlgorithm depthwise_algorithm = algorithm_of_types<Depthwise>(is_depthwise);

}  // namespace medkern::MK_ISA
