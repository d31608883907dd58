// Products of warpgroups (cuda/hopper.h): what a descriptor says of shared memory, and which sums a
// thread holds, as the PTX manual has them, section on wgmma.
//
// A warp takes its own 16 of the 64 rows. It doesn't wait for the other three, as the tensor cores
// don't either.
#include <bit>
#include <cstring>

#include "cuda/emulator/async.h"

namespace medkern::cuda::emulator {
namespace {

constexpr uint32_t kPiece = 16;  // bytes that the swizzle keeps together

// The manual's canonical layouts with the 128-byte swizzle, in pieces of 16 bytes (T numbers):
//   k contiguous:     ((8, rows / 8), (T, 2)) : ((8 T, stride), (1, T))
//   rows contiguous:  ((T, 8, rows / 64), (8, k / 8)) : ((1, T, leading), (8 T, stride))
// and piece i of what lies in the line of 128 bytes at a multiple r of 128 is at i ^ r % 8.
struct Operand {
  uint32_t start, leading, stride;
  bool rows;

  Operand(uint64_t descriptor, bool by_rows, Site site)
      : start(static_cast<uint32_t>(descriptor & 0x3fff) << 4),
        leading(static_cast<uint32_t>(descriptor >> 16 & 0x3fff) << 4),
        stride(static_cast<uint32_t>(descriptor >> 32 & 0x3fff) << 4),
        rows(by_rows) {
    if (descriptor >> 62 != 1) refuse("wgmma of an operand without the 128-byte swizzle", site);
    if ((descriptor >> 49 & 7) != 0) refuse("wgmma of an operand with a base offset", site);
    // The pattern of the swizzle begins anew every 1024 bytes.
    const uint32_t inside = by_rows ? 0 : 0x60;
    if ((start % 1024 & ~inside) != 0 || stride % 1024 != 0 || (by_rows && leading % 1024 != 0)) {
      refuse("wgmma of a misaligned operand", site);
    }
  }

