// CUDA kernels of the gradient of convolution weights for compute capability 9.0: which ones they
// take, jobs, splits and rings (conv_weight_wgmma.sm_90a.cu).
#include <algorithm>

#include "core/status.h"
#include "cuda/launch.h"
#include "kernels/conv/conv_wgmma.h"

namespace medkern::cuda {

namespace {

constexpr uint32_t kThreads = 384;
constexpr int64_t kPatchBytes = 8 << 10;  // of dy
constexpr int64_t kTapsTogether = 3;
constexpr int64_t kShortestSplit = 4;  // patches
constexpr int64_t kMostSplits = 2 * kSplitProcessors;
constexpr int64_t kMostParts = int64_t{1} << 26;  // elements of all parts
constexpr double kRest = 4000;                    // clocks for filling the ring and storing

// [float16 or bfloat16][three taps or one][128 or 64 channels][128 or 64 rows]
#define MK_ROWS(name) {{"conv_weight_wgmma", name "_128"}, {"conv_weight_wgmma", name "_64"}}
#define MK_JOBS(name)                                  \
  {                                                    \
    {MK_ROWS(name "_3_128"), MK_ROWS(name "_3_64")}, { \
      MK_ROWS(name "_1_128"), MK_ROWS(name "_1_64")    \
    }                                                  \
  }
Kernel kernels[2][2][2][2] = {MK_JOBS("conv_weight_wgmma_f16"), MK_JOBS("conv_weight_wgmma_bf16")};

struct Plan {
  bool pointwise;
  int64_t positions[3], taps, span;  // taps of a job
  int64_t blocks, rows;              // of 64 channels of a job; rows of a tile
  int64_t channel_blocks, tap_sets, jobs, row_tiles, job_tiles;
  int64_t x_boxes, dy_boxes;
};

Plan plan_of(const ConvWeightArgs& a) {
  Plan p{};
  const Window& w = a.window;
  std::copy(a.dy.size, a.dy.size + 3, p.positions);
  p.pointwise = is_pointwise(w);
  if (p.pointwise) {
    p.positions[2] *= p.positions[0] * p.positions[1] * a.dy.n;
    p.positions[0] = p.positions[1] = 1;
  }
  const bool together = w.kernel[1] >= kTapsTogether && w.stride[1] == 1 &&
                        (kTapsTogether - 1) * w.dilation[1] <= kMostSpan;
  p.taps = together ? kTapsTogether : 1;
  p.span = (p.taps - 1) * w.dilation[1];
  p.blocks = a.x.c > kBlockChannels ? 2 : 1;
  p.rows = a.dy.c > kBlockChannels ? 2 * kBlockChannels : kBlockChannels;
  p.channel_blocks = divide_up(a.x.c, p.blocks * kBlockChannels);
  p.tap_sets = divide_up(w.kernel[1], p.taps);
  p.jobs = p.channel_blocks * p.tap_sets * w.kernel[0] * w.kernel[2];
  p.row_tiles = divide_up(a.dy.c, p.rows);
  const bool pair = p.rows > kBlockChannels;
  p.job_tiles = pair ? p.jobs : divide_up(p.jobs, 2);
  p.dy_boxes = pair ? 2 : 1;
  p.x_boxes = p.blocks * (pair ? 1 : 2);
  return p;
}

Patches patches_for(const ConvWeightArgs& a, const Plan& p) {
  return patches_of(p.positions, p.span, a.window.stride[2]);
}

int64_t patches_of_batch(const ConvWeightArgs& a, const Plan& p, const Patches& patches) {
  return patches.count * (p.pointwise ? 1 : a.dy.n);
}

// Patches of a split, by shape: few waves of blocks, and not too much to be added.
int64_t split_patches(const ConvWeightArgs& a, const Plan& p) {
  const Patches patches = patches_for(a, p);
  const int64_t count = patches_of_batch(a, p, patches), tiles = p.row_tiles * p.job_tiles;
  const int64_t parts = a.dy.c * taps_of(a.window) * padded_channels(a.x.c, 8);
  const auto bytes = static_cast<double>(p.dy_boxes * kPatchBytes + p.x_boxes * patches.copy_bytes);
  const double products = 280.0 * static_cast<double>(p.taps * p.blocks);
  const double each = std::max(products, bytes * kSplitProcessors / kL2All);
  const int64_t most =
      std::clamp<int64_t>(std::min(count / kShortestSplit, kMostParts / parts), 1, kMostSplits);
  int64_t best = count;
  double least = 0;
  for (int64_t splits = 1; splits <= most; ++splits) {
    const int64_t some = divide_up(count, splits);
    const auto waves =
        static_cast<double>(divide_up(tiles * divide_up(count, some), kSplitProcessors));
    const double clocks = waves * (static_cast<double>(some) * each + kRest) +
                          8 * static_cast<double>(splits * parts) / kL2All;
    if (splits > 1 && clocks >= least) continue;
    least = clocks;
    best = some;
  }
  return best;
}

}  // namespace

bool takes_warpgroups(const ConvWeightArgs& a) {
  if (!is_half(a.dtype) || a.groups != 1 || compute_capability() != 90) return false;
  for (const int64_t channels : {a.x.c, a.dy.c}) {
    const int64_t whole = divide_up(channels, kBlockChannels) * kBlockChannels;
    if (channels < kBlockChannels || 4 * channels < 3 * whole) return false;
  }
  int64_t pixels = a.dy.n;
  for (int i = 0; i < 3; ++i) {
    if (a.window.stride[i] > kMostSteps || a.x.size[i] == 0) return false;
    pixels *= a.dy.size[i];
  }
  if (pixels == 0) return false;
  const Plan p = plan_of(a);
  return 2 * pixels >= patches_of_batch(a, p, patches_for(a, p)) * kPatchPixels;
}

int64_t warpgroup_splits(const ConvWeightArgs& a) {
  const Plan p = plan_of(a);
  return divide_up(patches_of_batch(a, p, patches_for(a, p)), split_patches(a, p));
}

// `x` and `dy` as arranged.
void run_warpgroups(const ConvWeightArgs& a, const Image& x, const Image& dy, void* partial) {
  const Plan plan = plan_of(a);
  const Window& w = a.window;
  const bool pair = plan.rows > kBlockChannels;
  const Patches patches = patches_for(a, plan);
  const int64_t count = patches_of_batch(a, plan, patches), each = split_patches(a, plan);
  const int64_t work = plan.row_tiles * plan.job_tiles * divide_up(count, each);
  require(count < INT32_MAX && work < INT32_MAX, "conv_backward_weight: the images are too large");
  ConvWeightWgmmaArgs p{};
  const Image some_x = plan.pointwise ? as_line(x, true) : x;
  const Image some_dy = plan.pointwise ? as_line(dy, true) : dy;
  p.x = map_of_image(a.dtype, some_x, patches, plan.span, w.stride[1], w.stride[2]);
  p.dy = map_of_image(a.dtype, some_dy, patches, 0, 1, 1);
  p.partial = partial;
  p.patches = static_cast<int32_t>(count);
  p.split_patches = static_cast<int32_t>(each);
  p.patch_shift = static_cast<int32_t>(patches.shift);
  p.copy_bytes = static_cast<uint32_t>(patches.copy_bytes);
  const int64_t stage = plan.dy_boxes * kPatchBytes + plan.x_boxes * patches.copy_bytes;
  p.stages = static_cast<int32_t>(std::min<int64_t>((kSharedBytes - kBarrierBytes) / stage, 8));
  p.rows = static_cast<int32_t>(a.dy.c);
  p.channels = static_cast<int32_t>(x.c);
  for (int i = 0; i < 3; ++i) {
    p.kernel[i] = static_cast<int32_t>(w.kernel[i]);
    p.stride[i] = static_cast<int32_t>(w.stride[i]);
    p.pad[i] = static_cast<int32_t>(w.pad_before[i]);
    p.dilation[i] = static_cast<int32_t>(w.dilation[i]);
    p.across[i] = divider_of(patches.across[i]);
  }
  p.work = static_cast<uint32_t>(work);
  p.row_tiles = divider_of(plan.row_tiles);
  p.job_tiles = divider_of(plan.job_tiles);
  p.channel_blocks = divider_of(plan.channel_blocks);
  p.tap_sets = divider_of(plan.tap_sets);
  p.taps_w = divider_of(w.kernel[2]);
  const int64_t most = multiprocessors();
  launch(kernels[half_number(a.dtype)][plan.taps == 1][plan.blocks == 1][!pair],
         {static_cast<uint32_t>(std::min(work, most))}, kThreads,
         static_cast<size_t>(p.stages * stage + 16 * p.stages), p);
}

}  // namespace medkern::cuda
