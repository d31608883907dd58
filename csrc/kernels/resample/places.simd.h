// Where outputs lie in x and which elements they read there, for blocks of kBlock pixels of y. For
// *.simd.cpp files only.
//
//   coordinate  t = grid * scale + shift, or the affine map of the indices plus a spline
//   padding     brings t inside (border, reflection, wrap), or leaves it (constant)
//   linear      reads floor(t) with weight 1 - (t - floor(t)) and its neighbor with t - floor(t)
//   nearest     reads the element nearest to t
//
// Numerics  in T. A neighbor of weight 0 is not read. A coordinate that is NaN has weights that are
//           NaN, on the first elements of the axis.
#pragma once

#include "core/parallel.h"
#include "cpu/shuffle.h"
#include "kernels/resample/resample.h"

namespace medkern::MK_ISA {
namespace {

constexpr int64_t kBlock = 128;  // pixels of y that are located together; a multiple of all vectors

// Of a block: pixels [begin, begin + count) of y, of sample n.
struct Block {
  int64_t n, begin, count;
};

MK_INLINE int64_t blocks_of(const PixelImage& y) { return divide_up(y.pixels, kBlock); }
MK_INLINE Block block_of(const PixelImage& y, int64_t n, int64_t number) {
  const int64_t begin = number * kBlock;
  return {n, begin, smaller(kBlock, y.pixels - begin)};
}

// The neighbors of each pixel of a block. Entries past its count are those of place 0.
template <class T>
struct Places {
  using Int = typename Vec<T>::Int;
  T at[3][kBlock];                    // coordinates along the axes
  Int offset[8][kBlock];              // of a neighbor, in elements from that of pixel 0
  T weight[8][kBlock];                // 0 where it is outside
  T outside[kBlock];                  // weight of `value`
  Int first[kBlock], second[kBlock];  // indices along the axis that slabs are cut along
};

// d weight / d t of the neighbors and of `value`, along each axis.
template <class T>
struct Slopes {
  T of[3][8][kBlock];
  T outside[3][kBlock];
};

template <class T>
MK_INLINE Vec<T> floor_of(Vec<T> t) {
  using Mask = typename Vec<T>::Mask;
  using Native = typename Vec<T>::Native;
  const Native whole = __builtin_convertvector(__builtin_convertvector(t.v, Mask), Native);
  return whole > t.v ? whole - Vec<T>(T(1)).v : whole;
}

// To the nearest whole number, halves to the even one: adding 1.5 * 2^23 (2^52) rounds.
template <class T>
MK_INLINE Vec<T> nearest_even(Vec<T> t) {
  const Vec<T> shift(sizeof(T) == 4 ? T(12582912) : T(6755399441055744.0));
  return (t + shift) - shift;
}

// The elements that places read along one axis.
template <class T>
struct Ends {
  typename Vec<T>::Mask first, second;  // indices, inside the axis
  Vec<T> weight[2];                     // 0 where it is outside
  Vec<T> slope[2];                      // of the weights along t
  Vec<T> inside;                        // sum of the weights, exactly 1 where both are inside
};

// t brought to where elements are; `sign` is d result / d t.
template <class T>
MK_INLINE Vec<T> brought_inside(Vec<T> t, Vec<T>& sign, int64_t size, const ResampleArgs& a) {
  const Vec<T> zero = Vec<T>::zero(), one(T(1)), last(static_cast<T>(size - 1));
  sign = one;
  switch (a.padding) {
    case ResamplePadding::constant: {
      // Past -2 and size + 1 nothing changes any more.
      const Vec<T> low(T(-2)), high(static_cast<T>(size + 1));
      t = select<T>(t < low, low, t);
      return select<T>(t > high, high, t);
    }
    case ResamplePadding::wrap: {
      // Periods are counted in T: huge coordinates end anywhere, but inside.
      const Vec<T> period(static_cast<T>(size));
      const Vec<T> limit(sizeof(T) == 4 ? T(1e9) : T(1e15));
      Vec<T> turns = t / period;
      turns = select<T>(turns > limit, limit, select<T>(turns < -limit, -limit, turns));
      t = fma(floor_of(turns), -period, t);
      t = select<T>(t < zero, zero, t);
      return select<T>(t.v >= period.v, zero, t);
    }
    case ResamplePadding::reflection: {
      const T low = a.mirrors_at_centers ? T(0) : T(-0.5);
      const T span = static_cast<T>(a.mirrors_at_centers ? size - 1 : size);
      if (span == 0) {
        sign = zero;
        return select<T>(t == t, zero, t);
      }
      const Vec<T> limit(sizeof(T) == 4 ? T(1e9) : T(1e15));
      Vec<T> from = t - Vec<T>(low);
      const typename Vec<T>::Mask below = from < zero;
      from = select<T>(below, -from, from);
      Vec<T> flips = floor_of(min(from / Vec<T>(span), limit));
      const Vec<T> rest = fma(flips, Vec<T>(-span), from);
      const Vec<T> half = floor_of(flips * Vec<T>(T(0.5)));
      const typename Vec<T>::Mask even = (half + half) == flips;
      t = select<T>(even, rest, Vec<T>(span) - rest) + Vec<T>(low);
      sign = select<T>(even, one, -one);
      sign = select<T>(below, -sign, sign);
      break;
    }
    case ResamplePadding::border:
      break;
  }
  sign = select<T>((t > zero) & (t < last), sign, zero);
  t = select<T>(t < zero, zero, t);
  return select<T>(t > last, last, t);
}

template <class T>
MK_INLINE Ends<T> ends_of(Vec<T> t, int64_t size, const ResampleArgs& a) {
  using Mask = typename Vec<T>::Mask;
  using Int = typename Vec<T>::Int;
  const Vec<T> zero = Vec<T>::zero(), one(T(1));
  Ends<T> e;
  Vec<T> sign;
  t = brought_inside(t, sign, size, a);
  const Vec<T> number = select<T>(t == t, t, zero);
  const Vec<T> below = a.linear    ? floor_of(number)
                       : a.ties_up ? floor_of(number + Vec<T>(T(0.5)))
                                   : nearest_even(number);
  const Mask first = __builtin_convertvector(below.v, Mask);
  const Mask count = Mask{} + static_cast<Int>(size), ones = Mask{} + 1;
  Mask second = first + (a.linear ? ones : Mask{});
  if (a.padding == ResamplePadding::wrap) second = second >= count ? second - count : second;
  e.weight[1] = a.linear ? t - below : zero;
  e.weight[0] = a.linear ? one - e.weight[1] : select<T>(t == t, one, t);
  e.slope[1] = a.linear ? sign : zero;
  e.slope[0] = a.linear ? -sign : zero;
  const Mask first_in = (first >= 0) & (first < count),
             second_in = (second >= 0) & (second < count);
  e.weight[0] = select<T>(first_in, e.weight[0], zero);
  e.weight[1] = select<T>(second_in, e.weight[1], zero);
  e.slope[0] = select<T>(first_in, e.slope[0], zero);
  e.slope[1] = select<T>(second_in, e.slope[1], zero);
  e.inside = select<T>(first_in & second_in, one, e.weight[0] + e.weight[1]);
  e.first = first_in ? first : Mask{};
  e.second = second_in ? second : Mask{};
  // In nearest wrap the last half step leads back to the first element.
  if (a.padding == ResamplePadding::wrap && !a.linear) {
    e.first = first >= count ? first - count : first;
    e.weight[0] = select<T>(t == t, one, t);
    e.inside = one;
  }
  return e;
}

// Whether neighbors along W lie side by side for all places, see `set_side_by_side`.
MK_INLINE bool side_by_side(const ResampleArgs& a) {
  return a.x.size[2] > 1 && a.padding != ResamplePadding::wrap;
}

// Puts the elements read along an axis side by side where the edge parts them: one more element
// that has weight 0.
template <class T>
MK_INLINE void set_side_by_side(Ends<T>& e, int64_t size) {
  using Mask = typename Vec<T>::Mask;
  const Mask most = Mask{} + static_cast<typename Vec<T>::Int>(size - 2);
  const Mask left = e.first < most ? e.first : most, right = left + 1;
  const auto on = [&](Mask element, Vec<T> first, Vec<T> second) {
    return select<T>(e.first == element, first, Vec<T>::zero()) +
           select<T>(e.second == element, second, Vec<T>::zero());
  };
  const Vec<T> weight[2] = {on(left, e.weight[0], e.weight[1]),
                            on(right, e.weight[0], e.weight[1])};
  const Vec<T> slope[2] = {on(left, e.slope[0], e.slope[1]), on(right, e.slope[0], e.slope[1])};
  for (int i = 0; i < 2; ++i) {
    e.weight[i] = weight[i];
    e.slope[i] = slope[i];
  }
  e.first = left;
  e.second = right;
}

// The axis along which x is cut into slabs: the first that has more than one element.
MK_INLINE int slab_axis(const PixelImage& x) { return x.size[0] > 1 ? 0 : 1; }

// Indices [begin, end) of that axis: elements outside get weight 0.
struct Slab {
  int64_t begin, end;
};

// Neighbors of the coordinates in `places.at`, `step` elements between pixels of x; `slopes` may be
// nullptr.
template <class T>
MK_INLINE void find_neighbors(const ResampleArgs& a, int64_t count, int64_t step, Slab slab,
                              Places<T>& places, Slopes<T>* slopes) {
  using V = Vec<T>;
  using Mask = typename V::Mask;
  using Int = typename V::Int;
  constexpr int64_t kLanes = V::kLanes;
  const int64_t* size = a.x.size;
  const int begin_axis = 3 - a.rank, cut = slab_axis(a.x);
  const Int stride[3] = {static_cast<Int>(size[1] * size[2] * step),
                         static_cast<Int>(size[2] * step), static_cast<Int>(step)};
  const auto put = [](Int* to, Mask value) { __builtin_memcpy(to, &value, sizeof value); };
  for (int64_t i = 0; i < count; i += kLanes) {
    Ends<T> ends[3]{};
    for (int axis = begin_axis; axis < 3; ++axis) {
      Ends<T>& e = ends[axis];
      e = ends_of(V::load(places.at[axis] + i), size[axis], a);
      if (axis == 2 && side_by_side(a)) set_side_by_side(e, size[2]);
      if (axis == cut) {
        put(places.first + i, e.first);
        put(places.second + i, e.second);
        if (slab.begin > 0 || slab.end < size[axis]) {
          const Mask begin = Mask{} + static_cast<Int>(slab.begin);
          const Mask end = Mask{} + static_cast<Int>(slab.end);
          e.weight[0] = select<T>((e.first >= begin) & (e.first < end), e.weight[0], V::zero());
          e.weight[1] = select<T>((e.second >= begin) & (e.second < end), e.weight[1], V::zero());
        }
      }
    }
    const Ends<T>&y = ends[1], &x = ends[2];
    V inside = y.inside * x.inside;
    V weight[4], slope_y[4], slope_x[4];
    Mask offset[4];
    for (int k = 0; k < 4; ++k) {
      const int j = k / 2, l = k % 2;
      weight[k] = y.weight[j] * x.weight[l];
      slope_y[k] = y.slope[j] * x.weight[l];
      slope_x[k] = y.weight[j] * x.slope[l];
      offset[k] =
          (j == 0 ? y.first : y.second) * stride[1] + (l == 0 ? x.first : x.second) * stride[2];
    }
    if (a.rank == 2) {
      for (int k = 0; k < 4; ++k) {
        weight[k].store(places.weight[k] + i);
        put(places.offset[k] + i, offset[k]);
        if (slopes == nullptr) continue;
        slope_y[k].store(slopes->of[1][k] + i);
        slope_x[k].store(slopes->of[2][k] + i);
      }
      if (slopes != nullptr) {
        (-((y.slope[0] + y.slope[1]) * x.inside)).store(slopes->outside[1] + i);
        (-((x.slope[0] + x.slope[1]) * y.inside)).store(slopes->outside[2] + i);
      }
    } else {
      const Ends<T>& z = ends[0];
      for (int k = 0; k < 8; ++k) {
        const int j = k / 4, l = k % 4;
        (z.weight[j] * weight[l]).store(places.weight[k] + i);
        put(places.offset[k] + i, (j == 0 ? z.first : z.second) * stride[0] + offset[l]);
        if (slopes == nullptr) continue;
        (z.slope[j] * weight[l]).store(slopes->of[0][k] + i);
        (z.weight[j] * slope_y[l]).store(slopes->of[1][k] + i);
        (z.weight[j] * slope_x[l]).store(slopes->of[2][k] + i);
      }
      if (slopes != nullptr) {
        (-((z.slope[0] + z.slope[1]) * inside)).store(slopes->outside[0] + i);
        (-((y.slope[0] + y.slope[1]) * z.inside * x.inside)).store(slopes->outside[1] + i);
        (-((x.slope[0] + x.slope[1]) * z.inside * y.inside)).store(slopes->outside[2] + i);
      }
      inside = inside * z.inside;
    }
    (V(T(1)) - inside).store(places.outside + i);
  }
}

// Coordinates of a block from the grid.
template <class T>
MK_INLINE void read_grid(const ResampleArgs& a, const Block& block, Places<T>& places) {
  const int rank = a.rank;
  const T* grid = static_cast<const T*>(a.grid) + (block.n * a.y.pixels + block.begin) * rank;
  T* x = places.at[2];
  T* y = places.at[1];
  T* z = places.at[0];
  if (rank == 2) {
    constexpr int64_t kLanes = Vec<T>::kLanes;
    int64_t i = 0;
    for (; i + kLanes <= block.count; i += kLanes) {
      const Halves<T> halves =
          deinterleave(Vec<T>::load(grid + 2 * i), Vec<T>::load(grid + 2 * i + kLanes));
      halves.even.store(x + i);
      halves.odd.store(y + i);
    }
    for (; i < block.count; ++i) x[i] = grid[2 * i], y[i] = grid[2 * i + 1];
  } else {
    for (int64_t i = 0; i < block.count; ++i) {
      x[i] = grid[3 * i];
      y[i] = grid[3 * i + 1];
      z[i] = grid[3 * i + 2];
    }
  }
  for (int axis = 3 - rank; axis < 3; ++axis) {
    T* at = places.at[axis];
    for (int64_t i = block.count; i % Vec<T>::kLanes != 0; ++i) at[i] = 0;
    const Vec<T> scale(static_cast<T>(a.scale[axis])), shift(static_cast<T>(a.shift[axis]));
    for (int64_t i = 0; i < block.count; i += Vec<T>::kLanes) {
      fma(Vec<T>::load(at + i), scale, shift).store(at + i);
    }
  }
}

}  // namespace
}  // namespace medkern::MK_ISA
