// Moving values by 64-bit flat indices within each (n, c): unpooling, and the gradient of max
// pooling with such indices.
//
//   scatter_add  large = 0, then large[indices[i]] += small[i]
//   scatter      large = 0, then large[indices[i]]  = small[i]: of equal indices the last wins
//   gather       small[i] = large[indices[i]], 0 where the index is -1
//
// `i` runs in row-major order. Tasks are blocks of channels of one sample, so no two of them write
// the same element.
// Memory  one random access per element of `small`; `large` is first cleared.
// Exact but for the sums of scatter_add, whose order is fixed.
#include "kernels/pool/windows.h"

namespace medkern::MK_ISA {
namespace {

// Calls visit(pointer into the plane of large, element of small, index) for each channel of a block
// and position, channels innermost where they are adjacent.
template <class T, class Visit>
MK_INLINE void for_each_index(const ScatterArgs& a, int64_t n, int64_t first, Visit visit) {
  const int64_t last = least(first + kChannelBlock, a.small.c);
  const int64_t unit = unit_of(a.small), index_unit = unit_of(a.indices);
  const int64_t positions = spatial_count(a.small);
  const bool channels_inside = has_channel_vectors(a.small);
  const int64_t outer_end = channels_inside ? first + 1 : last;
  for (int64_t outer = first; outer < outer_end; ++outer) {
    const int64_t end = channels_inside ? last : outer + 1;
    for (int64_t i = 0; i < positions; ++i) {
      for (int64_t c = outer; c < end; ++c) {
        visit(plane_of<T>(a.large, n, c), plane_of<T>(a.small, n, c)[i * unit],
              plane_of<const int64_t>(a.indices, n, c)[i * index_unit]);
      }
    }
  }
}

template <class T>
MK_INLINE void clear_channels(const Image& x, int64_t n, int64_t first) {
  const int64_t last = least(first + kChannelBlock, x.c), unit = unit_of(x);
  const int64_t positions = spatial_count(x);
  if (has_channel_vectors(x)) {
    for (int64_t i = 0; i < positions; ++i)
      for (int64_t c = first; c < last; ++c) plane_of<T>(x, n, c)[i * unit] = 0;
  } else {
    for (int64_t c = first; c < last; ++c)
      for (int64_t i = 0; i < positions; ++i) plane_of<T>(x, n, c)[i * unit] = 0;
  }
}

template <class Body>
MK_INLINE void for_each_channel_block(const ScatterArgs& a, Body body) {
  const int64_t blocks = (a.small.c + kChannelBlock - 1) / kChannelBlock;
  const int64_t work = a.small.n * a.small.c * (spatial_count(a.small) + spatial_count(a.large));
  parallel_for(a.small.n * blocks, work,
               [&](int64_t task, int) { body(task / blocks, task % blocks * kChannelBlock); });
}

template <class T>
void scatter_add_of(const ScatterArgs& a) {
  const int64_t unit = unit_of(a.large);
  for_each_channel_block(a, [&](int64_t n, int64_t first) {
    clear_channels<T>(a.large, n, first);
    for_each_index<T>(a, n, first, [&](T* large, T& value, int64_t index) {
      if (index >= 0) large[index * unit] += value;
    });
  });
}

template <class T>
void scatter_of(const ScatterArgs& a) {
  const int64_t unit = unit_of(a.large);
  for_each_channel_block(a, [&](int64_t n, int64_t first) {
    clear_channels<T>(a.large, n, first);
    for_each_index<T>(a, n, first, [&](T* large, T& value, int64_t index) {
      if (index >= 0) large[index * unit] = value;
    });
  });
}

template <class T>
void gather_of(const ScatterArgs& a) {
  const int64_t unit = unit_of(a.large);
  for_each_channel_block(a, [&](int64_t n, int64_t first) {
    for_each_index<T>(a, n, first, [&](T* large, T& value, int64_t index) {
      value = index >= 0 ? large[index * unit] : T(0);
    });
  });
}

}  // namespace

void scatter_add(const ScatterArgs& a) {
  a.dtype == Dtype::f32 ? scatter_add_of<float>(a) : scatter_add_of<double>(a);
}

void scatter(const ScatterArgs& a) {
  a.dtype == Dtype::f32 ? scatter_of<float>(a) : scatter_of<double>(a);
}

void gather(const ScatterArgs& a) {
  a.dtype == Dtype::f32 ? gather_of<float>(a) : gather_of<double>(a);
}

}  // namespace medkern::MK_ISA
