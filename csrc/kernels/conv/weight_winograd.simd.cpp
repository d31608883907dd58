// Convolution backward with respect to the weights by Winograd's algorithm, float32, kernels of any
// depth up to kMostDepthTaps; winograd.simd.h has the transforms, winograd_form.simd.h what phases
// and parts are.
//
//   dweight[o, c, d, part] = A^T (sum over tiles and slices of V[slice + d - pad][tile, part, c]
//                                                              * D[slice][tile, o]) A
//
// with V = B^T x B of 6x6 tiles of x and D = G dy G^T of the m x m tiles of dy that meet them; 36
// planes of each are multiplied plane by plane, the sum over tiles being the k of a matrix product
// of [channels x tiles] by [tiles x outputs]. Along the depth the taps are direct: a transformed
// slice of x serves all of them.
//
// Loops: blocks of tiles of a few slices; in a block the transforms, shared out by tiles, then
// products, shared out by planes; in these panels of outputs, runs of tiles, rows of channels.
// Channels and outputs are cut into blocks of up to kMostBlock each, so that what a product touches
// is contiguous and stays in the L2 cache; V and D of a block are in the L3 cache. If one block
// holds all tiles, the sums of all planes are taken by blocks of channels and transformed on the
// spot.
//
// Work, for 3x3 kernels, 1/4 of the direct way's (72 flops a tile, channel and output), and per
// tile 144 vector operations for each vector of channels, 80 for each of outputs. Memory: x and dy
// read once. Numerics: error up to 12 units of 2^-24 times the largest of the sums |x||dy| of a
// channel and output, where direct sums have 4; see winograd.simd.h. Sums over up to
// kMostChain tiles in registers, added one after the other; shapes alone decide the cuts. A NaN or
// an infinity in x or dy reaches all taps of a part of its channel and depth tap.
#include "core/parallel.h"
#include "kernels/conv/pass.simd.h"
#include "kernels/conv/weight.simd.h"
#include "kernels/conv/winograd_tiles.simd.h"
#include "kernels/gemm/tile.simd.h"

namespace medkern::MK_ISA {
namespace {

using V = Vec<float>;

constexpr int64_t kPoints = 6, kPlanes = kPoints * kPoints;
constexpr int64_t kMostDepthTaps = 3;
// Channels of a block at most.
constexpr int64_t kMostBlock = 64;
// V and D of a block at most, and if it is the only one.
constexpr int64_t kBlockBytes = 4 << 20, kOnlyBytes = 20 << 20;
constexpr int64_t kMostSlices = 64;
// Tiles summed in registers at most.
constexpr int64_t kMostChain = 128;
// Tiles that one task transforms, and how many tiles of dy ahead memory is fetched.
constexpr int64_t kPiece = 8, kAhead = 2;

// Channels cut into `count` blocks of `width`, the last maybe narrower.
struct Blocks {
  int64_t channels, count, width;

