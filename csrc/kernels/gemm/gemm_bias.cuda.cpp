// CUDA kernels of bias_backward: chunks of positions, by the shape.
#include <algorithm>

#include "core/status.h"
#include "cuda/launch.h"
#include "kernels/gemm/gemm.cuda.h"
#include "kernels/gemm/gemm.h"

namespace medkern::cuda {

size_t bias_backward_workspace(const BiasBackwardArgs& args);
void bias_backward(const BiasBackwardArgs& args);

namespace {

constexpr int64_t kThreads = 256;
constexpr int64_t kBlocks = 1056;  // to aim at: 8 for each of 132 multiprocessors
constexpr int64_t kMostChunks = 256;
constexpr int64_t kLeast = 8;  // positions of a thread

// By type_index.
#define MK_TYPES(name)         \
  {{"gemm_bias", name "_f32"}, \
   {"gemm_bias", name "_f64"}, \
   {"gemm_bias", name "_f16"}, \
   {"gemm_bias", name "_bf16"}}
Kernel rows[4] = MK_TYPES("gemm_bias_rows");
Kernel planes[4] = MK_TYPES("gemm_bias_planes");
Kernel reduce[4] = MK_TYPES("gemm_bias_reduce");

int type_index(Dtype dtype) {
  return dtype == Dtype::f32 ? 0 : dtype == Dtype::f64 ? 1 : dtype == Dtype::f16 ? 2 : 3;
}

struct Plan {
  int64_t positions, across, blocks_across, chunk, chunks;
};

Plan plan_of(const BiasBackwardArgs& a) {
  Plan p{};
  p.positions = a.outer * a.inner;
  p.across = a.inner == 1 ? std::clamp<int64_t>(a.channels, 1, kThreads) : 1;
  p.blocks_across = divide_up(a.channels, p.across);
  const int64_t rows = kThreads / p.across;  // positions of a block at a time
  const int64_t chunks =
      std::clamp<int64_t>(std::min(kBlocks / std::max<int64_t>(p.blocks_across, 1),
                                   divide_up(p.positions, rows * kLeast)),
                          1, kMostChunks);
  p.chunk = std::max<int64_t>(divide_up(p.positions, chunks), 1);
  p.chunks = std::max<int64_t>(divide_up(p.positions, p.chunk), 1);
  return p;
}

}  // namespace

size_t bias_backward_workspace(const BiasBackwardArgs& a) {
  return plan_of(a).chunks * a.channels * sizeof(double);
}

void bias_backward(const BiasBackwardArgs& a) {
  if (a.channels == 0) return;
  const Plan p = plan_of(a);
  require(p.positions <= INT32_MAX && a.channels <= INT32_MAX,
          "bias_backward: CUDA kernels take up to 2^31 - 1 positions and channels, got ",
          p.positions, " and ", a.channels);
  const int type = type_index(a.dtype);
  BiasSumArgs s{};
  s.dy = a.dy;
  s.partial = static_cast<double*>(a.workspace);
  s.channels = static_cast<int32_t>(a.channels);
  s.inner = static_cast<int32_t>(a.inner);
  s.positions = static_cast<uint32_t>(p.positions);
  s.chunk = static_cast<uint32_t>(p.chunk);
  s.inner_divider = divider(static_cast<uint32_t>(std::max<int64_t>(a.inner, 1)));
  s.across = static_cast<int32_t>(p.across);
  const Grid grid{static_cast<uint32_t>(p.blocks_across), static_cast<uint32_t>(p.chunks)};
  Kernel& sum = a.inner == 1 ? rows[type] : planes[type];
  launch(sum, grid, kThreads, kThreads * sizeof(double), s);
  const BiasReduceArgs r{s.partial, a.dbias, s.channels, static_cast<int32_t>(p.chunks)};
  launch(reduce[type_index(a.dbias_dtype)], {static_cast<uint32_t>(divide_up(a.channels, 32))},
         kThreads, kThreads * sizeof(double), r);
}

}  // namespace medkern::cuda
