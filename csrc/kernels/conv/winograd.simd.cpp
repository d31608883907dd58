// Convolution with 3x3 kernels of stride 1 by Winograd's F(4x4, 3x3), forward and backward with
// respect to the input; winograd.simd.h has the formula. In 3-D each slice is transformed, and the
// taps in depth are summed between the transforms:
//
//   y[slice, tile] = A^T (sum over depth taps t and channels of u[t] * v[slice + t, tile]) A
//
// Loops: blocks of tiles (and slices) whose data stay in the L2 cache, as tasks; in a block the
// input transform, v[plane][slice, tile][channel]; 36 products with the transformed weights, by
// panels of result channels and rows (slice, tile), each sum in registers; the output transform
// with bias and activation. Products of a plane overwrite the input of the plane before. Work 2 36
// / 16 pixels depth-taps channels result-channels flops, a quarter of the direct sum's, and the
// transforms. Memory: source and result once, weights once per block, mostly from caches. Numerics:
// chains of fma over (depth tap, channel) in each plane; every tile has the same bits wherever it
// lies.
#include "core/parallel.h"
#include "kernels/conv/winograd_tiles.simd.h"
#include "kernels/gemm/tile.simd.h"

namespace medkern::MK_ISA {
namespace {

// Transforming a vector of filters, in the time of a fused multiply-add of vectors: it writes 36
// vectors, to the L2 cache or beyond.
constexpr double kFilterCost = 420, kFarFilterCost = 720;
constexpr size_t kNearBytes = 2 << 20;
// Bytes of a block's input and products, and slices of a block.
constexpr int64_t kBlockBytes = 640 << 10, kBlockSlices = 8;
constexpr int64_t kMostDepthTaps = 16;

// How a convolution is cut. Rows of the 36 products are (slice, tile) of a block; tiles are counted
// over all items.
struct Plan {
  Tiling tiling;
  int64_t channels, results;  // of source and result
  int64_t v_row, m_row;       // the same in whole vectors
  int64_t taps;               // in depth
  int64_t tiles, tile_blocks, slice_blocks;
  int64_t plane;  // elements from plane to plane
  bool in_place;
  float *source, *scratch;  // copy of source; [worker][planes + 1][plane]
  size_t bytes;
};

Plan plan_of(const ConvArgs& a) {
  Plan p{};
  p.tiling = tiling_of(a);
  p.channels = a.source.c;
  p.results = a.result.c;
  p.v_row = whole_vectors(p.channels);
  p.m_row = whole_vectors(p.results);
  p.taps = a.window.kernel[0];
  p.tiles = a.result.n * p.tiling.count;
  const int64_t row = larger(p.v_row, p.m_row), row_bytes = row * sizeof(float);
  int64_t rows = kBlockBytes / ((kTilePlanes + 1) * row_bytes);
  rows = larger(rows / kTileRows, 1) * kTileRows;
  const int64_t depth = a.result.size[0];
  p.slice_blocks = divide_up(depth, kBlockSlices);
  const int64_t slices = divide_up(depth, p.slice_blocks) + p.taps - 1;
  p.tile_blocks = divide_up(p.tiles, larger(rows / slices, 1));
  // A vector more than needed: with sizes that are powers of 2 all planes would compete for the
  // same places of the caches.
  p.plane = slices * divide_up(p.tiles, p.tile_blocks) * row + 16;
  p.in_place = is_channels_last_image(a.source);
  const Region whole = whole_region(a.source);
  Pieces pieces{a.workspace};
  p.source = pieces.take<float>(p.in_place ? 0 : copied_elements(a.source, whole, p.channels));
  p.scratch = pieces.take<float>(max_workers() * (kTilePlanes + 1) * p.plane);
  p.bytes = pieces.used;
  return p;
}

// Where transformed weights lie: [panel][plane][depth tap][channel][width], here from plane to
// plane of a panel (again a vector more than needed), and from the first panel to that of a column.
int64_t plane_stride(int64_t k, int64_t width) { return k * width + 16; }
int64_t panel_start(int64_t k, int64_t column) {
  return kTilePlanes * (column * k + column / kPanel<float> * 16);
}

size_t packed_bytes(const ConvArgs& a) {
  const int64_t panels = panels_in<float>(a.result.c), k = a.window.kernel[0] * a.source.c;
  return panel_start(k, panels * kPanel<float>) * sizeof(float);
}

void pack(const ConvArgs& a, void* packed) {
  constexpr int64_t kLanes = Vec<float>::kLanes, kChannels = 16;
  const int64_t k = a.window.kernel[0] * a.source.c;
  const int64_t vectors = divide_up(a.result.c, kLanes), blocks = divide_up(a.source.c, kChannels);
  parallel_for(vectors * blocks, vectors * k * kTilePlanes * kLanes, [&](int64_t task, int) {
    const int64_t result = task / blocks * kLanes, first = task % blocks * kChannels;
    const int64_t panel = result / kPanel<float> * kPanel<float>;
    const int64_t width = panel_width<float>(a.result.c - panel);
    float* to = static_cast<float*>(packed) + panel_start(k, panel) + result - panel;
    for_each_filter(a, result, first, smaller(first + kChannels, a.source.c),
                    [&](int64_t c, int64_t depth, const Vec<float>* g) {
                      transform_filter_vector(g, to + (depth * a.source.c + c) * width,
                                              plane_stride(k, width));
                    });
  });
}

struct Block {
  int64_t tile, tiles, slice, slices;
};

// v[plane][slice, tile][channel]
void transform_sources(const ConvArgs& a, const Plan& p, const Source<float>& x, const Block& b,
                       float* v) {
  const int64_t slices = b.slices + p.taps - 1;
  for (int64_t s = 0; s < slices; ++s) {
    const int64_t d = b.slice + s - p.tiling.lead[0];
    for (int64_t t = 0; t < b.tiles; ++t) {
      const int64_t n = (b.tile + t) / p.tiling.count, tile = (b.tile + t) % p.tiling.count;
      transform_source_tile(a, x, p.tiling, n, d, tile, 0, p.channels,
                            v + (s * b.tiles + t) * p.v_row, p.plane);
    }
  }
}

// m[plane][slice, tile][result channel]
void multiply(const Plan& p, const Block& b, const float* weights, const float* v, float* m) {
  const int64_t rows = b.slices * b.tiles, tiles = tiles_in(rows), k = p.taps * p.channels;
  int64_t offsets[kMostDepthTaps];
  for (int64_t i = 0; i < p.taps; ++i) offsets[i] = i * b.tiles * p.v_row;
  for (int64_t plane = 0; plane < kTilePlanes; ++plane) {
    for (int64_t column = 0; column < p.results; column += kPanel<float>) {
      const int64_t columns = smaller(p.m_row - column, kPanel<float>);
      for (int64_t i = 0; i < tiles; ++i) {
        const int64_t first = tile_start(i, tiles, rows);
        run_tile(Tile<float>{
            .a = v + plane * p.plane + first * p.v_row,
            .a_row = p.v_row,
            .a_col = 1,
            .b = weights + panel_start(k, column) + plane * plane_stride(k, columns),
            .b_row = columns,
            .c = m + plane * p.plane + first * p.m_row + column,
            .c_row = p.m_row,
            .k = p.channels,
            .steps = p.taps,
            .a_offset = offsets,
            .rows = tile_start(i + 1, tiles, rows) - first,
            .columns = columns,
        });
      }
    }
  }
}

void transform_results(const ConvArgs& a, const Plan& p, const Block& b, const float* m) {
  for (int64_t s = 0; s < b.slices; ++s) {
    for (int64_t t = 0; t < b.tiles; ++t) {
      const int64_t n = (b.tile + t) / p.tiling.count, tile = (b.tile + t) % p.tiling.count;
      transform_result_tile(a, p.tiling, n, b.slice + s, tile, 0, p.results,
                            m + (s * b.tiles + t) * p.m_row, p.plane);
    }
  }
}

size_t workspace(const ConvArgs& a) { return plan_of(a).bytes; }

void run(const ConvArgs& a) {
  const Plan p = plan_of(a);
  const Source<float> x =
      p.in_place ? source_in_place<float>(a.source)
                 : copy_source<float>(a.source, whole_region(a.source), 1, p.channels, p.source);
  const int64_t depth = a.result.size[0];
  const int64_t work = 2 * kTilePlanes * p.tiles * depth * p.taps * p.channels * p.m_row;
  parallel_for(p.tile_blocks * p.slice_blocks, work, [&](int64_t task, int worker) {
    const int64_t i = task / p.slice_blocks, j = task % p.slice_blocks;
    Block b;
    b.tile = tile_start(i, p.tile_blocks, p.tiles);
    b.tiles = tile_start(i + 1, p.tile_blocks, p.tiles) - b.tile;
    b.slice = tile_start(j, p.slice_blocks, depth);
    b.slices = tile_start(j + 1, p.slice_blocks, depth) - b.slice;
    // Products of plane i overwrite the input of plane i - 1: one buffer holds both.
    float* m = p.scratch + worker * (kTilePlanes + 1) * p.plane;
    transform_sources(a, p, x, b, m + p.plane);
    multiply(p, b, static_cast<const float*>(a.packed), m + p.plane, m);
    transform_results(a, p, b, m);
  });
}

bool computes(const ConvArgs& a) {
  return winograd_computes(a) && winograd_keeps_transformed(a) &&
         a.window.kernel[0] <= kMostDepthTaps;
}

bool fits(const ConvArgs& a) {
  return computes(a) &&
         winograd_fits(a, packed_bytes(a) <= kNearBytes ? kFilterCost : kFarFilterCost);
}

bool keeps(const ConvArgs& a) { return computes(a) && winograd_keeps(a, 1, 0); }

}  // namespace

constinit const ConvAlgorithm winograd_algorithm = {
    .fits = fits,
    .keeps = keeps,
    .packed_bytes = packed_bytes,
    .pack = pack,
    .workspace = workspace,
    .run = run,
};

}  // namespace medkern::MK_ISA
