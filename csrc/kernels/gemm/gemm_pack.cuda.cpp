// Operands in another type and order.
#include "core/status.h"
#include "cuda/align.h"
#include "cuda/divide.h"
#include "cuda/launch.h"
#include "kernels/gemm/gemm.cuda.h"
#include "kernels/gemm/operand.h"

namespace medkern::cuda {
namespace {

constexpr int64_t kSide = 64;  // of a block's tile

Kernel f32_to_bf16{"gemm_pack", "gemm_pack_f32_bf16"}, f32_to_f32{"gemm_pack", "gemm_pack_f32_f32"};
Kernel f16_to_f32{"gemm_pack", "gemm_pack_f16_f32"}, bf16_to_f32{"gemm_pack", "gemm_pack_bf16_f32"};
Kernel b16_to_b16{"gemm_pack", "gemm_pack_b16_b16"};

Kernel& kernel_for(Dtype from, Dtype to) {
  if (from == Dtype::f32) return to == Dtype::f32 ? f32_to_f32 : f32_to_bf16;
  if (to == from) return b16_to_b16;
  return from == Dtype::f16 ? f16_to_f32 : bf16_to_f32;
}

Operand operand(const void* data, Dtype dtype, int64_t rows, int64_t k, int64_t row_stride,
                int64_t k_stride, int64_t items, int64_t item_stride) {
  const bool moves = items > 1 && item_stride != 0;
  return {data, dtype, rows, k, row_stride, k_stride, moves ? items : 1, moves ? item_stride : 0};
}

GemmPack pack_of(const Operand& from, const Operand& to) {
  GemmPack p{};
  p.from = from.data;
  p.to = const_cast<void*>(to.data);
  p.inner_stride = to.by_rows() ? from.row_stride : from.k_stride;
  p.outer_stride = to.by_rows() ? from.k_stride : from.row_stride;
  p.item_stride = from.item_stride;
  p.to_line = to.line();
  p.inner = static_cast<int32_t>(to.inner());
  p.outer = static_cast<int32_t>(to.lines());
  const int64_t blocks = divide_up(to.inner(), kSide) * divide_up(to.lines(), kSide);
  require(blocks * from.items < INT32_MAX / 2, "gemm: operands are too large");
  p.blocks = static_cast<uint32_t>(blocks);
  p.items = static_cast<uint32_t>(from.items);
  const int64_t together = 16 / static_cast<int64_t>(size_of(from.dtype));
  p.vectors = p.inner_stride == 1 && is_aligned(from.data) && p.outer_stride % together == 0 &&
              p.item_stride % together == 0;
  return p;
}

}  // namespace

Operand operand_a(const GemmArgs& g) {
  return operand(g.a, g.dtype, g.m, g.k, g.a_row, g.a_col, g.items, g.a_item);
}
Operand operand_b(const GemmArgs& g) {
  return operand(g.b, g.dtype, g.n, g.k, g.b_col, g.b_row, g.items, g.b_item);
}

Operand packed_operand(const Operand& x, Dtype to, bool by_rows, void* memory) {
  const int64_t line = divide_up(by_rows ? x.rows : x.k, 8) * 8;
  const int64_t item = line * (by_rows ? x.k : x.rows);
  return {memory,
          to,
          x.rows,
          x.k,
          by_rows ? 1 : line,
          by_rows ? line : 1,
          x.items,
          x.items > 1 ? item : 0};
}

size_t bytes_of(const Operand& packed) {
  const int64_t numbers = packed.line() * packed.lines() * packed.items;
  return static_cast<size_t>(divide_up(numbers * static_cast<int64_t>(size_of(packed.dtype)), 256) *
                             256);
}

void pack(const Operand* from, const Operand* to, int count) {
  GemmPackArgs args{};
  uint32_t blocks = 0;
  for (int i = 0; i < count; ++i) {
    args.operand[i] = pack_of(from[i], to[i]);
    blocks += args.operand[i].blocks * args.operand[i].items;
  }
  if (blocks == 0) return;
  const size_t turned = kSide * (kSide + 1) * size_of(from[0].dtype);
  launch(kernel_for(from[0].dtype, to[0].dtype), {blocks}, 256, turned, args);
}

}  // namespace medkern::cuda
