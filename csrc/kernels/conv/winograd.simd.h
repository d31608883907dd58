// The transforms of Winograd's minimal filtering with six or three points, float32, on
// channels-last images.
//
// Two polynomials of which one has r coefficients and the other 7 - r are multiplied by their
// values at the points 0, +-p, +-q and infinity, with p = 1/sqrt(2) and q = sqrt(2). A correlation
// of a 6x6 tile d with an r x r filter g is, for any r from 2 to 5,
//
//   y = A^T [(G g G^T) * (B^T d B)] A,    * element by element, y of size m x m, m = 7 - r
//
// so 36 multiplications stand for r^2 m^2, 144 with 3x3 filters. The matrices over points, here as
// they act on a row; B does not depend on r:
//
//   B^T d:  d0 - 5/2 d2 + d4,  (d4 - 2 d2) +- p (d3 - 2 d1),  (d4 - d2/2) +- q (d3 - d1/2),
//           d1 - 5/2 d3 + d5
//   G g:    g0,  -2/3 (sum over even k of p^k gk +- sum over odd k),  1/6 (the same with q), g[r-1]
//   A^T m:  yi = p^i (m1 +- m2) + q^i (m3 +- m4), + for even i; with m0 added to the first and m5
//           to the last
//
// Two by two filters have a cheap way with the points 0, 1 and infinity, 9 multiplications for 16:
// tiles of 3x3 and results of 2x2, and
//
//   B^T d:  d0 - d1, d1, d2 - d1      G g:  g0, g0 + g1, g1      A^T m:  m0 + m1, m1 + m2
//
// The gradient of the weights has the same B, G and A, with r and m exchanged; there the factors
// -2/3 and 1/6 of the points are in A^T, which is applied once and not per tile.
//
// Work, in vector operations per tile and vector of channels: 144 for the input, with 3x3 filters
// 120 for the output; 36 vectors are read and 36 (m^2) written. Numerics: the error of a whole
// convolution, in units of 2^-24 sum |x||w| (the largest sum of a tile), is 5 to 13 for 3x3
// filters, up to 5 for 4x4 and 5x5, 2 to 4 for 2x2 with three points; the direct
// sum has 1 to 4, and the textbook's points 0, +-1, +-2 have 25 to 40. A NaN or an infinity spreads
// to all results of a tile that it reaches; an infinity becomes NaN in some of them. After Lavin
// and Gray, "Fast algorithms for convolutional neural networks" (2015); the points are those of
// Barabasz and others, "Error analysis and improving the accuracy of Winograd convolution" (2018),
// made symmetric under inversion.
#pragma once

#include <cstdint>

#include "cpu/integers.h"

