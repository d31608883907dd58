// The transforms of Winograd's minimal filtering F(4x4, 3x3), float32, on channels-last images.
//
// Two polynomials are multiplied by their values at the points 0, +-p, +-q and infinity, with
// p = 1/sqrt(2) and q = sqrt(2). A 3x3 correlation of a 6x6 tile d with a filter g is
//
//   y = A^T [(G g G^T) * (B^T d B)] A,    * element by element, y of size 4x4
//
// so 36 multiplications stand for 144. The matrix over points, here as they act on a row:
//
//   B^T d:  d0 - 5/2 d2 + d4,  (d4 - 2 d2) +- p (d3 - 2 d1),  (d4 - d2/2) +- q (d3 - d1/2),
//           d1 - 5/2 d3 + d5
//   G g:    g0,  -2/3 (g0 +- p g1 + g2/2),  1/6 (g0 +- q g1 + 2 g2),  g2
//   A^T m:  m0 + s + t,  p e + q f,  s/2 + 2 t,  p^3 e + q^3 f + m5,
//           s, e = m1 +- m2 and t, f = m3 +- m4
//
// The gradient of the weights is F(3x3, 4x4), with the same points and so the same B: filters 4x4,
// results 3x3.
//
// Work, in vector operations per tile and vector of channels: 144 for the input, 120 for the
// output; 36 vectors are read and 36 (16) written. Numerics: the error of a whole convolution is
// 5 to 10 units of 2^-24 sum |x||w| (the largest sum of a tile), where the direct sum has 1 to 4
// and the textbook's points 0, +-1, +-2 have 25 to 40. A NaN or an infinity spreads to all results
// of a tile that it reaches; an infinity becomes NaN in some of them. After Lavin and Gray, "Fast
// algorithms for convolutional neural networks" (2015); the points are those of Barabasz and
// others, "Error analysis and improving the accuracy of Winograd convolution" (2018), made
// symmetric under inversion.
#pragma once

#include <cstdint>

#include "cpu/integers.h"

