// What the kernels of Winograd convolution share: when it is taken, where tiles lie, reading
// weights and tiles and writing results.
#pragma once

#include "cpu/integers.h"
#include "kernels/conv/algorithm.simd.h"
#include "kernels/conv/source.simd.h"
#include "kernels/conv/winograd.simd.h"

namespace medkern::MK_ISA {

MK_INLINE int64_t whole_vectors(int64_t channels) { return padded_columns<float>(channels); }

// Estimates of the time of one tile of one item, in that of a fused multiply-add of vectors. What
// transforms take is measured, and includes loads and stores.
constexpr double kInputCost = 400, kOutputCost = 300;

// Whether `tiles` tiles that make `pixels` of the result take less time than the direct sum, if
// transforming a vector of filters takes `filter_cost`.
MK_INLINE bool winograd_pays(const ConvArgs& a, double tiles, double pixels, double filter_cost) {
  const double taps = a.window.kernel[0], channels = a.source.c;
  const double vectors = whole_vectors(a.source.c) / Vec<float>::kLanes;
  const double results = whole_vectors(a.result.c) / Vec<float>::kLanes;
  const double direct = pixels * 9 * taps * channels * results;
  const double products = tiles * kTilePlanes * taps * channels * results;
  const double transforms = tiles * (kInputCost * vectors + kOutputCost * results);
  return products + transforms + filter_cost * taps * channels * results < direct;
}

MK_INLINE bool winograd_computes(const ConvArgs& a) {
  const Window& w = a.window;
  bool computes = a.dtype == Dtype::f32 && a.algorithm == Algorithm::automatic && a.groups == 1 &&
                  w.kernel[1] == 3 && w.kernel[2] == 3;
  for (int i = 0; i < 3; ++i) computes &= w.stride[i] == 1 && w.dilation[i] == 1;
  return computes;
}

// Whether weights are kept transformed (winograd.simd.cpp) or are transformed again for every group
// of tiles (winograd_panels.simd.cpp). They grow fourfold, and come from the shared cache for every
// block: up to 256x256 channels that is faster.
MK_INLINE bool winograd_keeps_transformed(const ConvArgs& a) {
  const int64_t weights = a.window.kernel[0] * a.source.c * whole_vectors(a.result.c);
  return weights * kTilePlanes * static_cast<int64_t>(sizeof(float)) <= 10 << 20;
}

MK_INLINE bool winograd_fits(const ConvArgs& a, double filter_cost) {
  const int64_t* size = a.result.size;
  const double tiles = size[0] * divide_up(size[1], kTileOut) * divide_up(size[2], kTileOut);
  return winograd_pays(a, tiles, size[0] * size[1] * size[2], filter_cost);
}

// For images of any size: six tenths of a tile are taken to be of use, as in images of 12x12, and
// weights to be transformed for `tiles` tiles at a time.
MK_INLINE bool winograd_keeps(const ConvArgs& a, double tiles, double filter_cost) {
  return winograd_pays(a, tiles, 0.6 * tiles * kTileOut * kTileOut, filter_cost);
}

// Tiles of a slice of the result. Result position p reads the source from p - lead on.
struct Tiling {
  int64_t rows, columns, count;
  int64_t lead[3];
};

MK_INLINE Tiling tiling_of(const ConvArgs& a) {
  Tiling t;
  t.rows = divide_up(a.result.size[1], kTileOut);
  t.columns = divide_up(a.result.size[2], kTileOut);
  t.count = t.rows * t.columns;
  for (int i = 0; i < 3; ++i) t.lead[i] = -a.region.first[i];
  return t;
}

// How far ahead memory is asked for: the time of four vectors' transforms.
MK_INLINE int64_t tiles_ahead(int64_t channels) { return divide_up(64, larger(channels, 1)); }

// Transforms channels [first, first + channels) of what tile `tile` of the result needs of slice d
// of item n of the source; zeros where there is no such slice.
MK_INLINE void transform_source_tile(const ConvArgs& a, const Source<float>& x, const Tiling& t,
                                     int64_t n, int64_t d, int64_t tile, int64_t first,
                                     int64_t channels, float* to, int64_t plane) {
  if (d < 0 || d >= a.source.size[0]) {
    for (int64_t i = 0; i < kTilePlanes; ++i) zero(to + i * plane, whole_vectors(channels));
    return;
  }
  const Slice slice{x.data + n * x.stride_n + d * x.stride[0] + first,
                    a.source.size[1],
                    a.source.size[2],
                    channels,
                    x.stride[1],
                    x.stride[2]};
  const int64_t next = tile + tiles_ahead(channels);
  const float* ahead = slice.data + (next / t.columns * kTileOut - t.lead[1]) * slice.row +
                       (next % t.columns * kTileOut - t.lead[2]) * slice.pixel;
  transform_tile<6>(slice, tile / t.columns * kTileOut - t.lead[1],
                    tile % t.columns * kTileOut - t.lead[2], ahead, to, plane,
                    [](auto... arguments) { transform_input_vector(arguments...); });
}

// Writes 16 positions of up to kLanes channels, whose memory is not contiguous, to `rows` rows of
// `columns` positions.
MK_INLINE void store_transposed(Vec<float> y[16], const Image& image, int64_t rows, int64_t columns,
                                int64_t lanes, float* to) {
  constexpr int64_t kLanes = Vec<float>::kLanes, kRows = kLanes / kTileOut;
#pragma GCC unroll 4
  for (int64_t group = 0; group < 16 / kLanes; ++group) {
    Vec<float>* block = y + group * kLanes;
    transpose(block);
    const int64_t left = smaller(rows - group * kRows, kRows);
#pragma GCC unroll 16
    for (int64_t c = 0; c < kLanes; ++c) {
      if (c >= lanes) continue;
      alignas(64) float positions[kLanes];
      block[c].store(positions);
      for (int64_t row = 0; row < left; ++row) {
        const float* from = positions + row * kTileOut;
        float* at = to + c * image.stride_c + (group * kRows + row) * image.stride[1];
        if (columns == kTileOut && image.stride[2] == 1) {
          __builtin_memcpy(at, from, kTileOut * sizeof(float));
        } else {
          for (int64_t i = 0; i < columns; ++i) at[i * image.stride[2]] = from[i];
        }
      }
    }
  }
}

// Transforms the products of channels [first, first + channels) of a tile, adds the bias, applies
// the activation, and writes what lies inside the result. Plane i of channel c is at
// m[i * plane + c - first].
static void transform_result_tile(const ConvArgs& a, const Tiling& t, int64_t n, int64_t d,
                                  int64_t tile, int64_t first, int64_t channels, const float* m,
                                  int64_t plane) {
  using V = Vec<float>;
  constexpr int64_t kLanes = V::kLanes;
  const Image& y = a.result;
  const float* bias = static_cast<const float*>(a.bias);
  const bool relu = a.activation == Activation::relu;
  const int64_t h = tile / t.columns * kTileOut, w = tile % t.columns * kTileOut;
  const int64_t rows = smaller(y.size[1] - h, kTileOut);
  const int64_t columns = smaller(y.size[2] - w, kTileOut);
  float* to = static_cast<float*>(y.data) + n * y.stride_n + d * y.stride[0] + h * y.stride[1] +
              w * y.stride[2];
  for (int64_t c = first; c < first + channels; c += kLanes) {
    const int64_t lanes = smaller(first + channels - c, kLanes);
    V out[4][4];
    transform_output_vector(m + c - first, plane, out);
    const V shift = bias != nullptr ? V::load(bias + c, lanes) : V::zero();
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) {
#pragma GCC unroll 4
      for (int j = 0; j < 4; ++j) {
        if (bias != nullptr) out[i][j] += shift;
        if (relu) out[i][j] = max(out[i][j], V::zero());
      }
    }
    if (y.c > 1 && y.stride_c != 1) {
      store_transposed(out[0], y, rows, columns, lanes, to + c * y.stride_c);
      continue;
    }
    const int64_t ahead = tiles_ahead(channels) * kTileOut * y.stride[2];
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) {
#pragma GCC unroll 4
      for (int j = 0; j < 4; ++j) {
        __builtin_prefetch(to + i * y.stride[1] + j * y.stride[2] + c + ahead, 1);
      }
    }
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) {
#pragma GCC unroll 4
      for (int j = 0; j < 4; ++j) {
        if (i >= rows || j >= columns) continue;
        float* at = to + i * y.stride[1] + j * y.stride[2] + c;
        lanes == kLanes ? out[i][j].store(at) : out[i][j].store(at, lanes);
      }
    }
  }
}

