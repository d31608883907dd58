// CUDA kernels of layer normalization: what the checked arguments come to on the device.
#include "kernels/norm/layer.cuda.h"

#include <algorithm>
#include <initializer_list>

#include "cuda/align.h"
#include "cuda/launch.h"
#include "kernels/norm/norm.h"

namespace medkern::cuda {
namespace {

constexpr int64_t kMostSize = INT32_MAX / 2;
// Longer rows take a block each, shorter ones a warp.
constexpr int64_t kShortRow = 1024;
constexpr int64_t kWarpsOfBlock = kNormThreads / 32;
constexpr size_t kBlockSumBytes = 2 * kWarpsOfBlock * sizeof(double);
// Rows that are summed at once, and into how many parts there is use in cutting all.
constexpr int64_t kLeastRows = 32, kMostChunks = 128;

// Vectors of four float, float, double.
using Variants = Kernel[3];
Variants forward_by_block = {{"layer", "layer_norm_by_block_f32x4"},
                             {"layer", "layer_norm_by_block_f32"},
                             {"layer", "layer_norm_by_block_f64"}};
Variants forward_by_warp = {{"layer", "layer_norm_by_warp_f32x4"},
                            {"layer", "layer_norm_by_warp_f32"},
                            {"layer", "layer_norm_by_warp_f64"}};
Variants gradient_by_block = {{"layer", "layer_norm_gradient_by_block_f32x4"},
                              {"layer", "layer_norm_gradient_by_block_f32"},
                              {"layer", "layer_norm_gradient_by_block_f64"}};
Variants gradient_by_warp = {{"layer", "layer_norm_gradient_by_warp_f32x4"},
                             {"layer", "layer_norm_gradient_by_warp_f32"},
                             {"layer", "layer_norm_gradient_by_warp_f64"}};
Variants parameter_sums = {{"layer", "layer_norm_parameter_sums_f32x4"},
                           {"layer", "layer_norm_parameter_sums_f32"},
                           {"layer", "layer_norm_parameter_sums_f64"}};
Kernel parameter_gradients[2] = {{"layer", "layer_norm_parameter_gradients_f32"},
                                 {"layer", "layer_norm_parameter_gradients_f64"}};

int64_t rows_of_chunk(int64_t rows) { return std::max(kLeastRows, divide_up(rows, kMostChunks)); }

int64_t partials(int64_t rows, int64_t width) {
  return divide_up(rows, rows_of_chunk(rows)) * 2 * width;
}

// The arguments, and which of the variants they take.
LayerNormKernelArgs arguments(const LayerNormArgs& l, std::initializer_list<const void*> memory,
                              int& variant) {
  require(l.rows <= kMostSize && l.width <= kMostSize,
          "layer_norm: CUDA kernels take up to 2^30 rows of up to 2^30 elements, got ", l.rows,
          " of ", l.width);
  const bool vectors = l.dtype == Dtype::f32 && l.width % 4 == 0 && are_aligned(memory);
  variant = vectors ? 0 : l.dtype == Dtype::f32 ? 1 : 2;
  LayerNormKernelArgs a{};
  a.rows = static_cast<uint32_t>(l.rows);
  a.width = static_cast<uint32_t>(l.width);
  a.eps = l.eps;
  a.x = l.x;
  a.dy = l.dy;
  a.weight = l.weight;
  a.bias = l.bias;
  a.dweight = l.dweight;
  a.dbias = l.dbias;
  a.mean = l.mean;
  a.rstd = l.rstd;
  a.partials = l.partials;
  return a;
}

void launch_rows(Kernel& by_block, Kernel& by_warp, const LayerNormKernelArgs& a) {
  if (a.width > kShortRow) {
    launch(by_block, {a.rows}, kNormThreads, kBlockSumBytes, a);
  } else {
    launch(by_warp, {static_cast<uint32_t>(divide_up(a.rows, kWarpsOfBlock))}, kNormThreads, 0, a);
  }
}

void forward(const LayerNormArgs& l) {
  int variant;
  LayerNormKernelArgs a = arguments(l, {l.x, l.y, l.weight, l.bias}, variant);
  a.y = l.y;
  launch_rows(forward_by_block[variant], forward_by_warp[variant], a);
}

void backward(const LayerNormArgs& l) {
  int variant;
  LayerNormKernelArgs a = arguments(l, {l.x, l.dy, l.dx, l.weight}, variant);
  a.y = l.dx;
  if (l.dx != nullptr && a.width > 0) {
    launch_rows(gradient_by_block[variant], gradient_by_warp[variant], a);
  }
  if ((l.dweight == nullptr && l.dbias == nullptr) || a.width == 0) return;
  a.chunk = static_cast<uint32_t>(rows_of_chunk(l.rows));
  a.chunks = static_cast<uint32_t>(divide_up(l.rows, a.chunk));
  const uint32_t lanes = variant == 0 ? 4 : 1;
  a.tiles = norm_tiles(a.width, lanes);
  constexpr size_t kPair = 2 * sizeof(double);
  const uint32_t threads = a.tiles.across * a.tiles.down;
  launch(parameter_sums[variant], {a.chunks, a.tiles.tiles}, threads, threads * lanes * kPair, a);
  const auto blocks = static_cast<uint32_t>(divide_up(l.width, kMergeColumns));
  launch(parameter_gradients[l.dtype == Dtype::f32 ? 0 : 1], {blocks}, kNormThreads,
         kNormThreads * kPair, a);
}

}  // namespace

extern const LayerNormKernels layer_norm_kernels;
constinit const LayerNormKernels layer_norm_kernels = {
    .partials = partials,
    .forward = forward,
    .backward = backward,
};

}  // namespace medkern::cuda
