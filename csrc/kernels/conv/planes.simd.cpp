// The micro-kernel for few channels to contiguous results, whose channels lie in planes; see
// scattered.simd.h. Lanes are pixels, so that planes are written in whole vectors. For each step 3
// vectors of pixels meet 8 weights: 11 loads for 24 fma (2 and 4 with 16 registers).
#include "cpu/lanes.h"
#include "kernels/conv/scattered.simd.h"

namespace medkern::MK_ISA {
namespace {

// Vectors of pixels and channels whose sums are kept in registers together.
constexpr int kMostVectors = MK_VECTOR_BYTES == 64 ? 3 : 2;
constexpr int kMostChannels = MK_VECTOR_BYTES == 64 ? 8 : 4;

// The last vector may have less than all lanes.
template <class T, int kVectors, int kChannels>
void tile(const Tile<T>& t, int64_t pixel, int64_t channel) {
  using V = Vec<T>;
  constexpr int kLanes = V::kLanes;
  const int64_t last = smaller(t.rows - pixel - (kVectors - 1) * kLanes, kLanes);
  V acc[kChannels][kVectors];
#pragma GCC unroll 8
  for (int j = 0; j < kChannels; ++j) {
    const V start(t.bias != nullptr ? t.bias[channel + j] : T(0));
#pragma GCC unroll 3
    for (int v = 0; v < kVectors; ++v) acc[j][v] = start;
  }
  const T* b = t.b + channel;
  const T* a = t.a + pixel;
  const auto add = [&](auto load_last) {
    for (int64_t s = 0; s < t.steps; ++s) {
      const T* from = a + t.a_offset[s];
      V x[kVectors];
#pragma GCC unroll 3
      for (int v = 0; v < kVectors - 1; ++v) x[v] = V::load(from + v * kLanes);
      x[kVectors - 1] = load_last(from + (kVectors - 1) * kLanes);
#pragma GCC unroll 8
      for (int j = 0; j < kChannels; ++j) {
        const V weight(b[j]);
#pragma GCC unroll 3
        for (int v = 0; v < kVectors; ++v) acc[j][v] = fma(x[v], weight, acc[j][v]);
      }
      b += t.b_row;
    }
  };
  last == kLanes ? add([](const T* p) { return V::load(p); })
                 : add([&](const T* p) { return V::load(p, last); });
  const int64_t c_row = t.c_row;
  T* to = t.c + channel * c_row + pixel;
#pragma GCC unroll 8
  for (int j = 0; j < kChannels; ++j) {
#pragma GCC unroll 3
    for (int v = 0; v < kVectors; ++v) {
      if (t.relu) acc[j][v] = max(acc[j][v], V::zero());
      T* at = to + j * c_row + v * kLanes;
      v < kVectors - 1 ? acc[j][v].store(at) : store_lanes(acc[j][v], at, last);
    }
  }
}

template <class T>
using TileFunction = void (*)(const Tile<T>&, int64_t pixel, int64_t channel);

template <class T, int kChannels>
constexpr TileFunction<T> kByVectors[] = {
    tile<T, 1, kChannels>,
    tile<T, 2, kChannels>,
#if MK_VECTOR_BYTES == 64
    tile<T, 3, kChannels>,
#endif
};

// Channels in as many as fit, then in half as many and so on.
template <class T, int kChannels>
MK_INLINE void run_channels(const Tile<T>& t, int64_t channel) {
  constexpr int kLanes = Vec<T>::kLanes;
  const int64_t vectors = divide_up(t.rows, kLanes), tiles = divide_up(vectors, kMostVectors);
  for (; channel + kChannels <= t.columns; channel += kChannels) {
    int64_t vector = 0;
    for (int64_t i = 0; i < tiles; ++i) {
      const int64_t together = divide_up(vectors - vector, tiles - i);
      kByVectors<T, kChannels>[together - 1](t, vector* kLanes, channel);
      vector += together;
    }
  }
  if constexpr (kChannels > 1) run_channels<T, kChannels / 2>(t, channel);
}

}  // namespace

void run_planes(const Tile<float>& tile) { run_channels<float, kMostChannels>(tile, 0); }
void run_planes(const Tile<double>& tile) { run_channels<double, kMostChannels>(tile, 0); }

}  // namespace medkern::MK_ISA
