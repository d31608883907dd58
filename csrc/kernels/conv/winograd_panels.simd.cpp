// Winograd convolution where transformed weights would outgrow the caches (they are four times the
// weights): forward and backward with respect to the input, as winograd.simd.cpp, which has the
// formula.
//
// Loops: waves of rows (slice, tile); of a wave all inputs are transformed, v[chunk of
// channels][plane][row][channel], in parallel; then tasks of a group of rows and a panel of result
// channels: chunks of channels (and depth taps), whose filters are transformed into the L2 cache,
// then 36 products added to the sums m[plane][row][width], which stay there too; at last the output
// transform. So weights are read once per group, as they are, and never written. Work as in
// winograd.simd.cpp and 70 vector operations for each vector of filters and group, against 36 rows.
// Memory: weights once per group, v once per panel. Numerics: chains of fma over the channels of a
// chunk, added one after the other; every tile has the same bits wherever it lies.
#include "core/parallel.h"
#include "kernels/conv/winograd_tiles.simd.h"
#include "kernels/gemm/tile.simd.h"

namespace medkern::MK_ISA {
namespace {

// Transforming a vector of filters, and what a plain call loses besides, in the time of a fused
// multiply-add of vectors.
constexpr double kFilterCost = 190, kPlainCost = 110;
// Channels of a chunk (part of the definition of the result: it fixes the order of summation) and
// rows of a group: transformed filters and sums take 288 KiB each.
constexpr int64_t kChunk = 64, kGroupRows = 64;
// Bytes of transformed inputs of a wave, at least one group.
constexpr int64_t kWaveBytes = 12 << 20;

// Rows are (slice, tile), slices with those around them that depth taps reach; without depth taps
// the slices of all items follow each other in one span, else each item is a span.
struct Plan {
  Tiling tiling;
  int64_t channels, results, taps, chunks;
  int64_t spans, span_slices, span_rows;  // of the result
  int64_t halo;                           // rows more of the input
  int64_t waves, groups, v_rows;          // of a span, of a wave; rows of v
  int64_t v_plane, plane;  // elements from plane to plane of v, and of filters and sums
  bool in_place;
  float *source, *v, *scratch;  // copy of source; [chunk][plane]; [worker] filters and sums
  size_t bytes;
};

Plan plan_of(const ConvArgs& a) {
  Plan p{};
  p.tiling = tiling_of(a);
  p.channels = a.source.c;
  p.results = a.result.c;
  p.taps = a.window.kernel[0];
  p.chunks = divide_up(p.channels, kChunk);
  p.spans = p.taps == 1 ? 1 : a.result.n;
  p.span_slices = p.taps == 1 ? a.result.n * a.result.size[0] : a.result.size[0];
  p.span_rows = p.span_slices * p.tiling.count;
  p.halo = (p.taps - 1) * p.tiling.count;
  const int64_t row_bytes = kTilePlanes * kChunk * p.chunks * sizeof(float);
  // A wave several times as long as its halo, which every wave transforms anew.
  const int64_t rows = larger(larger(kWaveBytes / row_bytes, kGroupRows), 3 * p.halo);
  p.waves = divide_up(p.span_rows, rows);
  const int64_t wave_rows = divide_up(p.span_rows, p.waves);
  p.groups = divide_up(wave_rows, kGroupRows);
  p.v_rows = wave_rows + p.halo;
  // A vector more than needed, so that planes don't compete for the same places of the caches.
  p.v_plane = p.v_rows * kChunk + 16;
  p.plane = larger(kChunk, divide_up(wave_rows, p.groups)) * kPanel<float> + 16;
  p.in_place = is_channels_last_image(a.source);
  const Region whole = whole_region(a.source);
  Pieces pieces{a.workspace};
  p.source = pieces.take<float>(p.in_place ? 0 : copied_elements(a.source, whole, p.channels));
  p.v = pieces.take<float>(p.chunks * kTilePlanes * p.v_plane);
  p.scratch = pieces.take<float>(max_workers() * 2 * kTilePlanes * p.plane);
  p.bytes = pieces.used;
  return p;
}

// Packed weights are the filters in the order in which they are read:
// [panel][depth tap][channel][position][width].
size_t packed_bytes(const ConvArgs& a) {
  return whole_vectors(a.result.c) * a.window.kernel[0] * a.source.c * 9 * sizeof(float);
}

void pack(const ConvArgs& a, void* packed) {
  constexpr int64_t kLanes = Vec<float>::kLanes;
  const int64_t k = 9 * a.window.kernel[0] * a.source.c;
  const int64_t vectors = divide_up(a.result.c, kLanes), blocks = divide_up(a.source.c, kChunk);
  parallel_for(vectors * blocks, vectors * k * kLanes, [&](int64_t task, int) {
    const int64_t result = task / blocks * kLanes, first = task % blocks * kChunk;
    const int64_t panel = result / kPanel<float> * kPanel<float>;
    const int64_t width = panel_width<float>(a.result.c - panel);
    float* to = static_cast<float*>(packed) + panel * k + result - panel;
    for_each_filter(a, result, first, smaller(first + kChunk, a.source.c),
                    [&](int64_t c, int64_t depth, const Vec<float>* g) {
                      float* at = to + (depth * a.source.c + c) * 9 * width;
                      for (int64_t i = 0; i < 9; ++i) g[i].store(at + i * width);
                    });
  });
}

// Asks for memory that will be read soon, which may lie behind the end.
MK_INLINE void fetch(const float* from, int64_t count) {
  for (int64_t i = 0; i < count; i += 16) __builtin_prefetch(from + i);
}

// Transforms the filters of `count` channels: [plane][channel][width].
void transform_filters(const float* packed, int64_t count, int64_t width, float* to,
                       int64_t plane) {
  for (int64_t i = 0; i < count; ++i) {
    for (int64_t lane = 0; lane < width; lane += Vec<float>::kLanes) {
      Vec<float> g[9];
#pragma GCC unroll 9
      for (int64_t j = 0; j < 9; ++j) {
        g[j] = Vec<float>::load(packed + (i * 9 + j) * width + lane);
      }
      transform_filter_vector(g, to + i * width + lane, plane);
    }
  }
}

// Row `row` of v: of a slice that may lie outside the source.
void transform_source_row(const ConvArgs& a, const Plan& p, const Source<float>& x, int64_t span,
                          int64_t first_row, int64_t row) {
  const int64_t slice = (first_row + row) / p.tiling.count;
  const int64_t tile = (first_row + row) % p.tiling.count;
  const int64_t depth = a.result.size[0];
  const int64_t n = p.taps == 1 ? slice / depth : span;
  const int64_t d = (p.taps == 1 ? slice % depth : slice) - p.tiling.lead[0];
  for (int64_t chunk = 0; chunk < p.chunks; ++chunk) {
    const int64_t first = chunk * kChunk;
    transform_source_tile(a, x, p.tiling, n, d, tile, first, smaller(p.channels - first, kChunk),
                          p.v + chunk * kTilePlanes * p.v_plane + row * kChunk, p.v_plane);
  }
}

// Sums of rows [first, first + rows) of a wave, panel of result channel `column`:
// m[plane][row][width].
void multiply(const ConvArgs& a, const Plan& p, int64_t first, int64_t rows, int64_t column,
              float* filters, float* m) {
  const int64_t width = panel_width<float>(p.results - column), tiles = tiles_in(rows);
  const float* packed = static_cast<const float*>(a.packed) + column * 9 * p.taps * p.channels;
  for (int64_t depth = 0; depth < p.taps; ++depth) {
    for (int64_t chunk = 0; chunk < p.chunks; ++chunk) {
      const int64_t channel = chunk * kChunk, count = smaller(p.channels - channel, kChunk);
      const float* from = packed + (depth * p.channels + channel) * 9 * width;
      transform_filters(from, count, width, filters, p.plane);
      const float* v =
          p.v + chunk * kTilePlanes * p.v_plane + (first + depth * p.tiling.count) * kChunk;
      for (int64_t plane = 0; plane < kTilePlanes; ++plane) {
        // The filters of the next chunk, a part in each plane, and the input of the next plane:
        // both come from afar, while the products need no memory but this core's.
        constexpr int64_t kPart = kChunk * 9 / kTilePlanes;
        fetch(from + (count * 9 + plane * kPart) * width, kPart * width);
        for (int64_t i = 0; i < tiles; ++i) {
          const int64_t row = tile_start(i, tiles, rows), next = tile_start(i + 1, tiles, rows);
          fetch(v + (plane + 1) * p.v_plane + row * kChunk, (next - row) * kChunk);
          run_tile(Tile<float>{
              .a = v + plane * p.v_plane + row * kChunk,
              .a_row = kChunk,
              .a_col = 1,
              .b = filters + plane * p.plane,
              .b_row = width,
              .c = m + plane * p.plane + row * width,
              .c_row = width,
              .k = count,
              .rows = next - row,
              .columns = width,
              .accumulate = depth + chunk > 0,
          });
        }
      }
    }
  }
}

void run_wave(const ConvArgs& a, const Plan& p, const Source<float>& x, int64_t span,
              int64_t wave) {
  const int64_t first = tile_start(wave, p.waves, p.span_rows);
  const int64_t rows = tile_start(wave + 1, p.waves, p.span_rows) - first;
  const int64_t input = kTilePlanes * (rows + p.halo) * p.channels;
  parallel_for(rows + p.halo, input,
               [&](int64_t row, int) { transform_source_row(a, p, x, span, first, row); });
  const int64_t panels = panels_in<float>(p.results);
  const int64_t work = 2 * kTilePlanes * rows * p.taps * p.channels * p.results;
  parallel_for(p.groups * panels, work, [&](int64_t task, int worker) {
    const int64_t group = task / panels, column = task % panels * kPanel<float>;
    const int64_t group_first = tile_start(group, p.groups, rows);
    const int64_t group_rows = tile_start(group + 1, p.groups, rows) - group_first;
    const int64_t width = panel_width<float>(p.results - column);
    float* filters = p.scratch + worker * 2 * kTilePlanes * p.plane;
    float* m = filters + kTilePlanes * p.plane;
    multiply(a, p, group_first, group_rows, column, filters, m);
    for (int64_t i = 0; i < group_rows; ++i) {
      const int64_t row = first + group_first + i, slice = row / p.tiling.count;
      const int64_t depth = a.result.size[0];
      transform_result_tile(a, p.tiling, p.taps == 1 ? slice / depth : span,
                            p.taps == 1 ? slice % depth : slice, row % p.tiling.count, column,
                            smaller(p.results - column, width), m + i * width, p.plane);
    }
  });
}

size_t workspace(const ConvArgs& a) { return plan_of(a).bytes; }

void run(const ConvArgs& a) {
  const Plan p = plan_of(a);
  const Source<float> x =
      p.in_place ? source_in_place<float>(a.source)
                 : copy_source<float>(a.source, whole_region(a.source), 1, p.channels, p.source);
  for (int64_t span = 0; span < p.spans; ++span) {
    for (int64_t wave = 0; wave < p.waves; ++wave) run_wave(a, p, x, span, wave);
  }
}

bool computes(const ConvArgs& a) { return winograd_computes(a) && !winograd_keeps_transformed(a); }

bool fits(const ConvArgs& a) { return computes(a) && winograd_fits(a, kFilterCost + kPlainCost); }

bool keeps(const ConvArgs& a) { return computes(a) && winograd_keeps(a, 6, kFilterCost); }

}  // namespace

constinit const ConvAlgorithm winograd_panels_algorithm = {
    .fits = fits,
    .keeps = keeps,
    .packed_bytes = packed_bytes,
    .pack = pack,
    .workspace = workspace,
    .run = run,
};

}  // namespace medkern::MK_ISA
