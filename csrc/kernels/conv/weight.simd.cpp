// Convolution backward with respect to the weights, on the CPU, as GEMM over pixels.
//
//   dweight[o, c, t] = sum over pixels p of dy[p, o] x[p stride + t dilation - pad, c]
//
// x and dy are channels-last (source.simd.h). For each tap (or row of taps that lie side by side)
// the rows of matrix a are channels of x, one step of k is one pixel, and b is dy as it lies:
// nothing is packed.
//
// Loops: tasks of a chunk of pixels, a tap and some panels of output channels; in a task units of
// rows of pixels whose part of x stays in the L2 cache, panels, tiles of channels.
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
// Chunks: pixels at least, number and bytes of all partial sums at most.
constexpr int64_t kChunkPixels = 4096, kMostChunks = 16;
constexpr int64_t kPartialBytes = 64 << 20;
constexpr int64_t kFewTasks = 16;

// How the work is cut.
template <class T>
struct WeightPlan {
  int64_t channels, outputs, padded;  // per group; output channels in whole vectors
  int64_t taps, k, runs;              // taps in all; rows of a per run of taps, and their number
  bool x_in_place, dy_in_place;
  int64_t dy_pixel;      // elements from pixel to pixel of dy
  int64_t rows, pixels;  // rows of pixels, and pixels in each
  int64_t segments;      // of a row, if it alone is longer than a unit
  int64_t unit_rows, units, chunks;
  T *x, *dy, *partial;  // copies, and sums [chunk][group][tap][channel][padded]
  int64_t *row_offsets, *run_offsets;
  size_t bytes;
};

Region whole(const Image& x) { return {{0, 0, 0}, {x.size[0], x.size[1], x.size[2]}}; }

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
  int64_t unit_pixels = kUnitBytes / (larger(a.x.c, 1) * static_cast<int64_t>(sizeof(T)));
  unit_pixels = larger(smaller(unit_pixels, kMostUnitPixels), kFewestUnitPixels);
  p.segments = larger(divide_up(p.pixels, unit_pixels), 1);
  p.unit_rows = larger(unit_pixels / larger(p.pixels, 1), 1);
  p.units = p.segments > 1 ? p.rows * p.segments : divide_up(p.rows, p.unit_rows);
  const int64_t partial = a.groups * p.taps * p.channels * p.padded;
  p.chunks = smaller(p.rows * p.pixels / kChunkPixels, kMostChunks);
  p.chunks = smaller(p.chunks, kPartialBytes / larger(partial * sizeof(T), 1));
  p.chunks = larger(smaller(p.chunks, p.units), 1);

  Pieces pieces{a.workspace};
  p.x = pieces.take<T>(p.x_in_place ? 0 : copied_elements(a.x, a.region, a.x.c));
  p.dy = pieces.take<T>(p.dy_in_place ? 0 : copied_elements(a.dy, whole(a.dy), p.dy_pixel));
  p.partial = pieces.take<T>(p.chunks * partial);
  p.row_offsets = pieces.take<int64_t>(p.rows);
  p.run_offsets = pieces.take<int64_t>(p.runs);
  p.bytes = pieces.used;
  return p;
}

// The sum of all units of a chunk for one run of taps and panels [first_panel, last_panel).
template <class T>
void sum_chunk(const WeightPlan<T>& p, const T* x, int64_t x_pixel, const T* dy, int64_t chunk,
               int64_t first_panel, int64_t last_panel, T* partial) {
  const int64_t first_unit = tile_start(chunk, p.chunks, p.units);
  const int64_t last_unit = tile_start(chunk + 1, p.chunks, p.units);
  const int64_t tiles = tiles_in(p.k);
  for (int64_t unit = first_unit; unit < last_unit || unit == first_unit; ++unit) {
    Tile<T> tile{};
    int64_t first_pixel = 0, row = 0;
    if (p.segments > 1) {
      row = unit / p.segments;
      first_pixel = tile_start(unit % p.segments, p.segments, p.pixels);
      tile.k = tile_start(unit % p.segments + 1, p.segments, p.pixels) - first_pixel;
      tile.steps = 1;
    } else {
      row = unit * p.unit_rows;
      tile.k = p.pixels;
      tile.steps = larger(smaller(p.rows - row, p.unit_rows), 0);  // 0: there are no pixels at all
    }
    tile.a_offset = p.row_offsets + row;
    tile.a_row = 1;
    tile.a_col = x_pixel;
    tile.b_row = p.dy_pixel;
    tile.c_row = p.padded;
    tile.accumulate = unit > first_unit;
    for (int64_t panel = first_panel; panel < last_panel; ++panel) {
      const int64_t column = panel * kPanel<T>;
      tile.b = dy + (row * p.pixels + first_pixel) * p.dy_pixel + column;
      tile.columns = smaller(p.padded - column, kPanel<T>);
      for (int64_t i = 0; i < tiles; ++i) {
        const int64_t first = tile_start(i, tiles, p.k);
        tile.a = x + first_pixel * x_pixel + first;
        tile.c = partial + first * p.padded + column;
        tile.rows = tile_start(i + 1, tiles, p.k) - first;
        run_tile(tile);
      }
    }
  }
}