  MK_INLINE int64_t first(int64_t i) const { return i * width; }
  MK_INLINE int64_t size(int64_t i) const { return smaller(channels - i * width, width); }
};

Blocks blocks_of(int64_t channels) {
  const int64_t vectors = divide_up(channels, V::kLanes);
  const int64_t count = divide_up(vectors * V::kLanes, kMostBlock);
  const int64_t width = divide_up(vectors, count) * V::kLanes;
  return {channels, divide_up(channels, width), width};
}

struct Plan {
  Blocks c, o;                  // channels of x and of dy
  int64_t x_blocks;             // of channels of all parts
  int64_t depth_taps, halo;     // and how many slices of x more than of dy they reach
  int64_t slice_tiles;          // tiles of a slice of dy
  int64_t pieces, piece_tiles;  // of a slice
  bool joined;                  // without taps along the depth all slices are one sequence
  int64_t sequences, length;    // runs of slices of dy, and slices in each
  int64_t x_length;             // slices of x in each
  int64_t slices, ring;         // of dy in a block; of x that are kept
  bool fused;                   // one block; sums are transformed as they come
  int64_t x_plane, x_block, dy_plane, dy_block;  // strides of V and D
  int64_t x_size, dy_size;                       // elements of V and D in all
  int64_t sums;                                  // of one pair of blocks: 36 planes [width][width]
  bool x_in_place, dy_in_place;
  float *x, *dy, *v, *d, *u;
  size_t bytes;
};

// The convolution whose gradient it is.
ConvArgs forward_of(const ConvWeightArgs& a) {
  ConvArgs forward{};
  forward.dtype = a.dtype;
  forward.window = a.window;
  forward.groups = a.groups;
  forward.algorithm = a.algorithm;
  forward.source = a.x;
  forward.result = a.dy;
  return forward;
}

// Cutting filters costs nothing here, where they are the results, and 5x5 tiles of those have
// larger errors.
WinogradForm form_of(const ConvArgs& forward) { return best_form(forward, kPoints, 2, 1.0); }

Plan plan_of(const ConvWeightArgs& a, const Tiling& tiling) {
  Plan p{};
  p.c = blocks_of(a.x.c);
  p.o = blocks_of(a.dy.c);
  p.x_blocks = tiling.form.parts * p.c.count;
  p.depth_taps = a.window.kernel[0];
  p.halo = (p.depth_taps - 1) * tiling.step;
  p.slice_tiles = tiling.count;
  p.joined = p.depth_taps == 1 && a.window.pad_before[0] == 0 && a.window.pad_after[0] == 0;
  p.sequences = p.joined ? 1 : a.dy.n;
  p.length = p.joined ? a.dy.n * a.dy.size[0] : a.dy.size[0];
  p.x_length = p.joined ? p.length : a.x.size[0];
  p.sums = kPlanes * p.c.width * p.o.width;
  const int64_t pairs = p.depth_taps * p.x_blocks * p.o.count;

  // Tiles of a block, and with them parts and slices.
  const int64_t x_tile = kPlanes * p.x_blocks * p.c.width * static_cast<int64_t>(sizeof(float));
  const int64_t dy_tile = kPlanes * p.o.count * p.o.width * static_cast<int64_t>(sizeof(float));
  const int64_t halo = p.halo;
  const bool only = p.sequences == 1 && p.length <= kMostSlices &&
                    p.slice_tiles * ((p.length + halo) * x_tile + p.length * dy_tile) <= kOnlyBytes;
  const int64_t budget = only ? kOnlyBytes : kBlockBytes;
  // With taps along the depth at least 4 slices (of dy, and halo more of x) belong in a block.
  const int64_t fewest = only ? p.length : smaller(halo > 0 ? 4 : 1, p.length);
  const int64_t most_tiles = larger(budget / ((fewest + halo) * x_tile + fewest * dy_tile), 4);
  p.pieces = divide_up(p.slice_tiles, most_tiles);
  p.piece_tiles = divide_up(p.slice_tiles, p.pieces);
  const int64_t room = budget / p.piece_tiles - halo * x_tile;
  p.slices = larger(smaller(smaller(room / (x_tile + dy_tile), p.length), kMostSlices), 1);
  p.ring = p.slices + halo;
  p.fused = only && p.pieces == 1 && p.slices == p.length && pairs >= 8;

  p.x_plane = p.ring * p.piece_tiles * p.c.width + V::kLanes;
  p.dy_plane = p.slices * p.piece_tiles * p.o.width + V::kLanes;
  p.x_block = kPlanes * p.x_plane;
  p.dy_block = kPlanes * p.dy_plane;
  p.x_size = p.x_blocks * p.x_block;
  p.dy_size = p.o.count * p.dy_block;
  p.x_in_place = is_channels_last_image(a.x);
  p.dy_in_place = is_channels_last_image(a.dy);
  Pieces pieces{a.workspace};
  p.x = pieces.take<float>(p.x_in_place ? 0 : copied_elements(a.x, whole_region(a.x), a.x.c));
  p.dy = pieces.take<float>(p.dy_in_place ? 0 : copied_elements(a.dy, whole_region(a.dy), a.dy.c));
  p.v = pieces.take<float>(p.x_size);
  p.d = pieces.take<float>(p.dy_size);
  p.u = pieces.take<float>((p.fused ? max_workers() : pairs) * p.sums);
  p.bytes = pieces.used;
  return p;
}

struct Job {
  ConvArgs forward;
  Tiling tiling;
  Plan p;
  Source<float> x, dy;
  FilterTaps taps;
  float* dweight;
};

// Tiles [first_tile, first_tile + tiles) of slices [first, first + slices) of a sequence.
struct Block {
  int64_t sequence, first_tile, tiles;
  int64_t first, slices;
  int64_t x_origin;           // slice of x in slot 0 of the ring
  int64_t x_first, x_slices;  // slices of x yet to be transformed
};

// The item and depth of slice number `slice` of a sequence of an image.
struct SlicePlace {
  int64_t n, d;
};
MK_INLINE SlicePlace place_of_slice(const Plan& p, const Image& image, int64_t sequence,
                                    int64_t slice) {
  if (!p.joined) return {sequence, slice};
  return {slice / image.size[0], slice % image.size[0]};
}

// Transforms tile `tile` of a slice of dy, channels [first, first + channels).
template <int kTile>
void transform_dy_tile(const Job& job, const SlicePlace& slice, int64_t tile, int64_t first,
                       int64_t channels, float* to, int64_t plane) {
  const TilePlace place = place_of(job.tiling, tile);
  const TileAxis* axis = job.tiling.axis;
  const Source<float>& dy = job.dy;
  const int64_t row = dy.stride[1] * axis[0].out_step, pixel = dy.stride[2] * axis[1].out_step;
  int64_t size[2], at[2];
  const float* data = dy.data + slice.n * dy.stride_n + slice.d * dy.stride[0] + first;
  for (int i = 0; i < 2; ++i) {
    data += place.phase[i] * dy.stride[i + 1];
    size[i] = divide_up(job.forward.result.size[i + 1] - place.phase[i], axis[i].out_step);
    at[i] = place.tile[i] * kTile;
  }
  const float* ahead = data + at[0] * row + (at[1] + kAhead * kTile) * pixel;
  transform_tile<kTile>(
      {data, size[0], size[1], channels, row, pixel}, at[0], at[1], ahead, kTile, to, plane,
      [](const float* from, int64_t h_step, int64_t w_step, float* out, int64_t out_plane) {
        evaluate<kPoints, kTile, false>(
            [&](int h, int w) { return V::load(from + h * h_step + w * w_step); }, out, out_plane);
      });
}

template <int kTile>
void transform_block(const Job& job, const Block& b) {
  const Plan& p = job.p;
  const int64_t pieces = divide_up(b.tiles, kPiece);
  const int64_t x_channels = job.tiling.form.parts * p.c.channels;
  const int64_t work = 144 * b.tiles * (b.x_slices * x_channels + b.slices * p.o.channels);
  parallel_for((b.x_slices + b.slices) * pieces, work, [&](int64_t task, int) {
    const int64_t slice = task / pieces;
    const int64_t first = task % pieces * kPiece, last = smaller(first + kPiece, b.tiles);
    if (slice < b.x_slices) {
      const int64_t slot = (b.x_first + slice - b.x_origin) % p.ring;
      const SlicePlace from = place_of_slice(p, job.forward.source, b.sequence, b.x_first + slice);
      for (int64_t i = 0; i < p.x_blocks; ++i) {
        const int64_t part = i / p.c.count, c = i % p.c.count;
        for (int64_t t = first; t < last; ++t) {
          transform_source_tile<kPoints>(
              job.forward, job.x, job.tiling, from.n, from.d, b.first_tile + t, part, p.c.first(c),
              p.c.size(c), p.v + i * p.x_block + (slot * b.tiles + t) * p.c.width, p.x_plane);
        }
      }
    } else {
      const int64_t number = slice - b.x_slices;
      const SlicePlace from = place_of_slice(p, job.forward.result, b.sequence, b.first + number);
      for (int64_t i = 0; i < p.o.count; ++i) {
        for (int64_t t = first; t < last; ++t) {
          transform_dy_tile<kTile>(job, from, b.first_tile + t, p.o.first(i), p.o.size(i),
                                   p.d + i * p.dy_block + (number * b.tiles + t) * p.o.width,
                                   p.dy_plane);
        }
      }
    }
  });
}

// What a depth tap needs of a block: the slices of dy it meets, and where those of x are.
struct Meeting {
  int64_t first, steps, k;
  int64_t offsets[kMostSlices];
};

void meet(const Job& job, const Block& b, int64_t depth_tap, Meeting& m) {
  const Plan& p = job.p;
  const int64_t shift = depth_tap * job.tiling.step - job.tiling.lead;
  m.first = larger(-shift - b.first, 0);
  m.steps = smaller(b.slices, p.x_length - shift - b.first) - m.first;
  m.k = b.tiles;
  for (int64_t s = 0; s < m.steps; ++s) {
    m.offsets[s] = (b.first + m.first + s + shift - b.x_origin) % p.ring * b.tiles * p.c.width;
  }
  if (p.joined) {  // slices lie one behind the other
    m.k *= m.steps;
    m.steps = 1;
  }
}

// u[c, o] of one plane and pair of blocks, += if `accumulate`.
void multiply(const Plan& p, const Meeting& m, int64_t tiles, const float* v, const float* d,
              int64_t channels, int64_t outputs, bool accumulate, float* u) {
  Tile<float> tile{};
  tile.a_row = 1;
  tile.a_col = p.c.width;
  tile.b_row = p.o.width;
  tile.c_row = p.o.width;
  const int64_t row_tiles = tiles_in(channels), columns = padded_columns<float>(outputs);
  // Chains: parts of a step, or some steps.
  const int64_t pieces = larger(divide_up(m.k, kMostChain), 1);
  const int64_t together = pieces > 1 ? 1 : kMostChain / m.k;
  for (int64_t column = 0; column < columns; column += kPanel<float>) {
    tile.columns = smaller(columns - column, kPanel<float>);
    for (int64_t i = 0; i < row_tiles; ++i) {
      const int64_t row = tile_start(i, row_tiles, channels);
      tile.rows = tile_start(i + 1, row_tiles, channels) - row;
      tile.c = u + row * p.o.width + column;
      tile.accumulate = accumulate;
      for (int64_t s = 0; s < m.steps || s == 0; s += together) {
        tile.steps = larger(smaller(m.steps - s, together), 0);
        tile.a_offset = m.offsets + s;
        for (int64_t piece = 0; piece < pieces; ++piece) {
          const int64_t k = tile_start(piece, pieces, m.k);
          tile.k = tile_start(piece + 1, pieces, m.k) - k;
          tile.a = v + k * p.c.width + row;
          tile.b = d + ((m.first + s) * tiles + k) * p.o.width + column;
          run_tile(tile);
          tile.accumulate = true;
        }
      }
    }
  }
}

// Channels [first, last) of the pair of blocks (i, j): to dweight[output][channel][depth tap][tap].
template <int kTaps>
void transform_pair(const Job& job, const float* u, int64_t depth_tap, int64_t i, int64_t j,
                    int64_t first, int64_t last) {
  constexpr int64_t kCount = kTaps * kTaps;
  const Plan& p = job.p;
  const int64_t* kernel = job.forward.window.kernel;
  const int64_t plane = p.c.width * p.o.width, area = kernel[1] * kernel[2];
  const int64_t step = p.depth_taps * area, row = p.c.channels * step;
  const int16_t* map = job.taps.tap[0] + i / p.c.count * kCount;
  const int64_t channel = p.c.first(i % p.c.count);
  // Taps of several channels follow each other if they are all that there are.
  const bool whole = area == kCount;
  const int64_t together = whole && p.depth_taps == 1 ? V::kLanes : 1;
  for (int64_t o = 0; o < p.o.size(j); o += V::kLanes) {
    const int64_t outputs = smaller(p.o.size(j) - o, V::kLanes);
    for (int64_t c = first; c < last; c += together) {
      const int64_t channels = smaller(last - c, together), count = channels * kCount;
      V taps[V::kLanes * kCount];
      for (int64_t k = 0; k < channels; ++k) {
        interpolate<kPoints, kTaps, true>(u + (c + k) * p.o.width + o, plane, taps + k * kCount);
      }
      float* to = job.dweight + (p.o.first(j) + o) * row + (channel + c) * step + depth_tap * area;
      for (int64_t t = 0; t < count; t += V::kLanes) {
        V block[V::kLanes];
#pragma GCC unroll 16
        for (int k = 0; k < V::kLanes; ++k) block[k] = t + k < count ? taps[t + k] : V::zero();
        transpose(block);
        const int64_t lanes = smaller(count - t, V::kLanes);
        for (int64_t k = 0; k < outputs; ++k) {
          if (whole) {
            block[k].store(to + k * row + t, lanes);
            continue;
          }
          alignas(64) float some[V::kLanes];
          block[k].store(some);
          for (int64_t e = 0; e < lanes; ++e) {
            if (map[t + e] >= 0) to[k * row + map[t + e]] = some[e];
          }
        }
      }
    }
  }
}

// Adds (or sets) the sums of a block.
void sum_block(const Job& job, const Block& b, bool accumulate) {
  const Plan& p = job.p;
  const int64_t pairs = p.x_blocks * p.o.count;
  const int64_t work = 72 * p.depth_taps * b.slices * b.tiles * pairs * p.c.width * p.o.width;
  parallel_for(p.depth_taps * pairs * kPlanes, work, [&](int64_t task, int) {
    const int64_t plane = task % kPlanes, pair = task / kPlanes;
    const int64_t j = pair % p.o.count, i = pair / p.o.count % p.x_blocks;
    Meeting m;
    meet(job, b, pair / pairs, m);
    multiply(p, m, b.tiles, p.v + i * p.x_block + plane * p.x_plane,
             p.d + j * p.dy_block + plane * p.dy_plane, p.c.size(i % p.c.count), p.o.size(j),
             accumulate, p.u + pair * p.sums + plane * p.c.width * p.o.width);
  });
}

// The same of the only block, and their transforms.
void finish_block(const Job& job, const Block& b) {
  const Plan& p = job.p;
  const int64_t pairs = p.x_blocks * p.o.count;
  const int64_t work = 72 * p.depth_taps * b.slices * b.tiles * pairs * p.c.width * p.o.width;
  parallel_for(p.depth_taps * pairs, work, [&](int64_t pair, int worker) {
    const int64_t j = pair % p.o.count, i = pair / p.o.count % p.x_blocks;
    float* u = p.u + worker * p.sums;
    Meeting m;
    meet(job, b, pair / pairs, m);
    for (int64_t plane = 0; plane < kPlanes; ++plane) {
      multiply(p, m, b.tiles, p.v + i * p.x_block + plane * p.x_plane,
               p.d + j * p.dy_block + plane * p.dy_plane, p.c.size(i % p.c.count), p.o.size(j),
               false, u + plane * p.c.width * p.o.width);
    }
    with_taps<kPoints>(job.tiling.form.taps, [&]<int kTaps>() {
      transform_pair<kTaps>(job, u, pair / pairs, i, j, 0, p.c.size(i % p.c.count));
    });
  });
}

// All blocks, in columns: a part of all slices of a sequence.
void run_blocks(const Job& job) {
  const Plan& p = job.p;
  Block b{};
  for (int64_t column = 0; column < p.sequences * p.pieces; ++column) {
    b.sequence = column / p.pieces;
    b.first_tile = tile_start(column % p.pieces, p.pieces, p.slice_tiles);
    b.tiles = tile_start(column % p.pieces + 1, p.pieces, p.slice_tiles) - b.first_tile;
    b.x_origin = larger(-job.tiling.lead, 0);
    int64_t done = b.x_origin;
    for (b.first = 0; b.first < p.length; b.first += b.slices) {
      b.slices = smaller(p.slices, p.length - b.first);
      b.x_first = done;
      done = smaller(b.first + b.slices + p.halo - job.tiling.lead, p.x_length);
      done = larger(done, b.x_first);
      b.x_slices = done - b.x_first;
      with_taps<kPoints>(job.tiling.form.taps, [&]<int kTaps>() {
        transform_block<tile_results(kPoints, kTaps)>(job, b);
      });
      p.fused ? finish_block(job, b) : sum_block(job, b, column + b.first > 0);
    }
  }
}

}  // namespace

bool weight_takes_winograd(const ConvWeightArgs& a) {
  const ConvArgs forward = forward_of(a);
  if (!winograd_computes(forward, kPoints) || a.window.kernel[0] > kMostDepthTaps || a.x.c < 8 ||
      a.dy.c < 8 || a.dy.n * a.dy.size[0] == 0 || a.x.size[0] == 0) {
    return false;
  }
  // Transforms weigh more where they serve parts of the filters only.
  const WinogradForm form = form_of(forward);
  const int64_t products = kPlanes * form.parts * tiling_of(forward, form, 0).count;
  const int64_t direct = a.dy.size[1] * a.dy.size[2] * a.window.kernel[1] * a.window.kernel[2];
  return 2 * direct >= (form.parts == 1 ? 3 : 4) * products;
}

size_t weight_winograd_workspace(const ConvWeightArgs& a) {
  const ConvArgs forward = forward_of(a);
  return plan_of(a, tiling_of(forward, form_of(forward), 0)).bytes;
}

void weight_winograd(const ConvWeightArgs& a) {
  Job job;
  job.forward = forward_of(a);
  job.tiling = tiling_of(job.forward, form_of(job.forward), 0);
  job.p = plan_of(a, job.tiling);
  const Plan& p = job.p;
  job.x = p.x_in_place ? source_in_place<float>(a.x)
                       : copy_source<float>(a.x, whole_region(a.x), 1, a.x.c, p.x);
  job.dy = p.dy_in_place ? source_in_place<float>(a.dy)
                         : copy_source<float>(a.dy, whole_region(a.dy), 1, a.dy.c, p.dy);
  list_filter_taps(job.forward, job.tiling.form, job.taps);
  job.dweight = static_cast<float*>(a.dweight);

  run_blocks(job);
  if (p.fused) return;
  const int64_t pieces = divide_up(p.c.width, V::kLanes);
  const int64_t pairs = p.depth_taps * p.x_blocks * p.o.count;
  parallel_for(pairs * pieces, pairs * p.sums, [&](int64_t task, int) {
    const int64_t pair = task / pieces, first = task % pieces * V::kLanes;
    const int64_t j = pair % p.o.count, i = pair / p.o.count % p.x_blocks;
    with_taps<kPoints>(job.tiling.form.taps, [&]<int kTaps>() {
      transform_pair<kTaps>(job, p.u + pair * p.sums, pair / p.o.count / p.x_blocks, i, j, first,
                            smaller(first + V::kLanes, p.c.size(i % p.c.count)));
    });
  });
}

}  // namespace medkern::MK_ISA
