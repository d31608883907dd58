// CUDA kernels of the gradient of convolution weights: what is brought into order before, tiles and
// splits.
#include "core/status.h"
#include "cuda/launch.h"
#include "kernels/conv/conv_wgmma.h"

namespace medkern::cuda {

size_t conv_backward_weight_workspace(const ConvWeightArgs& args);
void conv_backward_weight(const ConvWeightArgs& args);

namespace {

constexpr int64_t kShortestSplit = 256;
constexpr int64_t kMostParts = int64_t{1} << 26;  // elements of all parts
constexpr int64_t kWarp = 32, kDepthwiseBlocks = 8 * kSplitProcessors;
constexpr size_t kStartBytes = 8 * 16;  // where windows begin, in shared memory, for each k

struct TileKind {
  int64_t side;
  uint32_t threads;
  size_t shared_bytes;
  int64_t blocks;  // to aim at, on one multiprocessor
};
constexpr TileKind kLarge{128, 256, 3 * 2 * 128 * 32 * 4, 2};
constexpr TileKind kSmall{64, 128, 3 * 2 * 64 * 32 * 4, 6};
constexpr TileKind kPlain{64, 256, 2 * 16 * 66 * 8, 4};

// [precision][large or small]
Kernel tile_kernels[3][2] = {
    {{"conv_weight", "conv_weight_f32_large"}, {"conv_weight", "conv_weight_f32_small"}},
    {{"conv_weight", "conv_weight_tf32_large"}, {"conv_weight", "conv_weight_tf32_small"}},
    {{"conv_weight", "conv_weight_bf16_large"}, {"conv_weight", "conv_weight_bf16_small"}},
};
// [float16 or bfloat16]
Kernel half_kernels[2][2] = {
    {{"conv_half", "conv_half_f16_weight_large"}, {"conv_half", "conv_half_f16_weight_small"}},
    {{"conv_half", "conv_half_bf16_weight_large"}, {"conv_half", "conv_half_bf16_weight_small"}},
};
Kernel half_plain[2] = {{"conv_half", "conv_half_f16_weight_plain"},
                        {"conv_half", "conv_half_bf16_weight_plain"}};
Kernel half_depthwise[2] = {{"conv_depthwise", "conv_depthwise_weight_f16"},
                            {"conv_depthwise", "conv_depthwise_weight_bf16"}};
Kernel half_reduce[2] = {{"conv_half", "conv_half_f16_weight_reduce"},
                         {"conv_half", "conv_half_bf16_weight_reduce"}};
Kernel plain_f32{"conv_weight", "conv_weight_plain_f32"};
Kernel plain_f64{"conv_weight", "conv_weight_plain_f64"};
Kernel depthwise_f32{"conv_depthwise", "conv_depthwise_weight_f32"};
Kernel depthwise_f64{"conv_depthwise", "conv_depthwise_weight_f64"};
Kernel reduce_f32{"conv_weight", "conv_weight_reduce_f32"};
Kernel reduce_f64{"conv_weight", "conv_weight_reduce_f64"};

struct Plan {
  bool depthwise;  // one channel of x for each of dy
  bool fast, arrange_x, arrange_dy;
  bool warpgroups;  // of compute capability 9.0 (conv_weight_wgmma.cuda.cpp)
  int64_t rows, channels, padded, taps, pixels;  // of a group; of dy
  const TileKind* kind;
  int64_t tiles, splits, split_k;
  size_t x_at, dy_at, partial_at, bytes;
};

Plan plan_of(const ConvWeightArgs& a) {
  Plan p{};
  p.rows = a.dy.c / a.groups;
  p.channels = a.x.c / a.groups;
  p.taps = taps_of(a.window);
  p.pixels = pixels_of(a.dy);
  const int64_t vector = vector_of(a.dtype), slice = slice_of(a.dtype);
  const Dtype sums = a.dtype == Dtype::f64 ? Dtype::f64 : Dtype::f32;
  const Image x = arranged_image(a.x, a.groups, vector, nullptr);
  const Image dy = arranged_image(a.dy, a.groups, vector, nullptr);
  p.arrange_x = !has_vectors(a.x, a.groups, vector);
  p.arrange_dy = !has_vectors(a.dy, a.groups, vector) || !is_linear(a.dy);
  p.depthwise = p.channels == 1 && a.groups > 1 && p.taps <= UINT16_MAX;
  p.fast = !p.depthwise && a.dtype != Dtype::f64 && fits_32_bits(p.arrange_x ? x : a.x) &&
           fits_32_bits(p.arrange_dy ? dy : a.dy);
  p.arrange_x &= p.fast;
  p.arrange_dy &= p.fast;
  p.padded = p.fast ? padded_channels(p.channels, vector) : p.channels;
  const int64_t columns = p.taps * p.padded;
  const bool large = p.rows > 64 && columns > 64;
  p.kind = !p.fast ? &kPlain : large ? &kLarge : &kSmall;
  p.tiles = divide_up(p.rows, p.kind->side) * divide_up(columns, p.kind->side);
  const int64_t parts = std::max<int64_t>(a.groups * p.rows * columns, 1);
  int64_t splits = kSplitProcessors * p.kind->blocks / std::max<int64_t>(p.tiles * a.groups, 1);
  if (p.depthwise) {
    splits = kDepthwiseBlocks / std::max<int64_t>(divide_up(a.dy.c, kWarp) * p.taps, 1);
  }
  splits = std::min({splits, p.pixels / kShortestSplit, kMostParts / parts});
  p.split_k = divide_up(divide_up(p.pixels, std::max<int64_t>(splits, 1)), slice) * slice;
  p.split_k = std::max(p.split_k, slice);
  p.splits = std::max<int64_t>(divide_up(p.pixels, p.split_k), 1);
  p.warpgroups = p.fast && takes_warpgroups(a);
  // Those take the pixels of a pointwise window as one line.
  p.arrange_x |= p.warpgroups && is_pointwise(a.window) && !is_linear(a.x);
  if (p.warpgroups) p.splits = warpgroup_splits(a);
  Scratch scratch;
  p.x_at = scratch.take(p.arrange_x ? pixels_of(x) * x.c : 0, a.dtype);
  p.dy_at = scratch.take(p.arrange_dy ? pixels_of(dy) * dy.c : 0, a.dtype);
  p.partial_at = scratch.take(p.splits * parts, sums);
  p.bytes = scratch.bytes;
  return p;
}

}  // namespace

size_t conv_backward_weight_workspace(const ConvWeightArgs& a) { return plan_of(a).bytes; }

void conv_backward_weight(const ConvWeightArgs& a) {
  expect_conv_sizes("conv_backward_weight", a.x);
  expect_conv_sizes("conv_backward_weight", a.dy);
  const Plan plan = plan_of(a);
  require(plan.depthwise || a.groups <= UINT16_MAX,
          "conv_backward_weight: CUDA kernels take up to 65535 groups, got ", a.groups);
  char* scratch = static_cast<char*>(a.workspace);
  Image x = a.x, dy = a.dy;
  if (plan.arrange_x) {
    arrange_image(a.dtype, x, a.groups, scratch + plan.x_at);
    x = arranged_image(x, a.groups, vector_of(a.dtype), scratch + plan.x_at);
  }
  if (plan.arrange_dy) {
    arrange_image(a.dtype, dy, a.groups, scratch + plan.dy_at);
    dy = arranged_image(dy, a.groups, vector_of(a.dtype), scratch + plan.dy_at);
  }

  ConvWeightKernelArgs p{};
  p.x = device_image(x);
  p.dy = device_image(dy);
  if (plan.fast) p.dy.stride[2] = dy.stride[2] != 0 ? dy.stride[2] : dy.c;
  p.partial = scratch + plan.partial_at;
  p.pixels = static_cast<int32_t>(plan.pixels);
  p.split_k = static_cast<int32_t>(std::min<int64_t>(plan.split_k, INT32_MAX));
  p.rows = static_cast<int32_t>(plan.rows);
  p.channels = static_cast<int32_t>(plan.padded);
  p.taps = static_cast<int32_t>(plan.taps);
  p.dy_group = static_cast<int32_t>(dy.c / a.groups);
  for (int i = 0; i < 3; ++i) {
    p.stride[i] = static_cast<int32_t>(a.window.stride[i]);
    p.pad[i] = static_cast<int32_t>(a.window.pad_before[i]);
    p.dilation[i] = static_cast<int32_t>(a.window.dilation[i]);
    p.size[i] = divider_of(a.dy.size[i]);
    p.kernel[i] = divider_of(a.window.kernel[i]);
  }
  p.channel_counts = divider_of(plan.padded);
  const bool half = is_half(a.dtype), f64 = a.dtype == Dtype::f64, small = plan.kind == &kSmall;
  const int type = half_number(a.dtype);
  Kernel& kernel = half        ? (plan.fast ? half_kernels[type][small] : half_plain[type])
                   : plan.fast ? tile_kernels[matmul_precision()][small]
                   : f64       ? plain_f64
                               : plain_f32;
  if (plan.warpgroups) {
    run_warpgroups(a, x, dy, p.partial);
  } else if (plan.depthwise) {
    p.dy_group = static_cast<int32_t>(a.dy.c);
    const Grid grid{static_cast<uint32_t>(divide_up(a.dy.c, kWarp)),
                    static_cast<uint32_t>(plan.taps), static_cast<uint32_t>(plan.splits)};
    launch(half  ? half_depthwise[type]
           : f64 ? depthwise_f64
                 : depthwise_f32,
           grid, 256, 256 * (f64 ? sizeof(double) : sizeof(float)), p);
  } else {
    const Grid grid{static_cast<uint32_t>(plan.tiles), static_cast<uint32_t>(plan.splits),
                    static_cast<uint32_t>(a.groups)};
    const size_t starts = plan.fast ? slice_of(a.dtype) * kStartBytes : 0;
    launch(kernel, grid, plan.kind->threads, plan.kind->shared_bytes + starts, p);
  }
  const ConvWeightReduceArgs r{p.partial,
                               a.dweight,
                               static_cast<int32_t>(plan.splits),
                               static_cast<int32_t>(a.dy.c),
                               static_cast<int32_t>(plan.channels),
                               p.channels,
                               p.taps};
  Kernel& reduce = is_half(a.dweight_dtype) ? half_reduce[type] : f64 ? reduce_f64 : reduce_f32;
  launch(reduce, {blocks_for(a.dy.c * plan.taps * plan.padded, 256)}, 256, 0, r);
}

}  // namespace medkern::cuda
