// CUDA kernels of gemm: the choice of kernel, of tiles and splits.
#include "kernels/gemm/gemm.h"

#include <algorithm>

#include "core/status.h"
#include "cuda/align.h"
#include "cuda/launch.h"
#include "kernels/gemm/gemm_wgmma.h"
#include "kernels/gemm/operand.h"

namespace medkern::cuda {

size_t bias_backward_workspace(const BiasBackwardArgs& args);
void bias_backward(const BiasBackwardArgs& args);

namespace {

constexpr int64_t kDepth = 32;
constexpr int64_t kShortestSplit = 256;

// Whether the tensor cores of compute capability 9.0 multiply by warpgroups
// (gemm_wgmma.sm_90a.cu). They may sum in another order: rows that are samples, and items, have no
// part in the choice.
constexpr int64_t kLeastSide = 64;
bool takes_wgmma(const GemmArgs& g) {
  if (g.dtype == Dtype::f64) return false;
  if (g.dtype == Dtype::f32 && matmul_precision() == MK_PRECISION_FLOAT32) return false;
  const bool samples = g.a_col == 1;
  return g.n >= kLeastSide && g.k >= kLeastSide && (samples || g.m >= kLeastSide) &&
         compute_capability() == 90;
}

struct TileKind {
  int64_t side;
  uint32_t threads;
  size_t shared_bytes;
  int64_t together;  // blocks that run on one multiprocessor
  double cost;       // of a tile, with as many as run together, in those of a small one alone
};
constexpr TileKind kLarge{128, 256, 3 * 2 * 128 * 32 * 4 + 256 * 32, 1, 3.2};
constexpr TileKind kSmall{64, 128, 3 * 2 * 64 * 32 * 4 + 128 * 32, 3, 3.0};
constexpr TileKind kPlain{64, 256, 2 * 16 * 66 * 8, 4, 4.0};

// [math][large or small][a and b along their rows; a along k, b along its rows; both along k]
#define MK_LAYOUTS(name) {{"gemm", name "_rr"}, {"gemm", name "_kr"}, {"gemm", name "_kk"}}
Kernel tile_kernels[3][2][3] = {
    {MK_LAYOUTS("gemm_f32_large"), MK_LAYOUTS("gemm_f32_small")},
    {MK_LAYOUTS("gemm_tf32_large"), MK_LAYOUTS("gemm_tf32_small")},
    {MK_LAYOUTS("gemm_bf16_large"), MK_LAYOUTS("gemm_bf16_small")},
};
Kernel plain_f64{"gemm", "gemm_plain_f64"};
Kernel reduce_f32{"gemm", "gemm_reduce_f32"}, reduce_f64{"gemm", "gemm_reduce_f64"};
Kernel reduce_f16{"gemm", "gemm_reduce_f16"}, reduce_bf16{"gemm", "gemm_reduce_bf16"};

int64_t tiles_of(const GemmArgs& g, const TileKind& kind) {
  return divide_up(g.m, kind.side) * divide_up(g.n, kind.side);
}

struct Cut {
  int64_t splits, split_k;
};

// Rows of a that lie along k are samples, whose sums may not depend on how many there are; where a
// is transposed, k is what is summed over: the gradient of a weight. That is cut where there are
// few tiles.
Cut cut_of(const GemmArgs& g) {
  int64_t splits = 1;
  if (g.a_col != 1 && g.m > 0 && g.n > 0) {
    splits = std::min(divide_up(2 * kSplitProcessors, tiles_of(g, kSmall)), g.k / kShortestSplit);
  }
  const int64_t split_k = divide_up(divide_up(g.k, std::max<int64_t>(splits, 1)), kDepth) * kDepth;
  return {std::max<int64_t>(split_k > 0 ? divide_up(g.k, split_k) : 1, 1),
          std::max(split_k, kDepth)};
}

const TileKind& tile_kind(const GemmArgs& g, int64_t splits) {
  const auto cost = [&](const TileKind& kind) {
    const int64_t blocks = tiles_of(g, kind) * splits * g.items;
    return divide_up(blocks, multiprocessors() * kind.together) * kind.cost;
  };
  return cost(kLarge) <= cost(kSmall) ? kLarge : kSmall;
}

// What pack_b leaves behind the header, in host memory: b stays where it is.
struct PackedB {
  const void* data;
  int64_t row, column;
};

GemmOperand tile_operand(const Operand& x) {
  GemmOperand t{x.data, x.row_stride, x.k_stride, x.item_stride, static_cast<int32_t>(x.rows),
                false};
  const int64_t along = x.k_stride == 1 ? x.k : x.rows;
  const int64_t across = x.k_stride == 1 ? x.row_stride : x.k_stride;
  t.vectors = (x.k_stride == 1 || x.row_stride == 1) && along % 4 == 0 && across % 4 == 0 &&
              x.item_stride % 4 == 0 && is_aligned(x.data);
  return t;
}

GemmArgs unpacked(const GemmArgs& given) {
  GemmArgs g = given;
  if (g.b_packed) {
    const auto& packed = *static_cast<const PackedB*>(g.b);
    g.b = packed.data;
    g.b_row = packed.row;
    g.b_col = packed.column;
    g.b_packed = false;
  }
  return g;
}

// What tiles read: float32 and float64 where they lie. 16-bit operands are widened to float32,
// which changes no product: bf16 is multiplied as such, float16 as tf32, which has as many bits;
// sums then go to c by way of float32. And there is no kernel for rows of a and k of b: b is
// turned.
struct TileSources {
  Operand read[2], from[2], to[2];
  int packed;  // of from and to
  size_t bytes;
};

TileSources tile_sources(const GemmArgs& g, void* memory) {
  TileSources s{{operand_a(g), operand_b(g)}, {}, {}, 0, 0};
  const bool half = is_half(g.dtype);
  const bool turn = g.dtype != Dtype::f64 && s.read[0].k_stride != 1 && s.read[1].k_stride == 1;
  for (int i = 0; i < 2; ++i) {
    Operand& x = s.read[i];
    const bool turned = turn && i == 1;
    if (!half && !turned) continue;
    s.from[s.packed] = x;
    x = packed_operand(x, Dtype::f32, turned || x.by_rows(),
                       memory == nullptr ? nullptr : static_cast<char*>(memory) + s.bytes);
    s.bytes += bytes_of(x);
    s.to[s.packed++] = x;
  }
  return s;
}

size_t tiles_workspace(const GemmArgs& g) {
  const Cut cut = cut_of(g);
  const size_t sum = g.dtype == Dtype::f64 ? sizeof(double) : sizeof(float);
  const bool partial = cut.splits > 1 || is_half(g.dtype);
  return tile_sources(g, nullptr).bytes + (partial ? g.items * cut.splits * g.m * g.n * sum : 0);
}

// Items are blockIdx.z, which ends at 65535.
constexpr int64_t kMostItems = 65535;

void run_tiles(GemmArgs g) {
  const size_t size = size_of(g.dtype);
  if (g.items > kMostItems) {
    GemmArgs rest = g;
    rest.items = g.items - kMostItems;
    rest.a = static_cast<const char*>(g.a) + kMostItems * g.a_item * static_cast<int64_t>(size);
    rest.b = static_cast<const char*>(g.b) + kMostItems * g.b_item * static_cast<int64_t>(size);
    rest.c = static_cast<char*>(g.c) + kMostItems * g.c_item * static_cast<int64_t>(size);
    g.items = kMostItems;
    run_tiles(g);
    run_tiles(rest);
    return;
  }
  const Cut cut = cut_of(g);
  const TileSources sources = tile_sources(g, g.workspace);
  if (sources.packed > 0) pack(sources.from, sources.to, sources.packed);
  GemmKernelArgs p{};
  p.a = tile_operand(sources.read[0]);
  p.b = tile_operand(sources.read[1]);
  p.c = g.c;
  p.c_row = g.c_row;
  p.c_item = g.c_item;
  p.bias = g.bias;
  p.k = static_cast<int32_t>(g.k);
  p.split_k = static_cast<int32_t>(cut.split_k);
  p.accumulate = g.accumulate;
  p.relu = g.activation == Activation::relu;
  if (cut.splits > 1 || is_half(g.dtype)) {
    p.partial = static_cast<char*>(g.workspace) + sources.bytes;
  }

  const bool plain = g.dtype == Dtype::f64;
  const TileKind& kind = plain ? kPlain : tile_kind(g, cut.splits);
  const mk_precision how = g.dtype == Dtype::f32   ? matmul_precision()
                           : g.dtype == Dtype::f16 ? MK_PRECISION_TF32
                                                   : MK_PRECISION_BF16;
  Kernel& kernel =
      plain ? plain_f64
            : tile_kernels[how][&kind == &kSmall][(p.a.k_stride == 1) + (p.b.k_stride == 1)];
  const Grid grid{static_cast<uint32_t>(tiles_of(g, kind)), static_cast<uint32_t>(cut.splits),
                  static_cast<uint32_t>(g.items)};
  launch(kernel, grid, kind.threads, kind.shared_bytes, p);
  if (p.partial == nullptr) return;
  add_splits(
      {p.partial, g.c, g.c_row, g.c_item, g.bias, p.a.rows, p.b.rows,
       static_cast<int32_t>(cut.splits), static_cast<int32_t>(g.items), p.accumulate, p.relu},
      g.dtype);
}

size_t workspace(const GemmArgs& given) {
  const GemmArgs g = unpacked(given);
  return takes_wgmma(g) ? wgmma_workspace(g) : tiles_workspace(g);
}

void run(const GemmArgs& given) {
  const GemmArgs g = unpacked(given);
  if (g.m == 0 || g.n == 0 || g.items == 0) return;
  for (const int64_t size : {g.m, g.n, g.k, g.items}) {
    require(size < INT32_MAX / 2, "gemm: CUDA kernels take sizes below 2^30, got ", size);
  }
  takes_wgmma(g) ? run_wgmma(g) : run_tiles(g);
}

size_t packed_b_bytes(Dtype, int64_t, int64_t) { return sizeof(PackedB); }

void pack_b(Dtype, int64_t, int64_t, const void* b, int64_t b_row, int64_t b_col, void* packed) {
  *static_cast<PackedB*>(packed) = {b, b_row, b_col};
}

}  // namespace

void add_splits(const GemmReduceArgs& args, Dtype dtype) {
  const int64_t count = int64_t{args.m} * args.n * args.items;
  Kernel& kernel = dtype == Dtype::f64   ? reduce_f64
                   : dtype == Dtype::f32 ? reduce_f32
                   : dtype == Dtype::f16 ? reduce_f16
                                         : reduce_bf16;
  launch(kernel, {blocks_for(count, 256)}, 256, 0, args);
}

extern const GemmKernels gemm_kernels;
constinit const GemmKernels gemm_kernels = {
    .workspace = workspace,
    .run = run,
    .packed_b_bytes = packed_b_bytes,
    .pack_b = pack_b,
    .bias_backward_workspace = bias_backward_workspace,
    .bias_backward = bias_backward,
};

}  // namespace medkern::cuda
