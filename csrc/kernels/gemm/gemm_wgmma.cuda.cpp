// CUDA kernels of gemm for compute capability 9.0: how operands get to the copy engine, and tiles.
#include "kernels/gemm/gemm_wgmma.h"

#include <algorithm>

#include "core/status.h"
#include "cuda/align.h"
#include "cuda/divide.h"
#include "cuda/encode.h"
#include "cuda/launch.h"
#include "kernels/gemm/operand.h"

namespace medkern::cuda {

namespace {

constexpr uint32_t kThreads = 288;
constexpr size_t kSharedBytes = (192 << 10) + 8 * 16 * 40 * 4 + 256;  // ring, chunks, barriers
constexpr int64_t kRows = 128;
constexpr int64_t kShortestSplit = 1024;

// A tile's columns, and clocks of a slice of it (of the tensor cores, or of what L2 gives), and of
// all else: filling the ring and storing.
struct TileKind {
  int64_t columns;
  double slice, rest;
};
constexpr TileKind kTiles[] = {{256, 1024, 3500}, {128, 600, 2500}, {64, 450, 2000}};

// [a along k, along rows][b likewise]
#define MK_LAYOUTS(name)                                        \
  {                                                             \
    {{"gemm_wgmma", name "_kk"}, {"gemm_wgmma", name "_kr"}}, { \
      {"gemm_wgmma", name "_rk"}, {"gemm_wgmma", name "_rr"}    \
    }                                                           \
  }
Kernel kernels_bf16[3][2][2] = {MK_LAYOUTS("gemm_wgmma_bf16_256"),
                                MK_LAYOUTS("gemm_wgmma_bf16_128"),
                                MK_LAYOUTS("gemm_wgmma_bf16_64")};
Kernel kernels_f16[3][2][2] = {MK_LAYOUTS("gemm_wgmma_f16_256"), MK_LAYOUTS("gemm_wgmma_f16_128"),
                               MK_LAYOUTS("gemm_wgmma_f16_64")};
Kernel kernels_tf32[3] = {{"gemm_wgmma", "gemm_wgmma_tf32_256_kk"},
                          {"gemm_wgmma", "gemm_wgmma_tf32_128_kk"},
                          {"gemm_wgmma", "gemm_wgmma_tf32_64_kk"}};

// What the tensor cores get.
TensorType type_of(const GemmArgs& g) {
  if (g.dtype == Dtype::f16) return TensorType::f16;
  return g.dtype == Dtype::f32 && matmul_precision() == MK_PRECISION_TF32 ? TensorType::tf32
                                                                          : TensorType::bf16;
}

// An operand as the copy engine is to read it: where it lies, or packed, by k for tf32.
struct Source {
  Operand from, read;
  bool packed;
  size_t bytes;
};

// Where nothing is known of its address it counts as one that has to be packed, so that the
// workspace serves any.
Source source_of(const Operand& x, TensorType type) {
  const bool wide = type == TensorType::tf32;
  const Dtype to = wide ? Dtype::f32 : type == TensorType::f16 ? Dtype::f16 : Dtype::bf16;
  const int64_t size = wide ? 4 : 2;
  const bool contiguous = x.by_rows() ? !wide : x.k_stride == 1;
  if (x.dtype == to && contiguous && x.data != nullptr && is_aligned(x.data) &&
      x.line() >= x.inner() && x.line() * size % 16 == 0 && x.item_stride >= 0 &&
      x.item_stride * size % 16 == 0) {
    return {x, x, false, 0};
  }
  const Operand read = packed_operand(x, to, !wide && x.by_rows(), nullptr);
  return {x, read, true, bytes_of(read)};
}

struct Plan {
  TensorType type;
  Source a, b;
  int64_t slices, splits, split_slices;
  size_t partial_bytes;
};

// As in gemm.cuda.cpp: k is cut where a is transposed and there are few tiles.
Plan plan_of(const GemmArgs& g) {
  Plan p{};
  p.type = type_of(g);
  p.a = source_of(operand_a(g), p.type);
  p.b = source_of(operand_b(g), p.type);
  const int64_t depth = p.type == TensorType::tf32 ? 32 : 64;
  p.slices = divide_up(g.k, depth);
  int64_t splits = 1;
  if (g.a_col != 1) {
    const int64_t tiles = divide_up(g.m, kRows) * divide_up(g.n, 128);
    splits = std::clamp<int64_t>(kSplitProcessors / tiles, 1,
                                 std::max<int64_t>(g.k / kShortestSplit, 1));
  }
  p.split_slices = divide_up(p.slices, splits);
  p.splits = divide_up(p.slices, p.split_slices);
  if (p.splits > 1) p.partial_bytes = p.splits * g.items * g.m * g.n * sizeof(float);
  return p;
}

int64_t tiles_of(const GemmArgs& g, const TileKind& kind) {
  return divide_up(g.m, kRows) * divide_up(g.n, kind.columns);
}

int tile_of(const GemmArgs& g, const Plan& p) {
  const auto cost = [&](const TileKind& kind) {
    const int64_t work = tiles_of(g, kind) * p.splits * g.items;
    return divide_up(work, multiprocessors()) * (p.split_slices * kind.slice + kind.rest);
  };
  int best = 0;
  for (int i = 1; i < 3; ++i) {
    if (cost(kTiles[i]) < cost(kTiles[best])) best = i;
  }
  return best;
}

TensorMap map_of(const Operand& x, TensorType type, int64_t rows_of_box) {
  const uint32_t depth = type == TensorType::tf32 ? 32 : 64;
  const auto box = static_cast<uint32_t>(rows_of_box);
  const int64_t item = x.items > 1 ? x.item_stride : x.line() * x.lines();
  return encode_tensor(type, x.data,
                       {x.inner(), x.lines(), x.items, x.line(), item, x.by_rows() ? 64 : depth,
                        x.by_rows() ? depth : box});
}

GemmType type_of(Dtype dtype) {
  return dtype == Dtype::f16    ? GemmType::f16
         : dtype == Dtype::bf16 ? GemmType::bf16
                                : GemmType::f32;
}

}  // namespace

size_t wgmma_workspace(const GemmArgs& g) {
  const Plan p = plan_of(g);
  return p.a.bytes + p.b.bytes + p.partial_bytes;
}

void run_wgmma(const GemmArgs& g) {
  Plan p = plan_of(g);
  char* memory = static_cast<char*>(g.workspace);
  Operand from[2], to[2];
  int packed = 0;
  for (Source* x : {&p.a, &p.b}) {
    if (!x->packed) continue;
    x->read.data = memory;
    memory += x->bytes;
    from[packed] = x->from;
    to[packed++] = x->read;
  }
  if (packed > 0) pack(from, to, packed);

  const int tile = tile_of(g, p);
  const TileKind& kind = kTiles[tile];
  const int64_t tiles = tiles_of(g, kind), work = tiles * p.splits * g.items;
  require(work < INT32_MAX, "gemm: c is too large");
  const bool part = p.splits > 1;
  GemmWgmmaArgs w{};
  w.a = map_of(p.a.read, p.type, kRows);
  w.b = map_of(p.b.read, p.type, kind.columns);
  w.c = part ? memory : g.c;
  w.c_row = part ? g.n : g.c_row;
  w.c_split = part ? g.m * g.n : 0;
  w.c_item = part ? p.splits * g.m * g.n : g.c_item;
  w.bias = part ? nullptr : g.bias;
  w.type = part ? GemmType::f32 : type_of(g.dtype);
  w.m = static_cast<int32_t>(g.m);
  w.n = static_cast<int32_t>(g.n);
  w.slices = static_cast<int32_t>(p.slices);
  w.split_slices = static_cast<int32_t>(p.split_slices);
  w.splits = static_cast<int32_t>(p.splits);
  w.items = static_cast<int32_t>(g.items);
  w.tiles = static_cast<uint32_t>(tiles);
  w.a_moves = p.a.read.items > 1;
  w.b_moves = p.b.read.items > 1;
  w.accumulate = !part && g.accumulate;
  w.relu = !part && g.activation == Activation::relu;
  w.vectors = g.n % 4 == 0 && w.c_row % 4 == 0 && w.c_item % 4 == 0 &&
              is_aligned(w.c, w.type == GemmType::f32 ? 16 : 8);
  Kernel& kernel = p.type == TensorType::tf32 ? kernels_tf32[tile]
                   : p.type == TensorType::f16
                       ? kernels_f16[tile][p.a.read.by_rows()][p.b.read.by_rows()]
                       : kernels_bf16[tile][p.a.read.by_rows()][p.b.read.by_rows()];
  const int64_t most = multiprocessors();
  launch(kernel, {static_cast<uint32_t>(std::min(work, most))}, kThreads, kSharedBytes, w);
  if (!part) return;
  add_splits({memory, g.c, g.c_row, g.c_item, g.bias, w.m, w.n, w.splits, w.items, g.accumulate,
              g.activation == Activation::relu},
             g.dtype);
}

}  // namespace medkern::cuda
