// Images as convolution reads them: channels contiguous, padding present in memory.
//
// An image that is channels-last and needs no padding is read where it lies. Any other is copied
// once, which converts its layout, pads (or crops) it and, on request, rounds the channels of each
// group up to whole vectors. Memory-bound: read and written once.
#pragma once

#include "core/parallel.h"
#include "kernels/conv/conv.h"
#include "kernels/gemm/pack.simd.h"

namespace medkern::MK_ISA {

template <class T>
struct Source {
  const T* data;  // of the position `origin`
  int64_t origin[3];
  int64_t stride_n, stride[3];  // channels have stride 1
};

MK_INLINE bool is_channels_last_image(const Image& x) {
  return (x.c == 1 || x.stride_c == 1) && (x.size[2] == 1 || x.stride[2] == x.c);
}

MK_INLINE Region whole_region(const Image& x) {
  return {{0, 0, 0}, {x.size[0], x.size[1], x.size[2]}};
}

// Whether a region has no padding.
MK_INLINE bool is_inside(const Image& x, const Region& region) {
  bool inside = true;
  for (int i = 0; i < 3; ++i) {
    inside &= region.first[i] >= 0 && region.first[i] + region.size[i] <= x.size[i];
  }
  return inside;
}

// Whether a region of the image can be read in place.
MK_INLINE bool read_in_place(const Image& x, const Region& region) {
  return is_inside(x, region) && is_channels_last_image(x);
}

template <class T>
MK_INLINE Source<T> source_in_place(const Image& x) {
  return {static_cast<const T*>(x.data),
          {0, 0, 0},
          x.stride_n,
          {x.stride[0], x.stride[1], x.stride[2]}};
}

MK_INLINE int64_t copied_elements(const Image& x, const Region& region, int64_t pixel) {
  return x.n * region.size[0] * region.size[1] * region.size[2] * pixel;
}

template <class T>
MK_INLINE void zero(T* to, int64_t count) {
  int64_t i = 0;
  for (; i + Vec<T>::kLanes <= count; i += Vec<T>::kLanes) Vec<T>::zero().store(to + i);
  if (i < count) Vec<T>::zero().store(to + i, count - i);
}

template <class T>
MK_INLINE void copy(const T* from, T* to, int64_t count) {
  int64_t i = 0;
  for (; i + Vec<T>::kLanes <= count; i += Vec<T>::kLanes) Vec<T>::load(from + i).store(to + i);
  if (i < count) Vec<T>::load(from + i, count - i).store(to + i, count - i);
}

// `count` pixels along a row; `pixel` elements each in `to`, of which each of the groups has
// `group_channels` of x and then zeros.
template <class T>
MK_INLINE void copy_pixels(const Image& x, const T* from, int64_t count, int64_t groups,
                           int64_t pixel, T* to) {
  constexpr int64_t kLanes = Vec<T>::kLanes;
  if (is_channels_last_image(x) && pixel == x.c) return copy(from, to, count * pixel);
  const int64_t group_channels = x.c / groups, group_pixel = pixel / groups;
  for (int64_t g = 0; g < groups; ++g) {
    for (int64_t c = 0; c < group_pixel; c += kLanes) {
      const int64_t left = group_channels - c;
      const int64_t lanes = left > kLanes ? kLanes : left > 0 ? left : 0;
      const int64_t room = group_pixel - c < kLanes ? group_pixel - c : kLanes;
      const T* first = from + (g * group_channels + c) * x.stride_c;
      T* first_to = to + g * group_pixel + c;
      if (is_channels_last_image(x)) {
        for (int64_t i = 0; i < count; ++i) {
          Vec<T>::load(first + i * x.stride[2], lanes).store(first_to + i * pixel, room);
        }
      } else {
        for_each_column(first, x.stride_c, lanes, count,
                        [&](int64_t i, Vec<T> v) { v.store(first_to + i * pixel, room); });
      }
    }
  }
}

// Copies the region to `to`, `pixel` elements per position (at least the channels, a multiple of
// groups).
template <class T>
static Source<T> copy_source(const Image& x, const Region& r, int64_t groups, int64_t pixel,
                             T* to) {
  const int64_t row = r.size[2] * pixel;
  const int64_t rows = x.n * r.size[0] * r.size[1];
  parallel_for(rows, rows * row, [&](int64_t i, int) {
    const int64_t n = i / (r.size[0] * r.size[1]);
    const int64_t d = i / r.size[1] % r.size[0] + r.first[0], h = i % r.size[1] + r.first[1];
    T* out = to + i * row;
    int64_t begin = r.first[2] < 0 ? -r.first[2] : 0;  // columns of the region inside x
    int64_t end = x.size[2] - r.first[2] < r.size[2] ? x.size[2] - r.first[2] : r.size[2];
    if (d < 0 || d >= x.size[0] || h < 0 || h >= x.size[1] || begin >= end) begin = end = 0;
    zero(out, begin * pixel);
    if (begin < end) {
      const T* from = static_cast<const T*>(x.data) + n * x.stride_n + d * x.stride[0] +
                      h * x.stride[1] + (begin + r.first[2]) * x.stride[2];
      copy_pixels(x, from, end - begin, groups, pixel, out + begin * pixel);
    }
    zero(out + end * pixel, (r.size[2] - end) * pixel);
  });
  const int64_t plane = r.size[1] * row;
  return {to, {r.first[0], r.first[1], r.first[2]}, r.size[0] * plane, {plane, row, pixel}};
}

// Pieces of a workspace, each aligned to 64 bytes.
struct Pieces {
  void* base;
  size_t used = 0;

  template <class T>
  MK_INLINE T* take(int64_t count) {
    T* piece = reinterpret_cast<T*>(reinterpret_cast<uintptr_t>(base) + used);
    used += (count * sizeof(T) + 63) / 64 * 64;
    return piece;
  }
};

}  // namespace medkern::MK_ISA
