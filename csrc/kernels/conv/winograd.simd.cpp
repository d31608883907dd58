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
#include "kernels/conv/winograd.simd.h"
#include "core/parallel.h"
#include "kernels/conv/algorithm.simd.h"
#include "kernels/conv/pass.simd.h"
#include "kernels/conv/source.simd.h"
#include "kernels/gemm/tile.simd.h"

namespace medkern::MK_ISA {
namespace {

// How a convolution is cut. Rows of the 36 products are (slice, tile) of a block.
struct Plan {
  int64_t channels, results;        // of source and result
  int64_t v_row, m_row;             // the same in whole vectors
  int64_t taps;                     // in depth
  int64_t lead[3];                  // result position p reads source from p - lead on
  int64_t tiles_h, tiles_w, tiles;  // tiles of a slice, and of that slice of all items
  int64_t block_tiles, tile_blocks, block_slices, slice_blocks;
  int64_t slot;  // elements from plane to plane
  bool in_place;
  float *source, *scratch;  // copy of source; [worker][planes + 1][slot]
  size_t bytes;
};

Region whole(const Image& x) { return {{0, 0, 0}, {x.size[0], x.size[1], x.size[2]}}; }

int64_t rounded(int64_t count) { return padded_columns<float>(count); }

constexpr int64_t kMostDepthTaps = 16;
constexpr int64_t kScratchBytes = 640 << 10;

Plan plan_of(const ConvArgs& a) {
  Plan p{};
  p.channels = a.source.c;
  p.results = a.result.c;
  p.v_row = rounded(p.channels);
  p.m_row = rounded(p.results);
  p.taps = a.window.kernel[0];
  for (int i = 0; i < 3; ++i) p.lead[i] = -a.region.first[i];
  p.tiles_h = divide_up(a.result.size[1], kTileOut);
  p.tiles_w = divide_up(a.result.size[2], kTileOut);
  p.tiles = a.result.n * p.tiles_h * p.tiles_w;
  const int64_t row = larger(p.v_row, p.m_row);
  int64_t rows = kScratchBytes / ((kTilePlanes + 1) * row * 4);
  rows = larger(rows / kTileRows, 1) * kTileRows;
  const int64_t depth = a.result.size[0];
  p.slice_blocks = depth == 1 ? 1 : divide_up(depth, 8);
  p.block_slices = divide_up(depth, p.slice_blocks);
  p.block_tiles = larger(rows / (p.block_slices + p.taps - 1), 1);
  p.tile_blocks = divide_up(p.tiles, p.block_tiles);
  p.block_tiles = divide_up(p.tiles, p.tile_blocks);
  p.slot = (p.block_slices + p.taps - 1) * p.block_tiles * row + 16;
  p.in_place = is_channels_last_image(a.source);
  Pieces pieces{a.workspace};
  p.source =
      pieces.take<float>(p.in_place ? 0 : copied_elements(a.source, whole(a.source), p.channels));
  p.scratch = pieces.take<float>(max_workers() * (kTilePlanes + 1) * p.slot);
  p.bytes = pieces.used;
  return p;
}

// From plane to plane of a panel, and from the first panel to that of a column. A vector more than
// they need, for with sizes that are powers of 2 all planes would compete for the same places of
// the caches.
MK_INLINE int64_t plane_stride(int64_t k, int64_t width) { return k * width + 16; }
MK_INLINE int64_t panel_start(int64_t k, int64_t column) {
  return kTilePlanes * (column * k + column / kPanel<float> * 16);
}

// Transformed weights, in panels of result channels: [panel][plane][depth tap][channel][width].
void pack(const ConvArgs& a, void* to_packed) {
  constexpr int64_t kLanes = Vec<float>::kLanes;
  float* packed = static_cast<float*>(to_packed);
  struct {
    int64_t channels, results, m_row, taps;
  } const p = {a.source.c, a.result.c, rounded(a.result.c), a.window.kernel[0]};
  const int64_t taps = 9 * p.taps, k = p.taps * p.channels;
  const float* weight = static_cast<const float*>(a.weight);
  // kLanes result channels from `result` on, of one channel and depth tap.
  const auto store = [&](int64_t channel, int64_t depth, int64_t result, const Vec<float> g[9]) {
    const int64_t panel = result / kPanel<float> * kPanel<float>;
    const int64_t width = panel_width<float>(p.results - panel);
    float* to = packed + panel_start(k, panel) + (depth * p.channels + channel) * width;
    transform_filter_vector(g, to + result - panel, plane_stride(k, width));
  };
  const int64_t vectors = p.m_row / kLanes, work = p.m_row * k * 36;
  constexpr int64_t kChannels = 16;
  const int64_t blocks = divide_up(p.channels, kChannels);
  parallel_for(vectors * blocks, work, [&](int64_t task, int) {
    const int64_t r = task / blocks * kLanes, first = task % blocks * kChannels;
    const int64_t last = smaller(first + kChannels, p.channels);
    const int64_t lanes = smaller(p.results - r, kLanes);
    Vec<float> g[9];
    if (a.backward) {  // weight[channel][result][tap], from the last tap to the first
      for (int64_t c = first; c < last; ++c) {
        for_each_column(weight + (c * p.results + r) * taps, taps, lanes, taps,
                        [&](int64_t i, Vec<float> v) {
                          g[8 - i % 9] = v;
                          if (i % 9 == 8) store(c, p.taps - 1 - i / 9, r, g);
                        });
      }
    } else {  // weight[result][channel][tap]
      for_each_column(weight + (r * p.channels + first) * taps, p.channels * taps, lanes,
                      (last - first) * taps, [&](int64_t i, Vec<float> v) {
                        g[i % 9] = v;
                        if (i % 9 == 8) store(first + i / taps, i / 9 % p.taps, r, g);
                      });
    }
  });
}

struct Block {
  int64_t tile, tiles, slice, slices;
};

void transform_inputs(const ConvArgs& a, const Plan& p, const Source<float>& x, const Block& b,
                      float* v) {
  Slice slice{nullptr, a.source.size[1], a.source.size[2], p.channels, x.stride[1], x.stride[2]};
  const int64_t slices = b.slices + p.taps - 1;
  for (int64_t s = 0; s < slices; ++s) {
    const int64_t d = b.slice + s - p.lead[0];
    float* to = v + s * b.tiles * p.v_row;
    if (d < 0 || d >= a.source.size[0]) {
      for (int64_t i = 0; i < kTilePlanes; ++i) zero(to + i * p.slot, b.tiles * p.v_row);
      continue;
    }
    for (int64_t t = 0; t < b.tiles; ++t) {
      const int64_t tile = b.tile + t;
      const int64_t w = tile % p.tiles_w, h = tile / p.tiles_w % p.tiles_h;
      slice.data = x.data + tile / p.tiles_w / p.tiles_h * x.stride_n + d * x.stride[0];
      transform_input(slice, h * kTileOut - p.lead[1], w * kTileOut - p.lead[2], to + t * p.v_row,
                      p.slot);
    }
  }
}

void multiply(const Plan& p, const Block& b, const float* weights, const float* v, float* m) {
  const int64_t rows = b.slices * b.tiles, k = p.taps * p.channels;
  const int64_t tiles = tiles_in(rows);
  int64_t offsets[kMostDepthTaps];
  for (int64_t i = 0; i < p.taps; ++i) offsets[i] = i * b.tiles * p.v_row;
  for (int64_t plane = 0; plane < kTilePlanes; ++plane) {
    for (int64_t column = 0; column < p.results; column += kPanel<float>) {
      const int64_t columns = smaller(p.m_row - column, kPanel<float>);
      for (int64_t i = 0; i < tiles; ++i) {
        const int64_t first = tile_start(i, tiles, rows);
        run_tile(Tile<float>{
            .a = v + plane * p.slot + first * p.v_row,
            .a_row = p.v_row,
            .a_col = 1,
            .b = weights + panel_start(k, column) + plane * plane_stride(k, columns),
            .b_row = columns,
            .c = m + plane * p.slot + first * p.m_row + column,
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

void transform_outputs(const ConvArgs& a, const Plan& p, const Block& b, const float* m) {
  using V = Vec<float>;
  constexpr int64_t kLanes = V::kLanes;
  const Image& y = a.result;
  const float* bias = static_cast<const float*>(a.bias);
  const bool relu = a.activation == Activation::relu;
  const bool vectors = y.c == 1 || y.stride_c == 1;
  for (int64_t s = 0; s < b.slices; ++s) {
    for (int64_t t = 0; t < b.tiles; ++t) {
      const int64_t tile = b.tile + t;
      const int64_t w = tile % p.tiles_w * kTileOut, h = tile / p.tiles_w % p.tiles_h * kTileOut;
      float* to = static_cast<float*>(y.data) + tile / p.tiles_w / p.tiles_h * y.stride_n +
                  (b.slice + s) * y.stride[0] + h * y.stride[1] + w * y.stride[2];
      const int64_t rows = smaller(y.size[1] - h, kTileOut);
      const int64_t columns = smaller(y.size[2] - w, kTileOut);
      for (int64_t c = 0; c < p.results; c += kLanes) {
        const int64_t lanes = smaller(p.results - c, kLanes);
        V out[4][4];
        transform_output_vector(m + (s * b.tiles + t) * p.m_row + c, p.slot, out);
        const V shift = bias != nullptr ? V::load(bias + c, lanes) : V::zero();
#pragma GCC unroll 4
        for (int i = 0; i < 4; ++i) {
#pragma GCC unroll 4
          for (int j = 0; j < 4; ++j) {
            if (bias != nullptr) out[i][j] += shift;
            if (relu) out[i][j] = max(out[i][j], V::zero());
          }
        }
        if (vectors) {
#pragma GCC unroll 4
          for (int i = 0; i < 4; ++i) {
#pragma GCC unroll 4
            for (int j = 0; j < 4; ++j) {
              if (i >= rows || j >= columns) continue;
              float* at = to + i * y.stride[1] + j * y.stride[2] + c;
              lanes == kLanes ? out[i][j].store(at) : out[i][j].store(at, lanes);
            }
          }
        } else {
          for (int i = 0; i < 4; ++i) {
            for (int j = 0; j < 4; ++j) {
              if (i >= rows || j >= columns) continue;
              float* at = to + i * y.stride[1] + j * y.stride[2] + c * y.stride_c;
              alignas(64) float lane[kLanes];
              out[i][j].store(lane);
              for (int64_t l = 0; l < lanes; ++l) at[l * y.stride_c] = lane[l];
            }
          }
        }
      }
    }
  }
}

// Estimates the time of one item, in that of a fused multiply-add of vectors: `tiles` tiles that
// make `pixels` of the result. What a transform takes is measured, and includes loads and stores.
constexpr double kInputCost = 400, kOutputCost = 300, kFilterCost = 200;

bool pays(const ConvArgs& a, double tiles, double pixels, bool pack) {
  const double taps = a.window.kernel[0], channels = a.source.c;
  const double vectors = rounded(a.source.c) / Vec<float>::kLanes;
  const double results = rounded(a.result.c) / Vec<float>::kLanes;
  const double direct = pixels * 9 * taps * channels * results;
  const double products = tiles * kTilePlanes * taps * channels * results;
  const double transforms = tiles * (kInputCost * vectors + kOutputCost * results);
  const double filter = pack ? kFilterCost * taps * channels * results : 0;
  return products + transforms + filter < direct;
}

bool possible(const ConvArgs& a) {
  const Window& w = a.window;
  bool possible = a.dtype == Dtype::f32 && a.algorithm == Algorithm::automatic && a.groups == 1 &&
                  w.kernel[0] <= kMostDepthTaps && w.kernel[1] == 3 && w.kernel[2] == 3;
  for (int i = 0; i < 3; ++i) possible &= w.stride[i] == 1 && w.dilation[i] == 1;
  return possible;
}

bool fits(const ConvArgs& a) {
  const int64_t* size = a.result.size;
  const double tiles = size[0] * divide_up(size[1], kTileOut) * divide_up(size[2], kTileOut);
  return possible(a) && pays(a, tiles, size[0] * size[1] * size[2], true);
}

// Sizes are not known: three quarters of a tile are taken to be of use, as in images of 15x15, and
// the gain has to be clear.
bool keeps(const ConvArgs& a) {
  return possible(a) && pays(a, 1, 0.6 * kTileOut * kTileOut, false);
}

size_t packed_bytes(const ConvArgs& a) {
  const int64_t columns = rounded(a.result.c), k = a.window.kernel[0] * a.source.c;
  return panel_start(k, divide_up(columns, kPanel<float>) * kPanel<float>) * sizeof(float);
}

size_t workspace(const ConvArgs& a) { return plan_of(a).bytes; }

void run(const ConvArgs& a) {
  const Plan p = plan_of(a);
  const float* weights = static_cast<const float*>(a.packed);
  const Source<float> x =
      p.in_place ? source_in_place<float>(a.source)
                 : copy_source<float>(a.source, whole(a.source), 1, p.channels, p.source);
  const int64_t work = 2 * p.tiles * a.result.size[0] * kTilePlanes * p.channels * p.m_row;
  parallel_for(p.tile_blocks * p.slice_blocks, work, [&](int64_t task, int worker) {
    const int64_t i = task / p.slice_blocks, j = task % p.slice_blocks;
    Block b{};
    b.tile = tile_start(i, p.tile_blocks, p.tiles);
    b.tiles = tile_start(i + 1, p.tile_blocks, p.tiles) - b.tile;
    b.slice = tile_start(j, p.slice_blocks, a.result.size[0]);
    b.slices = tile_start(j + 1, p.slice_blocks, a.result.size[0]) - b.slice;
    // The products of plane i overwrite the input of plane i - 1: one buffer holds both.
    float* m = p.scratch + worker * (kTilePlanes + 1) * p.slot;
    transform_inputs(a, p, x, b, m + p.slot);
    multiply(p, b, weights, m + p.slot, m);
    transform_outputs(a, p, b, m);
  });
}

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