  // The piece with number `piece` along the contiguous axis at `line` of the other axis.
  uint32_t at(uint32_t piece, uint32_t line) const {
    const uint32_t address =
        rows ? start + piece / 8 * leading + piece % 8 * kPiece + line / 8 * stride + line % 8 * 128
             : start + piece * kPiece + line / 8 * stride + line % 8 * 128;
    return address ^ (address >> 7 & 7) << 4;
  }
};

float number_of(int how, uint32_t bits) {
  if (how == static_cast<int>(Wgmma::bf16)) return std::bit_cast<float>(bits << 16);
  if (how == static_cast<int>(Wgmma::f16)) return from_f16(static_cast<uint16_t>(bits));
  return std::bit_cast<float>(bits & ~0x1fffu);
}

// Elements of rows first .. first + count - 1 as [row][k], or as [k][row].
std::vector<float> read(const WarpgroupProduct& p, bool is_a, uint32_t first, uint32_t count) {
  const bool wide = p.how == static_cast<int>(Wgmma::tf32);
  const uint32_t size = wide ? 4 : 2, depth = 32 / size, numbers = kPiece / size;
  const Operand operand(is_a ? p.a : p.b, is_a ? p.a_rows : p.b_rows, p.site);
  std::vector<float> all(size_t{count} * depth);
  const auto put = [&](uint32_t row, uint32_t k, float value) {
    all[is_a ? size_t{row} * depth + k : size_t{k} * count + row] = value;
  };
  const uint32_t pieces = (operand.rows ? count : depth) / numbers;
  const uint32_t lines = operand.rows ? depth : count;
  for (uint32_t line = 0; line < lines; ++line) {
    for (uint32_t piece = 0; piece < pieces; ++piece) {
      const uint32_t address = operand.rows ? operand.at(piece + first / numbers, line)
                                            : operand.at(piece, line + first);
      if (address + kPiece > launch.shared_bytes) {
        refuse("wgmma of an operand outside of shared memory", p.site);
      }
      expect_published(address, kPiece, "wgmma", p.site);
      for (uint32_t i = 0; i < numbers; ++i) {
        uint32_t bits = 0;
        std::memcpy(&bits, shared_at(address) + i * size, size);
        const float value = number_of(p.how, bits);
        if (operand.rows) {
          put(piece * numbers + i, line, value);
        } else {
          put(line, piece * numbers + i, value);
        }
      }
    }
  }
  return all;
}

WarpProducts& warp_now() { return async_of_block().warps[thread_number / 32]; }

void read_operands(const WarpgroupProduct& p, std::vector<float>& a, std::vector<float>& b) {
  a = read(p, true, thread_number / 32 % 4 * 16, 16);
  b = read(p, false, 0, 2 * p.count);
}

// Calls what(value, lane, i) for d[i] of each lane and its place in [16][columns].
template <class Do>
void each_sum(HeldSums& held, Do what) {
  const uint32_t columns = 2 * held.count;
  for (uint32_t lane = 0; lane < 32; ++lane) {
    for (uint32_t i = 0; i < held.count; ++i) {
      const uint32_t row = lane / 4 + i / 2 % 2 * 8, column = i / 4 * 8 + lane % 4 * 2 + i % 2;
      what(held.values[size_t{row} * columns + column], lane, i);
    }
  }
}

constexpr uint32_t kUnderWay = 0xffffffff;  // of sums that the tensor cores hold

// Takes the sums from the threads.
HeldSums& hold(WarpProducts& warp, void* const* operands, const WarpgroupProduct& p) {
  for (HeldSums& one : warp.held) {
    if (one.d[0] != static_cast<const WarpgroupProduct*>(operands[0])->d) continue;
    if (one.count != p.count) refuse("wgmma of two sizes into the same sums", p.site);
    return one;
  }
  if (!warp.fenced) {
    refuse("wgmma into sums that were the threads' own, without wgmma_fence", p.site);
  }
  HeldSums& made = warp.held.emplace_back();
  made.count = p.count;
  made.values.resize(size_t{32} * p.count);
  for (int lane = 0; lane < 32; ++lane) {
    made.d[lane] = static_cast<const WarpgroupProduct*>(operands[lane])->d;
  }
  each_sum(made, [&](float& value, uint32_t lane, uint32_t i) {
    value = made.d[lane][i];
    made.d[lane][i] = std::bit_cast<float>(kUnderWay);
  });
  return made;
}

void compute_product(uint32_t, void* const* operands) {
  const auto& p = *static_cast<const WarpgroupProduct*>(operands[0]);
  if (thread_number / 128 * 128 + 128 > block->threads) {
    refuse("wgmma in a warpgroup with fewer than 128 threads", p.site);
  }
  for (int lane = 1; lane < 32; ++lane) {
    const auto& other = *static_cast<const WarpgroupProduct*>(operands[lane]);
    if (other.a != p.a || other.b != p.b || other.add != p.add) {
      refuse("wgmma whose operands differ between the lanes of a warp", p.site);
    }
  }
  WarpProducts& warp = warp_now();
  hold(warp, operands, p);
  PendingProduct& made = warp.pending.emplace_back();
  made.what = p;
  made.group = warp.groups;
  read_operands(p, made.a, made.b);
}

using Eight = float __attribute__((vector_size(32), aligned(4)));

void finish(PendingProduct& product, HeldSums& held) {
  const WarpgroupProduct& p = product.what;
  std::vector<float> a, b;
  read_operands(p, a, b);
  const auto differ = [](const std::vector<float>& x, const std::vector<float>& y) {
    return std::memcmp(x.data(), y.data(), x.size() * sizeof(float)) != 0;
  };
  if (differ(a, product.a) || differ(b, product.b)) {
    refuse("an operand was overwritten before its wgmma was waited for: the one", p.site);
  }
  const size_t columns = 2 * size_t{p.count}, depth = product.a.size() / 16;
  if (!p.add) std::fill(held.values.begin(), held.values.end(), 0.0f);
  for (size_t row = 0; row < 16; ++row) {
    for (size_t k = 0; k < depth; ++k) {
      const float factor = product.a[row * depth + k];
      for (size_t n = 0; n < columns; n += 8) {
        auto* sum = reinterpret_cast<Eight*>(&held.values[row * columns + n]);
        *sum += factor * *reinterpret_cast<const Eight*>(&product.b[k * columns + n]);
      }
    }
  }
}

template <uint32_t Left>
void compute_wait(uint32_t, void* const*) {
  WarpProducts& warp = warp_now();
  size_t done = 0;
  for (PendingProduct& product : warp.pending) {
    if (product.group + Left >= warp.groups) break;
    for (HeldSums& held : warp.held) {
      if (held.d[0] == product.what.d) finish(product, held);
    }
    ++done;
  }
  warp.pending.erase(warp.pending.begin(),
                     warp.pending.begin() + static_cast<std::ptrdiff_t>(done));
  // Sums with no more products are the threads' again.
  size_t kept = 0;
  for (HeldSums& held : warp.held) {
    bool more = false;
    for (const PendingProduct& product : warp.pending) more |= product.what.d == held.d[0];
    if (more) {
      if (&warp.held[kept] != &held) warp.held[kept] = held;
      ++kept;
      continue;
    }
    warp.fenced = false;
    each_sum(held, [&](float value, uint32_t lane, uint32_t i) {
      if (std::bit_cast<uint32_t>(held.d[lane][i]) != kUnderWay) {
        give_up(where() + "sums were written to before their wgmma was waited for");
      }
      held.d[lane][i] = value;
    });
  }
  warp.held.resize(kept);
}

void compute_fence(uint32_t, void* const*) { warp_now().fenced = true; }
void compute_close(uint32_t, void* const*) { ++warp_now().groups; }

}  // namespace

const Operation wgmma_product{"wgmma", true, compute_product};
const Operation wgmma_fence_first{"wgmma_fence", true, compute_fence};
const Operation wgmma_close{"wgmma_commit", true, compute_close};
const Operation wgmma_waits[8] = {
    {"wgmma_wait", true, compute_wait<0>}, {"wgmma_wait", true, compute_wait<1>},
    {"wgmma_wait", true, compute_wait<2>}, {"wgmma_wait", true, compute_wait<3>},
    {"wgmma_wait", true, compute_wait<4>}, {"wgmma_wait", true, compute_wait<5>},
    {"wgmma_wait", true, compute_wait<6>}, {"wgmma_wait", true, compute_wait<7>}};

}  // namespace medkern::cuda::emulator
