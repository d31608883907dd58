// CUDA kernels of copies: what the checked arguments come to on the device.
#include <algorithm>

#include "cuda/launch.h"
#include "kernels/copy/copy.cuda.h"
#include "kernels/copy/copy.h"
#include "kernels/loops.cuda.h"

namespace medkern::cuda {

void pad(const PadArgs& args);
void pad_backward(const PadArgs& args);

namespace {

// From and to types in the order of Dtype. Those of one type are moved; bytes also become truth
// values.
Kernel converted[7][7] = {{{"copy", "copy_move_4"},
                           {"copy", "copy_f32_f64"},
                           {"copy", "copy_f32_i32"},
                           {"copy", "copy_f32_i64"},
                           {"copy", "copy_f32_u8"},
                           {"copy", "copy_f32_f16"},
                           {"copy", "copy_f32_bf16"}},
                          {{"copy", "copy_f64_f32"},
                           {"copy", "copy_move_8"},
                           {"copy", "copy_f64_i32"},
                           {"copy", "copy_f64_i64"},
                           {"copy", "copy_f64_u8"},
                           {"copy", "copy_f64_f16"},
                           {"copy", "copy_f64_bf16"}},
                          {{"copy", "copy_i32_f32"},
                           {"copy", "copy_i32_f64"},
                           {"copy", "copy_move_4"},
                           {"copy", "copy_i32_i64"},
                           {"copy", "copy_i32_u8"},
                           {"copy", "copy_i32_f16"},
                           {"copy", "copy_i32_bf16"}},
                          {{"copy", "copy_i64_f32"},
                           {"copy", "copy_i64_f64"},
                           {"copy", "copy_i64_i32"},
                           {"copy", "copy_move_8"},
                           {"copy", "copy_i64_u8"},
                           {"copy", "copy_i64_f16"},
                           {"copy", "copy_i64_bf16"}},
                          {{"copy", "copy_u8_f32"},
                           {"copy", "copy_u8_f64"},
                           {"copy", "copy_u8_i32"},
                           {"copy", "copy_u8_i64"},
                           {"copy", "copy_u8_u8"},
                           {"copy", "copy_u8_f16"},
                           {"copy", "copy_u8_bf16"}},
                          {{"copy", "copy_f16_f32"},
                           {"copy", "copy_f16_f64"},
                           {"copy", "copy_f16_i32"},
                           {"copy", "copy_f16_i64"},
                           {"copy", "copy_f16_u8"},
                           {"copy", "copy_move_2"},
                           {"copy", "copy_f16_bf16"}},
                          {{"copy", "copy_bf16_f32"},
                           {"copy", "copy_bf16_f64"},
                           {"copy", "copy_bf16_i32"},
                           {"copy", "copy_bf16_i64"},
                           {"copy", "copy_bf16_u8"},
                           {"copy", "copy_bf16_f16"},
                           {"copy", "copy_move_2"}}};
Kernel moved_bytes{"copy", "copy_move_1"};
Kernel filled[7] = {{"copy", "copy_fill_f32"}, {"copy", "copy_fill_f64"}, {"copy", "copy_fill_i32"},
                    {"copy", "copy_fill_i64"}, {"copy", "copy_fill_u8"},  {"copy", "copy_fill_f16"},
                    {"copy", "copy_fill_bf16"}};
Kernel turned_1{"copy", "copy_turn_1"}, turned_2{"copy", "copy_turn_2"},
    turned_4{"copy", "copy_turn_4"}, turned_8{"copy", "copy_turn_8"};

// The axis along which x is contiguous, -1 if there is none or y is contiguous there too.
int turned_axis(const Loops& loops) {
  const int inner = loops.rank - 1;
  if (loops.stride[0][inner] != 1 || loops.stride[1][inner] <= 1) return -1;
  for (int i = 0; i < inner; ++i) {
    if (loops.stride[1][i] == 1) return i;
  }
  return -1;
}

int bits_for(int64_t size, int most) {
  int bits = 0;
  while (bits < most && (int64_t{1} << bits) < size) ++bits;
  return bits;
}

// y is contiguous along the innermost axis, x along `other`.
void turn(const CopyArgs& a, int other) {
  constexpr int kBits = 12;  // of kTurned
  static_assert(1 << kBits == kTurned);
  const Loops& l = a.loops;
  const int inner = l.rank - 1;
  TurnKernelArgs p{};
  p.y = a.y;
  p.x = a.x;
  // Square, unless a side is shorter.
  p.i_bits = bits_for(l.size[inner], kBits / 2);
  p.j_bits = bits_for(l.size[other], kBits - p.i_bits);
  p.i_bits = kBits - p.j_bits;
  int64_t tiles = 1;
  const auto along = [&](int64_t count) {
    require(count <= kMostSteps / tiles, "copy: x has more tiles than a CUDA kernel can count");
    tiles *= count;
    return divider(static_cast<uint32_t>(count));
  };
  require(l.size[inner] <= INT32_MAX && l.size[other] <= INT32_MAX,
          "copy: CUDA kernels turn tensors of sizes up to 2^31 - 1");
  p.i_size = static_cast<uint32_t>(l.size[inner]);
  p.j_size = static_cast<uint32_t>(l.size[other]);
  p.x_step = l.stride[1][inner];
  p.y_step = l.stride[0][other];
  p.i_tiles = along(((p.i_size - 1) >> p.i_bits) + 1);
  p.j_tiles = along(((p.j_size - 1) >> p.j_bits) + 1);
  for (int i = inner - 1; i >= 0; --i) {
    if (i == other) continue;
    p.outer[p.outer_rank] = along(l.size[i]);
    p.outer_x[p.outer_rank] = l.stride[1][i];
    p.outer_y[p.outer_rank++] = l.stride[0][i];
  }
  const size_t item = size_of(a.y_dtype);
  const int pad = p.j_bits < 5 ? 32 >> p.j_bits : 1;
  const size_t shared = item * ((size_t{1} << p.j_bits) * ((size_t{1} << p.i_bits) + pad));
  Kernel& kernel = item == 1 ? turned_1 : item == 2 ? turned_2 : item == 4 ? turned_4 : turned_8;
  launch(kernel, {static_cast<uint32_t>(tiles)}, kTurnedThreads, shared, p);
}

void copy(const CopyArgs& a) {
  const bool moves = a.x_dtype == a.y_dtype && !a.to_bool;
  const int other = moves ? turned_axis(a.loops) : -1;
  if (other >= 0) return turn(a, other);
  const Operand operands[] = {{a.y, size_of(a.y_dtype)}, {a.x, size_of(a.x_dtype)}};
  const CopyKernelArgs p{walk_over(a.loops, operands), a.y, a.x, a.to_bool};
  Kernel& kernel = moves && a.x_dtype == Dtype::u8
                       ? moved_bytes
                       : converted[static_cast<int>(a.x_dtype)][static_cast<int>(a.y_dtype)];
  launch(kernel, {walk_blocks(p.walk)}, kWalkThreads, 0, p);
}

void fill(const FillArgs& a) {
  const Operand operands[] = {{a.y, size_of(a.dtype)}};
  const FillKernelArgs p{walk_over(a.loops, operands), a.y, a.value, a.to_bool};
  launch(filled[static_cast<int>(a.dtype)], {walk_blocks(p.walk)}, kWalkThreads, 0, p);
}

}  // namespace

extern const CopyKernels copy_kernels;
constinit const CopyKernels copy_kernels = {
    .copy = copy,
    .fill = fill,
    .pad = pad,
    .pad_backward = pad_backward,
};

}  // namespace medkern::cuda
