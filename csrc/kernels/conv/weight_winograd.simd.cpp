// Convolution backward with respect to the weights by Winograd's F(3x3, 4x4): kernels of height
// and width 3 and any depth up to kMostDepthTaps, stride 1, float32.
//
//   dweight[o, c, d] = A^T (sum over tiles and slices of V[slice + d - pad][tile, c]
//                                                        * D[slice][tile, o]) A
//
// with V = B^T x B of 6x6 tiles of x (winograd.simd.h) and D = G dy G^T of the 4x4 tiles of dy that
// meet them; 36 planes of each are multiplied plane by plane, the sum over tiles being the k of a
// matrix product of [channels x tiles] by [tiles x outputs]. Along the depth the taps are direct:
// a transformed slice of x serves all of them.
//
//   G d (a row of 4): d0, (d0 + d2/2) +- p (d1 + d3/2), (d0 + 2 d2) +- q (d1 + 2 d3), d3
//   A^T m:            m0 - 2/3 s + t/6,  -2/3 p e + q f/6,  (t - s)/3 + m5,
//                     s, e = m1 +- m2 and t, f = m3 +- m4; p, q as there
//
// (The factors of the points, which the forward pass has in its filter transform, are in A^T here,
// which is applied once and not per tile.)
//
// Loops: blocks of tiles of a few slices; in a block the transforms, shared out by tiles, then
// products, shared out by planes; in these panels of outputs, runs of tiles, rows of channels.
// Channels and outputs are cut into blocks of up to kMostBlock each, so that what a product touches
// is contiguous and stays in the L2 cache; V and D of a block are in the L3 cache. If one block
// holds all tiles, the sums of all planes are taken by blocks of channels and transformed on the
// spot.
//
// Work 1/4 of the direct way's (72 flops a tile, channel and output), and per tile 144 vector
// operations for each vector of channels, 80 for each of outputs. Memory: x and dy read once.
// Numerics: error up to 12 units of 2^-24 times the largest of the nine sums |x||dy| of a
// channel and output, where direct sums have 4; see winograd.simd.h. Sums over up to
// kMostChain tiles in registers, added one after the other; shapes alone decide the cuts. A NaN or
// an infinity in x or dy reaches all nine taps of its channel and depth tap.
#include "core/parallel.h"
#include "kernels/conv/pass.simd.h"
#include "kernels/conv/source.simd.h"
#include "kernels/conv/weight.simd.h"
#include "kernels/conv/winograd.simd.h"
#include "kernels/gemm/tile.simd.h"

