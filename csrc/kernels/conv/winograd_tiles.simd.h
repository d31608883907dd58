// What the kernels of Winograd convolution share: where tiles lie, reading weights and tiles and
// writing results. winograd_form.simd.h says what phases, classes and parts are.
#pragma once

#include "cpu/integers.h"
#include "kernels/conv/source.simd.h"
#include "kernels/conv/winograd_form.simd.h"

namespace medkern::MK_ISA {

// Tiles along an axis of a class. Positions are numbered within a phase; a tile begins at number
// `tile` times its results.
struct TileAxis {
  int64_t splits, lattice;
  int64_t first, phase_step, split_step, block_step;  // where a tile reads the source
  int64_t out_first, out_phase, out_step;  // where number 0 of a phase goes, and the next
  int64_t phases, tiles;                   // those with any positions; of each
};

// Tiles of a depth slice of a class of the result, of all phases.
struct Tiling {
  WinogradForm form;
  TileAxis axis[2];
  int64_t count;
  int64_t lead, step;  // position d of the depth reads from d - lead on, every step-th
};

// The tiles of all classes are as many, whether they are of use or not.
MK_INLINE TileAxis tile_axis(const ConvArgs& a, const WinogradForm& form, int i, int64_t number) {
  const AxisClass c = axis_class(a, i + 1, number), some = class_of_tap(a, i + 1, 0);
  TileAxis t;
  t.splits = form.splits[i];
  t.lattice = form.lattice[i];
  t.first = c.in_first;
  t.phase_step = some.in_step;
  t.split_step = some.in_tap_step;
  t.block_step = t.lattice * form.taps;
  t.out_first = number;
  t.out_phase = form.classes[i];
  t.out_step = form.classes[i] * form.phases[i];
  const int64_t count = divide_up(a.result.size[i + 1], form.classes[i]);
  t.phases = smaller(form.phases[i], count);
  t.tiles = divide_up(divide_up(count, form.phases[i]), form.tile);
  return t;
}

MK_INLINE Tiling tiling_of(const ConvArgs& a, const WinogradForm& form, int64_t number) {
  Tiling t;
  t.form = form;
  t.axis[0] = tile_axis(a, form, 0, number / form.classes[1]);
  t.axis[1] = tile_axis(a, form, 1, number % form.classes[1]);
  t.count = t.axis[0].phases * t.axis[0].tiles * t.axis[1].phases * t.axis[1].tiles;
  t.lead = -axis_class(a, 0, 0).in_first;
  t.step = a.window.dilation[0];
  return t;
}

// Whether it pays for one image, weights transformed for it alone.
MK_INLINE bool winograd_fits(const ConvArgs& a, const WinogradForm& form, double filter_cost) {
  const int64_t* size = a.result.size;
  const int64_t tiles = size[0] * form.all_classes * tiling_of(a, form, 0).count;
  return winograd_pays(form, tiles, size[0] * size[1] * size[2], filter_cost);
}

// A tile, by its phase and its number in that.
struct TilePlace {
  int64_t phase[2], tile[2];
};

MK_INLINE TilePlace place_of(const Tiling& t, int64_t tile) {
  const TileAxis &h = t.axis[0], &w = t.axis[1];
  const int64_t column = tile % w.tiles, rest = tile / w.tiles;
  if (t.count == h.tiles * w.tiles) return {{0, 0}, {rest, column}};
  const int64_t phase = rest / h.tiles;
  return {{phase / w.phases, phase % w.phases}, {rest % h.tiles, column}};
}

// How far ahead memory is asked for: the time of four vectors' transforms.
MK_INLINE int64_t tiles_ahead(int64_t channels) { return divide_up(64, larger(channels, 1)); }

// A tile of positions of the lattice that a part of the filters reads.
struct SourceTile {
  Slice slice;
  int64_t at[2];
  const float* ahead;  // of a tile that will be read soon
};

// Of channels [first, first + channels) of slice d of item n, of height and width `size`.
MK_INLINE SourceTile source_tile(const Source<float>& x, const int64_t size[2], const Tiling& t,
                                 int64_t n, int64_t d, const TilePlace& place, int64_t part,
                                 int64_t first, int64_t channels) {
  const int64_t columns = t.form.splits[1] * t.form.blocks[1];
  const int64_t parts[2] = {part / columns, part % columns};
  int64_t origin[2], count[2];
  SourceTile tile;
  for (int i = 0; i < 2; ++i) {
    const TileAxis& axis = t.axis[i];
    const int64_t split = parts[i] % axis.splits, block = parts[i] / axis.splits;
    const int64_t base = axis.first + place.phase[i] * axis.phase_step + split * axis.split_step +
                         block * axis.block_step;
    const int64_t number = base >= 0 ? base / axis.lattice : -divide_up(-base, axis.lattice);
    origin[i] = base - number * axis.lattice;
    count[i] = divide_up(larger(size[i] - origin[i], 0), axis.lattice);
    tile.at[i] = number + place.tile[i] * t.form.tile;
  }
  tile.slice = {x.data + n * x.stride_n + d * x.stride[0] + origin[0] * x.stride[1] +
                    origin[1] * x.stride[2] + first,
                count[0],
                count[1],
                channels,
                x.stride[1] * t.axis[0].lattice,
                x.stride[2] * t.axis[1].lattice};
  int64_t rows = 0, right = place.tile[1] + tiles_ahead(channels);
  for (; right >= t.axis[1].tiles; right -= t.axis[1].tiles) ++rows;
  tile.ahead = tile.slice.data + (tile.at[0] + rows * t.form.tile) * tile.slice.row +
               (tile.at[1] + (right - place.tile[1]) * t.form.tile) * tile.slice.pixel;
  return tile;
}

// Transforms channels [first, first + channels) of what a part of the filters reads for tile `tile`
// of the result in slice d of item n of the source; zeros where there is no such slice.
template <int kPoints>
MK_INLINE void transform_source_tile(const ConvArgs& a, const Source<float>& x, const Tiling& t,
                                     int64_t n, int64_t d, int64_t tile, int64_t part,
                                     int64_t first, int64_t channels, float* to, int64_t plane) {
  if (d < 0 || d >= a.source.size[0]) {
    for (int64_t i = 0; i < kPoints * kPoints; ++i) zero(to + i * plane, whole_vectors(channels));
    return;
  }
  const SourceTile from =
      source_tile(x, a.source.size + 1, t, n, d, place_of(t, tile), part, first, channels);
  transform_tile<kPoints>(from.slice, from.at[0], from.at[1], from.ahead, t.form.tile, to, plane,
                          [](auto... arguments) { transform_input_vector<kPoints>(arguments...); });
}

// Where the results of a tile go: those that lie inside the image.
struct ResultTile {
  int64_t count[2];
  float* data;
  int64_t step[2];
};

MK_INLINE ResultTile result_tile(const Image& y, const Tiling& t, int64_t n, int64_t d,
                                 const TilePlace& place) {
  ResultTile r;
  r.data = static_cast<float*>(y.data) + n * y.stride_n + d * y.stride[0];
  for (int i = 0; i < 2; ++i) {
    const TileAxis& axis = t.axis[i];
    const int64_t position = axis.out_first + place.phase[i] * axis.out_phase +
                             place.tile[i] * t.form.tile * axis.out_step;
    const int64_t left = larger(y.size[i + 1] - position, 0);
    r.count[i] = smaller(divide_up(left, axis.out_step), t.form.tile);
    r.step[i] = axis.out_step * y.stride[i + 1];
    r.data += position * y.stride[i + 1];
  }
  return r;
}

// Writes the results of a tile of up to kLanes channels whose memory is not contiguous.
template <int kTile>
MK_INLINE void store_transposed(const Vec<float> y[kTile * kTile], const ResultTile& r,
                                int64_t stride_c, int64_t lanes) {
  constexpr int kLanes = Vec<float>::kLanes, kCount = kTile * kTile;
  constexpr int kGroups = (kCount + kLanes - 1) / kLanes;
  alignas(64) float positions[kLanes][kGroups * kLanes];
  for (int group = 0; group < kGroups; ++group) {
    Vec<float> block[kLanes];
#pragma GCC unroll 16
    for (int i = 0; i < kLanes; ++i) {
      const int at = group * kLanes + i;
      block[i] = at < kCount ? y[at] : Vec<float>::zero();
    }
    transpose(block);
#pragma GCC unroll 16
    for (int c = 0; c < kLanes; ++c) block[c].store(positions[c] + group * kLanes);
  }
  const bool whole = r.count[1] == kTile && r.step[1] == 1;
  for (int64_t c = 0; c < lanes; ++c) {
    for (int64_t i = 0; i < r.count[0]; ++i) {
      const float* from = positions[c] + i * kTile;
      float* to = r.data + c * stride_c + i * r.step[0];
      if (whole) {
        __builtin_memcpy(to, from, kTile * sizeof(float));
      } else {
        for (int64_t j = 0; j < r.count[1]; ++j) to[j * r.step[1]] = from[j];
      }
    }
  }
}

// Transforms the products of channels [first, first + channels) of a tile, adds the bias, applies
// the activation, and writes what lies inside the result. Plane i of channel c is at
// m[i * plane + c - first].
template <int kPoints, int kTaps>
static void transform_result_tile(const ConvArgs& a, const Tiling& t, int64_t n, int64_t d,
                                  int64_t tile, int64_t first, int64_t channels, const float* m,
                                  int64_t plane) {
  using V = Vec<float>;
  constexpr int kTile = tile_results(kPoints, kTaps);
  const Image& y = a.result;
  const float* bias = static_cast<const float*>(a.bias);
  const bool relu = a.activation == Activation::relu;
  const ResultTile r = result_tile(y, t, n, d, place_of(t, tile));
  const int64_t ahead = tiles_ahead(channels) * kTile * r.step[1];
  for (int64_t c = first; c < first + channels; c += V::kLanes) {
    const int64_t lanes = smaller(first + channels - c, V::kLanes);
    V out[kTile * kTile];
    interpolate<kPoints, kTile, false>(m + c - first, plane, out);
    const V shift = bias != nullptr ? V::load(bias + c, lanes) : V::zero();
#pragma GCC unroll 25
    for (V& v : out) {
      if (bias != nullptr) v += shift;
      if (relu) v = max(v, V::zero());
    }
    if (y.c > 1 && y.stride_c != 1) {
      ResultTile channel = r;
      channel.data += c * y.stride_c;
      store_transposed<kTile>(out, channel, y.stride_c, lanes);
      continue;
    }
#pragma GCC unroll 5
    for (int i = 0; i < kTile; ++i) {
#pragma GCC unroll 5
      for (int j = 0; j < kTile; ++j) {
        __builtin_prefetch(r.data + i * r.step[0] + j * r.step[1] + c + ahead, 1);
      }
    }
#pragma GCC unroll 5
    for (int i = 0; i < kTile; ++i) {
#pragma GCC unroll 5
      for (int j = 0; j < kTile; ++j) {
        if (i >= r.count[0] || j >= r.count[1]) continue;
        float* at = r.data + i * r.step[0] + j * r.step[1] + c;
        const V v = out[i * kTile + j];
        lanes == V::kLanes ? v.store(at) : v.store(at, lanes);
      }
    }
  }
}

// Which tap of the kernel is which of the filters', or -1: [class][part][row][column].
struct FilterTaps {
  int16_t tap[kMostStride * kMostStride][kMostFilterTaps];
};

static void list_filter_taps(const ConvArgs& a, const WinogradForm& f, FilterTaps& map) {
  const int64_t columns = f.splits[1] * f.blocks[1];
  for (int64_t k = 0; k < f.all_classes; ++k) {
    const AxisClass c[2] = {axis_class(a, 1, k / f.classes[1]), axis_class(a, 2, k % f.classes[1])};
    // Tap of the kernel along axis i, of number `u` of the filter of a part.
    const auto along = [&](int i, int64_t part, int64_t u) -> int64_t {
      const int64_t split = part % f.splits[i], block = part / f.splits[i];
      const int64_t tap = split + f.splits[i] * (block * f.taps + u);
      return tap < c[i].taps ? c[i].tap_first + tap * c[i].tap_step : -1;
    };
    int16_t* to = map.tap[k];
    for (int64_t part = 0; part < f.parts; ++part)
      for (int64_t i = 0; i < f.taps; ++i)
        for (int64_t j = 0; j < f.taps; ++j) {
          const int64_t h = along(0, part / columns, i), w = along(1, part % columns, j);
          *to++ = h < 0 || w < 0 ? -1 : static_cast<int16_t>(h * a.window.kernel[2] + w);
        }
  }
}

// Calls visit(class, row, g) for the filters from channels [first, last) to kLanes result channels,
// from `result` on, as correlations of the source have them: rows are (depth tap, part, channel).
template <class Visit>
MK_INLINE void for_each_filter(const ConvArgs& a, const WinogradForm& f, const FilterTaps& map,
                               int64_t result, int64_t first, int64_t last, Visit visit) {
  using V = Vec<float>;
  const float* weight = static_cast<const float*>(a.weight);
  const int64_t depth = a.window.kernel[0], kernel = a.window.kernel[1] * a.window.kernel[2];
  const int64_t taps = kernel * depth, filter = f.taps * f.taps;
  const int64_t lanes = smaller(a.result.c - result, V::kLanes);
  V w[kMostKernel], g[kMostTaps * kMostTaps];
  const auto visit_all = [&](int64_t c, int64_t d) {
    for (int64_t k = 0; k < f.all_classes; ++k) {
      const int16_t* tap = map.tap[k];
      for (int64_t part = 0; part < f.parts; ++part) {
        for (int64_t i = 0; i < filter; ++i, ++tap) g[i] = *tap < 0 ? V::zero() : w[*tap];
        visit(k, (d * f.parts + part) * a.source.c + c, g);
      }
    }
  };
  int64_t at = 0, d = 0, c = first;  // tap of a slice, depth tap, channel
  const auto take = [&](V v) {
    w[at++] = v;
    if (at < kernel) return;
    visit_all(c, a.backward ? depth - 1 - d : d);
    at = 0;
    if (++d == depth) d = 0, ++c;
  };
  if (a.backward) {  // weight[channel][result][tap]
    for (int64_t i = first; i < last; ++i) {
      for_each_column(weight + (i * a.result.c + result) * taps, taps, lanes, taps,
                      [&](int64_t, V v) { take(v); });
    }
  } else {  // weight[result][channel][tap]
    for_each_column(weight + (result * a.source.c + first) * taps, a.source.c * taps, lanes,
                    (last - first) * taps, [&](int64_t, V v) { take(v); });
  }
}

}  // namespace medkern::MK_ISA
