// CUDA kernels of convolution for compute capability 9.0: which convolutions they take, patches,
// tiles, splits and rings (conv_wgmma.sm_90a.cu).
#include "kernels/conv/conv_wgmma.h"

#include <algorithm>

#include "core/status.h"
#include "cuda/align.h"
#include "cuda/launch.h"

namespace medkern::cuda {

namespace {

constexpr uint32_t kThreads = 384;
constexpr int64_t kMostPatchBytes = 16 << 10;  // of a box of the source
constexpr int64_t kMostBox = 256;              // places from end to end of a box
constexpr int64_t kChunkBytes = 8 * 16 * 72 * 2;
constexpr int64_t kRingBytes = kSharedBytes - kChunkBytes - kBarrierBytes;
constexpr int64_t kLeastColumns = 64;
constexpr int64_t kShortestSplit = 16;  // steps of 128 bytes of channels
constexpr int64_t kAll = 1 << 30;

// A tile, clocks of the tensor cores for 128 bytes of channels of it, clocks of all else, and
// whether a block can add splits.
struct TileKind {
  int64_t patches, columns;
  double products, rest;
  bool adds;
};
constexpr TileKind kTiles[] = {{4, 128, 1080, 3500, false},
                               {4, 64, 600, 2500, true},
                               {2, 128, 560, 2500, true},
                               {2, 64, 320, 2000, true}};
// [tf32, float16 or bfloat16][tile]
Kernel kernels[3][4] = {{{"conv_wgmma", "conv_wgmma_tf32_256_128"},
                         {"conv_wgmma", "conv_wgmma_tf32_256_64"},
                         {"conv_wgmma", "conv_wgmma_tf32_128_128"},
                         {"conv_wgmma", "conv_wgmma_tf32_128_64"}},
                        {{"conv_wgmma", "conv_wgmma_f16_256_128"},
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
  int64_t all_classes, steps,
      groups;  // steps of 128 bytes of channels; groups of the largest class
  bool line;   // a pixel of the result comes from one of the source
  bool shared_rows;
  int64_t span;  // rows that taps along h add to a patch
  int64_t step;  // from pixel to pixel along w in the source
};

Shape shape_of(const ConvArgs& a) {
  Shape s{};
  s.all_classes = 1;
  s.line = is_pointwise(a.window);
  for (int i = 0; i < 3; ++i) {
    s.classes[i] = axis_classes(a, i);
    s.all_classes *= s.classes[i];
    for (int64_t j = 0; j < s.classes[i] && j < kMostWgmmaClasses; ++j) {
      const AxisClass c = axis_class(a, i, j);
      s.count[i] = std::max(s.count[i], c.count);
      s.taps[i] = std::max(s.taps[i], c.taps);
      if (i == 1) s.span = std::max(s.span, (c.taps - 1) * c.in_tap_step);
    }
  }
  if (s.line) {
    s.count[2] *= s.count[0] * s.count[1];
    s.count[0] = s.count[1] = 1;
  }
  const bool adjacent = a.backward || a.window.stride[1] == 1;
  s.shared_rows = adjacent && s.taps[1] > 1 && s.span <= kMostSpan;
  if (!s.shared_rows) s.span = 0;
  s.step = a.backward ? 1 : a.window.stride[2];
  s.steps = divide_up(a.source.c, slice_of(a.dtype));
  s.groups = s.taps[0] * (s.shared_rows ? 1 : s.taps[1]) * s.taps[2] * s.steps;
  return s;
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
                         static_cast<double>(kind.columns * kBlockBytes);
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

TensorMap map_of_weights(Dtype dtype, const void* weights, int64_t channels, int64_t taps,
                         int64_t columns, int64_t tile_columns) {
  const int64_t all = columns * taps * channels;
  return encode_grid(
      tensor_type(dtype), weights,
      {{channels, taps, columns, 1, 1},
       {channels, taps * channels, all, all},
       {static_cast<uint32_t>(slice_of(dtype)), 1, static_cast<uint32_t>(tile_columns), 1, 1},
       {1, 1, 1, 1, 1}});
}

// Stages of the rings: as many products ahead as there is room for.
void choose_stages(ConvWgmmaArgs& p, const TileKind& kind, int64_t taps) {
  const int64_t a_bytes = kind.patches * p.copy_bytes, b_bytes = kind.columns * kBlockBytes;
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

Patches patches_of(const int64_t (&positions)[3], int64_t span, int64_t step) {
  Patches best{};
  for (int64_t shift = 3; shift <= 6; ++shift) {
    const int64_t width = int64_t{1} << shift, height = kPatchPixels / width;
    Patches p{shift,
              {positions[0], divide_up(positions[1], height), divide_up(positions[2], width)},
              0,
              width * (height + span) * kBlockBytes};
    p.count = p.across[0] * p.across[1] * p.across[2];
    if (p.copy_bytes > kMostPatchBytes || width * step > kMostBox) continue;
    if (best.shift == 0 || p.count < best.count) best = p;  // the widest has the largest box
  }
  return best;
}

bool is_pointwise(const Window& w) {
  bool pointwise = true;
  for (int i = 0; i < 3; ++i) {
    pointwise &=
        w.kernel[i] == 1 && w.stride[i] == 1 && w.pad_before[i] == 0 && w.pad_after[i] == 0;
  }
  return pointwise;
}

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

TensorMap map_of_image(Dtype dtype, const Image& image, const Patches& patches, int64_t span,
                       int64_t step_h, int64_t step_w) {
  const int64_t width = int64_t{1} << patches.shift;
  const int64_t sizes[] = {image.c, image.size[2], image.size[1], image.size[0], image.n};
  const int64_t strides[] = {1, image.stride[2], image.stride[1], image.stride[0], image.stride_n};
  const int64_t box[] = {slice_of(dtype), width, kPatchPixels / width + span, 1, 1};
  const int64_t steps[] = {1, step_w, step_h, 1, 1};
  TensorGrid g{};
  for (int i = 0; i < 5; ++i) {
    g.sizes[i] = sizes[i];
    g.box[i] = static_cast<uint32_t>(box[i]);
    g.steps[i] = static_cast<uint32_t>(steps[i]);
    if (i == 0) continue;
    // An axis with one place has no stride of its own.
    const int64_t packed = i == 1 ? image.c : g.strides[i - 2] * sizes[i - 1];
    g.strides[i - 1] = sizes[i] > 1 ? strides[i] : packed;
  }
  return encode_grid(tensor_type(dtype), image.data, g);
}

// By the sizes of one image: other kernels may sum in another order.
bool takes_warpgroups(const ConvArgs& a) {
  const bool tf32 = a.dtype == Dtype::f32 && matmul_precision() == MK_PRECISION_TF32;
  if (!(is_half(a.dtype) || tf32) || a.groups != 1 || compute_capability() != 90) return false;
  if (a.source.c < slice_of(a.dtype) || a.result.c < kLeastColumns) return false;
  const Shape s = shape_of(a);
  for (int i = 0; i < 3; ++i) {
    const bool fits =
        a.backward ? s.classes[i] <= kMostWgmmaClasses : a.window.stride[i] <= kMostSteps;
    if (!fits || s.count[i] == 0 || a.source.size[i] == 0) return false;
  }
  // At least half of the rows of products are pixels, and 3/4 of the channels.
  const Patches patches = patches_of(s.count, s.span, s.step);
  const int64_t pixels = s.count[0] * s.count[1] * s.count[2];
  return 2 * pixels >= patches.count * kPatchPixels &&
         4 * a.source.c >= 3 * s.steps * slice_of(a.dtype);
}

// Of a forward pass that they take: patches are the chunks, if all are whole, however pixels lie.
bool warpgroups_give_moments(const ConvArgs& a) {
  const Shape s = shape_of(a);
  const int64_t pixels = a.result.size[0] * a.result.size[1] * a.result.size[2];
  return is_half(a.dtype) && patches_of(s.count, s.span, s.step).count * kPatchPixels == pixels &&
         patches_of(a.result.size, s.span, s.step).count * kPatchPixels == pixels;
}

// Splits that leave partial sums.
int64_t warpgroup_splits(const ConvArgs& a) {
  const Shape s = shape_of(a);
  const Choice choice = choose(a, s, patches_of(s.count, s.span, s.step));
  return choice.inside ? 1 : choice.splits;
}

// `source` and `weights` as arranged; `partial` where warpgroup_splits are more than one.
void run_warpgroups(const ConvArgs& a, const Image& source, const void* weights, void* partial) {
  Shape s = shape_of(a);
  const Choice choice = choose(a, s, patches_of(s.count, s.span, s.step));
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
  const Patches patches = patches_of(s.count, s.span, s.step);
  const int64_t count = patches.count * y.n;
  const int64_t tiles = divide_up(count, kind.patches) * divide_up(y.c, kind.columns);
  const int64_t splits = choice.inside ? 1 : choice.splits;
  require(count < INT32_MAX && tiles * splits * s.all_classes < INT32_MAX,
          "conv: the result is too large");
  const int64_t taps = a.window.kernel[0] * a.window.kernel[1] * a.window.kernel[2];
  p.source = map_of_image(a.dtype, x, patches, s.span, a.backward ? 1 : a.window.stride[1], s.step);
  p.weights = map_of_weights(a.dtype, weights, x.c, taps, y.c, kind.columns);
  p.result = device_image(y);
  p.bias = a.bias;
  p.partial = partial;
  p.moments = a.moments;
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
                        p.b_stages * kind.columns * kBlockBytes + kChunkBytes +
                        16 * (p.a_stages + p.b_stages + 1);
  const int64_t most = multiprocessors();
  launch(kernels[is_half(a.dtype) ? 1 + half_number(a.dtype) : 0][choice.kind],
         {static_cast<uint32_t>(std::min<int64_t>(p.work, most))}, kThreads,
         static_cast<size_t>(bytes), p);
}

}  // namespace medkern::cuda
