// Resizing of contiguous images: vectors of elements along W. Included by resize.simd.cpp only.
#pragma once

#include "cpu/shuffle.h"
#include "kernels/resize/axes.h"

namespace medkern::MK_ISA {
namespace {

MK_INLINE bool has_lines(const Image& x) { return x.stride[2] == 1 || x.size[2] == 1; }

// What a vector of outputs reads: their neighbors among 2 kLanes elements of x from `base` on (a
// vector of them and a second one, with the lanes that lie inside the row), or, where they lie
// further apart, anywhere in the row.
template <class T>
struct VectorSource {
  bool near;
  int64_t base;
  uint32_t inside[2];
  typename Vec<T>::Mask left, right;  // lanes of the two vectors, or elements from `base`
  Vec<T> weight;                      // of the right neighbor
};

template <class T>
MK_INLINE VectorSource<T> vector_source(const Axis& axis, int64_t begin) {
  using Int = typename Vec<T>::Int;
  constexpr int kLanes = Vec<T>::kLanes;
  VectorSource<T> v{};
  v.base = source_of(axis, begin).first;
  for (int i = 0; i < kLanes; ++i) {  // lanes behind the last output repeat it
    const Source source = source_of(axis, smaller(begin + i, axis.count - 1));
    v.weight.v[i] = static_cast<T>(source.weight);
    v.left[i] = static_cast<Int>(source.first - v.base);
    v.right[i] = v.left[i] + (v.weight[i] > 0 ? 1 : 0);
  }
  v.near = v.right[kLanes - 1] < 2 * kLanes;
  v.inside[0] = lanes_inside<T>(v.base, axis.size);
  v.inside[1] = lanes_inside<T>(v.base + kLanes, axis.size);
  return v;
}

// A vector of a row of y from rows of x, which are blended before their columns are.
template <class T>
MK_INLINE Vec<T> resized(const VectorSource<T>& v, const Neighbors& rows, const T* x) {
  using V = Vec<T>;
  V left, right;
  if (v.near) {
    V low = V::zero(), high = V::zero();
    for (int r = 0; r < rows.count; ++r) {
      const V weight(static_cast<T>(rows.weight[r]));
      const T* from = x + rows.offset[r] + v.base;
      const V a = load_chosen(from, v.inside[0], T(0));
      const V b = load_chosen(from + V::kLanes, v.inside[1], T(0));
      low = r == 0 ? a * weight : fma(a, weight, low);
      high = r == 0 ? b * weight : fma(b, weight, high);
    }
    left = pick<T>(low, high, v.left);
    right = pick<T>(low, high, v.right);
  } else {
    left = right = V::zero();
    for (int r = 0; r < rows.count; ++r) {
      const T weight = static_cast<T>(rows.weight[r]);
      const T* from = x + rows.offset[r] + v.base;
      for (int i = 0; i < V::kLanes; ++i) {
        left.v[i] += from[v.left[i]] * weight;
        right.v[i] += from[v.right[i]] * weight;
      }
    }
  }
  const V both = fma(right, v.weight, left * (V(T(1)) - v.weight));
  return select<T>(v.weight > V::zero(), both, left);
}

// Rows [first, last) of a plane of y.
template <class T>
void forward_lines(const ResizeArgs& a, int64_t plane, int64_t first, int64_t last) {
  constexpr int64_t kLanes = Vec<T>::kLanes;
  const T* x = plane_of<const T>(a.x, plane / a.y.c, plane % a.y.c);
  T* y = plane_of<T>(a.y, plane / a.y.c, plane % a.y.c);
  const Axis axis = axis_of(a, 2);
  constexpr int kVectors = 4;
  VectorSource<T> sources[kVectors];
  for (int64_t begin = 0; begin < axis.count; begin += kVectors * kLanes) {
    const int64_t count = smaller(kVectors * kLanes, axis.count - begin);
    for (int64_t i = 0; i < count; i += kLanes) {
      sources[i / kLanes] = vector_source<T>(axis, begin + i);
    }
    for (int64_t row = first; row < last; ++row) {
      const int64_t od = row / a.y.size[1], oh = row % a.y.size[1];
      const Neighbors rows = rows_under(a, od, oh);
      T* to = y + offset_of(a.y, od, oh, begin);
      for (int64_t i = 0; i < count; i += kLanes) {
        store_lanes(resized(sources[i / kLanes], rows, x), to + i, smaller(kLanes, count - i));
      }
    }
  }
}

// Outputs of a block of columns of dx, whose gradients are added up over the rows of y first, and
// the readers of each column among them.
constexpr int64_t kMostOutputs = 1024, kMostReaders = 4096;
template <class T>
struct ColumnBlock {
  int64_t begin, end;           // columns of dx, whole vectors but for the last
  int64_t first, count;         // outputs
  int64_t depth;                // readers of a column at most
  int32_t index[kMostReaders];  // [vector][reader][lane]; `count`, where there is 0, for none
  T weight[kMostReaders];
};

// Whether any vector of columns fits a block: the outputs per element differ by one at most.
template <class T>
MK_INLINE bool columns_fit(const Axis& axis) {
  constexpr int64_t kLanes = Vec<T>::kLanes;
  const int64_t readers = 2 * (axis.count / axis.size + 2) + 2;
  return readers * (kLanes + 1) <= kMostOutputs && readers * kLanes <= kMostReaders;
}

// Fills the block from column `begin` on.
template <class T>
void fill_block(const Axis& axis, int64_t begin, ColumnBlock<T>& block) {
  constexpr int64_t kLanes = Vec<T>::kLanes;
  block.begin = block.end = begin;
  block.first = readers_of(axis, begin).begin;
  block.depth = block.count = 0;
  while (block.end < axis.size) {
    const int64_t end = smaller(block.end + kLanes, axis.size);
    const int64_t past = readers_of(axis, end - 1).end;
    int64_t depth = block.depth;
    for (int64_t i = block.end; i < end; ++i) {
      const Readers readers = readers_of(axis, i);
      depth = readers.end - readers.begin > depth ? readers.end - readers.begin : depth;
    }
    const int64_t vectors = (end - begin + kLanes - 1) / kLanes;
    if (past - block.first > kMostOutputs || vectors * depth * kLanes > kMostReaders) break;
    block.end = end;
    block.count = past - block.first;
    block.depth = depth;
  }
  for (int64_t i = begin; i < block.begin + (block.end - begin + kLanes - 1) / kLanes * kLanes;
       ++i) {
    const Readers readers = i < block.end ? readers_of(axis, i) : Readers{0, 0};
    for (int64_t k = 0; k < block.depth; ++k) {
      const int64_t o = readers.begin + k;
      const int64_t at = ((i - begin) / kLanes * block.depth + k) * kLanes + (i - begin) % kLanes;
      const double weight = o < readers.end ? weight_on(axis, o, i) : 0;
      block.weight[at] = static_cast<T>(weight);
      block.index[at] = static_cast<int32_t>(weight != 0 ? o - block.first : block.count);
    }
  }
}

// Rows [first, last) of a plane of dx.
template <class T>
void backward_lines(const ResizeArgs& a, int64_t plane, int64_t first, int64_t last) {
  using V = Vec<T>;
  constexpr int64_t kLanes = V::kLanes;
  const T* dy = plane_of<const T>(a.y, plane / a.x.c, plane % a.x.c);
  T* dx = plane_of<T>(a.x, plane / a.x.c, plane % a.x.c);
  const Axis axis = axis_of(a, 2);
  ColumnBlock<T> block;
  T sums[kMostOutputs + 1];
  for (int64_t begin = 0; begin < axis.size; begin = block.end) {
    fill_block(axis, begin, block);
    for (int64_t row = first; row < last; ++row) {
      const int64_t d = row / a.x.size[1], h = row % a.x.size[1];
      bool some = false;
      for_each_reader(a, d, h, [&](int64_t offset, double row_weight) {
        const V weight(static_cast<T>(row_weight));
        const T* from = dy + offset + block.first;
        for_each_vector<T>(block.count, [&](int64_t i, int64_t lanes) {
          const V value = load_lanes(from + i, lanes) * weight;
          store_lanes(some ? load_lanes(sums + i, lanes) + value : value, sums + i, lanes);
        });
        some = true;
      });
      for (int64_t i = 0; !some && i < block.count; ++i) sums[i] = 0;
      sums[block.count] = 0;
      T* to = dx + offset_of(a.x, d, h, 0);
      for (int64_t i = begin; i < block.end; i += kLanes) {
        const int64_t at = (i - begin) * block.depth;
        V total = V::zero();
        for (int64_t k = 0; k < block.depth; ++k) {
          total = fma(gather<T>(sums, block.index + at + k * kLanes),
                      V::load(block.weight + at + k * kLanes), total);
        }
        store_lanes(total, to + i, smaller(kLanes, block.end - i));
      }
    }
  }
}

}  // namespace
}  // namespace medkern::MK_ISA
