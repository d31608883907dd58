// Operands of products that the kernels don't take as they lie: rounded to bf16, widened to
// float32, lines brought to multiples of 16 bytes, or turned about so that k is contiguous.
//
//   to[item][outer][inner] = from[item, outer, inner]
//
// A block takes 64 lines of 64 numbers; where neighbors of `outer` are contiguous in `from` they go
// through shared memory. Memory-bound: everything is read once and written once, in pieces of at
// least 128 bytes.
#include "cuda/half.h"
#include "kernels/gemm/gemm.cuda.h"

namespace medkern::cuda {

constexpr int kSide = 64, kThreads = 256;

// A 16-bit number that is not looked into.
struct Bits16 {
  uint16_t bits;
};

template <class To, class From>
MK_INLINE void store_eight(To* to, const From (&v)[8]) {
  if constexpr (sizeof(To) == 4) {
    store16(to, {float(v[0]), float(v[1]), float(v[2]), float(v[3])});
    store16(to + 4, {float(v[4]), float(v[5]), float(v[6]), float(v[7])});
  } else if constexpr (sizeof(From) == 4) {
    *reinterpret_cast<uint4*>(to) = make_uint4(to_bf16x2(v[0], v[1]), to_bf16x2(v[2], v[3]),
                                               to_bf16x2(v[4], v[5]), to_bf16x2(v[6], v[7]));
  } else {
    const auto two = [&](int i) { return v[i].bits | uint32_t{v[i + 1].bits} << 16; };
    *reinterpret_cast<uint4*>(to) = make_uint4(two(0), two(2), two(4), two(6));
  }
}

template <class From>
MK_INLINE void load_eight(const From* from, From (&v)[8]) {
  if constexpr (sizeof(From) == 4) {
    const float4 x = load16(from), y = load16(from + 4);
    v[0] = x.x, v[1] = x.y, v[2] = x.z, v[3] = x.w, v[4] = y.x, v[5] = y.y, v[6] = y.z, v[7] = y.w;
  } else {
    const uint4 x = *reinterpret_cast<const uint4*>(from);
    const uint32_t words[4] = {x.x, x.y, x.z, x.w};
#pragma unroll
    for (int i = 0; i < 8; ++i) v[i].bits = static_cast<uint16_t>(words[i / 2] >> i % 2 * 16);
  }
}

template <class From, class To>
MK_INLINE void pack(const GemmPackArgs& args) {
  const uint32_t of_first = args.operand[0].blocks * args.operand[0].items;
  const bool second = blockIdx.x >= of_first;
  const GemmPack& p = args.operand[second];
  const uint32_t number = second ? blockIdx.x - of_first : blockIdx.x;
  const uint32_t item = number / p.blocks, tile = number - item * p.blocks;
  const uint32_t across = (p.inner + kSide - 1) / kSide;
  const int line = tile / across * kSide, first = tile % across * kSide;
  const From* from = static_cast<const From*>(p.from) + item * p.item_stride;
  To* to = static_cast<To*>(p.to) + int64_t{item} * p.outer * p.to_line;
  const int thread = threadIdx.x;
  From* turned = shared<From>();  // [inner][kSide + 1]
  const bool turn = p.outer_stride == 1 && p.inner_stride != 1;
  if (turn) {
#pragma unroll
    for (int i = 0; i < kSide * kSide / kThreads; ++i) {
      const int o = thread % kSide, inner = thread / kSide + i * (kThreads / kSide);
      const bool inside = line + o < p.outer && first + inner < p.inner;
      turned[inner * (kSide + 1) + o] =
          inside ? from[line + o + (first + inner) * p.inner_stride] : From{};
    }
    __syncthreads();
  }
#pragma unroll
  for (int i = 0; i < kSide * kSide / 8 / kThreads; ++i) {
    const int flat = thread + i * kThreads, o = flat / 8, inner = flat % 8 * 8;
    if (line + o >= p.outer || first + inner >= p.inner) continue;
    From v[8];
    const From* at = from + (line + o) * p.outer_stride + (first + inner) * p.inner_stride;
    if (turn) {
#pragma unroll
      for (int e = 0; e < 8; ++e) v[e] = turned[(inner + e) * (kSide + 1) + o];
    } else if (p.vectors && first + inner + 8 <= p.inner) {
      load_eight(at, v);
    } else {
#pragma unroll
      for (int e = 0; e < 8; ++e) {
        v[e] = first + inner + e < p.inner ? at[e * p.inner_stride] : From{};
      }
    }
    store_eight(to + (line + o) * p.to_line + first + inner, v);
  }
}

}  // namespace medkern::cuda

using namespace medkern::cuda;

MK_KERNEL(gemm_pack_f32_bf16, GemmPackArgs, 256) { pack<float, Bits16>(args); }
MK_KERNEL(gemm_pack_f32_f32, GemmPackArgs, 256) { pack<float, float>(args); }
MK_KERNEL(gemm_pack_f16_f32, GemmPackArgs, 256) { pack<float16, float>(args); }
MK_KERNEL(gemm_pack_bf16_f32, GemmPackArgs, 256) { pack<bfloat16, float>(args); }
MK_KERNEL(gemm_pack_b16_b16, GemmPackArgs, 256) { pack<Bits16, Bits16>(args); }
