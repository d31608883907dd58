// How a convolution comes to be a sum of correlations of stride 1 with small filters, and whether
// Winograd's way of computing them pays.
//
// Along an axis, a class of positions of the result (conv.h) reads the source at in_first +
// j in_step + u in_tap_step. Its positions j = t + T j', for t < T = `phases`, and its taps
// u = f + S u', for f < S = `splits`, with in_step T = in_tap_step S = `lattice`, read every
// lattice-th position of the source, so that for each t
//
//   result[j'] += sum over f of a correlation of stride 1 over u'.
//
// A dilated convolution has T phases (images that interleave), one of stride s has s splits, and
// one backward (or transposed) of stride s has s classes. Filters longer than Winograd's are cut
// into `blocks`. Parts, the pairs of a split and a block along both axes, are summed between the
// transforms as taps in depth are; classes read the same tiles and are further result channels.
#pragma once

#include "cpu/integers.h"
#include "kernels/conv/algorithm.simd.h"
#include "kernels/conv/winograd.simd.h"
#include "kernels/gemm/pack.simd.h"

namespace medkern::MK_ISA {

MK_INLINE int64_t whole_vectors(int64_t channels) { return padded_columns<float>(channels); }

// Most steps of a window, taps of a kernel in a slice, parts and depth taps together, and taps of
// all filters of a class.
constexpr int64_t kMostStride = 4, kMostKernel = 128, kMostSteps = 64, kMostFilterTaps = 512;

// Estimates of the time of one tile of one item, in that of a fused multiply-add of vectors. What
// transforms take is measured, and includes loads and stores.
constexpr double kInputCost = 11, kOutputCost = 3.3, kStoreCost = 11;  // per plane, plane, result

// Of the window and the numbers of channels; [0] is of the height, [1] of the width.
struct WinogradForm {
  int64_t points, taps, tile;  // along each axis; of a filter, results of a tile
  int64_t planes;
  int64_t classes[2], phases[2], splits[2], blocks[2], lattice[2];
  int64_t all_classes, parts;  // of both axes
  int64_t columns;             // of products: result channels, in whole vectors
  double direct;               // multiplications of the direct sum per position, of vectors
  double products;             // and those of a tile
  double transforms;           // of a tile
  double filters;              // vectors of them, of a class
};

MK_INLINE WinogradForm form_with(const ConvArgs& a, int64_t points, int64_t taps) {
  WinogradForm f{};
  f.points = points;
  f.taps = taps;
  f.tile = tile_results(points, taps);
  f.planes = points * points;
  f.all_classes = f.parts = 1;
  double kernel = 1;
  for (int i = 0; i < 2; ++i) {
    const int64_t stride = a.window.stride[i + 1], dilation = a.window.dilation[i + 1];
    int64_t divisor = stride;
    for (int64_t rest = dilation; rest != 0;) {
      const int64_t next = divisor % rest;
      divisor = rest;
      rest = next;
    }
    const int64_t period = stride / divisor;  // taps from one that a class has to the next
    f.classes[i] = a.backward ? stride : 1;
    f.splits[i] = a.backward ? 1 : period;
    f.phases[i] = dilation / divisor;
    f.lattice[i] = f.phases[i] * (a.backward ? 1 : stride);
    f.blocks[i] = divide_up(divide_up(a.window.kernel[i + 1], period), taps);
    f.all_classes *= f.classes[i];
    f.parts *= f.splits[i] * f.blocks[i];
    kernel *= static_cast<double>(a.window.kernel[i + 1]) / static_cast<double>(f.classes[i]);
  }
  f.columns = whole_vectors(a.result.c);
  const double depth = a.window.kernel[0], channels = a.source.c, parts = f.parts;
  const double vectors = whole_vectors(a.source.c) / Vec<float>::kLanes;
  const double results = f.columns / Vec<float>::kLanes;
  const double planes = f.planes, stores = f.tile * f.tile;
  f.direct = kernel * depth * channels * results;
  f.products = planes * depth * parts * channels * results;
  f.transforms = parts * kInputCost * planes * vectors +
                 (kOutputCost * planes + kStoreCost * stores) * results;
  f.filters = depth * parts * channels * results;
  return f;
}

// With the size of filters, from `least` taps on, that is fastest for large images, if what is
// gained by cutting filters is divided by `cut_cost`.
MK_INLINE WinogradForm best_form(const ConvArgs& a, int64_t points, int64_t least,
                                 double cut_cost) {
  WinogradForm best = form_with(a, points, least);
  const auto cost = [&](const WinogradForm& f) {
    const double cut = f.blocks[0] * f.blocks[1] > 1 ? cut_cost : 1;
    return cut * (f.products + f.transforms) / static_cast<double>(f.tile * f.tile);
  };
  for (int64_t taps = least + 1; taps < points; ++taps) {
    const WinogradForm f = form_with(a, points, taps);
    if (cost(f) < cost(best)) best = f;
  }
  return best;
}

// Filters of two taps have 15 units of error with six points (25 at borders), and 4 with three.
// Those that are cut have more transformed weights: they have to gain a tenth.
MK_INLINE WinogradForm winograd_form(const ConvArgs& a, int64_t points) {
  return best_form(a, points, points == 3 ? 2 : 3, 1.1);
}

MK_INLINE bool winograd_computes(const ConvArgs& a, int64_t points) {
  const Window& w = a.window;
  if (a.dtype != Dtype::f32 || a.algorithm == Algorithm::direct || a.groups != 1 ||
      w.stride[0] != 1 || w.stride[1] > kMostStride || w.stride[2] > kMostStride ||
      w.kernel[1] > kMostKernel || w.kernel[2] > kMostKernel ||
      w.kernel[1] * w.kernel[2] > kMostKernel) {
    return false;
  }
  const WinogradForm f = winograd_form(a, points);
  return f.parts * w.kernel[0] <= kMostSteps && f.parts * f.taps * f.taps <= kMostFilterTaps &&
         (points != 3 || f.blocks[0] * f.blocks[1] == 1);
}

// Whether it takes less time than the direct sum for an image with so many tiles and positions (of
// all classes), if transforming a vector of filters takes `filter_cost`.
MK_INLINE bool winograd_pays(const WinogradForm& f, double tiles, double positions,
                             double filter_cost) {
  const double filters = static_cast<double>(f.all_classes) * filter_cost * f.filters;
  return tiles * (f.products + f.transforms) + filters < positions * f.direct;
}

// For images of any size: as if they had 8x8 positions of each class, and half a tile were of no
// use along each axis.
MK_INLINE bool winograd_keeps(const WinogradForm& f, double filter_cost) {
  const double classes = f.all_classes, side = 8.0 / static_cast<double>(f.tile) + 0.5;
  return winograd_pays(f, classes * side * side, classes * 64, filter_cost);
}

}  // namespace medkern::MK_ISA
