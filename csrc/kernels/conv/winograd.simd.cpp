// Convolution by Winograd's algorithm, forward and backward with respect to the input, with weights
// that are kept transformed; winograd.simd.h has the formula, winograd_form.simd.h which
// convolutions come to it. Depth slices are transformed one by one, and the taps in depth and the
// parts of the filters are summed between the transforms:
//
//   y[slice, tile] = A^T (sum over depth taps t, parts and channels of u[t, part]
//                                                          * v[slice + t, tile, part]) A
//
// Loops: classes; blocks of tiles (and slices) whose data stay in the L2 cache, as tasks; in a
// block the input transform, v[plane][slice, tile][part][channel]; 36 products with the transformed
// weights, by panels of result channels and rows (slice, tile), each sum in registers; the output
// transform with bias and activation. Products of a plane overwrite the input of the plane before.
// Work 2 36 tiles depth-taps parts channels result-channels flops, for 3x3 kernels a quarter of the
// direct sum's, and the transforms. Memory: source and result once, weights once per block, mostly
// from caches. Numerics: chains of fma over (depth tap, part, channel) in each plane; every tile
// has the same bits wherever it lies.
#include "core/parallel.h"
#include "kernels/conv/winograd_tiles.simd.h"
#include "kernels/gemm/tile.simd.h"

