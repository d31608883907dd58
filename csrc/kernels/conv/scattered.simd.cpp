// The micro-kernel for few channels, once for each number of rows and vectors; see
// scattered.simd.h. All accumulators stay in registers.
#include "kernels/conv/scattered.simd.h"

namespace medkern::MK_ISA {
namespace {

template <class T, int kRows, int kVectors>
void tile(const Tile<T>& t) {
  using V = Vec<T>;
  constexpr int kLanes = V::kLanes;
  V acc[kRows][kVectors];
#pragma GCC unroll 2
  for (int j = 0; j < kVectors; ++j) {
    const int64_t lanes = t.columns - j * kLanes;
    V start = V::zero();
    if (t.bias != nullptr) {
      start = lanes < kLanes ? V::load(t.bias + j * kLanes, lanes) : V::load(t.bias + j * kLanes);
    }
#pragma GCC unroll 16
    for (int i = 0; i < kRows; ++i) acc[i][j] = start;
  }

  const T* b = t.b;
  const int64_t row = t.a_row;
  for (int64_t s = 0; s < t.steps; ++s) {
    V bk[kVectors];
#pragma GCC unroll 2
    for (int j = 0; j < kVectors; ++j) bk[j] = V::load(b + j * kLanes);
    b += kVectors * kLanes;
    // Rows in threes from one pointer, for p, p + row, p + 2 row are addresses that cost nothing.
    const T* a = t.a + t.a_offset[s];
#pragma GCC unroll 16
    for (int i = 0; i < kRows; ++i) {
      if (i > 0 && i % 3 == 0) {
        a += 3 * row;
        __asm__("" : "+r"(a));  // a register of its own, not one per row
      }
      const V x = V(a[i % 3 * row]);
#pragma GCC unroll 2
      for (int j = 0; j < kVectors; ++j) acc[i][j] = fma(x, bk[j], acc[i][j]);
    }
  }

  T* to = t.c;
  const int64_t c_row = t.c_row, columns = t.columns;
  const bool relu = t.relu;
#pragma GCC unroll 2
  for (int j = 0; j < kVectors; ++j) {
    const int64_t lanes = columns - j * kLanes;
    T* c = to + j * kLanes;
    if (relu) {
#pragma GCC unroll 16
      for (int i = 0; i < kRows; ++i) acc[i][j] = max(acc[i][j], V::zero());
    }
    if (lanes < kLanes) {
#pragma GCC unroll 16
      for (int i = 0; i < kRows; ++i) acc[i][j].store(c + i * c_row, lanes);
    } else {
#pragma GCC unroll 16
      for (int i = 0; i < kRows; ++i) acc[i][j].store(c + i * c_row);
    }
  }
}

template <class T>
using TileFunction = void (*)(const Tile<T>&);

template <class T, int kVectors>
constexpr TileFunction<T> kByRows[] = {
    tile<T, 1, kVectors>,  tile<T, 2, kVectors>,  tile<T, 3, kVectors>,  tile<T, 4, kVectors>,
#if MK_VECTOR_BYTES >= 32
    tile<T, 5, kVectors>,  tile<T, 6, kVectors>,
#endif
#if MK_VECTOR_BYTES >= 64
    tile<T, 7, kVectors>,  tile<T, 8, kVectors>,  tile<T, 9, kVectors>,  tile<T, 10, kVectors>,
    tile<T, 11, kVectors>, tile<T, 12, kVectors>, tile<T, 13, kVectors>, tile<T, 14, kVectors>,
#endif
};

template <class T>
void run(const Tile<T>& t) {
  (t.columns <= Vec<T>::kLanes ? kByRows<T, 1> : kByRows<T, 2>)[t.rows - 1](t);
}

}  // namespace

void run_scattered_tile(const Tile<float>& tile) { run(tile); }
void run_scattered_tile(const Tile<double>& tile) { run(tile); }

}  // namespace medkern::MK_ISA
