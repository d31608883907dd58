// CUDA kernels of gemm for compute capability 9.0: how operands get to the copy engine, and tiles.
#include <algorithm>

#include "core/status.h"
#include "cuda/align.h"
#include "cuda/divide.h"
#include "cuda/encode.h"
#include "cuda/launch.h"
#include "kernels/gemm/gemm.cuda.h"
#include "kernels/gemm/gemm.h"

namespace medkern::cuda {

size_t wgmma_workspace(const GemmArgs& g);
void run_wgmma(const GemmArgs& g);
void add_splits(const GemmReduceArgs& args, Dtype dtype);

namespace {

constexpr uint32_t kThreads = 288;
constexpr size_t kSharedBytes = (192 << 10) + 8 * 16 * 40 * 4 + 256;  // ring, chunks, barriers
constexpr int64_t kRows = 128;
// Splits are cut for a device of this many multiprocessors, so that bits are the same on all.
constexpr int64_t kProcessors = 132;
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
Kernel pack_to_bf16{"gemm_pack", "gemm_pack_f32_bf16"};
Kernel pack_f32{"gemm_pack", "gemm_pack_f32_f32"}, pack_16{"gemm_pack", "gemm_pack_b16_b16"};

// What the tensor cores get.
TensorType type_of(const GemmArgs& g) {
  return g.dtype == Dtype::f32 && matmul_precision() == MK_PRECISION_TF32 ? TensorType::tf32
                                                                          : TensorType::bf16;
}

int64_t round_up(int64_t value, int64_t to) { return divide_up(value, to) * to; }

// An operand: its rows along m or n, and how it gets to the copy engine.
struct Operand {
  const void* data;
  int64_t rows, k, row_stride, k_stride, item_stride, items;
  bool packed = false, by_rows = false;  // by_rows: rows are contiguous, not k
  int64_t line = 0, item = 0;            // strides of what the copy engine reads
  size_t packed_bytes = 0;

