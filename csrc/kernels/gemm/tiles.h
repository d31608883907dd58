// Sizes of the GEMM core, per instruction set: everything there is to tune. For *.simd.cpp files.
//
//                        AVX-512          AVX2             portable (SSE)
//   vector registers     32               16               16
//   kTileRows            14               6                4
//   kTileVectors         2                2                2
//   accumulators         28               12               8
//   left for b and a     4                4                8
//   kWideRows            6                3                3
//   kThreeRows           9                3                3
//   kOwnRows             9                6                4
//   kOwnVectors          3                2                2
//
// A tile needs at least 8 accumulators to hide the latency of fma (4 cycles, 2 per cycle): a tile
// of few rows gets them by taking two panels at once. One of three vectors reads less per product
// than one of two and one of one.
//
// kOwnRows and kOwnVectors are the tile of a product that packs b for itself alone, and so may have
// panels of its own. Rows of a that are 4 KiB apart meet in the same sets of the L1 cache: 14 don't
// fit its 12 ways, 9 do (4 % faster at 1024 cubed, the same at 1000 cubed).
#pragma once

#include "cpu/vec.h"

namespace medkern::MK_ISA {

#if MK_VECTOR_BYTES == 64
constexpr int kTileRows = 14;
constexpr int kWideRows = 6;
constexpr int kThreeRows = 9;
constexpr int kOwnRows = 9;
constexpr int kOwnVectors = 3;
#elif MK_VECTOR_BYTES == 32
constexpr int kTileRows = 6;
constexpr int kWideRows = 3;
constexpr int kThreeRows = 3;
constexpr int kOwnRows = 6;
constexpr int kOwnVectors = 2;
#else
constexpr int kTileRows = 4;
constexpr int kWideRows = 3;
constexpr int kThreeRows = 3;
constexpr int kOwnRows = 4;
constexpr int kOwnVectors = 2;
#endif
constexpr int kTileVectors = 2;

// Columns of a tile, and of a panel of packed b.
template <class T>
constexpr int64_t kPanel = kTileVectors * Vec<T>::kLanes;

// Steps of k summed in registers before they are added to c. Part of the definition of the result:
// it fixes the order of summation.
constexpr int64_t kGemmBlockK = 512;
// Rows, and panels of columns, of c that one task computes at most. Its part of a (280 KiB with
// AVX-512 and float32) and of b (256 KiB, or 384) stay in the L2 cache.
constexpr int64_t kGemmBlockRows = 10 * kTileRows;
constexpr int64_t kGemmBlockPanels = 4;

}  // namespace medkern::MK_ISA
