// Winograd convolution where transformed weights would outgrow the caches, being two to four times
// the weights and more: forward and backward with respect to the input, as winograd.simd.cpp, which
// has the formula.
//
// Loops: classes; waves of rows (slice, tile); of a wave all inputs are transformed, v[part, chunk
// of channels][plane][row][channel], in parallel; then tasks of a group of rows and a panel of
// result channels: chunks of channels (parts, depth taps), whose filters are transformed into the
// L2 cache, then 36 products added to the sums m[plane][row][width], which stay there too; at last
// the output transform. So weights are read once per group, as they are, and never written. Work as
// in winograd.simd.cpp and 70 vector operations for each vector of filters and group, against 36
// rows. Memory: weights once per group, v once per panel. Numerics: chains of fma over the channels
// of a chunk, added one after the other; every tile has the same bits wherever it lies.
#include "core/parallel.h"
#include "kernels/conv/winograd_tiles.simd.h"
#include "kernels/gemm/tile.simd.h"

namespace medkern::MK_ISA {
namespace {

// Transforming a vector of filters, and what a plain call loses besides, in the time of a fused
// multiply-add of vectors; by the number of points.
constexpr double filter_cost(int points) { return points == 3 ? 20 : 190; }
constexpr double plain_cost(int points) { return points == 3 ? 0 : 110; }
// Channels of a chunk (part of the definition of the result: it fixes the order of summation) and
// rows of a group: transformed filters and sums take 288 KiB each.
constexpr int64_t chunk_of(int64_t points) { return points == 3 ? 256 : 64; }
// Bytes of transformed inputs of a wave, at least one group.
constexpr int64_t kWaveBytes = 6 << 20;

// Rows are (slice, tile), slices with those around them that depth taps reach; without depth taps
// the slices of all items follow each other in one span, else each item is a span.
struct Plan {
  Tiling tiling;
  int64_t channels, columns, taps;        // columns of the products
  int64_t chunk, chunks;                  // channels of a chunk, chunks of a part
  int64_t spans, span_slices, span_rows;  // of the result
  int64_t halo;                           // rows more of the input
  int64_t waves, groups, v_rows;          // of a span, of a wave; rows of v
  int64_t v_plane, plane;  // elements from plane to plane of v, and of filters and sums
  bool in_place;
  float *source, *v, *scratch;  // copy of source; [chunk][plane]; [worker] filters and sums
  size_t bytes;
};

Plan plan_of(const ConvArgs& a, const WinogradForm& form) {
  Plan p{};
  p.tiling = tiling_of(a, form, 0);
  p.channels = a.source.c;
  p.columns = p.tiling.form.columns;
  p.taps = a.window.kernel[0];
  p.chunk = smaller(chunk_of(form.points), whole_vectors(p.channels));
  p.chunks = divide_up(p.channels, p.chunk);
  p.spans = p.taps == 1 ? 1 : a.result.n;
  p.span_slices = p.taps == 1 ? a.result.n * a.result.size[0] : a.result.size[0];
  p.span_rows = p.span_slices * p.tiling.count;
  p.halo = (p.taps - 1) * p.tiling.step * p.tiling.count;
  const int64_t all_chunks = p.tiling.form.parts * p.chunks;
  const int64_t row_bytes = form.planes * p.chunk * all_chunks * sizeof(float);

  // A wave several times as long as its halo, which every wave transforms anew.
  const int64_t rows = larger(larger(kWaveBytes / row_bytes, chunk_of(form.points)), 3 * p.halo);
  p.waves = divide_up(p.span_rows, rows);
  const int64_t wave_rows = divide_up(p.span_rows, p.waves);
  p.groups = divide_up(wave_rows, chunk_of(form.points));
  p.v_rows = wave_rows + p.halo;
  // A vector more than needed, so that planes don't compete for the same places of the caches.
  p.v_plane = p.v_rows * p.chunk + 16;
  p.plane = larger(p.chunk, divide_up(wave_rows, p.groups)) * kPanel<float> + 16;
  p.in_place = is_channels_last_image(a.source);
  const Region whole = whole_region(a.source);
  Pieces pieces{a.workspace};
  p.source = pieces.take<float>(p.in_place ? 0 : copied_elements(a.source, whole, p.channels));
  p.v = pieces.take<float>(all_chunks * form.planes * p.v_plane);
  p.scratch = pieces.take<float>(max_workers() * 2 * form.planes * p.plane);
  p.bytes = pieces.used;
  return p;
}

// Packed weights are the filters in the order in which they are read:
// [class][panel][depth tap][part][channel][position][width].
int64_t filter_rows(const ConvArgs& a, const WinogradForm& f) {
  return a.window.kernel[0] * f.parts * a.source.c * f.taps * f.taps;
}

template <int kPoints>
size_t packed_bytes(const ConvArgs& a) {
  const WinogradForm f = winograd_form(a, kPoints);
  return f.all_classes * f.columns * filter_rows(a, f) * sizeof(float);
}

template <int kPoints>
void pack(const ConvArgs& a, void* packed) {
  const WinogradForm f = winograd_form(a, kPoints);
  const int64_t rows = filter_rows(a, f), size = f.taps * f.taps;
  const FilterBlocks blocks = filter_blocks(a);
  FilterTaps map;
  list_filter_taps(a, f, map);
  parallel_for(blocks.count, f.all_classes * f.columns * rows, [&](int64_t task, int) {
    for_each_filter(a, f, map, filter_block(a, blocks, task),
                    [&](int64_t number, int64_t row, int64_t result, const Vec<float>* g) {
                      const int64_t panel = result / kPanel<float> * kPanel<float>;
                      const int64_t width = panel_width<float>(f.columns - panel);
                      float* to = static_cast<float*>(packed) + number * f.columns * rows +
                                  panel * rows + row * size * width + result - panel;
                      for (int64_t i = 0; i < size; ++i) g[i].store(to + i * width);
                    });
  });
}

// Asks for memory that will be read soon, which may lie behind the end.
MK_INLINE void fetch(const float* from, int64_t count) {
  for (int64_t i = 0; i < count; i += 16) __builtin_prefetch(from + i);
}

// Transforms the filters of `count` channels: [plane][channel][width].
template <int kPoints, int kTaps>
void transform_filters(const float* packed, int64_t count, int64_t width, float* to,
                       int64_t plane) {
  for (int64_t i = 0; i < count; ++i) {
    for (int64_t lane = 0; lane < width; lane += Vec<float>::kLanes) {
      const float* from = packed + i * kTaps * kTaps * width + lane;
      evaluate<kPoints, kTaps, true>(
          [&](int h, int w) { return Vec<float>::load(from + (h * kTaps + w) * width); },
          to + i * width + lane, plane);
    }
  }
}

// Row `row` of v: of a slice that may lie outside the source.
template <int kPoints>
void transform_source_row(const ConvArgs& a, const Plan& p, const Source<float>& x, int64_t span,
                          int64_t first_row, int64_t row) {
  const int64_t slice = (first_row + row) / p.tiling.count;
  const int64_t tile = (first_row + row) % p.tiling.count;
  const int64_t depth = a.result.size[0];
  const int64_t n = p.taps == 1 ? slice / depth : span;
  const int64_t d = (p.taps == 1 ? slice % depth : slice) - p.tiling.lead;
  for (int64_t i = 0; i < p.tiling.form.parts * p.chunks; ++i) {
    const int64_t first = i % p.chunks * p.chunk;
    transform_source_tile<kPoints>(
        a, x, p.tiling, n, d, tile, i / p.chunks, first, smaller(p.channels - first, p.chunk),
        p.v + i * kPoints * kPoints * p.v_plane + row * p.chunk, p.v_plane);
  }
}

// Sums of rows [first, first + rows) of a wave, of a panel of packed weights: m[plane][row][width].
template <int kPoints, int kTaps>
void multiply(const Plan& p, const float* packed, int64_t first, int64_t rows, int64_t width,
              float* filters, float* m) {
  constexpr int64_t kSize = kTaps * kTaps, kPlanes = kPoints * kPoints;
  const int64_t tiles = tiles_in(rows);
  const int64_t parts = p.tiling.form.parts, chunks = parts * p.chunks;
  for (int64_t i = 0; i < p.taps * chunks; ++i) {
    const int64_t depth = i / chunks, part = i % chunks / p.chunks, chunk = i % p.chunks;
    const int64_t channel = chunk * p.chunk, count = smaller(p.channels - channel, p.chunk);
    const float* from = packed + ((depth * parts + part) * p.channels + channel) * kSize * width;
    transform_filters<kPoints, kTaps>(from, count, width, filters, p.plane);
    const float* v = p.v + i % chunks * kPlanes * p.v_plane +
                     (first + depth * p.tiling.step * p.tiling.count) * p.chunk;
    for (int64_t plane = 0; plane < kPlanes; ++plane) {
      // The filters of the next chunk, a part in each plane, and the input of the next plane: both
      // come from afar, while the products need no memory but this core's.
      constexpr int64_t kPart = chunk_of(kPoints) * kSize / kPlanes;
      fetch(from + (count * kSize + plane * kPart) * width, kPart * width);
      for (int64_t j = 0; j < tiles; ++j) {
        const int64_t row = tile_start(j, tiles, rows), next = tile_start(j + 1, tiles, rows);
        fetch(v + (plane + 1) * p.v_plane + row * p.chunk, (next - row) * p.chunk);
        run_tile(Tile<float>{
            .a = v + plane * p.v_plane + row * p.chunk,
            .a_row = p.chunk,
            .a_col = 1,
            .b = filters + plane * p.plane,
            .b_row = width,
            .c = m + plane * p.plane + row * width,
            .c_row = width,
            .k = count,
            .rows = next - row,
            .columns = width,
            .accumulate = i > 0,
        });
      }
    }
  }
}

template <int kPoints, int kTaps>
void run_wave(const ConvArgs& a, const Plan& p, const Source<float>& x, const float* packed,
              int64_t span, int64_t wave) {
  constexpr int64_t kPlanes = kPoints * kPoints;
  const WinogradForm& form = p.tiling.form;
  const int64_t first = tile_start(wave, p.waves, p.span_rows);
  const int64_t rows = tile_start(wave + 1, p.waves, p.span_rows) - first;
  const int64_t input = kPlanes * form.parts * p.channels;
  parallel_for(rows + p.halo, (rows + p.halo) * input,
               [&](int64_t row, int) { transform_source_row<kPoints>(a, p, x, span, first, row); });
  const int64_t panels = panels_in<float>(p.columns);
  const int64_t work = 2 * rows * p.taps * input * p.columns;
  parallel_for(p.groups * panels, work, [&](int64_t task, int worker) {
    const int64_t group = task / panels, column = task % panels * kPanel<float>;
    const int64_t group_first = tile_start(group, p.groups, rows);
    const int64_t group_rows = tile_start(group + 1, p.groups, rows) - group_first;
    const int64_t width = panel_width<float>(p.columns - column);
    float* filters = p.scratch + worker * 2 * kPlanes * p.plane;
    float* m = filters + kPlanes * p.plane;
    multiply<kPoints, kTaps>(p, packed + column * filter_rows(a, form), group_first, group_rows,
                             width, filters, m);
    for (int64_t i = 0; i < group_rows; ++i) {
      const int64_t row = first + group_first + i, slice = row / p.tiling.count;
      const int64_t depth = a.result.size[0];
      transform_result_tile<kPoints, kTaps>(
          a, p.tiling, p.taps == 1 ? slice / depth : span, p.taps == 1 ? slice % depth : slice,
          row % p.tiling.count, column, smaller(a.result.c - column, width), m + i * width,
          p.plane);
    }
  });
}

template <int kPoints>
size_t workspace(const ConvArgs& a) {
  return plan_of(a, winograd_form(a, kPoints)).bytes;
}

template <int kPoints, int kTaps>
void run_with(const ConvArgs& a, const WinogradForm& form) {
  Plan p = plan_of(a, form);
  const Source<float> x =
      p.in_place ? source_in_place<float>(a.source)
                 : copy_source<float>(a.source, whole_region(a.source), 1, p.channels, p.source);
  const float* packed = static_cast<const float*>(a.packed);
  for (int64_t number = 0; number < form.all_classes; ++number) {
    p.tiling = tiling_of(a, form, number);
    for (int64_t span = 0; span < p.spans; ++span) {
      for (int64_t wave = 0; wave < p.waves; ++wave) {
        run_wave<kPoints, kTaps>(a, p, x, packed, span, wave);
      }
    }
    packed += form.columns * filter_rows(a, form);
  }
}

template <int kPoints>
void run(const ConvArgs& a) {
  const WinogradForm form = winograd_form(a, kPoints);
  with_taps<kPoints>(form.taps, [&]<int kTaps>() { run_with<kPoints, kTaps>(a, form); });
}

template <int kPoints>
bool fits(const ConvArgs& a) {
  if (!winograd_computes(a, kPoints)) return false;
  const WinogradForm f = winograd_form(a, kPoints);
  return winograd_fits(a, f, filter_cost(kPoints) + plain_cost(kPoints));
}

template <int kPoints>
bool keeps(const ConvArgs& a) {
  if (!winograd_computes(a, kPoints)) return false;
  const WinogradForm f = winograd_form(a, kPoints);
  return winograd_keeps(f, filter_cost(kPoints));
}

template <int kPoints>
constexpr ConvAlgorithm algorithm() {
  return {
      .fits = fits<kPoints>,
      .keeps = keeps<kPoints>,
      .packed_bytes = packed_bytes<kPoints>,
      .pack = pack<kPoints>,
      .workspace = workspace<kPoints>,
      .run = run<kPoints>,
  };
}

}  // namespace

constinit const ConvAlgorithm winograd_panels_algorithm = algorithm<6>();
constinit const ConvAlgorithm winograd_pairs_panels_algorithm = algorithm<3>();

}  // namespace medkern::MK_ISA
