// Convolution term by term, forward and backward with respect to the input (so also transposed), as
// implicit GEMM: conv.h has the formula.
//
// For each tap the rows of matrix a are pixels, read where they lie in the source or in a task's
// copy (boxes.simd.h); weights are packed as panels of b, [tap][channel][result channel]. With one
// group and taps side by side, a row of taps is one run of taps * channels. Where channels are few,
// every tap and channel has an offset of its own (scattered.simd.h).
//
// Loops: tasks of a box of pixels by some panels of all groups; in a task classes, panels, blocks
// of taps (those that stay in the L2 cache), rows, tiles of up to kTileRows pixels by one panel,
// which sum over taps and channels in registers. Bias and activation join the last block. Work 2
// pixels taps channels result-channels flops. Memory: the source is read from the L2 cache once per
// panel, copied to it once per box; the result is written once. Numerics: for each element, chains
// of fma over (taps, channels), each of a length that depends on kernel and channels only, added
// one after the other.
#include "core/parallel.h"
#include "cpu/lanes.h"
#include "cpu/stream.h"
#include "kernels/conv/algorithm.simd.h"
#include "kernels/conv/boxes.simd.h"
#include "kernels/conv/scattered.simd.h"
#include "kernels/gemm/tile.simd.h"

namespace medkern::MK_ISA {
namespace {

// Steps of k in a block: with a panel of float32 up to 288 KiB of packed weights.
constexpr int64_t kBlockSteps = 2304;
// Bytes of the source and number of pixels that a box may have (more bytes of a copy where weights
// are more than the source: each box reads all of them), and pixels it may have whatever
// they read.
constexpr int64_t kBoxBytes = 256 << 10, kLargeBoxBytes = 512 << 10;
constexpr int64_t kMostPixels = 4096, kFewPixels = 4 * kTileRows;
constexpr int64_t kFewTasks = 24;
// Numbers of different workers lie on different cache lines.
constexpr int64_t kCopiedStride = 8;
// With more result channels than this, copying the source costs little beside the sums.
constexpr int64_t kCopyResults = 16;
constexpr int64_t kPackedChannels = 16;
// A result of so many bytes is written past the caches where each element takes so many steps to
// sum: a plain store waits for the line that it overwrites, and beside the sums memory has time.
// (128 -> 64 channels to 256 x 256, 16 MiB, 2.2 ms instead of 2.4 with 32 MiB of cache; the same
// as before if something follows that only reads the result.)
constexpr int64_t kStreamedBytes = int64_t{12} << 20, kStreamedSteps = 64;
// Up to so many channels of a group, and steps in all, are read with an offset each.
constexpr int64_t kScatteredChannels = 8, kScatteredSteps = 2048;

bool is_scattered(const ConvArgs& a) {
  const int64_t channels = a.source.c / a.groups;
  return channels <= kScatteredChannels && channels * taps_of(a.window) <= kScatteredSteps;
}

// Whether all vectors of the result are whole and aligned, and it is as large as that.
template <class T>
bool is_streamed(const ConvArgs& a) {
  constexpr int64_t kLanes = Vec<T>::kLanes;
  const Image& y = a.result;
  bool whole = y.stride_c == 1 && y.c / a.groups % kLanes == 0 && y.stride_n % kLanes == 0;
  int64_t bytes = y.n * y.c * static_cast<int64_t>(sizeof(T));
  for (int i = 0; i < 3; ++i) {
    whole &= y.stride[i] % kLanes == 0;
    bytes *= y.size[i];
  }
  return whole && bytes >= kStreamedBytes && is_aligned(static_cast<const T*>(y.data));
}

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
  Pieces pieces{const_cast<void*>(base)};
  Packed<T> p;
  p.weights = pieces.take<T>(taps_of(a.window) * a.groups * channels * padded_columns<T>(results));
  p.places = pieces.take<TapPlace>(taps_of(a.window));
  p.bytes = pieces.used;
  return p;
}

// Packs all weights: by class, group, panel; in a panel [tap][channel][result channel].
template <class T>
void pack_of(const ConvArgs& a, void* base) {
  constexpr int64_t kLanes = Vec<T>::kLanes;
  const Packed<T> packed = packed_of<T>(a, base);
  for (int64_t t = 0; t < taps_of(a.window); ++t) packed.places[t] = place_of_tap(a, t);
  const int64_t channels = a.source.c / a.groups, results = a.result.c / a.groups;
  const int64_t taps = taps_of(a.window), padded = padded_columns<T>(results);
  const int64_t work = a.groups * padded * channels * taps;
  // kLanes result channels from `result` on, of one tap and channel.
  const auto store = [&](int64_t group, int64_t tap, int64_t channel, int64_t result, Vec<T> v) {
    const TapPlace& p = packed.places[tap];
    const int64_t panel = result / kPanel<T> * kPanel<T>;
    const int64_t group_at = (p.before * a.groups + group * p.taps) * channels * padded;
    const int64_t row = p.number * channels + channel;
    v.store(packed.weights + group_at + panel * p.taps * channels +
            row * panel_width<T>(results - panel) + result - panel);
  };
  const T* weight = static_cast<const T*>(a.weight);
  if (a.backward) {  // weight[channel][result][tap]; in blocks of channels, to read whole pages
    const int64_t blocks = divide_up(channels, kPackedChannels);
    parallel_for(a.groups * blocks, work, [&](int64_t task, int) {
      const int64_t group = task / blocks, first = task % blocks * kPackedChannels;
      const int64_t last = smaller(first + kPackedChannels, channels);
      for (int64_t r = 0; r < results; r += kLanes) {
        for (int64_t c = first; c < last; ++c) {
          if (taps == 1) {  // they lie as they are wanted
            const int64_t lanes = smaller(results - r, kLanes);
            store(group, 0, c, r, load_lanes(weight + (group * channels + c) * results + r, lanes));
            continue;
          }
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
      int64_t tap = 0, channel = 0;
      for_each_column(weight + (group * results + r) * columns, columns,
                      smaller(results - r, kLanes), columns, [&](int64_t, Vec<T> v) {
                        store(group, tap, channel, r, v);
                        if (++tap == taps) tap = 0, ++channel;
                      });
    });
  }
}

// What all tiles of a class have in common, and a block of its sum.
template <class T>
struct Part {
  const T* weights;  // of the class and group
  const T* bias;     // of the group, or nullptr
  bool relu;
  int64_t results;           // channels of the group
  int64_t column, columns;   // those of the panel
  int64_t all_steps, all_k;  // runs, and their length
  const int64_t* offsets;    // of the runs
  int64_t first_step, steps, first_k, k;
  bool first, last;  // block of the sum, so bias and activation join the last
  bool scattered, streams;
  int64_t result_step, result_channel;
};

// Results on their way to channels that don't lie side by side.
template <class T>
MK_INLINE void store_channels(const Part<T>& part, const T* staged, int64_t rows, T* to) {
  const int64_t step = part.result_step, channel = part.result_channel;
  if (step == 1) {
    constexpr int64_t kLanes = Vec<T>::kLanes;
    for (int64_t i = 0; i < rows; i += kLanes) {
      const int64_t lanes = smaller(rows - i, kLanes);
      for_each_column(staged + i * kPanel<T>, kPanel<T>, lanes, part.columns,
                      [&](int64_t j, Vec<T> v) { v.store(to + j * channel + i, lanes); });
    }
  } else {
    for (int64_t j = 0; j < part.columns; ++j)
      for (int64_t r = 0; r < rows; ++r) to[r * step + j * channel] = staged[r * kPanel<T> + j];
  }
}

// Tiles of a panel for pixels [0, pixels) of a row, to `c`.
template <class T>
MK_INLINE void run_tiles(const Part<T>& part, const T* source, int64_t step, T* c, int64_t c_row,
                         int64_t pixels) {
  const int64_t width = panel_width<T>(part.columns);
  const T* bias = part.last && part.bias != nullptr ? part.bias + part.column : nullptr;
  const T* b = part.weights + part.column * part.all_steps * part.all_k +
               (part.first_step * part.all_k + part.first_k) * width;
  const int64_t tiles = tiles_in(pixels);
  for (int64_t i = 0; i < tiles; ++i) {
    const int64_t first = tile_start(i, tiles, pixels);
    const Tile<T> tile{
        .a = source + first * step + part.first_k,
        .a_row = step,
        .a_col = 1,
        .b = b,
        .b_row = width,
        .c = c + first * c_row,
        .c_row = c_row,
        .k = part.k,
        .steps = part.steps,
        .a_offset = part.offsets + part.first_step,
        .rows = tile_start(i + 1, tiles, pixels) - first,
        .columns = part.columns,
        .accumulate = !part.first,
        .bias = bias,
        .relu = part.last && part.relu,
        .streams = part.streams && part.first && part.last,
    };
    part.scattered ? run_scattered_tile(tile) : run_tile(tile);
  }
}

// One row of pixels of a panel.
template <class T>
MK_INLINE void run_row(const Part<T>& part, const T* source, int64_t step, T* result,
                       int64_t pixels) {
  T* at = result + part.column * part.result_channel;
  if (part.result_channel == 1) return run_tiles(part, source, step, at, part.result_step, pixels);
  if (part.scattered && step == 1 && part.result_step == 1) {
    return run_planes({
        .a = source,
        .a_row = 1,
        .a_col = 1,
        .b = part.weights + part.column * part.all_steps,
        .b_row = panel_width<T>(part.columns),
        .c = at,
        .c_row = part.result_channel,
        .k = 1,
        .steps = part.all_steps,
        .a_offset = part.offsets,
        .rows = pixels,
        .columns = part.columns,
        .bias = part.bias != nullptr ? part.bias + part.column : nullptr,
        .relu = part.relu,
    });
  }
  // Channels that don't lie side by side are staged: so many pixels that whole cache lines of a
  // channel are written at once, since those of other channels often compete for their places.
  constexpr int64_t kStaged = 128;
  alignas(64) T staged[kStaged * kPanel<T>];
  for (int64_t first = 0; first < pixels; first += kStaged) {
    const int64_t rows = smaller(pixels - first, kStaged);
    T* to = at + first * part.result_step;
    if (!part.first) {
      for (int64_t j = 0; j < part.columns; ++j)
        for (int64_t r = 0; r < rows; ++r)
          staged[r * kPanel<T> + j] = to[r * part.result_step + j * part.result_channel];
    }
    run_tiles(part, source + first * step, step, staged, kPanel<T>, rows);
    store_channels(part, staged, rows, to);
  }
}

// Calls visit(block) for the blocks in which a sum over steps and k is taken: whole steps, or,
// where one step alone is too long, parts of it.
template <class T, class Visit>
MK_INLINE void for_each_block(Part<T> part, Visit visit) {
  const int64_t pieces = larger(divide_up(part.all_k, kBlockSteps), 1);  // of a step
  const int64_t together = pieces > 1 ? 1 : larger(kBlockSteps / larger(part.all_k, 1), 1);
  part.first_step = 0;
  do {
    part.steps = smaller(part.all_steps - part.first_step, together);
    for (int64_t piece = 0; piece < pieces; ++piece) {
      part.first_k = tile_start(piece, pieces, part.all_k);
      part.k = tile_start(piece + 1, pieces, part.all_k) - part.first_k;
      part.first = part.first_step == 0 && piece == 0;
      part.last = part.first_step + part.steps >= part.all_steps && piece == pieces - 1;
      visit(part);
    }
    part.first_step += together;
  } while (part.first_step < part.all_steps);
}

// How the work is cut into tasks, and scratch memory.
template <class T>
struct Plan {
  Boxes boxes;
  int64_t panels, blocks;  // panels of a group; blocks in which those of all groups are cut
  bool scattered;
  int64_t offsets;  // numbers of them
  T* copies;        // a box's for each worker
  int64_t* copied;  // the number of that box, for each worker
  int64_t* all_offsets;
  size_t bytes;
};

template <class T>
Plan<T> plan_of(const ConvArgs& a) {
  Plan<T> p{};
  const int64_t channels = a.source.c / a.groups, results = a.result.c / a.groups;
  p.scattered = is_scattered(a);
  p.boxes = boxes_of(a, {.pixel = a.source.c, .planes = p.scattered});
  p.panels = panels_in<T>(results);
  p.blocks = 1;
  BoxLimits limits{
      .most_pixels = kMostPixels,
      .most_elements = kBoxBytes / static_cast<int64_t>(sizeof(T)),
      .few_pixels = kFewPixels,
      .border = results <= kCopyResults && channels > results ? kTileRows : 0,
  };
  cut_boxes(p.boxes, limits);
  // If these are few tasks, what is smaller is read more often: weights or source.
  const int64_t weights = taps_of(a.window) * channels * results;
  const int64_t source =
      a.source.n * a.source.c * a.source.size[0] * a.source.size[1] * a.source.size[2];
  const auto cut_panels = [&] {
    const int64_t all = a.groups * p.panels;
    const int64_t blocks = divide_up(kFewTasks, p.boxes.number);
    // Few panels that need no copy of their own make blocks of one, all alike.
    p.blocks = p.boxes.elements > 0 && 2 * blocks > all ? all : smaller(all, blocks);
  };
  if (weights > source) {
    if (p.boxes.elements > 0) {
      limits.most_elements = kLargeBoxBytes / static_cast<int64_t>(sizeof(T));
      cut_boxes(p.boxes, limits);
    }
    cut_panels();
  }
  const int64_t boxes = divide_up(kFewTasks, larger(p.blocks, 1));
  if (p.boxes.number < boxes) {
    limits.most_pixels = larger(divide_up(all_pixels(p.boxes), boxes), kFewPixels);
    cut_boxes(p.boxes, limits);
    cut_panels();
  }
  p.offsets = taps_of(a.window) * (p.scattered ? channels : 1);
  Pieces pieces{a.workspace};
  p.copies = pieces.take<T>(p.boxes.elements * max_workers());
  p.copied = pieces.take<int64_t>(kCopiedStride * max_workers());
  p.all_offsets = pieces.take<int64_t>(p.offsets * max_workers());
  p.bytes = pieces.used;
  return p;
}

// Fills in the runs of a class.
template <class T>
MK_INLINE void list_runs(const ConvArgs& a, const Plan<T>& p, const Box<T>& box, int64_t* offsets,
                         Part<T>& part) {
  const int64_t channels = a.source.c / a.groups;
  // Taps that are neighbors are one run if a pixel has only the group's channels.
  const bool merged =
      !p.scattered && a.groups == 1 && (box.taps[2] <= 1 || box.tap_step[2] == channels);
  const int64_t runs = merged ? smaller(box.taps[2], 1) : box.taps[2];
  const int64_t each = p.scattered ? channels : 1;
  part.all_k = p.scattered ? 1 : merged ? box.taps[2] * channels : channels;
  part.all_steps = 0;
  part.offsets = offsets;
  for (int64_t d = 0; d < box.taps[0]; ++d)
    for (int64_t h = 0; h < box.taps[1]; ++h)
      for (int64_t w = 0; w < runs; ++w)
        for (int64_t c = 0; c < each; ++c)
          offsets[part.all_steps++] = d * box.tap_step[0] + h * box.tap_step[1] +
                                      w * box.tap_step[2] + c * box.channel_step;
}

template <class T>
void run_of(const ConvArgs& a) {
  const T* weights = packed_of<T>(a, a.packed).weights;
  const Plan<T> p = plan_of<T>(a);
  const Boxes& boxes = p.boxes;
  const int64_t channels = a.source.c / a.groups, results = a.result.c / a.groups;
  const int64_t padded = padded_columns<T>(results);
  const bool streams = is_streamed<T>(a);
  const bool one_class = boxes.classes[0] * boxes.classes[1] * boxes.classes[2] == 1;
  for (int64_t i = 0; i < max_workers(); ++i) p.copied[i * kCopiedStride] = -1;
  const int64_t work = 2 * a.result.n * a.result.size[0] * a.result.size[1] * a.result.size[2] *
                       a.result.c * larger(channels * taps_of(a.window), 1);
  parallel_for(boxes.number * p.blocks, work, [&](int64_t task, int worker) {
    const int64_t block = task % p.blocks;
    const BoxRange range = box_range(boxes, task / p.blocks);
    T* copy = p.copies + worker * boxes.elements;
    int64_t* offsets = p.all_offsets + worker * p.offsets;
    // Tasks of other panels of the same box come one after the other.
    int64_t& number = p.copied[worker * kCopiedStride];
    const bool copied = one_class && number == task / p.blocks;
    number = task / p.blocks;
    const auto run_class = [&](const Box<T>& box) {
      Part<T> whole{};
      list_runs(a, p, box, offsets, whole);
      whole.relu = a.activation == Activation::relu;
      whole.results = results;
      whole.scattered = p.scattered;
      whole.streams = streams && whole.all_steps * whole.all_k >= kStreamedSteps;
      whole.result_step = boxes.result_step[3];
      // A single channel is contiguous, whatever its stride says.
      whole.result_channel = a.result.c == 1 ? 1 : a.result.stride_c;
      const T* class_weights = weights + box.taps_before * a.groups * channels * padded;
      const int64_t all_panels = a.groups * p.panels;
      const int64_t last = tile_start(block + 1, p.blocks, all_panels);
      for (int64_t i = tile_start(block, p.blocks, all_panels); i < last; ++i) {
        const int64_t group = i / p.panels;
        whole.weights = class_weights + group * whole.all_steps * whole.all_k * padded;
        whole.bias = a.bias == nullptr ? nullptr : static_cast<const T*>(a.bias) + group * results;
        whole.column = i % p.panels * kPanel<T>;
        whole.columns = smaller(results - whole.column, kPanel<T>);
        const int64_t group_source = group * channels * box.channel_step;
        const int64_t group_result = group * results * whole.result_channel;
        for_each_block(whole, [&](const Part<T>& part) {
          for_each_row(boxes, box, [&](const T* source, T* result) {
            run_row(part, source + group_source, box.step[3], result + group_result, box.count[3]);
          });
        });
      }
    };
    for_each_class<T>(a, boxes, range, copy, run_class, copied);
    if (streams) end_stream();
  });
}

bool always(const ConvArgs&) { return true; }

template <class T>
struct Direct {
  static size_t packed_bytes(const ConvArgs& a) { return packed_of<T>(a, nullptr).bytes; }
  static void pack(const ConvArgs& a, void* packed) { pack_of<T>(a, packed); }
  static size_t workspace(const ConvArgs& a) { return plan_of<T>(a).bytes; }
  static void run(const ConvArgs& a) { run_of<T>(a); }
};

}  // namespace

constinit const ConvAlgorithm direct_algorithm = algorithm_of_types<Direct>(always);

}  // namespace medkern::MK_ISA