namespace medkern::MK_ISA {

constexpr int64_t kMostTaps = 5;

// Results of a tile along an axis: coefficients of the one factor, for `taps` of the other.
constexpr int64_t tile_results(int64_t points, int64_t taps) { return points + 1 - taps; }

// One depth slice of one item of a channels-last image: channels have stride 1.
struct Slice {
  const float* data;  // of position (0, 0)
  int64_t height, width, channels;
  int64_t row, pixel;  // elements from row to row, and from pixel to pixel
};

struct WinogradPoints {
  static constexpr float p = 0.70710678118654752f, q = 1.4142135623730951f;
  static constexpr float p_powers[5] = {1, p, 0.5f, p / 2, 0.25f};
  static constexpr float q_powers[5] = {1, q, 2, 2 * q, 4};
  static constexpr float p_factor = -2.0f / 3, q_factor = 1.0f / 6;
};

// Calls body with the number of taps as a constant.
template <int kPoints, class Body>
MK_INLINE void with_taps(int64_t taps, Body body) {
  if constexpr (kPoints == 3) {
    body.template operator()<2>();
  } else {
    switch (taps) {
      case 2:
        return body.template operator()<2>();
      case 3:
        return body.template operator()<3>();
      case 4:
        return body.template operator()<4>();
      default:
        return body.template operator()<5>();
    }
  }
}

// B^T along one axis: to[i] from d[i].
template <int kPoints>
MK_INLINE void transform_input_row(const Vec<float>* d, Vec<float>* to) {
  using V = Vec<float>;
  using Points = WinogradPoints;
  if constexpr (kPoints == 3) {
    to[0] = d[0] - d[1];
    to[1] = d[1];
    to[2] = d[2] - d[1];
  } else {
    to[0] = fma(V(-2.5f), d[2], d[0] + d[4]);
    const V a = fma(V(-2.0f), d[2], d[4]), b = fma(V(-2.0f), d[1], d[3]);
    to[1] = fma(V(Points::p), b, a);
    to[2] = fma(V(-Points::p), b, a);
    const V c = fma(V(-0.5f), d[2], d[4]), e = fma(V(-0.5f), d[1], d[3]);
    to[3] = fma(V(Points::q), e, c);
    to[4] = fma(V(-Points::q), e, c);
    to[5] = fma(V(-2.5f), d[3], d[1] + d[5]);
  }
}

// G along one axis: the values of kCount coefficients. kFactors says whether the factors of the
// points belong to them.
template <int kPoints, int kCount, bool kFactors>
MK_INLINE void evaluate_row(const Vec<float>* g, Vec<float>* to) {
  using V = Vec<float>;
  using Points = WinogradPoints;
  if constexpr (kPoints == 3) {
    to[0] = g[0];
    to[1] = g[0] + g[1];
    to[2] = g[1];
  } else {
    V a = g[0], c = g[0], b = g[1], e = g[1];  // of p and q, even and odd powers
#pragma GCC unroll 5
    for (int k = 2; k < kCount; k += 2) {
      a = fma(V(Points::p_powers[k]), g[k], a);
      c = fma(V(Points::q_powers[k]), g[k], c);
    }
#pragma GCC unroll 5
    for (int k = 3; k < kCount; k += 2) {
      b = fma(V(Points::p_powers[k - 1]), g[k], b);
      e = fma(V(Points::q_powers[k - 1]), g[k], e);
    }
    constexpr float kP = kFactors ? Points::p_factor : 1, kQ = kFactors ? Points::q_factor : 1;
    if (kFactors) a = V(kP) * a, c = V(kQ) * c;
    to[0] = g[0];
    to[1] = fma(V(kP * Points::p), b, a);
    to[2] = fma(V(-kP * Points::p), b, a);
    to[3] = fma(V(kQ * Points::q), e, c);
    to[4] = fma(V(-kQ * Points::q), e, c);
    to[5] = g[kCount - 1];
  }
}

// A^T along one axis: kCount coefficients from the values of their product with the other factor.
template <int kPoints, int kCount, bool kFactors>
MK_INLINE void interpolate_row(const Vec<float>* m, Vec<float>* to) {
  using V = Vec<float>;
  using Points = WinogradPoints;
  if constexpr (kPoints == 3) {
    to[0] = m[0] + m[1];
    to[1] = m[1] + m[2];
  } else {
    constexpr float kP = kFactors ? Points::p_factor : 1, kQ = kFactors ? Points::q_factor : 1;
    const V s = m[1] + m[2], e = m[1] - m[2], t = m[3] + m[4], f = m[3] - m[4];
#pragma GCC unroll 5
    for (int i = 0; i < kCount; ++i) {
      V sum = i % 2 == 0 ? s : e;
      if (kP * Points::p_powers[i] != 1) sum = V(kP * Points::p_powers[i]) * sum;
      if (i == 0) sum += m[0];
      if (i == kCount - 1) sum += m[5];
      to[i] = fma(V(kQ * Points::q_powers[i]), i % 2 == 0 ? t : f, sum);
    }
  }
}

// B^T d B of kPoints x kPoints vectors, kLanes channels: plane i to to[i * plane].
template <int kPoints>
MK_INLINE void transform_input_vector(const float* from, int64_t row, int64_t pixel, float* to,
                                      int64_t plane) {
  using V = Vec<float>;
  V half[kPoints][kPoints];
#pragma GCC unroll 6
  for (int w = 0; w < kPoints; ++w) {
    V d[kPoints], t[kPoints];
#pragma GCC unroll 6
    for (int h = 0; h < kPoints; ++h) d[h] = V::load(from + h * row + w * pixel);
    transform_input_row<kPoints>(d, t);
#pragma GCC unroll 6
    for (int h = 0; h < kPoints; ++h) half[h][w] = t[h];
  }
#pragma GCC unroll 6
  for (int h = 0; h < kPoints; ++h) {
    V t[kPoints];
    transform_input_row<kPoints>(half[h], t);
#pragma GCC unroll 6
    for (int w = 0; w < kPoints; ++w) t[w].store(to + (h * kPoints + w) * plane);
  }
}

// G g G^T of kCount x kCount vectors, load(h, w): plane i to to[i * plane].
template <int kPoints, int kCount, bool kFactors, class Load>
MK_INLINE void evaluate(Load load, float* to, int64_t plane) {
  using V = Vec<float>;
  V half[kPoints][kCount];
#pragma GCC unroll 5
  for (int w = 0; w < kCount; ++w) {
    V g[kCount], t[kPoints];
#pragma GCC unroll 5
    for (int h = 0; h < kCount; ++h) g[h] = load(h, w);
    evaluate_row<kPoints, kCount, kFactors>(g, t);
#pragma GCC unroll 6
    for (int h = 0; h < kPoints; ++h) half[h][w] = t[h];
  }
#pragma GCC unroll 6
  for (int h = 0; h < kPoints; ++h) {
    V t[kPoints];
    evaluate_row<kPoints, kCount, kFactors>(half[h], t);
#pragma GCC unroll 6
    for (int w = 0; w < kPoints; ++w) t[w].store(to + (h * kPoints + w) * plane);
  }
}

// A^T m A of kPoints x kPoints vectors, plane i from m[i * plane]: y[h kCount + w].
template <int kPoints, int kCount, bool kFactors>
MK_INLINE void interpolate(const float* m, int64_t plane, Vec<float>* y) {
  using V = Vec<float>;
  V half[kCount][kPoints];
#pragma GCC unroll 6
  for (int w = 0; w < kPoints; ++w) {
    V column[kPoints], t[kCount];
#pragma GCC unroll 6
    for (int h = 0; h < kPoints; ++h) column[h] = V::load(m + (h * kPoints + w) * plane);
    interpolate_row<kPoints, kCount, kFactors>(column, t);
#pragma GCC unroll 5
    for (int h = 0; h < kCount; ++h) half[h][w] = t[h];
  }
#pragma GCC unroll 5
  for (int h = 0; h < kCount; ++h)
    interpolate_row<kPoints, kCount, kFactors>(half[h], y + h * kCount);
}

// Transforms the tile of kSize x kSize positions from (h, w) on, all channels, rounded up to whole
// vectors, by transform(from, row, pixel, to, plane) for each of them: plane i of channel c to
// to[i * plane + c]. What lies outside the image is 0. Meanwhile fetches what the tile at `ahead`
// has that its neighbor to the left has not, the last `fresh` columns: tiles are too short a run of
// each row for the processor to see where the next one is.
template <int kSize, class Transform>
MK_INLINE void transform_tile(const Slice& x, int64_t h, int64_t w, const float* ahead,
                              int64_t fresh, float* to, int64_t plane, Transform transform) {
  using V = Vec<float>;
  const bool inside = h >= 0 && w >= 0 && h + kSize <= x.height && w + kSize <= x.width;
  const float* from = x.data + h * x.row + w * x.pixel;
  for (int64_t c = 0; c < x.channels; c += V::kLanes) {
    for (int64_t i = 0; i < kSize; ++i) {
      for (int64_t j = kSize - fresh; j < kSize; ++j) {
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

}  // namespace medkern::MK_ISA
