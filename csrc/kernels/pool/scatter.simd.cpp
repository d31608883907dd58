// Moving values by 64-bit flat indices within each (n, c): unpooling, and the gradient of max
// pooling with such indices.
//
//   scatter_add  large = 0, then large[indices[i]] += small[i]
//   scatter      large = 0, then large[indices[i]]  = small[i]: of equal indices the last wins
//   gather       small[i] = large[indices[i]], 0 where the index is -1
//
// `i` runs in row-major order. Tasks are blocks of channels of one sample, planes where these lie
// one behind the other, so no two of them write the same element. Memory  one random access per
// element of `small`; `large` is first cleared. Exact but for the sums of scatter_add, whose order
// is fixed.
#include "kernels/pool/windows.h"

namespace medkern::MK_ISA {
namespace {

// Channels a task takes.
MK_INLINE int64_t block_of(const ScatterArgs& a) {
  return has_channel_vectors(a.large) || has_channel_vectors(a.small) ? kChannelBlock : 1;
}

// Calls visit(pointer into the plane of large, element of small, index) for each channel of a block
// and position, channels innermost where they are adjacent.
template <class T, class Visit>
MK_INLINE void for_each_index(const ScatterArgs& a, int64_t n, int64_t first, Visit visit) {
  const int64_t channels = least(block_of(a), a.small.c - first);
  const int64_t unit = unit_of(a.small), index_unit = unit_of(a.indices);
  const int64_t positions = spatial_count(a.small);
  T* large = plane_of<T>(a.large, n, first);
  T* small = plane_of<T>(a.small, n, first);
  const int64_t* indices = plane_of<const int64_t>(a.indices, n, first);
  if (channels == 1) {
    for (int64_t i = 0; i < positions; ++i) visit(large, small[i * unit], indices[i * index_unit]);
    return;
  }
  const auto at = [&](int64_t i, int64_t c) {
    visit(large + c * a.large.stride_c, small[i * unit + c * a.small.stride_c],
          indices[i * index_unit + c * a.indices.stride_c]);
  };
  if (has_channel_vectors(a.small)) {
    for (int64_t i = 0; i < positions; ++i)
      for (int64_t c = 0; c < channels; ++c) at(i, c);
  } else {
    for (int64_t c = 0; c < channels; ++c)
      for (int64_t i = 0; i < positions; ++i) at(i, c);
  }
}

template <class T>
MK_INLINE void clear_channels(const ScatterArgs& a, int64_t n, int64_t first) {
  const int64_t channels = least(block_of(a), a.large.c - first), unit = unit_of(a.large);
  const int64_t positions = spatial_count(a.large);
  T* large = plane_of<T>(a.large, n, first);
  if (has_channel_vectors(a.large)) {
    for (int64_t i = 0; i < positions; ++i) fill_zero(large + i * unit, channels);
  } else if (unit == 1 || positions == 1) {
    for (int64_t c = 0; c < channels; ++c) fill_zero(large + c * a.large.stride_c, positions);
  } else {
    for (int64_t c = 0; c < channels; ++c)
      for (int64_t i = 0; i < positions; ++i) large[i * unit + c * a.large.stride_c] = 0;
  }
}

template <class Body>
MK_INLINE void for_each_channel_block(const ScatterArgs& a, Body body) {
  const int64_t block = block_of(a), blocks = (a.small.c + block - 1) / block;
  const int64_t work = a.small.n * a.small.c * (spatial_count(a.small) + spatial_count(a.large));
  parallel_for(a.small.n * blocks, work,
               [&](int64_t task, int) { body(task / blocks, task % blocks * block); });
}

template <class T>
void scatter_add_of(const ScatterArgs& a) {
  const int64_t unit = unit_of(a.large);
  for_each_channel_block(a, [&](int64_t n, int64_t first) {
    clear_channels<T>(a, n, first);
    for_each_index<T>(a, n, first, [&](T* large, T& value, int64_t index) {
      if (index >= 0) large[index * unit] += value;
    });
  });
}

template <class T>
void scatter_of(const ScatterArgs& a) {
  const int64_t unit = unit_of(a.large);
  for_each_channel_block(a, [&](int64_t n, int64_t first) {
    clear_channels<T>(a, n, first);
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
