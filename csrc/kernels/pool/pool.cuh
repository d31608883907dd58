// The arithmetic of pooling windows along one axis on CUDA, in both directions: the part of x an
// output covers, and the outputs that cover an element of x.
#pragma once

#include "kernels/pool/pool.cuda.h"
#include "kernels/rows.cuh"

namespace medkern::cuda {

// floor(a b / divisor) and ceil(a b / divisor) for a b below 2^31.
MK_INLINE int32_t scaled(int32_t a, int32_t b, const Divider& divisor) {
  return static_cast<int32_t>(divisor.quotient(static_cast<uint32_t>(a * b)));
}
MK_INLINE int32_t scaled_up(int32_t a, int32_t b, const Divider& divisor) {
  uint32_t whole = static_cast<uint32_t>(a * b);
  const uint32_t rest = divisor.take(whole);
  return static_cast<int32_t>(rest > 0 ? whole + 1 : whole);
}

// Window positions [begin, end) that lie inside x; position t is at start + t * dilation.
struct PoolTaps {
  int32_t start, begin, end;
};

// `plain` windows slide and have dilation 1.
template <bool plain = false>
MK_INLINE PoolTaps taps_of(const PoolAxis& axis, int32_t o) {
  if (!plain && axis.adaptive) {
    const int32_t start = scaled(o, axis.size, axis.by_count);
    return {start, 0, scaled_up(o + 1, axis.size, axis.by_count) - start};
  }
  const int32_t start = o * axis.stride - axis.pad;
  int32_t begin = 0, end = axis.kernel;
  if (plain || axis.dilation == 1) {
    begin = max(0, -start);
    end = min(end, axis.size - start);
  } else {
    while (begin < end && start + begin * axis.dilation < 0) ++begin;
    while (end > begin && start + (end - 1) * axis.dilation >= axis.size) --end;
  }
  return {start, begin, end};
}

// Outputs [begin, end) whose window reaches over element `i` of x. With dilation some of them step
// over it: see tap_at.
struct PoolCover {
  int32_t begin, end;
};

MK_INLINE PoolCover outputs_over(const PoolAxis& axis, int32_t i) {
  if (axis.adaptive) {
    return {scaled(i, axis.count, axis.by_size), scaled_up(i + 1, axis.count, axis.by_size)};
  }
  const int32_t at = i + axis.pad, extent = axis.dilation * (axis.kernel - 1) + 1;
  const auto steps = [&](int32_t distance) {
    return static_cast<int32_t>(axis.by_stride.quotient(static_cast<uint32_t>(distance)));
  };
  return {at < extent ? 0 : steps(at - extent) + 1, min(steps(at) + 1, axis.count)};
}

// Which position of output o's window is element i of x; -1 if its steps miss it.
MK_INLINE int32_t tap_at(const PoolAxis& axis, int32_t o, int32_t i) {
  uint32_t tap = static_cast<uint32_t>(i + axis.pad - o * axis.stride);
  return axis.by_dilation.take(tap) == 0 ? static_cast<int32_t>(tap) : -1;
}

// Where windows stand side by side, no two of them sharing an element and none in the padding: the
// one over element i, and i's position in it; an output past the last for none.
struct PoolTile {
  int32_t output, tap;
};
MK_INLINE PoolTile tile_over(const PoolAxis& axis, int32_t i) {
  uint32_t output = static_cast<uint32_t>(i);
  const uint32_t tap = axis.by_stride.take(output);
  return {static_cast<int32_t>(output), static_cast<int32_t>(tap)};
}

// What average pooling takes of an axis: elements [begin, end) of x, and the divisor's share.
struct PoolSide {
  int32_t begin, end, divisor;
};

template <bool plain = false>
MK_INLINE PoolSide side_of(const PoolKernelArgs& a, const PoolAxis& axis, int32_t o) {
  const PoolTaps taps = taps_of<plain>(axis, o);
  PoolSide side = {taps.start + taps.begin, taps.start + max(taps.begin, taps.end), 0};
  side.divisor = side.end - side.begin;
  if (a.count_include_pad && (plain || !axis.adaptive)) {
    side.divisor = min(taps.start + axis.kernel, axis.size + axis.pad_after) - taps.start;
  }
  if (side.divisor < 1) side.divisor = 1;  // an empty window averages to 0
  return side;
}

// Calls visit(value, kd, kh, kw) in row-major order for the elements of x in a window. `kh` and
// `kw`, where not 0, are the window's extents along height and width, of dilation 1: then a slice
// of it is on its way at once, else four elements are.
template <int kh, int kw, class T, int lanes, class Visit>
MK_INLINE void for_window(const PoolKernelArgs& a, const T* x, const PoolTaps& d, const PoolTaps& h,
                          const PoolTaps& w, Visit visit) {
  const auto at = [](const PoolAxis& axis, const PoolTaps& taps, int32_t tap) {
    return (taps.start + (kh > 0 ? tap : tap * axis.dilation)) * axis.x_stride;
  };
  for (int32_t i = d.begin; i < d.end; ++i) {
    const T* slice = x + at(a.axis[0], d, i);
    if constexpr (kh > 0) {
      Pack<T, lanes> value[kh * kw];
      const auto inside = [&](int j, int k) {
        return j >= h.begin && j < h.end && k >= w.begin && k < w.end;
      };
#pragma unroll
      for (int j = 0; j < kh; ++j) {
#pragma unroll
        for (int k = 0; k < kw; ++k) {
          if (!inside(j, k)) continue;
          value[j * kw + k] = load_pack<lanes>(slice + at(a.axis[1], h, j) + at(a.axis[2], w, k));
        }
      }
#pragma unroll
      for (int j = 0; j < kh; ++j) {
#pragma unroll
        for (int k = 0; k < kw; ++k) {
          if (inside(j, k)) visit(value[j * kw + k], i, j, k);
        }
      }
    } else {
      constexpr int kAtOnce = 4;
      for (int32_t j = h.begin; j < h.end; ++j) {
        const T* row = slice + at(a.axis[1], h, j);
        for (int32_t first = w.begin; first < w.end; first += kAtOnce) {
          Pack<T, lanes> value[kAtOnce];
#pragma unroll
          for (int k = 0; k < kAtOnce; ++k) {
            if (first + k < w.end) value[k] = load_pack<lanes>(row + at(a.axis[2], w, first + k));
          }
#pragma unroll
          for (int k = 0; k < kAtOnce; ++k) {
            if (first + k < w.end) visit(value[k], i, j, first + k);
          }
        }
      }
    }
  }
}

}  // namespace medkern::cuda
