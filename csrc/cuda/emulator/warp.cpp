// What the lanes of a warp do together: the last to arrive computes for all.
//
// The maps from lanes to the elements of matrices are those of the PTX manual, written down in
// cuda/device.h.
#include <bit>
#include <cstring>

#include "cuda/emulator/scheduler.h"

namespace medkern::cuda::emulator {
namespace {

void compute_nothing(uint32_t, void* const*) {}

void compute_exchange(uint32_t mask, void* const* operands) {
  uint64_t values[32];
  for (uint32_t rest = mask; rest != 0; rest &= rest - 1) {
    const int lane = std::countr_zero(rest);
    values[lane] = static_cast<const Exchange*>(operands[lane])->value;
  }
  for (uint32_t rest = mask; rest != 0; rest &= rest - 1) {
    auto& mine = *static_cast<Exchange*>(operands[std::countr_zero(rest)]);
    // What a lane outside of the mask would give is undefined: no number.
    mine.value = mask >> mine.source & 1 ? values[mine.source] : ~uint64_t{0};
  }
}

void compute_vote(uint32_t mask, void* const* operands) {
  uint32_t lanes = 0;
  for (uint32_t rest = mask; rest != 0; rest &= rest - 1) {
    const int lane = std::countr_zero(rest);
    lanes |= uint32_t{static_cast<const Vote*>(operands[lane])->value} << lane;
  }
  for (uint32_t rest = mask; rest != 0; rest &= rest - 1) {
    static_cast<Vote*>(operands[std::countr_zero(rest)])->lanes = lanes;
  }
}

using Row = float __attribute__((vector_size(32)));  // 8 columns

// d (16, 8) += a (16, Depth) b (Depth, 8), k ascending; exact products, sums in float32.
template <int Depth>
void multiply(void* const* operands, const float (&a)[16][Depth], const Row (&b)[Depth]) {
  Row d[16];
  for (int lane = 0; lane < 32; ++lane) {
    const float* part = static_cast<const Product*>(operands[lane])->d;
    for (int i = 0; i < 4; ++i) d[lane / 4 + i / 2 * 8][lane % 4 * 2 + i % 2] = part[i];
  }
  for (int row = 0; row < 16; ++row) {
    Row sum = d[row];
    for (int k = 0; k < Depth; ++k) sum += a[row][k] * b[k];
    d[row] = sum;
  }
  for (int lane = 0; lane < 32; ++lane) {
    float* part = static_cast<const Product*>(operands[lane])->d;
    for (int i = 0; i < 4; ++i) part[i] = d[lane / 4 + i / 2 * 8][lane % 4 * 2 + i % 2];
  }
}

void compute_tf32(uint32_t, void* const* operands) {
  // The tensor cores don't look at the lowest 13 bits.
  const auto number = [](uint32_t bits) { return std::bit_cast<float>(bits & ~0x1fffu); };
  float a[16][8];
  Row b[8];
  for (int lane = 0; lane < 32; ++lane) {
    const auto& part = *static_cast<const Product*>(operands[lane]);
    const int group = lane / 4, t = lane % 4;
    for (int i = 0; i < 4; ++i) a[group + i % 2 * 8][t + i / 2 * 4] = number(part.a[i]);
    for (int i = 0; i < 2; ++i) b[t + i * 4][group] = number(part.b[i]);
  }
  multiply(operands, a, b);
}

float from_bf16(uint32_t bits) { return std::bit_cast<float>(bits << 16); }
float from_f16(uint32_t bits) {
  // The exponent's bias grows by 112, which subnormal numbers take as a factor only.
  const float magnitude = std::bit_cast<float>((bits & 0x7fff) << 13) * 0x1p112f;
  const uint32_t special = (bits & 0x7c00) == 0x7c00 ? 0x7f800000 : 0;
  return std::bit_cast<float>(std::bit_cast<uint32_t>(magnitude) | special | (bits & 0x8000) << 16);
}

template <float (*number)(uint32_t)>
void compute_pairs(uint32_t, void* const* operands) {
  float a[16][16];
  Row b[16];
  for (int lane = 0; lane < 32; ++lane) {
    const auto& part = *static_cast<const Product*>(operands[lane]);
    const int group = lane / 4, t = lane % 4;
    for (int i = 0; i < 4; ++i) {
      for (int half = 0; half < 2; ++half) {
        a[group + i % 2 * 8][2 * t + i / 2 * 8 + half] = number(part.a[i] >> 16 * half & 0xffff);
      }
    }
    for (int i = 0; i < 2; ++i) {
      for (int half = 0; half < 2; ++half) {
        b[2 * t + i * 8 + half][group] = number(part.b[i] >> 16 * half & 0xffff);
      }
    }
  }
  multiply(operands, a, b);
}

template <bool Transposed>
void compute_load(uint32_t, void* const* operands) {
  for (int matrix = 0; matrix < 4; ++matrix) {
    uint16_t elements[8][8];
    for (int row = 0; row < 8; ++row) {
      const auto& load = *static_cast<const Load*>(operands[8 * matrix + row]);
      std::memcpy(elements[row], load.row, sizeof elements[row]);
    }
    for (int lane = 0; lane < 32; ++lane) {
      const int row = lane / 4, column = lane % 4 * 2;
      const uint32_t low = Transposed ? elements[column][row] : elements[row][column];
      const uint32_t high = Transposed ? elements[column + 1][row] : elements[row][column + 1];
      static_cast<const Load*>(operands[lane])->to[matrix] = low | high << 16;
    }
  }
}

}  // namespace

const Operation exchange{"__shfl_sync", false, compute_exchange};
const Operation vote{"a vote", false, compute_vote};
const Operation sync{"__syncwarp", false, compute_nothing};
const Operation product_tf32{"mma_tf32", true, compute_tf32};
const Operation product_bf16{"mma_bf16", true, compute_pairs<from_bf16>};
const Operation product_f16{"mma_f16", true, compute_pairs<from_f16>};
const Operation load_matrix{"ldmatrix_x4", true, compute_load<false>};
const Operation load_matrix_transposed{"ldmatrix_x4_trans", true, compute_load<true>};

void warp_collective(const Operation& operation, uint32_t mask, void* operand, Site site) {
  const uint32_t number = thread_number / 32, mine = thread_number % 32;
  Warp& warp = block->warps[number];
  if (operation.whole_warp && warp.exists != ~0u) {
    give_up(where() + operation.name + " at " + text_of(site) +
            " in a warp with fewer than 32 threads");
  }
  mask &= warp.exists;
  if ((mask >> mine & 1) == 0) {
    give_up(where() + operation.name + " at " + text_of(site) +
            " by a thread that its mask leaves out");
  }
  uint32_t at = 0;
  while (at < warp.gatherings && warp.gathering[at].mask != mask) ++at;
  Gathering& gathering = warp.gathering[at];
  if (at == warp.gatherings) {
    ++warp.gatherings;
    gathering = {mask, 0, &operation, site};
  } else if (gathering.operation != &operation) {
    give_up(where() + operation.name + " at " + text_of(site) +
            " while others of its warp are at " + gathering.operation->name + " at " +
            text_of(gathering.site));
  }
  gathering.arrived |= 1u << mine;
  warp.operands[mine] = operand;
  if (gathering.arrived != mask) {
    suspend(operation.name, mask, site);
    return;
  }
  gathering = warp.gathering[--warp.gatherings];
  operation.compute(mask, warp.operands);
  warp.ready |= mask;
  block->ready |= 1u << number;
}

}  // namespace medkern::cuda::emulator