namespace medkern::MK_ISA {
namespace {

using V = Vec<float>;

constexpr int64_t kTaps = 9;
constexpr int64_t kTileIn = 6, kTile = 4, kTilePlanes = kTileIn * kTileIn;
constexpr int64_t kMostDepthTaps = 3;
// Channels of a block at most.
constexpr int64_t kMostBlock = 64;
// V and D of a block at most, and if it is the only one.
constexpr int64_t kBlockBytes = 4 << 20, kOnlyBytes = 20 << 20;
constexpr int64_t kMostSlices = 64;
// Tiles summed in registers at most.
constexpr int64_t kMostChain = 128;
// Tiles that one task transforms, and how many tiles ahead memory is fetched.
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
  Blocks c, o;  // channels of x and of dy
  int64_t depth_taps;
  int64_t tile_columns, slice_tiles;  // tiles of a slice of dy
  int64_t parts, part_tiles;          // of a slice
  bool joined;                        // without taps along the depth all slices are one sequence
  int64_t sequences, length;          // runs of slices of dy, and slices in each
  int64_t x_length;                   // slices of x in each
  int64_t slices, ring;               // of dy in a block; of x that are kept
  bool fused;                         // one block; sums are transformed as they come
  int64_t x_plane, x_block, dy_plane, dy_block;  // strides of V and D
  int64_t x_size, dy_size;                       // elements of V and D in all
  int64_t sums;                                  // of one pair of blocks: 36 planes [width][width]
  bool x_in_place, dy_in_place;
  float *x, *dy, *v, *d, *u;
  size_t bytes;
};

Plan plan_of(const ConvWeightArgs& a) {
  Plan p{};
  p.c = blocks_of(a.x.c);
  p.o = blocks_of(a.dy.c);
  p.depth_taps = a.window.kernel[0];
  p.tile_columns = divide_up(a.dy.size[2], kTile);
  p.slice_tiles = divide_up(a.dy.size[1], kTile) * p.tile_columns;
  p.joined = p.depth_taps == 1 && a.window.pad_before[0] == 0 && a.window.pad_after[0] == 0;
  p.sequences = p.joined ? 1 : a.dy.n;
  p.length = p.joined ? a.dy.n * a.dy.size[0] : a.dy.size[0];
  p.x_length = p.joined ? p.length : a.x.size[0];
  p.sums = kTilePlanes * p.c.width * p.o.width;
  const int64_t pairs = p.depth_taps * p.c.count * p.o.count;

  // Tiles of a block, and with them parts and slices.
  const int64_t x_tile = kTilePlanes * p.c.count * p.c.width * static_cast<int64_t>(sizeof(float));
  const int64_t dy_tile = kTilePlanes * p.o.count * p.o.width * static_cast<int64_t>(sizeof(float));
  const int64_t halo = p.depth_taps - 1;
  const bool only = p.sequences == 1 && p.length <= kMostSlices &&
                    p.slice_tiles * ((p.length + halo) * x_tile + p.length * dy_tile) <= kOnlyBytes;
  const int64_t budget = only ? kOnlyBytes : kBlockBytes;
  // With taps along the depth at least 4 slices (of dy, and halo more of x) belong in a block.
  const int64_t fewest = only ? p.length : smaller(halo > 0 ? 4 : 1, p.length);
  const int64_t most_tiles = larger(budget / ((fewest + halo) * x_tile + fewest * dy_tile), 4);
  p.parts = divide_up(p.slice_tiles, most_tiles);
  p.part_tiles = divide_up(p.slice_tiles, p.parts);
  const int64_t room = budget / p.part_tiles - halo * x_tile;
  p.slices = larger(smaller(smaller(room / (x_tile + dy_tile), p.length), kMostSlices), 1);
  p.ring = p.slices + halo;
  p.fused = only && p.parts == 1 && p.slices == p.length && pairs >= 8;

  p.x_plane = p.ring * p.part_tiles * p.c.width + V::kLanes;
  p.dy_plane = p.slices * p.part_tiles * p.o.width + V::kLanes;
  p.x_block = kTilePlanes * p.x_plane;
  p.dy_block = kTilePlanes * p.dy_plane;
  p.x_size = p.c.count * p.x_block;
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

// G along one axis, without the factors of the points.
MK_INLINE void transform_dy_row(const V d[4], V to[6]) {
  using Points = WinogradPoints;
  to[0] = d[0];
  const V s = fma(V(0.5f), d[2], d[0]), e = fma(V(0.5f), d[3], d[1]);
  to[1] = fma(V(Points::p), e, s);
  to[2] = fma(V(-Points::p), e, s);
  const V t = fma(V(2.0f), d[2], d[0]), f = fma(V(2.0f), d[3], d[1]);
  to[3] = fma(V(Points::q), f, t);
  to[4] = fma(V(-Points::q), f, t);
  to[5] = d[3];
}

// A^T along one axis, with the factors.
MK_INLINE void transform_sums_row(const V m[6], V to[3]) {
  using Points = WinogradPoints;
  const V s = m[1] + m[2], e = m[1] - m[2], t = m[3] + m[4], f = m[3] - m[4];
  to[0] = fma(V(-2.0f / 3), s, fma(V(1.0f / 6), t, m[0]));
  to[1] = fma(V(-2.0f / 3 * Points::p), e, V(Points::q / 6) * f);
  to[2] = fma(V(1.0f / 3), t - s, m[5]);
}

// G d G^T of 4x4 vectors: plane i to to[i * plane].
MK_INLINE void transform_dy_vector(const float* from, int64_t row, int64_t pixel, float* to,
                                   int64_t plane) {
  V half[6][4];
#pragma GCC unroll 4
  for (int w = 0; w < 4; ++w) {
    V d[4], t[6];
#pragma GCC unroll 4
    for (int h = 0; h < 4; ++h) d[h] = V::load(from + h * row + w * pixel);
    transform_dy_row(d, t);
#pragma GCC unroll 6
    for (int h = 0; h < 6; ++h) half[h][w] = t[h];
  }
#pragma GCC unroll 6
  for (int h = 0; h < 6; ++h) {
    V t[6];
    transform_dy_row(half[h], t);
#pragma GCC unroll 6
    for (int w = 0; w < 6; ++w) t[w].store(to + (h * 6 + w) * plane);
  }
}

// Tiles [first, last) of a slice one after the other.
template <int kSize, class Transform>
void transform_tiles(const Slice& x, int64_t columns, const int64_t pad[2], int64_t first,
                     int64_t last, float* to, int64_t step, int64_t plane, Transform transform) {
  for (int64_t t = first; t < last; ++t) {
    const int64_t next = t + kAhead;
    const float* ahead = x.data + (next / columns * kTile - pad[0]) * x.row +
                         (next % columns * kTile - pad[1]) * x.pixel;
    transform_tile<kSize>(x, t / columns * kTile - pad[0], t % columns * kTile - pad[1], ahead,
                          smaller(kSize, kTile), to + (t - first) * step, plane, transform);
  }
}

struct Job {
  Plan p;
  Source<float> x, dy;
  int64_t depth_pad, pad[2];
  int64_t x_size[3], dy_size[3];
  float* dweight;
};

// Tiles [first_tile, first_tile + tiles) of slices [first, first + slices) of a sequence.
struct Block {
  int64_t sequence, first_tile, tiles;
  int64_t first, slices;
  int64_t x_origin;           // slice of x in slot 0 of the ring
  int64_t x_first, x_slices;  // slices of x yet to be transformed
};

// Slice number `slice` of a sequence, channels `c` on.
MK_INLINE Slice slice_of(const Source<float>& image, const int64_t size[3], int64_t sequence,
                         int64_t slice, bool joined, int64_t c, int64_t channels) {
  const int64_t n = joined ? slice / size[0] : sequence, d = joined ? slice % size[0] : slice;
  return {image.data + n * image.stride_n + d * image.stride[0] + c,
          size[1],
          size[2],
          channels,
          image.stride[1],
          image.stride[2]};
}

void transform_block(const Job& job, const Block& b) {
  const Plan& p = job.p;
  const int64_t pieces = divide_up(b.tiles, kPiece);
  const int64_t work = 144 * b.tiles * (b.x_slices * p.c.channels + b.slices * p.o.channels);
  parallel_for((b.x_slices + b.slices) * pieces, work, [&](int64_t task, int) {
    const int64_t slice = task / pieces;
    const int64_t first = task % pieces * kPiece, last = smaller(first + kPiece, b.tiles);
    if (slice < b.x_slices) {
      const int64_t number = b.x_first + slice;
      const int64_t slot = (number - b.x_origin) % p.ring;
      for (int64_t i = 0; i < p.c.count; ++i) {
        const Slice from =
            slice_of(job.x, job.x_size, b.sequence, number, p.joined, p.c.first(i), p.c.size(i));
        transform_tiles<kTileIn>(
            from, p.tile_columns, job.pad, b.first_tile + first, b.first_tile + last,
            p.v + i * p.x_block + (slot * b.tiles + first) * p.c.width, p.c.width, p.x_plane,
            [](auto... a) { transform_input_vector<6>(a...); });
      }
    } else {
      const int64_t number = slice - b.x_slices;
      for (int64_t i = 0; i < p.o.count; ++i) {
        const Slice from = slice_of(job.dy, job.dy_size, b.sequence, b.first + number, p.joined,
                                    p.o.first(i), p.o.size(i));
        constexpr int64_t kNoPad[2] = {0, 0};
        transform_tiles<kTile>(from, p.tile_columns, kNoPad, b.first_tile + first,
                               b.first_tile + last,
                               p.d + i * p.dy_block + (number * b.tiles + first) * p.o.width,
                               p.o.width, p.dy_plane, [](auto... a) { transform_dy_vector(a...); });
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
  const int64_t shift = depth_tap - job.depth_pad;
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

// A^T u A of one channel and a vector of outputs: nine taps.
MK_INLINE void transform_sums(const float* u, int64_t plane, V taps[kTaps]) {
  V half[3][6];
#pragma GCC unroll 6
  for (int w = 0; w < 6; ++w) {
    V m[6], t[3];
#pragma GCC unroll 6
    for (int h = 0; h < 6; ++h) m[h] = V::load(u + (h * 6 + w) * plane);
    transform_sums_row(m, t);
#pragma GCC unroll 3
    for (int h = 0; h < 3; ++h) half[h][w] = t[h];
  }
#pragma GCC unroll 3
  for (int h = 0; h < 3; ++h) transform_sums_row(half[h], taps + 3 * h);
}

// Channels [first, last) of the pair of blocks (i, j): to dweight[output][channel][depth tap][tap].
void transform_pair(const Job& job, const float* u, int64_t depth_tap, int64_t i, int64_t j,
                    int64_t first, int64_t last) {
  const Plan& p = job.p;
  const int64_t plane = p.c.width * p.o.width, step = p.depth_taps * kTaps;
  const int64_t row = p.c.channels * step;
  // Taps of several channels follow each other if there is one depth tap.
  const int64_t together = p.depth_taps == 1 ? V::kLanes : 1;
  for (int64_t o = 0; o < p.o.size(j); o += V::kLanes) {
    const int64_t outputs = smaller(p.o.size(j) - o, V::kLanes);
    for (int64_t c = first; c < last; c += together) {
      const int64_t channels = smaller(last - c, together), count = channels * kTaps;
      V taps[kTaps * V::kLanes];
      for (int64_t k = 0; k < channels; ++k) {
        transform_sums(u + (c + k) * p.o.width + o, plane, taps + k * kTaps);
      }
      float* to =
          job.dweight + (p.o.first(j) + o) * row + (p.c.first(i) + c) * step + depth_tap * kTaps;
      for (int64_t t = 0; t < count; t += V::kLanes) {
        V block[V::kLanes];
#pragma GCC unroll 16
        for (int k = 0; k < V::kLanes; ++k) block[k] = t + k < count ? taps[t + k] : V::zero();
        transpose(block);
        const int64_t lanes = smaller(count - t, V::kLanes);
        for (int64_t k = 0; k < outputs; ++k) block[k].store(to + k * row + t, lanes);
      }
    }
  }
}

// Adds (or sets) the sums of a block.
void sum_block(const Job& job, const Block& b, bool accumulate) {
  const Plan& p = job.p;
  const int64_t pairs = p.c.count * p.o.count;
  const int64_t work = 72 * p.depth_taps * b.slices * b.tiles * p.c.channels * p.o.channels;
  parallel_for(p.depth_taps * pairs * kTilePlanes, work, [&](int64_t task, int) {
    const int64_t plane = task % kTilePlanes, pair = task / kTilePlanes;
    const int64_t j = pair % p.o.count, i = pair / p.o.count % p.c.count;
    Meeting m;
    meet(job, b, pair / pairs, m);
    multiply(p, m, b.tiles, p.v + i * p.x_block + plane * p.x_plane,
             p.d + j * p.dy_block + plane * p.dy_plane, p.c.size(i), p.o.size(j), accumulate,
             p.u + pair * p.sums + plane * p.c.width * p.o.width);
  });
}

// The same of the only block, and their transforms.
void finish_block(const Job& job, const Block& b) {
  const Plan& p = job.p;
  const int64_t pairs = p.c.count * p.o.count;
  const int64_t work = 72 * p.depth_taps * b.slices * b.tiles * p.c.channels * p.o.channels;
  parallel_for(p.depth_taps * pairs, work, [&](int64_t pair, int worker) {
    const int64_t j = pair % p.o.count, i = pair / p.o.count % p.c.count;
    float* u = p.u + worker * p.sums;
    Meeting m;
    meet(job, b, pair / pairs, m);
    for (int64_t plane = 0; plane < kTilePlanes; ++plane) {
      multiply(p, m, b.tiles, p.v + i * p.x_block + plane * p.x_plane,
               p.d + j * p.dy_block + plane * p.dy_plane, p.c.size(i), p.o.size(j), false,
               u + plane * p.c.width * p.o.width);
    }
    transform_pair(job, u, pair / pairs, i, j, 0, p.c.size(i));
  });
}

// All blocks, in columns: a part of all slices of a sequence.
void run_blocks(const Job& job) {
  const Plan& p = job.p;
  Block b{};
  for (int64_t column = 0; column < p.sequences * p.parts; ++column) {
    b.sequence = column / p.parts;
    b.first_tile = tile_start(column % p.parts, p.parts, p.slice_tiles);
    b.tiles = tile_start(column % p.parts + 1, p.parts, p.slice_tiles) - b.first_tile;
    b.x_origin = larger(-job.depth_pad, 0);
    int64_t done = b.x_origin;
    for (b.first = 0; b.first < p.length; b.first += b.slices) {
      b.slices = smaller(p.slices, p.length - b.first);
      b.x_first = done;
      done = smaller(b.first + b.slices + p.depth_taps - 1 - job.depth_pad, p.x_length);
      done = larger(done, b.x_first);
      b.x_slices = done - b.x_first;
      transform_block(job, b);
      p.fused ? finish_block(job, b) : sum_block(job, b, column + b.first > 0);
    }
  }
}

}  // namespace

bool weight_takes_winograd(const ConvWeightArgs& a) {
  const Window& w = a.window;
  if (a.algorithm == Algorithm::direct || a.dtype != Dtype::f32 || a.groups != 1 ||
      w.kernel[0] > kMostDepthTaps)
    return false;
  for (int i = 0; i < 3; ++i) {
    if (w.stride[i] != 1 || w.dilation[i] != 1 || (i > 0 && w.kernel[i] != 3)) return false;
  }
  if (a.x.c < 8 || a.dy.c < 8 || a.dy.n * a.dy.size[0] == 0 || a.x.size[0] == 0) return false;
  const int64_t height = a.dy.size[1], width = a.dy.size[2];
  const int64_t tiles = divide_up(height, kTile) * divide_up(width, kTile);
  return height * width >= 6 * tiles;
}

size_t weight_winograd_workspace(const ConvWeightArgs& a) { return plan_of(a).bytes; }

void weight_winograd(const ConvWeightArgs& a) {
  Job job;
  job.p = plan_of(a);
  const Plan& p = job.p;
  job.x = p.x_in_place ? source_in_place<float>(a.x)
                       : copy_source<float>(a.x, whole_region(a.x), 1, a.x.c, p.x);
  job.dy = p.dy_in_place ? source_in_place<float>(a.dy)
                         : copy_source<float>(a.dy, whole_region(a.dy), 1, a.dy.c, p.dy);
  job.depth_pad = a.window.pad_before[0];
  job.pad[0] = a.window.pad_before[1];
  job.pad[1] = a.window.pad_before[2];
  for (int i = 0; i < 3; ++i) {
    job.x_size[i] = a.x.size[i];
    job.dy_size[i] = a.dy.size[i];
  }
  job.dweight = static_cast<float*>(a.dweight);

  run_blocks(job);
  if (p.fused) return;
  const int64_t pieces = divide_up(p.c.width, V::kLanes);
  const int64_t pairs = p.depth_taps * p.c.count * p.o.count;
  parallel_for(pairs * pieces, pairs * p.sums, [&](int64_t task, int) {
    const int64_t pair = task / pieces, first = task % pieces * V::kLanes;
    const int64_t j = pair % p.o.count, i = pair / p.o.count % p.c.count;
    transform_pair(job, p.u + pair * p.sums, pair / p.o.count / p.c.count, i, j, first,
                   smaller(first + V::kLanes, p.c.size(i)));
  });
}

}  // namespace medkern::MK_ISA
