// Convolution term by term, forward and backward with respect to the input (so also transposed), as
// implicit GEMM: conv.h has the formula.
//
// The source is channels-last with its padding (source.simd.h), so that for each tap the rows of
// matrix a are pixels, read where they lie; weights are packed as panels of b,
// [tap][channel][result channel]. With one group and taps side by side, a row of taps is one run of
// taps * channels.
//
// Loops: classes; tasks of some rows of pixels by some panels; in a task panels, blocks of taps
// (those that stay in the L2 cache), rows, tiles of up to kTileRows pixels by one panel, which sum
// over taps and channels in registers. Bias and activation join the last block. Work 2 pixels taps
// channels result-channels flops. Memory: the source is read from cache once per panel, written
// once before if it is copied; the result is written once. Numerics: for each element, chains of
// fma over (taps, channels), each of a length that depends on kernel and channels only, added one
// after the other.
#include "core/parallel.h"
#include "kernels/conv/algorithm.simd.h"
#include "kernels/conv/depthwise.simd.h"
#include "kernels/conv/pass.simd.h"
#include "kernels/conv/source.simd.h"
#include "kernels/gemm/tile.simd.h"

namespace medkern::MK_ISA {
namespace {

// Steps of k in a block: with a panel of float32 up to 288 KiB of packed weights.
constexpr int64_t kBlockSteps = 2304;
// Pixels of one tile row at a time.
constexpr int64_t kSegment = 16 * kTileRows;
// Bytes of the source and number of pixels that a task takes.
constexpr int64_t kTaskBytes = 256 << 10;
constexpr int64_t kFewestTaskPixels = 256, kMostTaskPixels = 4096;
constexpr int64_t kFewTasks = 16;
constexpr int64_t kPackedChannels = 16;

int64_t taps_of(const Window& w) { return w.kernel[0] * w.kernel[1] * w.kernel[2]; }

// Every channel on its own.
bool is_depthwise(const ConvArgs& a) {
  return a.groups > 1 && a.groups == a.source.c && a.groups == a.result.c;
}

// Where the packed weights of a tap lie.
struct TapPlace {
  int64_t before;  // taps of the classes before its own
  int64_t taps;    // of its class
  int64_t number;  // its own in the class
};

// Packed weights: the weights, then the places of the taps.
template <class T>
struct Packed {
  T* weights;
  TapPlace* places;
  size_t bytes;
};

template <class T>
Packed<T> packed_of(const ConvArgs& a, const void* base) {
  const int64_t channels = a.source.c / a.groups, results = a.result.c / a.groups;
  const int64_t columns = is_depthwise(a) ? 1 : padded_columns<T>(results);
  Pieces pieces{const_cast<void*>(base)};
  Packed<T> p;
  p.weights = pieces.take<T>(taps_of(a.window) * a.groups * channels * columns);
  p.places = pieces.take<TapPlace>(taps_of(a.window));
  p.bytes = pieces.used;
  return p;
}

template <class T>
struct Scratch {
  T* source;
  int64_t* offsets;
  size_t bytes;
};

template <class T>
Scratch<T> scratch_of(const ConvArgs& a) {
  const bool in_place = read_in_place(a.source, a.region);
  Pieces pieces{a.workspace};
  Scratch<T> s;
  s.source = pieces.take<T>(in_place ? 0 : copied_elements(a.source, a.region, a.source.c));
  s.offsets = pieces.take<int64_t>(taps_of(a.window));
  s.bytes = pieces.used;
  return s;
}

// Calls visit(class of d, of h, of w) for each class.
template <class Visit>
MK_INLINE void for_each_class(const ConvArgs& a, Visit visit) {
  const int64_t counts[3] = {axis_classes(a, 0), axis_classes(a, 1), axis_classes(a, 2)};
  for (int64_t d = 0; d < counts[0]; ++d)
    for (int64_t h = 0; h < counts[1]; ++h)
      for (int64_t w = 0; w < counts[2]; ++w) {
        const AxisClass c[3] = {axis_class(a, 0, d), axis_class(a, 1, h), axis_class(a, 2, w)};
        visit(c);
      }
}

// Taps of the classes that are packed before this one: all taps of smaller classes of d, this d's
// of smaller classes of h, this d's and h's of smaller ones of w.
int64_t taps_before(const ConvArgs& a, const AxisClass c[3]) {
  const int64_t* kernel = a.window.kernel;
  return (c[0].taps_before * kernel[1] + c[0].taps * c[1].taps_before) * kernel[2] +
         c[0].taps * c[1].taps * c[2].taps_before;
}

void place_taps(const ConvArgs& a, TapPlace* places) {
  const int64_t* kernel = a.window.kernel;
  const auto number = [](const AxisClass& c, int64_t tap) {
    return c.tap_step == 0 ? 0 : (tap - c.tap_first) / c.tap_step;
  };
  for (int64_t d = 0; d < kernel[0]; ++d)
    for (int64_t h = 0; h < kernel[1]; ++h)
      for (int64_t w = 0; w < kernel[2]; ++w) {
        const AxisClass c[3] = {class_of_tap(a, 0, d), class_of_tap(a, 1, h),
                                class_of_tap(a, 2, w)};
        places[(d * kernel[1] + h) * kernel[2] + w] = {
            .before = taps_before(a, c),
            .taps = c[0].taps * c[1].taps * c[2].taps,
            .number = (number(c[0], d) * c[1].taps + number(c[1], h)) * c[2].taps + number(c[2], w),
        };
      }
}

// Depthwise: [tap][channel].
template <class T>
void pack_depthwise(const ConvArgs& a, const TapPlace* places, T* packed) {
  const int64_t taps = taps_of(a.window);
  for (int64_t t = 0; t < taps; ++t) {
    T* to = packed + (places[t].before + places[t].number) * a.groups;
    for (int64_t c = 0; c < a.groups; ++c) to[c] = static_cast<const T*>(a.weight)[c * taps + t];
  }
}

// Packs all weights: by class, group, panel; in a panel [tap][channel][result channel].
template <class T>
void pack_weights(const ConvArgs& a, const TapPlace* places, T* packed) {
  constexpr int64_t kLanes = Vec<T>::kLanes;
  const int64_t channels = a.source.c / a.groups, results = a.result.c / a.groups;
  const int64_t taps = taps_of(a.window), padded = padded_columns<T>(results);
  const int64_t work = a.groups * padded * channels * taps;
  // kLanes result channels from `result` on, of one tap and channel.
  const auto store = [&](int64_t group, int64_t tap, int64_t channel, int64_t result, Vec<T> v) {
    const TapPlace& p = places[tap];
    const int64_t panel = result / kPanel<T> * kPanel<T>;
    const int64_t group_at = (p.before * a.groups + group * p.taps) * channels * padded;
    const int64_t row = p.number * channels + channel;
    v.store(packed + group_at + panel * p.taps * channels + row * panel_width<T>(results - panel) +
            result - panel);
  };
  const T* weight = static_cast<const T*>(a.weight);
  if (a.backward) {  // weight[channel][result][tap]; in blocks of channels, to read whole pages
    const int64_t blocks = divide_up(channels, kPackedChannels);
    parallel_for(a.groups * blocks, work, [&](int64_t task, int) {
      const int64_t group = task / blocks, first = task % blocks * kPackedChannels;
      const int64_t last = smaller(first + kPackedChannels, channels);
      for (int64_t r = 0; r < results; r += kLanes) {
        for (int64_t c = first; c < last; ++c) {
          for_each_column(weight + ((group * channels + c) * results + r) * taps, taps,
                          smaller(results - r, kLanes), taps,
                          [&](int64_t tap, Vec<T> v) { store(group, tap, c, r, v); });
        }
      }
    });
  } else {  // weight[result][channel][tap]
    const int64_t vectors = padded / kLanes, columns = channels * taps;
    parallel_for(a.groups * vectors, work, [&](int64_t task, int) {
      const int64_t group = task / vectors, r = task % vectors * kLanes;
      for_each_column(weight + (group * results + r) * columns, columns,
                      smaller(results - r, kLanes), columns,
                      [&](int64_t i, Vec<T> v) { store(group, i % taps, i / taps, r, v); });
    });
  }
}

// A panel, and a block of the sum over steps and k.
template <class T>
struct Part {
  int64_t group, column, columns;  // of the result's channels, within the group
  int64_t first_step, steps, first_k, k;
  bool first, last;  // block of the sum, so bias and activation join the last
};

template <class T>
MK_INLINE void run_row(const Pass<T>& p, const Part<T>& part, const T* source, T* result,
                       int64_t pixels) {
  alignas(64) T staged[kTileRows * kPanel<T>];
  const int64_t width = panel_width<T>(part.columns);
  const int64_t column = part.group * p.results + part.column;
  const bool direct = p.result_channel == 1;
  const T* b = p.weights + part.group * p.steps * p.k * padded_columns<T>(p.results) +
               part.column * p.steps * p.k + (part.first_step * p.k + part.first_k) * width;
  const int64_t tiles = tiles_in(pixels);
  for (int64_t i = 0; i < tiles; ++i) {
    const int64_t first = tile_start(i, tiles, pixels);
    const int64_t rows = tile_start(i + 1, tiles, pixels) - first;
    T* at = result + first * p.result_step[3] + column * p.result_channel;
    if (!direct && !part.first) {
      for (int64_t j = 0; j < part.columns; ++j)
        for (int64_t r = 0; r < rows; ++r)
          staged[r * kPanel<T> + j] = at[r * p.result_step[3] + j * p.result_channel];
    }
    run_tile(Tile<T>{
        .a = source + part.group * p.channels + first * p.source_step[3] + part.first_k,
        .a_row = p.source_step[3],
        .a_col = 1,
        .b = b,
        .b_row = width,
        .c = direct ? at : staged,
        .c_row = direct ? p.result_step[3] : kPanel<T>,
        .k = part.k,
        .steps = part.steps,
        .a_offset = p.offsets + part.first_step,
        .rows = rows,
        .columns = part.columns,
        .accumulate = !part.first,
        .bias = part.last && p.bias != nullptr ? p.bias + column : nullptr,
        .relu = part.last && p.relu,
    });
    if (!direct) {
      for (int64_t j = 0; j < part.columns; ++j)
        for (int64_t r = 0; r < rows; ++r)
          at[r * p.result_step[3] + j * p.result_channel] = staged[r * kPanel<T> + j];
    }
  }
}

// Calls part(block) for the blocks in which a sum over steps and k is taken: whole steps, or, where
// one step alone is too long, parts of it.
template <class T, class Visit>
MK_INLINE void for_each_block(const Pass<T>& p, Part<T> part, Visit visit) {
  const int64_t pieces = larger(divide_up(p.k, kBlockSteps), 1);  // of a step
  const int64_t together = pieces > 1 ? 1 : larger(kBlockSteps / larger(p.k, 1), 1);
  part.first_step = 0;
  do {
    part.steps = smaller(p.steps - part.first_step, together);
    for (int64_t piece = 0; piece < pieces; ++piece) {
      part.first_k = tile_start(piece, pieces, p.k);
      part.k = tile_start(piece + 1, pieces, p.k) - part.first_k;
      part.first = part.first_step == 0 && piece == 0;
      part.last = part.first_step + part.steps >= p.steps && piece == pieces - 1;
      visit(part);
    }
    part.first_step += together;
  } while (part.first_step < p.steps);
}

template <class T>
void run_pass(const Pass<T>& p) {
  const int64_t pixels = p.count[0] * p.count[1] * p.count[2] * p.count[3];
  if (pixels == 0) return;
  const int64_t segments = divide_up(p.count[3], kSegment);  // of a row
  const int64_t units = p.count[0] * p.count[1] * p.count[2] * segments;
  const int64_t unit_pixels = divide_up(p.count[3], segments);
  const int64_t pixel_bytes = larger(p.groups * p.channels, 1) * sizeof(T);
  int64_t task_pixels = kTaskBytes / pixel_bytes;
  task_pixels = larger(smaller(task_pixels, kMostTaskPixels), kFewestTaskPixels);
  const int64_t units_each = larger(task_pixels / unit_pixels, 1);
  const int64_t unit_blocks = divide_up(units, units_each);
  const int64_t panels = panels_in<T>(p.results);
  const int64_t panel_blocks = smaller(panels, divide_up(kFewTasks, unit_blocks * p.groups));
  const int64_t tasks = unit_blocks * p.groups * panel_blocks;
  const int64_t work = 2 * pixels * p.groups * p.results * larger(p.k * p.steps, 1);
  parallel_for(tasks, work, [&](int64_t task, int) {
    const int64_t block = task % unit_blocks, group = task / unit_blocks % p.groups;
    const int64_t panel_block = task / unit_blocks / p.groups;
    const int64_t first_panel = tile_start(panel_block, panel_blocks, panels);
    const int64_t last_panel = tile_start(panel_block + 1, panel_blocks, panels);
    const int64_t first_unit = block * units_each;
    const int64_t last_unit = smaller(first_unit + units_each, units);
    for (int64_t panel = first_panel; panel < last_panel; ++panel) {
      Part<T> whole{};
      whole.group = group;
      whole.column = panel * kPanel<T>;
      whole.columns = smaller(p.results - whole.column, kPanel<T>);
      for_each_block(p, whole, [&](const Part<T>& part) {
        for (int64_t unit = first_unit; unit < last_unit; ++unit) {
          const int64_t row = unit / segments, segment = unit % segments;
          const int64_t w = tile_start(segment, segments, p.count[3]);
          run_row(p, part,
                  p.source + row_offset(p.count, p.source_step, row) + w * p.source_step[3],
                  p.result + row_offset(p.count, p.result_step, row) + w * p.result_step[3],
                  tile_start(segment + 1, segments, p.count[3]) - w);
        }
      });
    }
  });
}

template <class T>
void pack_of(const ConvArgs& a, void* base) {
  const Packed<T> packed = packed_of<T>(a, base);
  place_taps(a, packed.places);
  if (is_depthwise(a)) {
    pack_depthwise<T>(a, packed.places, packed.weights);
  } else {
    pack_weights<T>(a, packed.places, packed.weights);
  }
}

template <class T>
void run_of(const ConvArgs& a) {
  const Packed<T> packed = packed_of<T>(a, a.packed);
  const Scratch<T> scratch = scratch_of<T>(a);
  const int64_t channels = a.source.c / a.groups, results = a.result.c / a.groups;
  const Source<T> source = read_in_place(a.source, a.region)
                               ? source_in_place<T>(a.source)
                               : copy_source<T>(a.source, a.region, 1, a.source.c, scratch.source);

  for_each_class(a, [&](const AxisClass c[3]) {
    Pass<T> p{};
    // A run of taps is contiguous if they are neighbors and a pixel has only the group's channels.
    const bool merged = a.groups == 1 && (c[2].taps <= 1 || c[2].in_tap_step == 1);
    p.k = merged ? c[2].taps * channels : channels;
    p.source = source.data;
    p.result = static_cast<T*>(a.result.data);
    p.count[0] = a.result.n;
    p.source_step[0] = source.stride_n;
    p.result_step[0] = a.result.stride_n;
    for (int i = 0; i < 3; ++i) {
      if (c[i].taps > 0) p.source += (c[i].in_first - source.origin[i]) * source.stride[i];
      p.result += c[i].out_first * a.result.stride[i];
      p.count[i + 1] = c[i].count;
      p.source_step[i + 1] = c[i].in_step * source.stride[i];
      p.result_step[i + 1] = c[i].out_step * a.result.stride[i];
    }
    for (int64_t d = 0; d < c[0].taps; ++d)
      for (int64_t h = 0; h < c[1].taps; ++h)
        for (int64_t w = 0; w < (merged && c[2].taps > 0 ? 1 : c[2].taps); ++w)
          scratch.offsets[p.steps++] = d * c[0].in_tap_step * source.stride[0] +
                                       h * c[1].in_tap_step * source.stride[1] +
                                       w * c[2].in_tap_step * source.stride[2];
    p.offsets = scratch.offsets;
    const int64_t columns = is_depthwise(a) ? 1 : padded_columns<T>(results);
    p.weights = packed.weights + taps_before(a, c) * a.groups * channels * columns;
    p.bias = static_cast<const T*>(a.bias);
    p.relu = a.activation == Activation::relu;
    p.groups = a.groups;
    p.channels = channels;
    p.results = results;
    // A single channel is contiguous, whatever its stride says.
    p.result_channel = a.result.c == 1 ? 1 : a.result.stride_c;
    collapse(p);
    is_depthwise(a) ? run_depthwise(p) : run_pass(p);
  });
}

bool always(const ConvArgs&) { return true; }

size_t packed_bytes(const ConvArgs& a) {
  return a.dtype == Dtype::f32 ? packed_of<float>(a, nullptr).bytes
                               : packed_of<double>(a, nullptr).bytes;
}

void pack(const ConvArgs& a, void* packed) {
  a.dtype == Dtype::f32 ? pack_of<float>(a, packed) : pack_of<double>(a, packed);
}

size_t workspace(const ConvArgs& a) {
  return a.dtype == Dtype::f32 ? scratch_of<float>(a).bytes : scratch_of<double>(a).bytes;
}

void run(const ConvArgs& a) { a.dtype == Dtype::f32 ? run_of<float>(a) : run_of<double>(a); }

}  // namespace

constinit const ConvAlgorithm direct_algorithm = {
    .fits = always,
    .keeps = always,
    .packed_bytes = packed_bytes,
    .pack = pack,
    .workspace = workspace,
    .run = run,
};

}  // namespace medkern::MK_ISA
