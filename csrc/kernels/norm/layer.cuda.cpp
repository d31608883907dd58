// CUDA kernels of layer normalization: what the checked arguments come to on the device.
#include "kernels/norm/layer.cuda.h"

#include <algorithm>
#include <initializer_list>

#include "cuda/align.h"
#include "cuda/launch.h"
#include "cuda/variants.h"
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

Variants forward_by_block = MK_VARIANTS("layer", "layer_norm_by_block");
Variants forward_by_warp = MK_VARIANTS("layer", "layer_norm_by_warp");
Variants gradient_by_block = MK_VARIANTS("layer", "layer_norm_gradient_by_block");
Variants gradient_by_warp = MK_VARIANTS("layer", "layer_norm_gradient_by_warp");
Variants parameter_sums = MK_VARIANTS("layer", "layer_norm_parameter_sums");
WideTypes parameter_gradients = MK_WIDE_TYPES("layer", "layer_norm_parameter_gradients");

int64_t rows_of_chunk(int64_t rows) { return std::max(kLeastRows, divide_up(rows, kMostChunks)); }

int64_t partials(int64_t rows, int64_t width) {
  return divide_up(rows, rows_of_chunk(rows)) * 2 * width;
}

// The arguments, and which of the variants they take.
LayerNormKernelArgs arguments(const LayerNormArgs& l, std::initializer_list<const void*> memory,
                              int64_t& lanes, int& variant) {
  require(l.rows <= kMostSize && l.width <= kMostSize,
          "layer_norm: CUDA kernels take up to 2^30 rows of up to 2^30 elements, got ", l.rows,
          " of ", l.width);
  const int64_t whole = lanes_of(l.dtype);
  const bool vectors = whole > 1 && l.width % whole == 0 && are_aligned(memory);
  lanes = vectors ? whole : 1;
  variant = variant_of(l.dtype, vectors);
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
  int64_t lanes;
  int variant;
  LayerNormKernelArgs a = arguments(l, {l.x, l.y, l.weight, l.bias}, lanes, variant);
  a.y = l.y;
  launch_rows(forward_by_block[variant], forward_by_warp[variant], a);
}

void backward(const LayerNormArgs& l) {
  int64_t lanes;
  int variant;
  LayerNormKernelArgs a = arguments(l, {l.x, l.dy, l.dx, l.weight}, lanes, variant);
  a.y = l.dx;
  if (l.dx != nullptr && a.width > 0) {
    launch_rows(gradient_by_block[variant], gradient_by_warp[variant], a);
  }
  if ((l.dweight == nullptr && l.dbias == nullptr) || a.width == 0) return;
  a.chunk = static_cast<uint32_t>(rows_of_chunk(l.rows));
  a.chunks = static_cast<uint32_t>(divide_up(l.rows, a.chunk));
  a.tiles = norm_tiles(a.width, static_cast<uint32_t>(lanes));
  constexpr size_t kPair = 2 * sizeof(double);
  const uint32_t threads = a.tiles.across * a.tiles.down;
  launch(parameter_sums[variant], {a.chunks, a.tiles.tiles}, threads, threads * lanes * kPair, a);
  const auto blocks = static_cast<uint32_t>(divide_up(l.width, kMergeColumns));
  launch(parameter_gradients[wide_type_of(l.dtype)], {blocks}, kNormThreads, kNormThreads * kPair,
         a);
}

}  // namespace

extern const LayerNormKernels layer_norm_kernels;
constinit const LayerNormKernels layer_norm_kernels = {
    .partials = partials,
    .forward = forward,
    .backward = backward,
};

}  // namespace medkern::cuda
