// CUDA kernels of convolution for compute capability 9.0: which convolutions they take, patches,
// tiles, splits and rings (conv_wgmma.sm_90a.cu).
#include <algorithm>

#include "core/status.h"
#include "cuda/align.h"
#include "cuda/encode.h"
#include "cuda/launch.h"
#include "kernels/conv/conv_arrange.h"

namespace medkern::cuda {

bool takes_warpgroups(const ConvArgs& a);
int64_t warpgroup_splits(const ConvArgs& a);
void run_warpgroups(const ConvArgs& a, const Image& source, const void* weights, void* partial);

namespace {

constexpr uint32_t kThreads = 288;
constexpr int64_t kChannels = 64, kLine = 128;
constexpr int64_t kPatch = 64;                 // pixels
constexpr int64_t kMostPatchBytes = 16 << 10;  // of a box of the source
constexpr int64_t kMostSpan = 8;               // rows that taps along h add to a patch
constexpr int64_t kMostSteps = 8;              // of the copy engine, from pixel to pixel
constexpr int64_t kMostBox = 256;              // and from end to end of a box
constexpr int64_t kChunkBytes = 8 * 16 * 72 * 2;
constexpr int64_t kRingBytes = (227 << 10) - kChunkBytes - 1024;  // a KiB of barriers
constexpr int64_t kLeastChannels = 64;
constexpr int64_t kShortestSplit = 8;  // steps of 64 channels
constexpr int64_t kAll = 1 << 30;

// A tile, clocks of the tensor cores for 64 channels of it, clocks of all else, and whether a block
// can add splits.
struct TileKind {
  int64_t patches, columns;
  double products, rest;
  bool adds;
};
constexpr TileKind kTiles[] = {{4, 128, 1080, 3500, false},
                               {4, 64, 600, 2500, true},
                               {2, 128, 560, 2500, true},
                               {2, 64, 320, 2000, true}};
// Bytes a clock from L2: of a multiprocessor, of all.
constexpr double kL2One = 64, kL2All = 33 * 132;

Kernel kernels[2][4] = {{{"conv_wgmma", "conv_wgmma_f16_256_128"},
                         {"conv_wgmma", "conv_wgmma_f16_256_64"},
                         {"conv_wgmma", "conv_wgmma_f16_128_128"},
                         {"conv_wgmma", "conv_wgmma_f16_128_64"}},
                        {{"conv_wgmma", "conv_wgmma_bf16_256_128"},
                         {"conv_wgmma", "conv_wgmma_bf16_256_64"},
                         {"conv_wgmma", "conv_wgmma_bf16_128_128"},
                         {"conv_wgmma", "conv_wgmma_bf16_128_64"}}};

// What is known from the sizes alone, with 1x1 windows as if pixels were in one line: what decides
// on kernels and the order of sums may not depend on strides, nor on the number of images.
struct Shape {
  int64_t classes[3], count[3], taps[3];  // of an axis; positions and taps of the largest class
  int64_t all_classes, steps, groups;     // steps of 64 channels; groups of the largest class
  bool line;                              // a pixel of the result comes from one of the source
  bool shared_rows;
  int64_t span;  // rows that taps along h add to a patch
  int64_t step;  // from pixel to pixel along w in the source
};

Shape shape_of(const ConvArgs& a) {
  Shape s{};
  s.all_classes = 1;
  s.line = true;
  for (int i = 0; i < 3; ++i) {
    const Window& w = a.window;
    s.classes[i] = axis_classes(a, i);
    s.all_classes *= s.classes[i];
    for (int64_t j = 0; j < s.classes[i] && j < kMostWgmmaClasses; ++j) {
      const AxisClass c = axis_class(a, i, j);
      s.count[i] = std::max(s.count[i], c.count);
      s.taps[i] = std::max(s.taps[i], c.taps);
      if (i == 1) s.span = std::max(s.span, (c.taps - 1) * c.in_tap_step);
    }
    s.line &= w.kernel[i] == 1 && w.stride[i] == 1 && w.pad_before[i] == 0 && w.pad_after[i] == 0;
  }
  if (s.line) {
    s.count[2] *= s.count[0] * s.count[1];
    s.count[0] = s.count[1] = 1;
  }
  const bool adjacent = a.backward || a.window.stride[1] == 1;
  s.shared_rows = adjacent && s.taps[1] > 1 && s.span <= kMostSpan;
  if (!s.shared_rows) s.span = 0;
  s.step = a.backward ? 1 : a.window.stride[2];
  s.steps = divide_up(a.source.c, kChannels);
  s.groups = s.taps[0] * (s.shared_rows ? 1 : s.taps[1]) * s.taps[2] * s.steps;
  return s;
}

// How an image, of one class, is cut into patches 2^shift pixels wide.
struct Patches {
  int64_t shift, across[3], count;
  int64_t copy_bytes;
};

Patches patches_of(const Shape& s) {
  Patches best{};
  for (int64_t shift = 3; shift <= 6; ++shift) {
    const int64_t width = int64_t{1} << shift, height = kPatch / width;
    Patches p{shift,
              {s.count[0], divide_up(s.count[1], height), divide_up(s.count[2], width)},
              0,
              width * (height + s.span) * kLine};
    p.count = p.across[0] * p.across[1] * p.across[2];
    if (p.copy_bytes > kMostPatchBytes || width * s.step > kMostBox) continue;
    if (best.shift == 0 || p.count < best.count) best = p;  // the widest has the largest box
  }
  return best;
}

struct Choice {
  int kind;
  int64_t splits, split_groups;
  bool inside;  // a block takes all splits of a tile
};

Choice choose(const ConvArgs& a, const Shape& s, const Patches& patches) {
  Choice best{0, 1, kAll, true};
  const int64_t slices = s.taps[0] * s.taps[1] * s.taps[2] * s.steps;
  int64_t splits = 1;
  if (s.all_classes == 1) {
    // By the size of one image, where tiles are for less than a third of the multiprocessors.
    const int64_t tiles = divide_up(patches.count, 2) * divide_up(a.result.c, 64);
    if (3 * tiles < kSplitProcessors && tiles > 0) {
      splits = std::clamp<int64_t>(kSplitProcessors / tiles, 1,
                                   std::max<int64_t>(slices / kShortestSplit, 1));
    }
  }
  if (splits > 1) {
    best.split_groups = divide_up(s.groups, splits);
    best.splits = divide_up(s.groups, best.split_groups);
  }
  const double a_taps = s.shared_rows ? static_cast<double>(s.taps[1]) : 1;
  const auto clocks = [&](const TileKind& kind, bool inside) {
    const int64_t tiles = divide_up(patches.count * a.result.n, kind.patches) *
                          divide_up(a.result.c, kind.columns) * s.all_classes;
    const int64_t blocks = tiles * (inside ? 1 : best.splits), all = multiprocessors();
    const double from_l2 = std::min(kL2One, kL2All / static_cast<double>(std::min(blocks, all)));
    const double bytes = static_cast<double>(kind.patches * patches.copy_bytes) / a_taps +
                         static_cast<double>(kind.columns * kLine);
    const double each = static_cast<double>(slices) /
                        static_cast<double>(inside ? 1 : best.splits) *
                        std::max(kind.products, bytes / from_l2);
    const double sums = static_cast<double>(best.splits * a.result.n * a.result.c) *
                        static_cast<double>(s.count[0] * s.count[1] * s.count[2]);
    const double reduce = inside ? 0 : 4000 + 8 * sums / kL2All;
    return static_cast<double>(divide_up(blocks, all)) * (each + kind.rest) + reduce;
  };
  double least = 0;
  bool any = false;
  for (const bool inside : {true, false}) {
    if (!inside && best.splits == 1) continue;
    for (int i = 0; i < 4; ++i) {
      if (inside && best.splits > 1 && !kTiles[i].adds) continue;
      const double cost = clocks(kTiles[i], inside);
      if (any && cost >= least) continue;
      any = true;
      least = cost;
      best.kind = i;
      best.inside = inside;
    }
  }
  return best;
}

// Pixels of an image in one line, or of all images.
bool in_line(const Image& image, bool all) {
  Image some = image;
  if (!all) some.n = 1;
  return is_linear(some);
}
Image as_line(const Image& image, bool all) {
  Image line = image;
  const int64_t pixels = image.size[0] * image.size[1] * image.size[2];
  line.size[2] = all ? pixels * image.n : pixels;
  for (int i = 2; i >= 0 && line.stride[2] == 0; --i) line.stride[2] = image.stride[i];
  if (line.stride[2] == 0) line.stride[2] = image.stride_n;  // images of one pixel
  line.size[0] = line.size[1] = 1;
  line.stride[0] = line.stride[1] = 0;
  if (all) line.n = 1;
  return line;
}

TensorMap map_of_source(TensorType type, const Image& x, const Shape& s, const Patches& patches,
                        const ConvArgs& a) {
  TensorGrid g{};
  const int64_t sizes[] = {x.c, x.size[2], x.size[1], x.size[0], x.n};
  const int64_t strides[] = {1, x.stride[2], x.stride[1], x.stride[0], x.stride_n};
  const int64_t width = int64_t{1} << patches.shift;
  const int64_t box[] = {kChannels, width, kPatch / width + s.span, 1, 1};
  for (int i = 0; i < 5; ++i) {
    g.sizes[i] = sizes[i];
    g.box[i] = static_cast<uint32_t>(box[i]);
    g.steps[i] = 1;
    if (i == 0) continue;
    // An axis with one place has no stride of its own.
    const int64_t packed = i == 1 ? x.c : g.strides[i - 2] * sizes[i - 1];
    g.strides[i - 1] = sizes[i] > 1 ? strides[i] : packed;
  }
  if (!a.backward) {
    g.steps[1] = static_cast<uint32_t>(a.window.stride[2]);
    g.steps[2] = static_cast<uint32_t>(a.window.stride[1]);
  }
  return encode_grid(type, x.data, g);
}

TensorMap map_of_weights(TensorType type, const void* weights, int64_t channels, int64_t taps,
                         int64_t columns, int64_t tile_columns) {
  const int64_t all = columns * taps * channels;
  return encode_grid(type, weights,
                     {{channels, taps, columns, 1, 1},
                      {channels, taps * channels, all, all},
                      {kChannels, 1, static_cast<uint32_t>(tile_columns), 1, 1},
                      {1, 1, 1, 1, 1}});
}

// Stages of the rings: as many products ahead as there is room for.
void choose_stages(ConvWgmmaArgs& p, const TileKind& kind, int64_t taps) {
  const int64_t a_bytes = kind.patches * p.copy_bytes, b_bytes = kind.columns * kLine;
  int64_t most = 0;
  for (int64_t stages = 2; stages <= 16; ++stages) {
    const int64_t others = std::min<int64_t>((kRingBytes - stages * a_bytes) / b_bytes, 32);
    const int64_t ahead = std::min(others, stages * taps);
    if (others < 2 || ahead <= most) continue;
    most = ahead;
    p.a_stages = static_cast<int32_t>(stages);
    p.b_stages = static_cast<int32_t>(others);
  }
}

}  // namespace

// By the sizes of one image: other kernels may sum in another order.
bool takes_warpgroups(const ConvArgs& a) {
  if (!is_half(a.dtype) || a.groups != 1 || compute_capability() != 90) return false;
  if (a.source.c < kLeastChannels || a.result.c < kLeastChannels) return false;
  const Shape s = shape_of(a);
  for (int i = 0; i < 3; ++i) {
    const bool fits =
        a.backward ? s.classes[i] <= kMostWgmmaClasses : a.window.stride[i] <= kMostSteps;
    if (!fits || s.count[i] == 0 || a.source.size[i] == 0) return false;
  }
  // At least half of the rows of products are pixels, and 3/4 of the channels.
  const Patches patches = patches_of(s);
  const int64_t pixels = s.count[0] * s.count[1] * s.count[2];
  return 2 * pixels >= patches.count * kPatch && 4 * a.source.c >= 3 * s.steps * kChannels;
}

// Splits that leave partial sums.
int64_t warpgroup_splits(const ConvArgs& a) {
  const Shape s = shape_of(a);
  const Choice choice = choose(a, s, patches_of(s));
  return choice.inside ? 1 : choice.splits;
}

// `source` and `weights` as arranged; `partial` where warpgroup_splits are more than one.
void run_warpgroups(const ConvArgs& a, const Image& source, const void* weights, void* partial) {
  Shape s = shape_of(a);
  const Choice choice = choose(a, s, patches_of(s));
  const TileKind& kind = kTiles[choice.kind];
  ConvWgmmaArgs p{};
  for (int i = 0; i < 3; ++i) {
    p.classes[i] = static_cast<int32_t>(s.classes[i]);
    p.kernel[i] = static_cast<int32_t>(a.window.kernel[i]);
    for (int64_t j = 0; j < s.classes[i]; ++j) p.axis[i][j] = device_class(axis_class(a, i, j));
  }
  Image x = source, y = a.result;
  if (s.line) {
    // Where pixels don't lie in one line after all, patches are of each image as it is.
    const bool all = in_line(x, true) && in_line(y, true);
    if (all || (in_line(x, false) && in_line(y, false))) {
      x = as_line(x, all);
      y = as_line(y, all);
    }
    for (int i = 0; i < 3; ++i) {
      AxisClass whole = axis_class(a, i, 0);
      whole.count = y.size[i];
      s.count[i] = y.size[i];
      p.axis[i][0] = device_class(whole);
    }
  }
  const Patches patches = patches_of(s);
  const int64_t count = patches.count * y.n;
  const int64_t tiles = divide_up(count, kind.patches) * divide_up(y.c, kind.columns);
  const int64_t splits = choice.inside ? 1 : choice.splits;
  require(count < INT32_MAX && tiles * splits * s.all_classes < INT32_MAX,
          "conv: the result is too large");
  const TensorType type = a.dtype == Dtype::f16 ? TensorType::f16 : TensorType::bf16;
  const int64_t taps = a.window.kernel[0] * a.window.kernel[1] * a.window.kernel[2];
  p.source = map_of_source(type, x, s, patches, a);
  p.weights = map_of_weights(type, weights, x.c, taps, y.c, kind.columns);
  p.result = device_image(y);
  p.bias = a.bias;
  p.partial = partial;
  p.images = static_cast<int32_t>(y.n);
  p.pixels = static_cast<int32_t>(pixels_of(y));
  p.patches = static_cast<int32_t>(count);
  p.patch_shift = static_cast<int32_t>(patches.shift);
  p.copy_bytes = static_cast<uint32_t>(patches.copy_bytes);
  choose_stages(p, kind, s.shared_rows ? s.taps[1] : 1);
  p.tiles = static_cast<uint32_t>(tiles);
  p.work = static_cast<uint32_t>(tiles * splits * s.all_classes);
  p.columns = static_cast<int32_t>(y.c);
  p.steps = static_cast<int32_t>(s.steps);
  p.split_groups = static_cast<int32_t>(choice.split_groups);
  p.block_groups = static_cast<int32_t>(choice.inside ? kAll : choice.split_groups);
  p.shared_rows = s.shared_rows;
  p.relu = a.activation == Activation::relu;
  p.half_bias = is_half(a.bias_dtype);
  bool vectors = y.stride_c == 1 && y.c % 8 == 0 && is_aligned(y.data) && y.stride_n % 8 == 0;
  for (int i = 0; i < 3; ++i) {
    p.across[i] = divider_of(patches.across[i]);
    vectors &= y.stride[i] % 8 == 0;
  }
  p.vectors = vectors;
  p.step_counts = divider_of(s.steps);
  p.tile_counts = divider_of(tiles);
  p.split_counts = divider_of(splits);
  const int64_t bytes = p.a_stages * kind.patches * patches.copy_bytes +
                        p.b_stages * kind.columns * kLine + kChunkBytes +
                        16 * (p.a_stages + p.b_stages);
  const int64_t most = multiprocessors();
  launch(kernels[half_number(a.dtype)][choice.kind],
         {static_cast<uint32_t>(std::min<int64_t>(p.work, most))}, kThreads,
         static_cast<size_t>(bytes), p);
}

}  // namespace medkern::cuda