  int64_t inner() const { return by_rows ? rows : k; }
  int64_t lines() const { return by_rows ? k : rows; }
};

// Where nothing is known of its address it counts as one that has to be packed, so that the
// workspace serves any.
Operand operand(const void* data, int64_t rows, int64_t k, int64_t row_stride, int64_t k_stride,
                int64_t item_stride, int64_t items, Dtype dtype, TensorType type) {
  Operand x{data, rows, k, row_stride, k_stride, item_stride, item_stride != 0 ? items : 1};
  const int64_t bytes = type == TensorType::tf32 ? 4 : 2;
  const bool same = static_cast<int64_t>(size_of(dtype)) == bytes;
  const bool turned = row_stride == 1 && k_stride != 1;
  x.by_rows = turned && bytes == 2;
  x.line = x.by_rows ? k_stride : row_stride;
  x.item = item_stride;
  const bool contiguous = x.by_rows || k_stride == 1;
  x.packed = !same || !contiguous || data == nullptr || !is_aligned(data) || x.line < x.inner() ||
             x.line * bytes % 16 != 0 || x.item < 0 || x.item * bytes % 16 != 0;
  if (x.packed) {
    x.line = round_up(x.inner(), 8);
    x.item = x.line * x.lines();
    x.packed_bytes = static_cast<size_t>(round_up(x.item * x.items * bytes, 256));
  }
  if (x.items == 1) x.item = x.line * x.lines();
  return x;
}

struct Plan {
  TensorType type;
  Operand a, b;
  int64_t slices, splits, split_slices;
  size_t partial_bytes;
};

// As in gemm.cuda.cpp: k is cut where a is transposed and there are few tiles.
Plan plan_of(const GemmArgs& g) {
  Plan p{};
  p.type = type_of(g);
  p.a = operand(g.a, g.m, g.k, g.a_row, g.a_col, g.a_item, g.items, g.dtype, p.type);
  p.b = operand(g.b, g.n, g.k, g.b_col, g.b_row, g.b_item, g.items, g.dtype, p.type);
  const int64_t depth = p.type == TensorType::tf32 ? 32 : 64;
  p.slices = divide_up(g.k, depth);
  int64_t splits = 1;
  if (g.a_col != 1) {
    const int64_t tiles = divide_up(g.m, kRows) * divide_up(g.n, 128);
    splits =
        std::clamp<int64_t>(kProcessors / tiles, 1, std::max<int64_t>(g.k / kShortestSplit, 1));
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

GemmPack pack_of(Operand& x, Dtype dtype, void* to) {
  if (!x.packed) return {};
  GemmPack p{};
  p.from = x.data;
  p.to = to;
  p.inner_stride = x.by_rows ? x.row_stride : x.k_stride;
  p.outer_stride = x.by_rows ? x.k_stride : x.row_stride;
  p.item_stride = x.item_stride;
  p.to_line = x.line;
  p.inner = static_cast<int32_t>(x.inner());
  p.outer = static_cast<int32_t>(x.lines());
  const int64_t blocks = divide_up(x.inner(), 64) * divide_up(x.lines(), 64);
  require(blocks * x.items < INT32_MAX, "gemm: operands are too large");
  p.blocks = static_cast<uint32_t>(blocks);
  p.items = static_cast<uint32_t>(x.items);
  const int64_t eight = 16 / static_cast<int64_t>(size_of(dtype));
  p.vectors = p.inner_stride == 1 && is_aligned(x.data) && p.outer_stride % eight == 0 &&
              p.item_stride % eight == 0;
  x.data = to;
  return p;
}

TensorMap map_of(const Operand& x, TensorType type, int64_t rows_of_box) {
  const uint32_t depth = type == TensorType::tf32 ? 32 : 64;
  const auto box = static_cast<uint32_t>(rows_of_box);
  return encode_tensor(type, x.data,
                       {x.inner(), x.lines(), x.items, x.line, x.item, x.by_rows ? 64 : depth,
                        x.by_rows ? depth : box});
}

GemmType type_of(Dtype) { return GemmType::f32; }

}  // namespace

size_t wgmma_workspace(const GemmArgs& g) {
  const Plan p = plan_of(g);
  return p.a.packed_bytes + p.b.packed_bytes + p.partial_bytes;
}

void run_wgmma(const GemmArgs& g) {
  Plan p = plan_of(g);
  char* memory = static_cast<char*>(g.workspace);
  const GemmPackArgs pack{
      {pack_of(p.a, g.dtype, memory), pack_of(p.b, g.dtype, memory + p.a.packed_bytes)}};
  const uint32_t blocks = pack.operand[0].blocks * pack.operand[0].items +
                          pack.operand[1].blocks * pack.operand[1].items;
  Kernel& packer = g.dtype != Dtype::f32        ? pack_16
                   : p.type == TensorType::bf16 ? pack_to_bf16
                                                : pack_f32;
  launch(packer, {blocks}, 256, 64 * 65 * size_of(g.dtype), pack);
  memory += p.a.packed_bytes + p.b.packed_bytes;

  const int tile = tile_of(g, p);
  const TileKind& kind = kTiles[tile];
  const int64_t tiles = tiles_of(g, kind), work = tiles * p.splits * g.items;
  require(work < INT32_MAX, "gemm: c is too large");
  const bool part = p.splits > 1;
  GemmWgmmaArgs w{};
  w.a = map_of(p.a, p.type, kRows);
  w.b = map_of(p.b, p.type, kind.columns);
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
  w.a_moves = p.a.items > 1;
  w.b_moves = p.b.items > 1;
  w.accumulate = !part && g.accumulate;
  w.relu = !part && g.activation == Activation::relu;
  w.vectors = g.n % 4 == 0 && w.c_row % 4 == 0 && w.c_item % 4 == 0 &&
              is_aligned(w.c, w.type == GemmType::f32 ? 16 : 8);
  Kernel& kernel = p.type == TensorType::tf32  ? kernels_tf32[tile]
                   : p.type == TensorType::f16 ? kernels_f16[tile][p.a.by_rows][p.b.by_rows]
                                               : kernels_bf16[tile][p.a.by_rows][p.b.by_rows];
  const int64_t most = multiprocessors();
  launch(kernel, {static_cast<uint32_t>(std::min(work, most))}, kThreads, kSharedBytes, w);
  if (!part) return;
  add_splits({memory, g.c, g.c_row, g.c_item, g.bias, w.m, w.n, w.splits, w.items, g.accumulate,
              g.activation == Activation::relu},
             g.dtype);
}

}  // namespace medkern::cuda
