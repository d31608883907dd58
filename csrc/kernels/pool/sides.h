// The windows of average pooling: their parts inside x and what sums are divided by. For *.simd.cpp
// files.
#pragma once

#include "kernels/pool/windows.h"

namespace medkern::MK_ISA {
namespace {

// Terms that are summed at once, and positions of the largest list.
constexpr int64_t kDirectTaps = 64;

// A window's part along one axis: elements [begin, end) of x and its share of the divisor.
struct Side {
  int64_t begin, end, divisor;
};

MK_INLINE Side side_of(const AveragePoolArgs& a, int axis, int64_t o) {
  const int64_t size = a.x.size[axis];
  const Taps taps = taps_of(a.windows, axis, o, size, a.y.size[axis]);
  const int64_t begin = taps.at(taps.begin);
  Side side = {begin, taps.end > taps.begin ? taps.at(taps.end) : begin, 0};
  side.divisor = side.end - side.begin;
  if (a.count_include_pad && !a.windows.adaptive) {
    const Window& w = a.windows.window;
    side.divisor = least(taps.start + w.kernel[axis], size + w.pad_after[axis]) - taps.start;
  }
  if (side.divisor < 1) side.divisor = 1;  // an empty window averages to 0
  return side;
}

MK_INLINE int64_t divisor_of(const Side box[3]) {
  return box[0].divisor * box[1].divisor * box[2].divisor;
}

MK_INLINE int64_t taps_in(const Side box[3]) {
  return (box[0].end - box[0].begin) * (box[1].end - box[1].begin) * (box[2].end - box[2].begin);
}

// Offsets of the positions of a box, at most kDirectTaps.
struct OffsetList {
  int count;
  int64_t offset[kDirectTaps];
};

MK_INLINE void list_offsets(const Image& x, const Side box[3], OffsetList& list) {
  list.count = 0;
  for (int64_t d = box[0].begin; d < box[0].end; ++d)
    for (int64_t h = box[1].begin; h < box[1].end; ++h)
      for (int64_t w = box[2].begin; w < box[2].end; ++w)
        list.offset[list.count++] = spatial_offset(x, d, h, w);
}

}  // namespace
}  // namespace medkern::MK_ISA
