// CUDA kernels of softmax and cross-entropy: what the checked arguments come to on the device.
#include "kernels/softmax/softmax.cuda.h"

#include <algorithm>

#include "cuda/launch.h"
#include "kernels/softmax/softmax.h"

namespace medkern::cuda {
namespace {

constexpr int64_t kMostSize = INT32_MAX / 2;
// Longer axes don't go by tiles; a tile has about so many numbers, of whole warps of elements.
constexpr int64_t kTileAxis = 64, kTileNumbers = 4096, kTileMultiple = 32;
// Longer rows take a block each, shorter ones a warp.
constexpr int64_t kShortRow = 32 * kRowNumbers, kLongestInRegisters = 256 * kRowNumbers;
constexpr int64_t kWarps = kSoftmaxThreads / 32;
// What a block merges with: a number a warp and result, three results at most.
constexpr size_t kMergeBytes = 3 * kWarps * sizeof(double);

enum Way { kTile, kLine, kWarpRow, kBlockRow };

Way way_of(const SoftmaxShape& s) {
  if (s.axis <= kTileAxis) return kTile;
  if (s.inner > 1) return kLine;
  return s.axis <= kShortRow ? kWarpRow : kBlockRow;
}

int64_t divide_up(int64_t a, int64_t b) { return (a + b - 1) / b; }

int64_t tile_elements(const SoftmaxShape& s) {
  return std::max<int64_t>(kTileNumbers / (s.axis * kTileMultiple), 1) * kTileMultiple;
}

// Tiles of a run of elements: those of an outer index, or, of inner 1, all.
int64_t tiles_of_run(const SoftmaxShape& s) {
  return divide_up(s.inner > 1 ? s.inner : s.outer, tile_elements(s));
}

int64_t blocks_of(const SoftmaxShape& s) {
  const int64_t elements = s.outer * s.inner;
  if (elements == 0) return 0;
  switch (way_of(s)) {
    case kTile:
      return (s.inner > 1 ? s.outer : 1) * tiles_of_run(s);
    case kLine:
      return divide_up(elements, kSoftmaxThreads);
    case kWarpRow:
      return divide_up(elements, kWarps);
    default:
      return elements;
  }
}

// The kernels of a pass. Rows: vectors of four float, float, double; else float, double.
struct Pass {
  Kernel tile[2], line[2], warp_row[3], block_row[3];
};
Pass softmax_forward{{{"softmax", "softmax_tile_f32"}, {"softmax", "softmax_tile_f64"}},
                     {{"softmax", "softmax_line_f32"}, {"softmax", "softmax_line_f64"}},
                     {{"softmax", "softmax_warp_row_f32x4"},
                      {"softmax", "softmax_warp_row_f32"},
                      {"softmax", "softmax_warp_row_f64"}},
                     {{"softmax", "softmax_block_row_f32x4"},
                      {"softmax", "softmax_block_row_f32"},
                      {"softmax", "softmax_block_row_f64"}}};
Pass softmax_backward{
    {{"softmax", "softmax_backward_tile_f32"}, {"softmax", "softmax_backward_tile_f64"}},
    {{"softmax", "softmax_backward_line_f32"}, {"softmax", "softmax_backward_line_f64"}},
    {{"softmax", "softmax_backward_warp_row_f32x4"},
     {"softmax", "softmax_backward_warp_row_f32"},
     {"softmax", "softmax_backward_warp_row_f64"}},
    {{"softmax", "softmax_backward_block_row_f32x4"},
     {"softmax", "softmax_backward_block_row_f32"},
     {"softmax", "softmax_backward_block_row_f64"}}};
Pass loss_forward{
    {{"cross_entropy", "cross_entropy_tile_f32"}, {"cross_entropy", "cross_entropy_tile_f64"}},
    {{"cross_entropy", "cross_entropy_line_f32"}, {"cross_entropy", "cross_entropy_line_f64"}},
    {{"cross_entropy", "cross_entropy_warp_row_f32x4"},
     {"cross_entropy", "cross_entropy_warp_row_f32"},
     {"cross_entropy", "cross_entropy_warp_row_f64"}},
    {{"cross_entropy", "cross_entropy_block_row_f32x4"},
     {"cross_entropy", "cross_entropy_block_row_f32"},
     {"cross_entropy", "cross_entropy_block_row_f64"}}};
Pass loss_backward{{{"cross_entropy", "cross_entropy_backward_tile_f32"},
                    {"cross_entropy", "cross_entropy_backward_tile_f64"}},
                   {{"cross_entropy", "cross_entropy_backward_line_f32"},
                    {"cross_entropy", "cross_entropy_backward_line_f64"}},
                   {{"cross_entropy", "cross_entropy_backward_warp_row_f32x4"},
                    {"cross_entropy", "cross_entropy_backward_warp_row_f32"},
                    {"cross_entropy", "cross_entropy_backward_warp_row_f64"}},
                   {{"cross_entropy", "cross_entropy_backward_block_row_f32x4"},
                    {"cross_entropy", "cross_entropy_backward_block_row_f32"},
                    {"cross_entropy", "cross_entropy_backward_block_row_f64"}}};
Kernel loss_reduce[2] = {{"cross_entropy", "cross_entropy_reduce_f32"},
                         {"cross_entropy", "cross_entropy_reduce_f64"}};

bool is_aligned(const void* p) { return reinterpret_cast<uintptr_t>(p) % 16 == 0; }

SoftmaxKernelArgs arguments(const SoftmaxShape& s, const void* x, const void* dy, void* y) {
  SoftmaxKernelArgs a{};
  a.elements = s.outer * s.inner;
  a.inner = s.inner;
  a.axis = static_cast<uint32_t>(s.axis);
  a.x = x;
  a.dy = dy;
  a.y = y;
  if (a.elements == 0) return a;
  require(blocks_of(s) <= kMostSize && s.axis <= kMostSize && tiles_of_run(s) <= kMostSize,
          "CUDA kernels of softmax take up to 2^30 tiles of elements and classes, got ", s.outer,
          " x ", s.axis, " x ", s.inner);
  const int64_t lanes = 16 / static_cast<int64_t>(size_of(s.dtype));
  // Tiles are copied 16 bytes at once if they are float and their rows whole vectors; of rows it is
  // the axis that has to be.
  a.vectors = s.dtype == Dtype::f32 && (s.inner > 1 ? s.inner : s.axis) % lanes == 0 &&
              is_aligned(x) && is_aligned(dy) && is_aligned(y);
  if (way_of(s) != kTile) return a;
  if (s.inner == 1) a.vectors = false;
  a.tile = static_cast<uint32_t>(tile_elements(s));
  a.step = s.inner > 1 ? a.tile : 1;
  a.pitch = s.inner > 1 ? 1 : a.axis | 1;  // an odd one: no two threads meet in a bank
  a.by_tiles = divider(static_cast<uint32_t>(tiles_of_run(s)));
  a.by_axis = divider(a.axis);
  a.by_tile = divider(a.vectors ? a.tile / 4 : a.tile);
  return a;
}

const SoftmaxKernelArgs& softmax_of(const SoftmaxKernelArgs& a) { return a; }
const SoftmaxKernelArgs& softmax_of(const CrossEntropyKernelArgs& a) { return a.softmax; }

// Tiles take `arrays` arrays of numbers and `per_element` bytes in shared memory.
template <class Args>
void run(Pass& pass, const SoftmaxShape& s, const Args& args, size_t arrays, size_t per_element) {
  const SoftmaxKernelArgs& a = softmax_of(args);
  const int dtype = s.dtype == Dtype::f32 ? 0 : 1;
  const Grid grid{static_cast<uint32_t>(blocks_of(s))};
  switch (way_of(s)) {
    case kTile: {
      const size_t numbers = size_t{a.tile} * (s.inner > 1 ? a.axis : a.pitch);
      const size_t bytes = arrays * numbers * size_of(s.dtype) + a.tile * per_element;
      return launch(pass.tile[dtype], grid, kSoftmaxThreads, std::max(bytes, kMergeBytes), args);
    }
    case kLine:
      return launch(pass.line[dtype], grid, kSoftmaxThreads, kMergeBytes, args);
    case kWarpRow:
      return launch(pass.warp_row[a.vectors ? 0 : 1 + dtype], grid, kSoftmaxThreads, kMergeBytes,
                    args);
    case kBlockRow: {
      const bool registers = a.vectors && s.axis <= kLongestInRegisters;
      return launch(pass.block_row[registers ? 0 : 1 + dtype], grid, kSoftmaxThreads, kMergeBytes,
                    args);
    }
  }
}

void forward(const SoftmaxArgs& s) {
  SoftmaxKernelArgs a = arguments(s.shape, s.x, nullptr, s.y);
  a.logarithmic = s.logarithmic;
  run(softmax_forward, s.shape, a, 1, 2 * size_of(s.shape.dtype));
}

void backward(const SoftmaxArgs& s) {
  SoftmaxKernelArgs a = arguments(s.shape, s.x, s.dy, s.y);
  a.logarithmic = s.logarithmic;
  run(softmax_backward, s.shape, a, 2, size_of(s.shape.dtype));
}

int64_t partials(const SoftmaxShape& s) { return blocks_of(s); }

CrossEntropyKernelArgs loss_arguments(const CrossEntropyArgs& c) {
  CrossEntropyKernelArgs a{};
  a.softmax = arguments(c.shape, c.logits, nullptr, c.dlogits);
  a.target = c.target;
  a.weight = c.weight;
  a.target_bytes = static_cast<int32_t>(size_of(c.target_dtype));
  a.ignore_index = c.ignore_index;
  a.smoothing = c.smoothing;
  a.smoothing_each = c.smoothing / static_cast<double>(c.shape.axis);
  a.losses = c.losses;
  a.partials = c.partials;
  a.blocks = static_cast<uint32_t>(blocks_of(c.shape));
  a.loss = c.loss;
  a.total_weight = c.total_weight;
  a.mean = c.mean;
  a.dloss = c.dloss;
  a.dloss_per_element = c.dloss_per_element;
  return a;
}

void loss(const CrossEntropyArgs& c) {
  const CrossEntropyKernelArgs a = loss_arguments(c);
  if (a.blocks > 0) run(loss_forward, c.shape, a, 1, 0);
  launch(loss_reduce[c.shape.dtype == Dtype::f32 ? 0 : 1], {1}, kSoftmaxThreads, kMergeBytes, a);
}

void loss_gradient(const CrossEntropyArgs& c) {
  // m, factor, each, share and target of an element.
  run(loss_backward, c.shape, loss_arguments(c), 1, 5 * size_of(c.shape.dtype));
}

}  // namespace

extern const SoftmaxKernels softmax_kernels;
constinit const SoftmaxKernels softmax_kernels = {
    .forward = forward,
    .backward = backward,
};

extern const CrossEntropyKernels cross_entropy_kernels;
constinit const CrossEntropyKernels cross_entropy_kernels = {
    .partials = partials,
    .forward = loss,
    .backward = loss_gradient,
};

}  // namespace medkern::cuda