// dweight[o, c, t] = sum of the chunks' [t, c, o].
template <class T>
void merge(const ConvWeightArgs& a, const WeightPlan<T>& p) {
  constexpr int64_t kLanes = Vec<T>::kLanes, kBlock = 16 * kLanes;
  const int64_t columns = p.channels * p.taps, vectors = p.padded / kLanes;
  const int64_t blocks = divide_up(columns, kBlock), group_size = columns * p.padded;
  parallel_for(
      a.groups * vectors * blocks, a.groups * group_size * p.chunks, [&](int64_t task, int) {
        const int64_t first = task % blocks * kBlock, last = smaller(first + kBlock, columns);
        const int64_t output = task / blocks % vectors * kLanes, group = task / blocks / vectors;
        const int64_t outputs = smaller(p.outputs - output, kLanes);
        const T* from = p.partial + group * group_size + output;
        T* to = static_cast<T*>(a.dweight) + (group * p.outputs + output) * columns;
        for (int64_t i = first; i < last; i += kLanes) {
          const int64_t count = smaller(last - i, kLanes);
          Vec<T> block[kLanes];
          for (int64_t j = 0; j < kLanes; ++j) {
            block[j] = Vec<T>::zero();
            if (j >= count) continue;
            const int64_t c = (i + j) / p.taps, t = (i + j) % p.taps;
            for (int64_t chunk = 0; chunk < p.chunks; ++chunk) {
              block[j] += Vec<T>::load(from + chunk * a.groups * group_size +
                                       (t * p.channels + c) * p.padded);
            }
          }
          transpose(block);
          for (int64_t j = 0; j < outputs; ++j) block[j].store(to + j * columns + i, count);
        }
      });
}

template <class T>
void backward_weight_of(const ConvWeightArgs& a) {
  const WeightPlan<T> p = plan_of<T>(a);
  const Window& w = a.window;
  const Source<T> x =
      p.x_in_place ? source_in_place<T>(a.x) : copy_source<T>(a.x, a.region, 1, a.x.c, p.x);
  const T* dy = static_cast<const T*>(a.dy.data);
  if (!p.dy_in_place) dy = copy_source<T>(a.dy, whole(a.dy), a.groups, p.dy_pixel, p.dy).data;

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

  const int64_t panels = panels_in<T>(p.outputs);
  const int64_t parts = p.chunks * a.groups * p.runs;
  const int64_t panel_blocks = larger(smaller(panels, divide_up(kFewTasks, larger(parts, 1))), 1);
  const int64_t work = 2 * p.rows * p.pixels * p.taps * a.groups * p.channels * p.padded;
  parallel_for(parts * panel_blocks, work, [&](int64_t task, int) {
    const int64_t block = task % panel_blocks, run = task / panel_blocks % p.runs;
    const int64_t group = task / panel_blocks / p.runs % a.groups;
    const int64_t chunk = task / panel_blocks / p.runs / a.groups;
    sum_chunk<T>(p, first + p.run_offsets[run] + group * p.channels, pixel_step[2],
                 dy + group * (p.dy_in_place ? p.outputs : p.padded), chunk,
                 tile_start(block, panel_blocks, panels),
                 tile_start(block + 1, panel_blocks, panels),
                 p.partial + ((chunk * a.groups + group) * p.runs + run) * p.k * p.padded);
  });
  merge<T>(a, p);
}

}  // namespace

size_t conv_backward_weight_workspace(const ConvWeightArgs& a) {
  if (weight_takes_winograd(a)) return weight_winograd_workspace(a);
  if (weight_is_depthwise(a)) return weight_depthwise_workspace(a);
  return a.dtype == Dtype::f32 ? plan_of<float>(a).bytes : plan_of<double>(a).bytes;
}

void conv_backward_weight(const ConvWeightArgs& a) {
  if (weight_takes_winograd(a)) return weight_winograd(a);
  if (weight_is_depthwise(a)) return weight_depthwise(a);
  a.dtype == Dtype::f32 ? backward_weight_of<float>(a) : backward_weight_of<double>(a);
}

}  // namespace medkern::MK_ISA
