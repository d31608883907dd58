// Images in blocks of channels, and the gradient of what is read at any places: every output adds
// to the elements it read. For *.simd.cpp files only.
#pragma once

#include "kernels/resample/places.simd.h"

namespace medkern::MK_ISA {
namespace {

// Whether there are enough channels for vectors of them.
template <class T>
MK_INLINE bool by_channels(const PixelImage& x) {
  return x.c * static_cast<int64_t>(sizeof(T)) >= 32;
}

// An image as blocks of kLanes channels: `step` elements between pixels, and the place of pixel 0
// of block g of sample n. A channels-last image is that as it is; one in planes is packed as
// [n][g][pixel][kLanes], with zeros for channels that it has not.
template <class T>
struct ChannelBlocks {
  T* data;
  int64_t blocks, step, of_sample, of_block;
  bool packed;
  MK_INLINE T* at(int64_t n, int64_t g) const { return data + n * of_sample + g * of_block; }
};

template <class T>
MK_INLINE ChannelBlocks<T> channel_blocks(const PixelImage& x, T* packed) {
  constexpr int64_t kLanes = Vec<T>::kLanes;
  const int64_t blocks = divide_up(x.c, kLanes);
  if (x.stride_c == 1) return {static_cast<T*>(x.data), blocks, x.step, x.stride_n, kLanes, false};
  return {packed, blocks, kLanes, blocks * x.pixels * kLanes, x.pixels * kLanes, true};
}

template <class T>
size_t packed_bytes(const PixelImage& x) {
  if (!by_channels<T>(x) || x.stride_c == 1) return 0;
  constexpr int64_t kLanes = Vec<T>::kLanes;
  return static_cast<size_t>(x.n * divide_up(x.c, kLanes) * x.pixels * kLanes) * sizeof(T);
}

// tile[pixel][channel] of planes at `from`; the rest of the tile is 0.
template <class T>
MK_INLINE void planes_to_tile(const T* from, int64_t stride_c, T* tile, int64_t pixels,
                              int64_t channels) {
  constexpr int64_t kLanes = Vec<T>::kLanes;
  if (pixels == kLanes && channels == kLanes) {
    turn_tile(from, stride_c, tile, kLanes);
    return;
  }
  for (int64_t p = 0; p < kLanes; ++p) {
    for (int64_t c = 0; c < kLanes; ++c) {
      tile[p * kLanes + c] = p < pixels && c < channels ? from[c * stride_c + p] : 0;
    }
  }
}

template <class T>
MK_INLINE void tile_to_planes(const T* tile, T* to, int64_t stride_c, int64_t pixels,
                              int64_t channels) {
  constexpr int64_t kLanes = Vec<T>::kLanes;
  if (pixels == kLanes && channels == kLanes) {
    turn_tile(tile, kLanes, to, stride_c);
    return;
  }
  for (int64_t c = 0; c < channels; ++c) {
    for (int64_t p = 0; p < pixels; ++p) to[c * stride_c + p] = tile[p * kLanes + c];
  }
}

// The same tile from an image of either format.
template <class T>
MK_INLINE void read_tile(const PixelImage& x, const T* from, T* tile, int64_t pixels,
                         int64_t channels) {
  constexpr int64_t kLanes = Vec<T>::kLanes;
  if (x.stride_c != 1) return planes_to_tile(from, x.stride_c, tile, pixels, channels);
  for (int64_t p = 0; p < pixels; ++p) {
    load_lanes(from + p * x.step, channels).store(tile + p * kLanes);
  }
}

// x in planes -> `packed`.
template <class T>
void pack_planes(const PixelImage& x, T* packed) {
  constexpr int64_t kLanes = Vec<T>::kLanes, kPixels = 4096;
  const ChannelBlocks<T> to = channel_blocks<T>(x, packed);
  const int64_t pieces = divide_up(x.pixels, kPixels);
  parallel_for(x.n * to.blocks * pieces, x.n * x.c * x.pixels, [&](int64_t task, int) {
    const int64_t piece = task % pieces, g = task / pieces % to.blocks,
                  n = task / pieces / to.blocks;
    const int64_t end = smaller(x.pixels, (piece + 1) * kPixels);
    const T* from = static_cast<const T*>(x.data) + n * x.stride_n + g * kLanes * x.stride_c;
    const int64_t channels = smaller(kLanes, x.c - g * kLanes);
    for (int64_t p = piece * kPixels; p < end; p += kLanes) {
      const int64_t pixels = smaller(kLanes, end - p);
      if (pixels == kLanes && channels == kLanes) {
        turn_tile(from + p, x.stride_c, to.at(n, g) + p * kLanes, kLanes);
        continue;
      }
      T tile[kLanes * kLanes];
      planes_to_tile(from + p, x.stride_c, tile, pixels, channels);
      for (int64_t i = 0; i < pixels; ++i) {
        Vec<T>::load(tile + i * kLanes).store(to.at(n, g) + (p + i) * kLanes);
      }
    }
  });
}

// ---------------------------------------------------------------- dx

// Scratch memory: for each block of outputs the rows that it reads, [n][block] pairs, then dx in
// blocks of channels.
template <class T>
size_t range_bytes(const ResampleArgs& a) {
  return static_cast<size_t>(divide_up(a.y.n * blocks_of(a.y) * 16, 64) * 64);
}
template <class T>
size_t scatter_bytes(const ResampleArgs& a) {
  return range_bytes<T>(a) + packed_bytes<T>(a.x);
}

// First and last row.
struct Range {
  int64_t first, last;
  MK_INLINE bool meets(Slab slab) const { return last >= slab.begin && first < slab.end; }
};

template <class T>
void find_ranges(const ResampleArgs& a, Range* ranges) {
  const int64_t blocks = blocks_of(a.y), size = a.x.size[slab_axis(a.x)];
  parallel_for(a.y.n * blocks, a.y.n * a.y.pixels * 16, [&](int64_t task, int) {
    const Block block = block_of(a.y, task / blocks, task % blocks);
    Places<T> places;
    read_grid(a, block, places);
    find_neighbors<T>(a, block.count, 1, {0, size}, places, nullptr);
    Range range{size, -1};
    for (int64_t i = 0; i < block.count; ++i) {
      for (const int64_t row : {int64_t{places.first[i]}, int64_t{places.second[i]}}) {
        range.first = smaller(range.first, row);
        range.last = larger(range.last, row);
      }
    }
    ranges[task] = range;
  });
}

// Adds all of sample n's outputs to the rows of the slab (without `ranges` to all rows), for one
// block of channels (`channels` of them) whose pixel 0 is at `to`.
template <class T>
MK_INLINE void add_channels(const ResampleArgs& a, const Range* ranges, int64_t n, Slab slab,
                            int64_t g, T* to, int64_t step, int64_t lanes, int64_t channels) {
  constexpr int64_t kLanes = Vec<T>::kLanes;
  const int64_t blocks = blocks_of(a.y);
  const int neighbors = a.rank == 2 ? 4 : 8;
  const T* dy = static_cast<const T*>(a.y.data) + n * a.y.stride_n + g * kLanes * a.y.stride_c;
  Places<T> places;
  for (int64_t b = 0; b < blocks; ++b) {
    if (ranges != nullptr && !ranges[n * blocks + b].meets(slab)) continue;
    const Block block = block_of(a.y, n, b);
    read_grid(a, block, places);
    find_neighbors<T>(a, block.count, step, slab, places, nullptr);
    for (int64_t i = 0; i < block.count; i += kLanes) {
      const int64_t pixels = smaller(kLanes, block.count - i);
      T tile[kLanes * kLanes];
      read_tile(a.y, dy + (block.begin + i) * a.y.step, tile, pixels, channels);
      for (int64_t p = 0; p < pixels; ++p) {
        const Vec<T> gradient = Vec<T>::load(tile + p * kLanes);
        for (int k = 0; k < neighbors; ++k) {
          const T weight = places.weight[k][i + p];
          if (weight == 0) continue;
          T* element = to + places.offset[k][i + p];
          store_lanes(fma(gradient, Vec<T>(weight), load_lanes(element, lanes)), element, lanes);
        }
      }
    }
  }
}

// The same for few channels.
template <class T>
MK_INLINE void add_pixels(const ResampleArgs& a, const Range* ranges, int64_t n, Slab slab) {
  const int64_t blocks = blocks_of(a.y);
  const int neighbors = a.rank == 2 ? 4 : 8;
  const T* dy = static_cast<const T*>(a.y.data) + n * a.y.stride_n;
  T* dx = static_cast<T*>(a.x.data) + n * a.x.stride_n;
  Places<T> places;
  for (int64_t b = 0; b < blocks; ++b) {
    if (ranges != nullptr && !ranges[n * blocks + b].meets(slab)) continue;
    const Block block = block_of(a.y, n, b);
    read_grid(a, block, places);
    find_neighbors<T>(a, block.count, a.x.step, slab, places, nullptr);
    for (int64_t c = 0; c < a.x.c; ++c) {
      const T* from = dy + block.begin * a.y.step + c * a.y.stride_c;
      T* to = dx + c * a.x.stride_c;
      for (int64_t i = 0; i < block.count; ++i) {
        const T gradient = from[i * a.y.step];
        for (int k = 0; k < neighbors; ++k) {
          const T weight = places.weight[k][i];
          if (weight != 0) to[places.offset[k][i]] += weight * gradient;
        }
      }
    }
  }
}

template <class T>
void scatter(const ResampleArgs& a) {
  constexpr int64_t kLanes = Vec<T>::kLanes, kTasks = 8, kRows = 12;
  Range* ranges = nullptr;
  T* packed = reinterpret_cast<T*>(static_cast<char*>(a.workspace) + range_bytes<T>(a));
  const bool channels_first = by_channels<T>(a.x);
  const ChannelBlocks<T> dx = channel_blocks<T>(a.x, packed);
  const int64_t groups = channels_first ? dx.blocks : 1;
  const int64_t rows = a.x.size[slab_axis(a.x)], row_pixels = a.x.pixels / rows;
  const int64_t slabs = smaller(divide_up(rows, kRows), divide_up(kTasks, a.x.n * groups));
  if (slabs > 1 && a.y.pixels > 0) {
    ranges = static_cast<Range*>(a.workspace);
    find_ranges<T>(a, ranges);
  }
  const int64_t work = a.y.n * a.y.c * a.y.pixels * 8 + a.x.n * a.x.c * a.x.pixels;
  parallel_for(a.x.n * groups * slabs, work, [&](int64_t task, int) {
    const int64_t s = task % slabs, g = task / slabs % groups, n = task / slabs / groups;
    const Slab slab{rows * s / slabs, rows * (s + 1) / slabs};
    const int64_t begin = slab.begin * row_pixels, end = slab.end * row_pixels;
    T* image = static_cast<T*>(a.x.data) + n * a.x.stride_n;
    if (!channels_first) {
      const int64_t runs = a.x.step == 1 ? a.x.c : 1, length = a.x.step * (end - begin);
      for (int64_t c = 0; c < runs; ++c) {
        T* run = image + c * a.x.stride_c + begin * a.x.step;
        for (int64_t i = 0; i < length; ++i) run[i] = 0;
      }
      if (a.y.pixels > 0) add_pixels<T>(a, ranges, n, slab);
      return;
    }
    const int64_t channels = smaller(kLanes, a.x.c - g * kLanes);
    T* to = a.y.pixels > 0 || !dx.packed ? dx.at(n, g) : nullptr;
    const int64_t lanes = dx.packed ? kLanes : channels;
    if (to == nullptr) {  // no outputs, no scratch memory
      for (int64_t c = 0; c < channels; ++c) {
        T* plane = image + (g * kLanes + c) * a.x.stride_c;
        for (int64_t p = begin; p < end; ++p) plane[p] = 0;
      }
      return;
    }
    for (int64_t p = begin; p < end; ++p) store_lanes(Vec<T>::zero(), to + p * dx.step, lanes);
    if (a.y.pixels > 0) add_channels<T>(a, ranges, n, slab, g, to, dx.step, lanes, channels);
    if (!dx.packed) return;
    T* planes = image + g * kLanes * a.x.stride_c;
    for (int64_t p = begin; p < end; p += kLanes) {
      tile_to_planes(to + p * kLanes, planes + p, a.x.stride_c, smaller(kLanes, end - p), channels);
    }
  });
}

}  // namespace
}  // namespace medkern::MK_ISA
