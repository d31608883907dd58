// Convolution backward with respect to the weights, on the CPU, as GEMM over pixels.
//
//   dweight[o, c, t] = sum over pixels p of dy[p, o] x[p stride + t dilation - pad, c]
//
// x and dy are channels-last (source.simd.h). For each tap (or row of taps that lie side by side)
// the rows of matrix a are channels of x, one step of k is one pixel, and b is dy as it lies:
// nothing is packed.
//
// Loops: tasks of a chunk of pixels, some panels of output channels and runs of taps; in a task
// units of rows of pixels whose part of x stays in the L2 cache, panels, runs, tiles of channels.
// Work 2 pixels taps channels output-channels flops. Memory: x and dy read once per tap, from
// caches. Numerics: pixels are summed in registers over a unit, units of a chunk one after the
// other, then chunks one after the other. Units and chunks depend on the shapes only.
#include "kernels/conv/weight.simd.h"
#include "core/parallel.h"
#include "kernels/conv/conv.h"
#include "kernels/conv/pass.simd.h"
#include "kernels/conv/source.simd.h"
#include "kernels/gemm/tile.simd.h"

namespace medkern::MK_ISA {
namespace {

// Bytes of x, and pixels, of a unit.
constexpr int64_t kUnitBytes = 256 << 10;
constexpr int64_t kFewestUnitPixels = 128, kMostUnitPixels = 512;
// From so many channels of dy on, lines of a panel fall on few sets of the L1 cache and push each
// other out of it: a panel of a unit is copied, and the unit shorter, so that it fits.
constexpr int64_t kPackedOutputs = 256, kPackedRows = 256, kPackedPixels = 256;
// Chunks: pixels at least, number and bytes of all partial sums at most.
constexpr int64_t kChunkPixels = 1024, kMostChunks = 16;
constexpr int64_t kPartialBytes = 8 << 20;
constexpr int64_t kFewTasks = 16;
// From so many panels on, and with no more of x than the L3 cache holds for all of them, there is
// one chunk, each panel is a task, and merges its sums itself.
constexpr int64_t kFusedPanels = 8, kFusedBytes = 8 << 20;

// How the work is cut.
template <class T>
struct WeightPlan {
  int64_t channels, outputs, padded;  // per group; output channels in whole vectors
  int64_t taps, k, runs;              // taps in all; rows of a per run of taps, and their number
  bool x_in_place, dy_in_place;
  int64_t dy_pixel;      // elements from pixel to pixel of dy
  bool pack;             // panels of dy
  int64_t rows, pixels;  // rows of pixels, and pixels in each
  int64_t segments;      // of a row, if it alone is longer than a unit
  int64_t unit_rows, units, chunks;
  bool fused;           // sums of a panel are merged where they are made
  T *x, *dy, *partial;  // copies, and sums [chunk][group][tap][channel][padded]
  int64_t *row_offsets, *run_offsets;
  size_t bytes;
};

template <class T>
WeightPlan<T> plan_of(const ConvWeightArgs& a) {
  WeightPlan<T> p{};
  const int64_t* kernel = a.window.kernel;
  p.channels = a.x.c / a.groups;
  p.outputs = a.dy.c / a.groups;
  p.padded = padded_columns<T>(p.outputs);
  p.taps = kernel[0] * kernel[1] * kernel[2];
  const bool merged = a.groups == 1 && (kernel[2] == 1 || a.window.dilation[2] == 1);
  p.k = merged ? kernel[2] * p.channels : p.channels;
  p.runs = merged ? kernel[0] * kernel[1] : p.taps;
  p.x_in_place = read_in_place(a.x, a.region);
  p.dy_in_place = is_channels_last_image(a.dy) && p.outputs == p.padded;
  p.dy_pixel = p.dy_in_place ? a.dy.c : a.groups * p.padded;
  p.rows = a.dy.n * a.dy.size[0] * a.dy.size[1];
  p.pixels = a.dy.size[2];
  // Rows of an unpadded 1x1 convolution follow each other in x as they do in dy.
  const bool joined = p.x_in_place && p.taps == 1 && a.window.stride[0] == 1 &&
                      a.window.stride[1] == 1 && a.window.stride[2] == 1 &&
                      a.region.first[0] == 0 && a.region.first[1] == 0 && a.region.first[2] == 0 &&
                      a.x.size[0] == a.dy.size[0] && a.x.size[1] == a.dy.size[1] &&
                      a.x.size[2] == a.dy.size[2];
  if (joined) {
    p.pixels *= p.rows;
    p.rows = 1;
  }
  p.pack = p.dy_pixel >= kPackedOutputs && p.taps * p.channels >= kPackedRows;
  int64_t unit_pixels = kUnitBytes / (larger(a.x.c, 1) * static_cast<int64_t>(sizeof(T)));
  unit_pixels = smaller(unit_pixels, p.pack ? kPackedPixels : kMostUnitPixels);
  unit_pixels = larger(unit_pixels, kFewestUnitPixels);
  p.segments = larger(divide_up(p.pixels, unit_pixels), 1);
  p.unit_rows = larger(unit_pixels / larger(p.pixels, 1), 1);
  p.units = p.segments > 1 ? p.rows * p.segments : divide_up(p.rows, p.unit_rows);
  const int64_t partial = a.groups * p.taps * p.channels * p.padded;
  const int64_t x_bytes =
      a.x.n * a.x.c * a.x.size[0] * a.x.size[1] * a.x.size[2] * static_cast<int64_t>(sizeof(T));
  p.chunks = smaller(p.rows * p.pixels / kChunkPixels, kMostChunks);
  p.chunks = smaller(p.chunks, kPartialBytes / larger(partial * sizeof(T), 1));
  p.fused = a.groups * panels_in<T>(p.outputs) >= kFusedPanels && x_bytes <= kFusedBytes;
  p.chunks = p.fused ? 1 : larger(smaller(p.chunks, p.units), 1);

  Pieces pieces{a.workspace};
  p.x = pieces.take<T>(p.x_in_place ? 0 : copied_elements(a.x, a.region, a.x.c));
  p.dy = pieces.take<T>(p.dy_in_place ? 0 : copied_elements(a.dy, whole_region(a.dy), p.dy_pixel));
  p.partial = pieces.take<T>(p.fused ? max_workers() * p.taps * p.channels * kPanel<T>
                                     : p.chunks * partial);
  p.row_offsets = pieces.take<int64_t>(p.rows);
  p.run_offsets = pieces.take<int64_t>(p.runs);
  p.bytes = pieces.used;
  return p;
}

// A part of the work: a chunk of pixels, some runs of taps and panels of outputs.
struct Part {
  int64_t chunk, group;
  int64_t first_run, last_run, first_panel, last_panel;
};

// Where a unit is: `steps` rows of `k` pixels from (row, pixel) on.
struct Unit {
  int64_t row, pixel, steps, k;
};

template <class T>
MK_INLINE Unit unit_of(const WeightPlan<T>& p, int64_t unit) {
  if (p.segments > 1) {
    const int64_t i = unit % p.segments, pixel = tile_start(i, p.segments, p.pixels);
    return {unit / p.segments, pixel, 1, tile_start(i + 1, p.segments, p.pixels) - pixel};
  }
  const int64_t row = unit * p.unit_rows;  // without any pixels there are 0 steps
  return {row, 0, larger(smaller(p.rows - row, p.unit_rows), 0), p.pixels};
}

// The sums over all units of a chunk, [run][k][columns from the first panel on]. x is that of the
// group's first tap, dy the group's.
template <class T>
void sum_chunk(const WeightPlan<T>& p, const Part& part, const T* x, int64_t x_pixel, const T* dy,
               T* sums, int64_t sums_row) {
  const int64_t first_unit = tile_start(part.chunk, p.chunks, p.units);
  const int64_t last_unit = tile_start(part.chunk + 1, p.chunks, p.units);
  const int64_t tiles = tiles_in(p.k), first_column = part.first_panel * kPanel<T>;
  alignas(64) T packed[kPackedPixels * kPanel<T>];
  Tile<T> tile{};
  tile.a_row = 1;
  tile.a_col = x_pixel;
  tile.b_row = p.dy_pixel;
  tile.c_row = sums_row;
  for (int64_t unit = first_unit; unit < last_unit || unit == first_unit; ++unit) {
    const Unit now = unit_of(p, unit);
    tile.k = now.k;
    tile.steps = now.steps;
    tile.a_offset = p.row_offsets + now.row;
    tile.accumulate = unit > first_unit;
    for (int64_t panel = part.first_panel; panel < part.last_panel; ++panel) {
      const int64_t column = panel * kPanel<T>;
      tile.b = dy + (now.row * p.pixels + now.pixel) * p.dy_pixel + column;
      tile.columns = smaller(p.padded - column, kPanel<T>);
      if (p.pack) {
        tile.b_row = panel_width<T>(tile.columns);
        pack_panel(tile.b, p.dy_pixel, 1, now.steps * now.k, tile.columns, packed);
        tile.b = packed;
      }
      for (int64_t run = part.first_run; run < part.last_run; ++run) {
        for (int64_t i = 0; i < tiles; ++i) {
          const int64_t first = tile_start(i, tiles, p.k);
          tile.a = x + p.run_offsets[run] + now.pixel * x_pixel + first;
          tile.c = sums + (run * p.k + first) * sums_row + column - first_column;
          tile.rows = tile_start(i + 1, tiles, p.k) - first;
          run_tile(tile);
        }
      }
    }
  }
}

// dweight[o, c, t] of up to kLanes outputs and [first, last) of (c, t), from the sums [t, c, o] of
// all chunks.
template <class T>
void merge_columns(const WeightPlan<T>& p, const T* sums, int64_t row, int64_t chunk_step,
                   int64_t outputs, int64_t first, int64_t last, T* dweight) {
  constexpr int64_t kLanes = Vec<T>::kLanes;
  const int64_t columns = p.channels * p.taps;
  int64_t c = first / p.taps, t = first % p.taps;
  for (int64_t i = first; i < last; i += kLanes) {
    const int64_t count = smaller(last - i, kLanes);
    Vec<T> block[kLanes];
    for (int64_t j = 0; j < kLanes; ++j) {
      block[j] = Vec<T>::zero();
      if (j >= count) continue;
      const T* from = sums + (t * p.channels + c) * row;
      block[j] = Vec<T>::load(from);
      for (int64_t chunk = 1; chunk < p.chunks; ++chunk) {
        block[j] += Vec<T>::load(from + chunk * chunk_step);
      }
      if (++t == p.taps) {
        t = 0;
        ++c;
      }
    }
    transpose(block);
    for (int64_t j = 0; j < outputs; ++j) block[j].store(dweight + j * columns + i, count);
  }
}

// The same of all outputs.
template <class T>
void merge(const ConvWeightArgs& a, const WeightPlan<T>& p) {
  constexpr int64_t kLanes = Vec<T>::kLanes, kBlock = 16 * kLanes;
  const int64_t columns = p.channels * p.taps, vectors = p.padded / kLanes;
  const int64_t blocks = divide_up(columns, kBlock), group_size = columns * p.padded;
  parallel_for(
      a.groups * vectors * blocks, a.groups * group_size * p.chunks, [&](int64_t task, int) {
        const int64_t first = task % blocks * kBlock, last = smaller(first + kBlock, columns);
        const int64_t output = task / blocks % vectors * kLanes, group = task / blocks / vectors;
        merge_columns(p, p.partial + group * group_size + output, p.padded, a.groups * group_size,
                      smaller(p.outputs - output, kLanes), first, last,
                      static_cast<T*>(a.dweight) + (group * p.outputs + output) * columns);
      });
}

template <class T>
void backward_weight_of(const ConvWeightArgs& a) {
  const WeightPlan<T> p = plan_of<T>(a);
  const Window& w = a.window;
  const Source<T> x =
      p.x_in_place ? source_in_place<T>(a.x) : copy_source<T>(a.x, a.region, 1, a.x.c, p.x);
  const T* dy = static_cast<const T*>(a.dy.data);
  if (!p.dy_in_place)
    dy = copy_source<T>(a.dy, whole_region(a.dy), a.groups, p.dy_pixel, p.dy).data;

  const T* first = x.data;  // of the first pixel and tap
  int64_t pixel_step[3];
  for (int i = 0; i < 3; ++i) {
    first += (-w.pad_before[i] - x.origin[i]) * x.stride[i];
    pixel_step[i] = w.stride[i] * x.stride[i];
  }
  const int64_t count[4] = {a.dy.n, a.dy.size[0], a.dy.size[1], a.dy.size[2]};
  const int64_t step[4] = {x.stride_n, pixel_step[0], pixel_step[1], pixel_step[2]};
  for (int64_t row = 0; row < p.rows; ++row) p.row_offsets[row] = row_offset(count, step, row);
  const int64_t run_width = w.kernel[2] * p.channels == p.k ? 1 : w.kernel[2];
  for (int64_t run = 0; run < p.runs; ++run) {
    const int64_t kw = run % run_width, kh = run / run_width % w.kernel[1];
    const int64_t kd = run / run_width / w.kernel[1];
    p.run_offsets[run] = kd * w.dilation[0] * x.stride[0] + kh * w.dilation[1] * x.stride[1] +
                         kw * w.dilation[2] * x.stride[2];
  }

  const int64_t panels = panels_in<T>(p.outputs), parts = p.chunks * a.groups;
  const int64_t few = p.fused ? panels : divide_up(kFewTasks, larger(parts, 1));
  const int64_t panel_blocks = larger(smaller(panels, few), 1);
  const int64_t run_blocks =
      p.fused ? 1 : smaller(p.runs, divide_up(kFewTasks, larger(parts * panel_blocks, 1)));
  const int64_t columns = p.runs * p.k;
  const int64_t work = 2 * p.rows * p.pixels * a.groups * columns * p.padded;
  parallel_for(parts * panel_blocks * run_blocks, work, [&](int64_t task, int worker) {
    const int64_t run = task % run_blocks, panel = task / run_blocks % panel_blocks;
    const int64_t index = task / run_blocks / panel_blocks;
    const Part part{.chunk = index / a.groups,
                    .group = index % a.groups,
                    .first_run = tile_start(run, run_blocks, p.runs),
                    .last_run = tile_start(run + 1, run_blocks, p.runs),
                    .first_panel = tile_start(panel, panel_blocks, panels),
                    .last_panel = tile_start(panel + 1, panel_blocks, panels)};
    const int64_t column = part.first_panel * kPanel<T>;
    T* sums = p.fused ? p.partial + worker * columns * kPanel<T>
                      : p.partial + index * columns * p.padded + column;
    const int64_t sums_row = p.fused ? kPanel<T> : p.padded;
    sum_chunk<T>(p, part, first + part.group * p.channels, pixel_step[2],
                 dy + part.group * (p.dy_in_place ? p.outputs : p.padded), sums, sums_row);
    if (!p.fused) return;
    for (int64_t i = 0; i < smaller(p.outputs - column, kPanel<T>); i += Vec<T>::kLanes) {
      const int64_t output = part.group * p.outputs + column + i;
      merge_columns<T>(p, sums + i, sums_row, 0, smaller(p.outputs - column - i, Vec<T>::kLanes), 0,
                       columns, static_cast<T*>(a.dweight) + output * columns);
    }
  });
  if (!p.fused) merge<T>(a, p);
}

// A 1x1 kernel whose few outputs would leave most lanes empty: x and dy change places, and the
// result is transposed.
template <class T>
bool changes_places(const ConvWeightArgs& a) {
  bool pointwise = a.groups == 1;
  for (int i = 0; i < 3; ++i) {
    pointwise &= a.window.kernel[i] == 1 && a.window.stride[i] == 1 && a.region.first[i] == 0 &&
                 a.x.size[i] == a.dy.size[i];
  }
  return pointwise && a.dy.c < Vec<T>::kLanes && a.dy.c < a.x.c;
}

template <class T>
ConvWeightArgs with_places_changed(const ConvWeightArgs& a) {
  ConvWeightArgs changed = a;
  changed.x = a.dy;
  changed.dy = a.x;
  Pieces pieces{a.workspace};
  changed.dweight = pieces.take<T>(a.x.c * a.dy.c);
  changed.workspace = pieces.take<T>(0);
  return changed;
}

template <class T>
size_t workspace_of(const ConvWeightArgs& a) {
  if (!changes_places<T>(a)) return plan_of<T>(a).bytes;
  ConvWeightArgs from_zero = a;
  from_zero.workspace = nullptr;
  const ConvWeightArgs changed = with_places_changed<T>(from_zero);
  return reinterpret_cast<uintptr_t>(changed.workspace) + plan_of<T>(changed).bytes;
}

template <class T>
void run_direct(const ConvWeightArgs& a) {
  if (!changes_places<T>(a)) return backward_weight_of<T>(a);
  const ConvWeightArgs changed = with_places_changed<T>(a);
  backward_weight_of<T>(changed);
  const T* from = static_cast<const T*>(changed.dweight);
  for (int64_t o = 0; o < a.dy.c; ++o) {
    for (int64_t c = 0; c < a.x.c; ++c) {
      static_cast<T*>(a.dweight)[o * a.x.c + c] = from[c * a.dy.c + o];
    }
  }
}

}  // namespace

size_t conv_backward_weight_workspace(const ConvWeightArgs& a) {
  if (weight_takes_winograd(a)) return weight_winograd_workspace(a);
  if (weight_is_depthwise(a)) return weight_depthwise_workspace(a);
  return a.dtype == Dtype::f32 ? workspace_of<float>(a) : workspace_of<double>(a);
}

void conv_backward_weight(const ConvWeightArgs& a) {
  if (weight_takes_winograd(a)) return weight_winograd(a);
  if (weight_is_depthwise(a)) return weight_depthwise(a);
  a.dtype == Dtype::f32 ? run_direct<float>(a) : run_direct<double>(a);
}

}  // namespace medkern::MK_ISA