namespace medkern::MK_ISA {
namespace {

// Transforming a vector of filters, in the time of a fused multiply-add of vectors, for each plane:
// to the L2 cache or beyond.
constexpr double kFilterCost = 12, kFarFilterCost = 20;
constexpr size_t kNearBytes = 2 << 20;
// Most bytes of transformed weights. They grow fourfold and more, and come from the shared cache
// for every block: up to 256x256 channels of 3x3 it is faster to keep them so than to transform
// them again for every group of tiles (winograd_panels.simd.cpp).
constexpr size_t kMostBytes = 10 << 20;
// The same of compact weights: transforming those of 256x256 channels again takes a quarter longer.
constexpr size_t kMostCompactBytes = 6 << 20;
// Bytes of a block's input and products, and slices of a block.
constexpr int64_t kBlockBytes = 640 << 10, kBlockSlices = 8;
constexpr int64_t kFewBlocks = 8;

// How a convolution is cut. Rows of the 36 products are (slice, tile) of a block; tiles are counted
// over all items.
struct Plan {
  int64_t channels;
  int64_t v_part, v_row,
      m_row;           // elements of a row of v for a part and in all, and of the products
  int64_t taps, halo;  // in depth, and slices more that they read
  int64_t tiles, tile_blocks, slice_blocks;
  int64_t plane;  // elements from plane to plane
  bool in_place;
  float *source, *scratch;  // copy of source; [worker][planes + 1][plane]
  size_t bytes;
};

Plan plan_of(const ConvArgs& a, const WinogradForm& form) {
  Plan p{};
  const Tiling tiling = tiling_of(a, form, 0);
  p.channels = a.source.c;
  p.v_part = whole_vectors(p.channels);
  p.v_row = form.parts * p.v_part;
  p.m_row = form.columns;
  p.taps = a.window.kernel[0];
  p.halo = (p.taps - 1) * tiling.step;
  p.tiles = a.result.n * tiling.count;
  const int64_t row = larger(p.v_row, p.m_row), row_bytes = row * sizeof(float);
  int64_t rows = kBlockBytes / ((form.planes + 1) * row_bytes);
  rows = larger(rows / kTileRows, 1) * kTileRows;
  const int64_t depth = a.result.size[0];
  p.slice_blocks = divide_up(depth, kBlockSlices);
  const int64_t slices = divide_up(depth, p.slice_blocks) + p.halo;
  p.tile_blocks = divide_up(p.tiles, larger(rows / slices, 1));
  // A few blocks are an even number, so that two threads get as much each, unless their products
  // would have so few rows that most of the time goes to reading weights.
  const int64_t blocks = form.all_classes * p.tile_blocks * p.slice_blocks;
  const bool splits = p.tiles * slices >= kTileRows / 2 * (p.tile_blocks + 1);
  if (blocks < kFewBlocks && blocks % 2 == 1 && splits) ++p.tile_blocks;
  // A vector more than needed: with sizes that are powers of 2 all planes would compete for the
  // same places of the caches.
  p.plane = slices * divide_up(p.tiles, p.tile_blocks) * row + 16;
  p.in_place = is_channels_last_image(a.source);
  const Region whole = whole_region(a.source);
  Pieces pieces{a.workspace};
  p.source = pieces.take<float>(p.in_place ? 0 : copied_elements(a.source, whole, p.channels));
  p.scratch = pieces.take<float>(max_workers() * (form.planes + 1) * p.plane);
  p.bytes = pieces.used;
  return p;
}

// Where transformed weights lie: [class][panel][plane][depth tap][part][channel][width], here from
// plane to plane of a panel (again a vector more than needed), from the first panel to that of a
// column, and from class to class.
int64_t plane_stride(int64_t k, int64_t width) { return k * width + 16; }
int64_t panel_start(const WinogradForm& f, int64_t k, int64_t column) {
  return f.planes * (column * k + column / kPanel<float> * 16);
}
int64_t class_size(const ConvArgs& a, const WinogradForm& f) {
  const int64_t k = a.window.kernel[0] * f.parts * a.source.c;
  return panel_start(f, k, panels_in<float>(f.columns) * kPanel<float>);
}

size_t bytes_of(const ConvArgs& a, const WinogradForm& f) {
  return f.all_classes * class_size(a, f) * sizeof(float);
}

template <int kPoints>
size_t packed_bytes(const ConvArgs& a) {
  return bytes_of(a, winograd_form(a, kPoints));
}

template <int kPoints, int kTaps>
void pack_filters(const ConvArgs& a, const WinogradForm& f, float* packed) {
  const int64_t k = a.window.kernel[0] * f.parts * a.source.c;
  const FilterBlocks blocks = filter_blocks(a);
  FilterTaps map;
  list_filter_taps(a, f, map);
  parallel_for(blocks.count, f.all_classes * f.columns * k * f.planes, [&](int64_t task, int) {
    for_each_filter(a, f, map, filter_block(a, blocks, task),
                    [&](int64_t number, int64_t row, int64_t result, const Vec<float>* g) {
                      const int64_t panel = result / kPanel<float> * kPanel<float>;
                      const int64_t width = panel_width<float>(f.columns - panel);
                      float* to = packed + number * class_size(a, f) + panel_start(f, k, panel) +
                                  row * width + result - panel;
                      evaluate<kPoints, kTaps, true>([&](int h, int w) { return g[h * kTaps + w]; },
                                                     to, plane_stride(k, width));
                    });
  });
}

template <int kPoints>
void pack(const ConvArgs& a, void* packed) {
  const WinogradForm f = winograd_form(a, kPoints);
  with_taps<kPoints>(f.taps, [&]<int kTaps>() {
    pack_filters<kPoints, kTaps>(a, f, static_cast<float*>(packed));
  });
}

struct Block {
  Tiling tiling;  // of the class
  int64_t tile, tiles, slice, slices;
};

// v[plane][slice, tile][part][channel]
template <int kPoints>
void transform_sources(const ConvArgs& a, const Plan& p, const Source<float>& x, const Block& b,
                       float* v) {
  const int64_t slices = b.slices + p.halo;
  for (int64_t s = 0; s < slices; ++s) {
    const int64_t d = b.slice + s - b.tiling.lead;
    for (int64_t t = 0; t < b.tiles; ++t) {
      const int64_t n = (b.tile + t) / b.tiling.count, tile = (b.tile + t) % b.tiling.count;
      for (int64_t part = 0; part < b.tiling.form.parts; ++part) {
        transform_source_tile<kPoints>(a, x, b.tiling, n, d, tile, part, 0, p.channels,
                                       v + (s * b.tiles + t) * p.v_row + part * p.v_part, p.plane);
      }
    }
  }
}

// m[plane][slice, tile][result channel]
void multiply(const Plan& p, const Block& b, const float* weights, const float* v, float* m) {
  const int64_t parts = b.tiling.form.parts, steps = p.taps * parts, k = steps * p.channels;
  const int64_t rows = b.slices * b.tiles, tiles = tiles_in(rows);
  int64_t offsets[kMostSteps];
  for (int64_t i = 0; i < steps; ++i) {
    offsets[i] = i / parts * b.tiling.step * b.tiles * p.v_row + i % parts * p.v_part;
  }
  for (int64_t plane = 0; plane < b.tiling.form.planes; ++plane) {
    for (int64_t column = 0; column < p.m_row; column += kPanel<float>) {
      const int64_t columns = smaller(p.m_row - column, kPanel<float>);
      for (int64_t i = 0; i < tiles; ++i) {
        const int64_t first = tile_start(i, tiles, rows);
        run_tile(Tile<float>{
            .a = v + plane * p.plane + first * p.v_row,
            .a_row = p.v_row,
            .a_col = 1,
            .b = weights + panel_start(b.tiling.form, k, column) + plane * plane_stride(k, columns),
            .b_row = columns,
            .c = m + plane * p.plane + first * p.m_row + column,
            .c_row = p.m_row,
            .k = p.channels,
            .steps = steps,
            .a_offset = offsets,
            .rows = tile_start(i + 1, tiles, rows) - first,
            .columns = columns,
        });
      }
    }
  }
}

template <int kPoints, int kTaps>
void transform_results(const ConvArgs& a, const Plan& p, const Block& b, const float* m) {
  for (int64_t s = 0; s < b.slices; ++s) {
    for (int64_t t = 0; t < b.tiles; ++t) {
      const int64_t n = (b.tile + t) / b.tiling.count, tile = (b.tile + t) % b.tiling.count;
      transform_result_tile<kPoints, kTaps>(a, b.tiling, n, b.slice + s, tile, 0, a.result.c,
                                            m + (s * b.tiles + t) * p.m_row, p.plane);
    }
  }
}

// Products of plane i overwrite the input of plane i - 1: one buffer holds both.
template <int kPoints>
void run_block(const ConvArgs& a, const Plan& p, const Source<float>& x, const Block& b,
               int64_t number, float* m) {
  const WinogradForm& form = b.tiling.form;
  transform_sources<kPoints>(a, p, x, b, m + p.plane);
  multiply(p, b, static_cast<const float*>(a.packed) + number * class_size(a, form), m + p.plane,
           m);
  with_taps<kPoints>(form.taps,
                     [&]<int kTaps>() { transform_results<kPoints, kTaps>(a, p, b, m); });
}

template <int kPoints>
size_t workspace(const ConvArgs& a) {
  return plan_of(a, winograd_form(a, kPoints)).bytes;
}

template <int kPoints>
void run(const ConvArgs& a) {
  const WinogradForm form = winograd_form(a, kPoints);
  Plan p = plan_of(a, form);
  const Source<float> x =
      p.in_place ? source_in_place<float>(a.source)
                 : copy_source<float>(a.source, whole_region(a.source), 1, p.channels, p.source);
  const int64_t depth = a.result.size[0];
  const int64_t work =
      2 * form.planes * form.all_classes * p.tiles * depth * p.taps * p.v_row * p.m_row;
  parallel_for(
      form.all_classes * p.tile_blocks * p.slice_blocks, work, [&](int64_t task, int worker) {
        const int64_t j = task % p.slice_blocks, i = task / p.slice_blocks % p.tile_blocks;
        const int64_t number = task / p.slice_blocks / p.tile_blocks;
        Block b;
        b.tiling = tiling_of(a, form, number);
        b.tile = tile_start(i, p.tile_blocks, p.tiles);
        b.tiles = tile_start(i + 1, p.tile_blocks, p.tiles) - b.tile;
        b.slice = tile_start(j, p.slice_blocks, depth);
        b.slices = tile_start(j + 1, p.slice_blocks, depth) - b.slice;
        run_block<kPoints>(a, p, x, b, number, p.scratch + worker * (form.planes + 1) * p.plane);
      });
}

template <int kPoints>
bool fits(const ConvArgs& a) {
  if (!winograd_computes(a, kPoints)) return false;
  const WinogradForm f = winograd_form(a, kPoints);
  const size_t bytes = bytes_of(a, f);
  const double planes = f.planes;
  return bytes <= kMostBytes &&
         winograd_fits(a, f, (bytes <= kNearBytes ? kFilterCost : kFarFilterCost) * planes);
}

template <int kPoints>
bool keeps(const ConvArgs& a) {
  if (!winograd_computes(a, kPoints)) return false;
  const WinogradForm f = winograd_form(a, kPoints);
  const bool compact = a.algorithm == Algorithm::compact;
  return bytes_of(a, f) <= (compact ? kMostCompactBytes : kMostBytes) && winograd_keeps(f, 0);
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

constinit const ConvAlgorithm winograd_algorithm = algorithm<6>();
constinit const ConvAlgorithm winograd_pairs_algorithm = algorithm<3>();

}  // namespace medkern::MK_ISA