namespace medkern::MK_ISA {

constexpr int64_t kTileIn = 6, kTileOut = 4, kTilePlanes = kTileIn * kTileIn;

// One depth slice of one item of a channels-last image: channels have stride 1.
struct Slice {
  const float* data;  // of position (0, 0)
  int64_t height, width, channels;
  int64_t row, pixel;  // elements from row to row, and from pixel to pixel
};

struct WinogradPoints {
  static constexpr float p = 0.70710678118654752f, q = 1.4142135623730951f;
  static constexpr float p3 = 0.35355339059327376f, q3 = 2.8284271247461903f;
};

// B^T along one axis: to[i] from d[i].
MK_INLINE void transform_input_row(const Vec<float> d[6], Vec<float> to[6]) {
  using V = Vec<float>;
  using Points = WinogradPoints;
  to[0] = fma(V(-2.5f), d[2], d[0] + d[4]);
  const V a = fma(V(-2.0f), d[2], d[4]), b = fma(V(-2.0f), d[1], d[3]);
  to[1] = fma(V(Points::p), b, a);
  to[2] = fma(V(-Points::p), b, a);
  const V c = fma(V(-0.5f), d[2], d[4]), e = fma(V(-0.5f), d[1], d[3]);
  to[3] = fma(V(Points::q), e, c);
  to[4] = fma(V(-Points::q), e, c);
  to[5] = fma(V(-2.5f), d[3], d[1] + d[5]);
}

// B^T d B of 6x6 vectors, kLanes channels: plane i to to[i * plane].
MK_INLINE void transform_input_vector(const float* from, int64_t row, int64_t pixel, float* to,
                                      int64_t plane) {
  using V = Vec<float>;
  V half[6][6];
#pragma GCC unroll 6
  for (int w = 0; w < 6; ++w) {
    V d[6], t[6];
#pragma GCC unroll 6
    for (int h = 0; h < 6; ++h) d[h] = V::load(from + h * row + w * pixel);
    transform_input_row(d, t);
#pragma GCC unroll 6
    for (int h = 0; h < 6; ++h) half[h][w] = t[h];
  }
#pragma GCC unroll 6
  for (int h = 0; h < 6; ++h) {
    V t[6];
    transform_input_row(half[h], t);
#pragma GCC unroll 6
    for (int w = 0; w < 6; ++w) t[w].store(to + (h * 6 + w) * plane);
  }
}

// Transforms the tile of kSize x kSize positions from (h, w) on, all channels, rounded up to whole
// vectors, by transform(from, row, pixel, to, plane) for each of them: plane i of channel c to
// to[i * plane + c]. What lies outside the image is 0. Meanwhile fetches what the tile at `ahead`
// has that its neighbor to the left has not: tiles are too short a run of each row for the
// processor to see where the next one is.
template <int kSize, class Transform>
MK_INLINE void transform_tile(const Slice& x, int64_t h, int64_t w, const float* ahead, float* to,
                              int64_t plane, Transform transform) {
  using V = Vec<float>;
  const bool inside = h >= 0 && w >= 0 && h + kSize <= x.height && w + kSize <= x.width;
  const float* from = x.data + h * x.row + w * x.pixel;
  for (int64_t c = 0; c < x.channels; c += V::kLanes) {
    for (int64_t i = 0; i < kSize; ++i) {
      for (int64_t j = kSize - kTileOut; j < kSize; ++j) {
        __builtin_prefetch(ahead + i * x.row + j * x.pixel + c);
      }
    }
    if (inside && c + V::kLanes <= x.channels) {
      transform(from + c, x.row, x.pixel, to + c, plane);
      continue;
    }
    const int64_t lanes = smaller(x.channels - c, V::kLanes);
    alignas(64) float tile[kSize * kSize * V::kLanes];
    for (int64_t i = 0; i < kSize; ++i) {
      for (int64_t j = 0; j < kSize; ++j) {
        const bool there = h + i >= 0 && h + i < x.height && w + j >= 0 && w + j < x.width;
        const float* at = there ? from + i * x.row + j * x.pixel + c : tile;
        V::load(at, there ? lanes : 0).store(tile + (i * kSize + j) * V::kLanes);
      }
    }
    transform(tile, kSize * V::kLanes, V::kLanes, to + c, plane);
  }
}

// A^T along one axis: to[i] from m[i].
MK_INLINE void transform_output_row(const Vec<float> m[6], Vec<float> to[4]) {
  using V = Vec<float>;
  using Points = WinogradPoints;
  const V s = m[1] + m[2], e = m[1] - m[2], t = m[3] + m[4], f = m[3] - m[4];
  to[0] = (m[0] + s) + t;
  to[1] = fma(V(Points::q), f, V(Points::p) * e);
  to[2] = fma(V(2.0f), t, V(0.5f) * s);
  to[3] = fma(V(Points::q3), f, fma(V(Points::p3), e, m[5]));
}

// A^T m A of 36 vectors, plane i from m[i * plane]: y[h][w].
MK_INLINE void transform_output_vector(const float* m, int64_t plane, Vec<float> y[4][4]) {
  using V = Vec<float>;
  V half[4][6];
#pragma GCC unroll 6
  for (int w = 0; w < 6; ++w) {
    V column[6], t[4];
#pragma GCC unroll 6
    for (int h = 0; h < 6; ++h) column[h] = V::load(m + (h * 6 + w) * plane);
    transform_output_row(column, t);
#pragma GCC unroll 4
    for (int h = 0; h < 4; ++h) half[h][w] = t[h];
  }
#pragma GCC unroll 4
  for (int h = 0; h < 4; ++h) transform_output_row(half[h], y[h]);
}

// G along one axis: to[i] from g[i].
MK_INLINE void transform_filter_row(const Vec<float> g[3], Vec<float> to[6]) {
  using V = Vec<float>;
  using Points = WinogradPoints;
  to[0] = g[0];
  const V a = fma(V(0.5f), g[2], g[0]), b = V(Points::p) * g[1];
  to[1] = V(-2.0f / 3) * (a + b);
  to[2] = V(-2.0f / 3) * (a - b);
  const V c = fma(V(2.0f), g[2], g[0]), e = V(Points::q) * g[1];
  to[3] = V(1.0f / 6) * (c + e);
  to[4] = V(1.0f / 6) * (c - e);
  to[5] = g[2];
}

// G g G^T of 3x3 vectors: plane i to to[i * plane].
MK_INLINE void transform_filter_vector(const Vec<float> g[9], float* to, int64_t plane) {
  using V = Vec<float>;
  V half[6][3];
#pragma GCC unroll 3
  for (int w = 0; w < 3; ++w) {
    const V column[3] = {g[w], g[3 + w], g[6 + w]};
    V t[6];
    transform_filter_row(column, t);
#pragma GCC unroll 6
    for (int h = 0; h < 6; ++h) half[h][w] = t[h];
  }
#pragma GCC unroll 6
  for (int h = 0; h < 6; ++h) {
    V t[6];
    transform_filter_row(half[h], t);
#pragma GCC unroll 6
    for (int w = 0; w < 6; ++w) t[w].store(to + (h * 6 + w) * plane);
  }
}

}  // namespace medkern::MK_ISA