// Calls visit(channel, depth tap, g) for the 3x3 filters from channels [first, last) to kLanes
// result channels, from `result` on, as a correlation of the source has them.
template <class Visit>
MK_INLINE void for_each_filter(const ConvArgs& a, int64_t result, int64_t first, int64_t last,
                               Visit visit) {
  constexpr int64_t kLanes = Vec<float>::kLanes;
  const float* weight = static_cast<const float*>(a.weight);
  const int64_t depth = a.window.kernel[0], taps = 9 * depth;
  const int64_t lanes = smaller(a.result.c - result, kLanes);
  Vec<float> g[9];
  if (a.backward) {  // weight[channel][result][tap], from the last tap to the first
    for (int64_t c = first; c < last; ++c) {
      for_each_column(weight + (c * a.result.c + result) * taps, taps, lanes, taps,
                      [&](int64_t i, Vec<float> v) {
                        g[8 - i % 9] = v;
                        if (i % 9 == 8) visit(c, depth - 1 - i / 9, g);
                      });
    }
  } else {  // weight[result][channel][tap]
    for_each_column(weight + (result * a.source.c + first) * taps, a.source.c * taps, lanes,
                    (last - first) * taps, [&](int64_t i, Vec<float> v) {
                      g[i % 9] = v;
                      if (i % 9 == 8) visit(first + i / taps, i / 9 % depth, g);
                    });
  }
}

}  // namespace medkern::MK_ISA
