// CUDA kernels of softmax and cross-entropy: what the checked arguments come to on the device.
#include "kernels/softmax/softmax.cuda.h"

#include <algorithm>

#include "cuda/align.h"
#include "cuda/fault.h"
#include "cuda/launch.h"
#include "kernels/softmax/softmax.h"

namespace medkern::cuda {
namespace {

constexpr int64_t kMostSize = INT32_MAX / 2;
// Longer axes don't go by tiles; a tile has about so many numbers, of whole warps of elements.
constexpr int64_t kTileAxis = 64, kTileNumbers = 4096, kTileMultiple = 32;
// Rows no longer go by groups, warps, blocks with the row in registers.
constexpr int64_t kMostOfGroup = kRowGroup * kNumbersOfGroup, kMostOfWarp = 32 * kRowNumbers,
                  kMostOfBlock = 256 * kRowNumbers;
constexpr int64_t kWarps = kSoftmaxThreads / 32;
// What a block merges with: a number a warp and result, three results at most.
constexpr size_t kMergeBytes = 3 * kWarps * sizeof(double);

enum Way { kShortRow, kGroupRow, kTile, kLine, kWarpRow, kBlockRow };

// `aligned` says whether arrays begin at multiples of 16 bytes.
Way way_of(const SoftmaxShape& s, bool aligned) {
  const bool vectors = s.inner == 1 && s.dtype == Dtype::f32 && aligned;
  if (vectors && s.axis <= kNumbersAlone && s.axis % 2 == 0) return kShortRow;
  if (vectors && s.axis <= kMostOfGroup && s.axis % 4 == 0) return kGroupRow;
  if (s.axis <= kTileAxis) return kTile;
  if (s.inner > 1) return kLine;
  return s.axis <= kMostOfWarp ? kWarpRow : kBlockRow;
}

// Of short runs no more than they have.
int64_t tile_elements(const SoftmaxShape& s) {
  const int64_t run = divide_up(s.inner > 1 ? s.inner : s.outer, kTileMultiple);
  return std::clamp<int64_t>(kTileNumbers / (s.axis * kTileMultiple), 1, run) * kTileMultiple;
}

// Tiles of a run of elements: those of an outer index, or, of inner 1, all.
int64_t tiles_of_run(const SoftmaxShape& s) {
  return divide_up(s.inner > 1 ? s.inner : s.outer, tile_elements(s));
}

int64_t blocks_of(const SoftmaxShape& s, Way way) {
  const int64_t elements = s.outer * s.inner;
  if (elements == 0) return 0;
  switch (way) {
    case kTile:
      return (s.inner > 1 ? s.outer : 1) * tiles_of_run(s);
    case kShortRow:
    case kLine:
      return divide_up(elements, kSoftmaxThreads);
    case kGroupRow:
      return divide_up(elements, kSoftmaxThreads / kRowGroup);
    case kWarpRow:
      return divide_up(elements, kWarps);
    default:
      return elements;
  }
}

// The kernels of a pass. Short rows: vectors of four float, of two; groups: of four; long rows:
// vectors of four, float, double; else float, double.
struct Pass {
  Kernel short_row[2], group_row, tile[2], line[2], warp_row[3], block_row[3];
};
Pass softmax_forward{
    {{"softmax", "softmax_short_row_f32x4"}, {"softmax", "softmax_short_row_f32x2"}},
    {"softmax", "softmax_group_row_f32x4"},
    {{"softmax", "softmax_tile_f32"}, {"softmax", "softmax_tile_f64"}},
    {{"softmax", "softmax_line_f32"}, {"softmax", "softmax_line_f64"}},
    {{"softmax", "softmax_warp_row_f32x4"},
     {"softmax", "softmax_warp_row_f32"},
     {"softmax", "softmax_warp_row_f64"}},
    {{"softmax", "softmax_block_row_f32x4"},
     {"softmax", "softmax_block_row_f32"},
     {"softmax", "softmax_block_row_f64"}}};
Pass softmax_backward{
    {{"softmax", "softmax_backward_short_row_f32x4"},
     {"softmax", "softmax_backward_short_row_f32x2"}},
    {"softmax", "softmax_backward_group_row_f32x4"},
    {{"softmax", "softmax_backward_tile_f32"}, {"softmax", "softmax_backward_tile_f64"}},
    {{"softmax", "softmax_backward_line_f32"}, {"softmax", "softmax_backward_line_f64"}},
    {{"softmax", "softmax_backward_warp_row_f32x4"},
     {"softmax", "softmax_backward_warp_row_f32"},
     {"softmax", "softmax_backward_warp_row_f64"}},
    {{"softmax", "softmax_backward_block_row_f32x4"},
     {"softmax", "softmax_backward_block_row_f32"},
     {"softmax", "softmax_backward_block_row_f64"}}};
Pass loss_forward{
    {{"cross_entropy", "cross_entropy_short_row_f32x4"},
     {"cross_entropy", "cross_entropy_short_row_f32x2"}},
    {"cross_entropy", "cross_entropy_group_row_f32x4"},
    {{"cross_entropy", "cross_entropy_tile_f32"}, {"cross_entropy", "cross_entropy_tile_f64"}},
    {{"cross_entropy", "cross_entropy_line_f32"}, {"cross_entropy", "cross_entropy_line_f64"}},
    {{"cross_entropy", "cross_entropy_warp_row_f32x4"},
     {"cross_entropy", "cross_entropy_warp_row_f32"},
     {"cross_entropy", "cross_entropy_warp_row_f64"}},
    {{"cross_entropy", "cross_entropy_block_row_f32x4"},
     {"cross_entropy", "cross_entropy_block_row_f32"},
     {"cross_entropy", "cross_entropy_block_row_f64"}}};
Pass loss_backward{{{"cross_entropy", "cross_entropy_backward_short_row_f32x4"},
                    {"cross_entropy", "cross_entropy_backward_short_row_f32x2"}},
                   {"cross_entropy", "cross_entropy_backward_group_row_f32x4"},
                   {{"cross_entropy", "cross_entropy_backward_tile_f32"},
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

SoftmaxKernelArgs arguments(const SoftmaxShape& s, const void* x, const void* dy, void* y,
                            Way& way) {
  SoftmaxKernelArgs a{};
  a.elements = s.outer * s.inner;
  a.inner = s.inner;
  a.axis = static_cast<uint32_t>(s.axis);
  a.x = x;
  a.dy = dy;
  a.y = y;
  way = kTile;
  if (a.elements == 0) return a;
  const bool rows = s.inner == 1, floats = s.dtype == Dtype::f32;
  const bool aligned = are_aligned({x, dy, y});
  way = way_of(s, aligned);
  require(blocks_of(s, way) <= kMostSize && s.axis <= kMostSize,
          "CUDA kernels of softmax take up to 2^30 tiles of elements and classes, got ", s.outer,
          " x ", s.axis, " x ", s.inner);
  if (way != kTile) {
    a.vectors = floats && aligned && s.axis % 4 == 0;
    return a;
  }
  // Rows have an odd pitch in a tile, so that no two threads meet in a bank.
  a.pitch = rows ? a.axis | 1 : 1;
  a.vectors = floats && aligned && (rows ? a.pitch == a.axis : s.inner % 4 == 0);
  a.tile = static_cast<uint32_t>(tile_elements(s));
  a.step = rows ? 1 : a.tile;
  a.by_tiles = divider(static_cast<uint32_t>(tiles_of_run(s)));
  a.by_axis = divider(a.axis);
  a.by_tile = divider(a.vectors ? a.tile / 4 : a.tile);
  return a;
}

const SoftmaxKernelArgs& softmax_of(const SoftmaxKernelArgs& a) { return a; }
const SoftmaxKernelArgs& softmax_of(const CrossEntropyKernelArgs& a) { return a.softmax; }

// Tiles take `arrays` arrays of numbers and `per_element` bytes in shared memory.
template <class Args>
void run(Pass& pass, const SoftmaxShape& s, Way way, const Args& args, size_t arrays,
         size_t per_element) {
  const SoftmaxKernelArgs& a = softmax_of(args);
  const int dtype = s.dtype == Dtype::f32 ? 0 : 1;
  size_t bytes = kMergeBytes;
  Kernel* kernel = nullptr;
  switch (way) {
    case kShortRow:
      kernel = &pass.short_row[a.vectors ? 0 : 1];
      break;
    case kGroupRow:
      kernel = &pass.group_row;
      break;
    case kTile: {
      const size_t numbers = size_t{a.tile} * (s.inner > 1 ? a.axis : a.pitch);
      bytes = std::max(bytes, arrays * numbers * size_of(s.dtype) + a.tile * per_element);
      kernel = &pass.tile[dtype];
      break;
    }
    case kLine:
      kernel = &pass.line[dtype];
      break;
    case kWarpRow:
      kernel = &pass.warp_row[a.vectors ? 0 : 1 + dtype];
      break;
    case kBlockRow:
      kernel = &pass.block_row[a.vectors && s.axis <= kMostOfBlock ? 0 : 1 + dtype];
      break;
  }
  launch(*kernel, {static_cast<uint32_t>(blocks_of(s, way))}, kSoftmaxThreads, bytes, args);
}

void forward(const SoftmaxArgs& s) {
  Way way;
  SoftmaxKernelArgs a = arguments(s.shape, s.x, nullptr, s.y, way);
  a.logarithmic = s.logarithmic;
  run(softmax_forward, s.shape, way, a, 1, size_of(s.shape.dtype));
}

void backward(const SoftmaxArgs& s) {
  Way way;
  SoftmaxKernelArgs a = arguments(s.shape, s.x, s.dy, s.y, way);
  a.logarithmic = s.logarithmic;
  run(softmax_backward, s.shape, way, a, 2, size_of(s.shape.dtype));
}

int64_t partials(const SoftmaxShape& s) {
  return std::max(blocks_of(s, way_of(s, false)), blocks_of(s, way_of(s, true)));
}

CrossEntropyKernelArgs loss_arguments(const CrossEntropyArgs& c, Way& way) {
  CrossEntropyKernelArgs a{};
  a.softmax = arguments(c.shape, c.logits, nullptr, c.dlogits, way);
  a.target = c.target;
  a.weight = c.weight;
  a.fault = fault_word();
  a.fault_number = fault_number("cross_entropy", "target", 0, c.shape.axis - 1);
  a.target_bytes = static_cast<int32_t>(size_of(c.target_dtype));
  a.ignore_index = c.ignore_index;
  a.smoothing = c.smoothing;
  a.smoothing_each = c.smoothing / static_cast<double>(c.shape.axis);
  a.losses = c.losses;
  a.partials = c.partials;
  a.blocks = static_cast<uint32_t>(blocks_of(c.shape, way));
  a.loss = c.loss;
  a.total_weight = c.total_weight;
  a.mean = c.mean;
  a.dloss = c.dloss;
  a.dloss_per_element = c.dloss_per_element;
  return a;
}

void loss(const CrossEntropyArgs& c) {
  Way way;
  const CrossEntropyKernelArgs a = loss_arguments(c, way);
  if (a.blocks > 0) run(loss_forward, c.shape, way, a, 1, 0);
  launch(loss_reduce[c.shape.dtype == Dtype::f32 ? 0 : 1], {1}, kSoftmaxThreads, kMergeBytes, a);
}

void loss_gradient(const CrossEntropyArgs& c) {
  Way way;
  const CrossEntropyKernelArgs a = loss_arguments(c, way);
  // m, factor, each, share and target of an element.
  run(loss_backward, c.shape, way, a, 1, 5 * size_of(c.shape.dtype));
}

}  // namespace

extern const SoftmaxKernels softmax_kernels;
constinit const SoftmaxKernels softmax_kernels = {
    .forward = forward,
    .backward = backward,
};

extern const CrossEntropyKernels cross_entropy_kernels;
constinit const CrossEntropyKernels cross_entropy_kernels = {
    .check_targets = true,
    .partials = partials,
    .forward = loss,
    .backward = loss_gradient,
};

}  // namespace medkern::cuda
