// Reading images at any places on the CPU, forward and backward.
//
//   y[n, c, o] = sum over the 2^rank elements around place o of weight * x[n, c, element]
//   dx[n, c, i] = sum of weight * dy[n, c, o] over the outputs o that read i
//   dgrid[n, o, axis] = scale * sum over c of dy[n, c, o] * (slopes of the weights along axis) x
//
// Blocks of pixels of y are located first (places.simd.h, spline.simd.h); then
//   many channels  vectors of channels, pixel by pixel. An image in planes is put into blocks of
//                  channels first (as channels-last), and results are turned back a tile at a time:
//                  far less than gathering element by element.
//   few channels   vectors of pixels, gathered.
// Tasks   forward and dgrid: blocks of pixels. dx: a block of channels and a slab of rows of dx,
//         which it alone writes, adding what the outputs give it in their order; so bits don't
//         depend on how slabs are cut. What range of rows a block of outputs reads is found first,
//         and blocks that don't meet the slab are passed over.
// Work    2 flops per neighbor and channel. Memory  x and y once, while neighbors stay in the
// cache. Numerics  coordinates and weights in T; `value` counts with the weight that lies outside.
#include "kernels/resample/pairs.simd.h"
#include "kernels/resample/scatter.simd.h"
#include "kernels/resample/spline.simd.h"

namespace medkern::MK_ISA {
namespace {

template <class T>
MK_INLINE void locate(const ResampleArgs& a, const T* table, const Block& block, int64_t step,
                      Places<T>& places, Slopes<T>* slopes) {
  if (a.grid != nullptr) {
    read_grid(a, block, places);
  } else {
    follow_map(a, table, block, places);
  }
  find_neighbors(a, block.count, step, {0, a.x.size[slab_axis(a.x)]}, places, slopes);
}

// y of one pixel for up to a vector of channels at `from`.
template <class T>
MK_INLINE Vec<T> sample_pixel(const Places<T>& places, int64_t i, int neighbors, const T* from,
                              int64_t lanes, Vec<T> value) {
  Vec<T> total = value * Vec<T>(places.outside[i]);
  for (int k = 0; k < neighbors; ++k) {
    const T weight = places.weight[k][i];
    if (weight == 0) continue;
    total = fma(load_lanes(from + places.offset[k][i], lanes), Vec<T>(weight), total);
  }
  return total;
}

template <class T>
void forward_channels(const ResampleArgs& a, const T* table, T* packed) {
  using V = Vec<T>;
  constexpr int64_t kLanes = V::kLanes;
  const ChannelBlocks<T> x = channel_blocks<T>(a.x, packed);
  if (x.packed) pack_planes<T>(a.x, packed);
  const int64_t blocks = blocks_of(a.y), groups = x.blocks;
  const int neighbors = a.rank == 2 ? 4 : 8;
  const V value(static_cast<T>(a.padding == ResamplePadding::constant ? a.value : 0));
  const int64_t work = a.y.n * a.y.c * a.y.pixels * neighbors;
  parallel_for(a.y.n * blocks, work, [&](int64_t task, int) {
    const Block block = block_of(a.y, task / blocks, task % blocks);
    Places<T> places;
    locate<T>(a, table, block, x.step, places, nullptr);
    T* y = static_cast<T*>(a.y.data) + block.n * a.y.stride_n + block.begin * a.y.step;
    if (a.y.stride_c == 1) {
      for (int64_t i = 0; i < block.count; ++i) {
        for (int64_t g = 0; g < groups; ++g) {
          const int64_t lanes = smaller(kLanes, a.x.c - g * kLanes);
          const V total = sample_pixel(places, i, neighbors, x.at(block.n, g),
                                       x.packed ? kLanes : lanes, value);
          store_lanes(total, y + i * a.y.step + g * kLanes, lanes);
        }
      }
      return;
    }
    for (int64_t g = 0; g < groups; ++g) {
      const int64_t channels = smaller(kLanes, a.x.c - g * kLanes);
      const int64_t lanes = x.packed ? kLanes : channels;
      T* plane = y + g * kLanes * a.y.stride_c;
      for (int64_t i = 0; i < block.count; i += kLanes) {
        const int64_t pixels = smaller(kLanes, block.count - i);
        T tile[kLanes * kLanes];
        for (int64_t p = 0; p < pixels; ++p) {
          sample_pixel(places, i + p, neighbors, x.at(block.n, g), lanes, value)
              .store(tile + p * kLanes);
        }
        tile_to_planes(tile, plane + i, a.y.stride_c, pixels, channels);
      }
    }
  });
}

template <class T>
MK_INLINE Vec<T> gathered(const T* p, const typename Vec<T>::Int* offset) {
  if constexpr (sizeof(T) == 4) {
    return gather<T>(p, offset);
  } else {
    T lanes[Vec<T>::kLanes];
    for (int i = 0; i < Vec<T>::kLanes; ++i) lanes[i] = p[offset[i]];
    return Vec<T>::load(lanes);
  }
}

// Calls visit(k, element) with neighbor k of a vector of pixels; with `pairs` two of them lie side
// by side.
template <class T, class Visit>
MK_INLINE void for_each_neighbor(const T* plane, const Places<T>& places, int64_t i, int neighbors,
                                 bool pairs, Visit visit) {
  for (int k = 0; k < neighbors; k += 2) {
    if (pairs) {
      const Pairs<T> two = load_pairs(plane, places.offset[k] + i);
      visit(k, two.left);
      visit(k + 1, two.right);
    } else {
      visit(k, gathered<T>(plane, places.offset[k] + i));
      visit(k + 1, gathered<T>(plane, places.offset[k + 1] + i));
    }
  }
}

template <class T>
void forward_pixels(const ResampleArgs& a, const T* table) {
  using V = Vec<T>;
  constexpr int64_t kLanes = V::kLanes;
  const int64_t blocks = blocks_of(a.y);
  const int neighbors = a.rank == 2 ? 4 : 8;
  const bool pairs = a.x.step == 1 && side_by_side(a);
  const V value(static_cast<T>(a.padding == ResamplePadding::constant ? a.value : 0));
  parallel_for(a.y.n * blocks, a.y.n * a.y.c * a.y.pixels * neighbors, [&](int64_t task, int) {
    const Block block = block_of(a.y, task / blocks, task % blocks);
    Places<T> places;
    locate<T>(a, table, block, a.x.step, places, nullptr);
    const T* x = static_cast<const T*>(a.x.data) + block.n * a.x.stride_n;
    T* y = static_cast<T*>(a.y.data) + block.n * a.y.stride_n + block.begin * a.y.step;
    for (int64_t c = 0; c < a.y.c; ++c) {
      const T* plane = x + c * a.x.stride_c;
      for (int64_t i = 0; i < block.count; i += kLanes) {
        V total = value * V::load(places.outside + i);
        const auto add = [&](int k, V element) {
          const V weight = V::load(places.weight[k] + i);
          total = fma(select<T>(weight == V::zero(), V::zero(), element), weight, total);
        };
        for_each_neighbor<T>(plane, places, i, neighbors, pairs, add);
        const int64_t lanes = smaller(kLanes, block.count - i);
        T* to = y + c * a.y.stride_c + i * a.y.step;
        if (a.y.step == 1) {
          store_lanes(total, to, lanes);
        } else {
          for (int64_t l = 0; l < lanes; ++l) to[l * a.y.step] = total[static_cast<int>(l)];
        }
      }
    }
  });
}

// Sums over the lanes of each of kLanes vectors, in one vector.
template <class T>
MK_INLINE Vec<T> sum_rows(const T* rows) {
  constexpr int64_t kLanes = Vec<T>::kLanes;
  T turned[kLanes * kLanes];
  turn_tile(rows, kLanes, turned, kLanes);
  Vec<T> total = Vec<T>::load(turned);
  for (int64_t l = 1; l < kLanes; ++l) total += Vec<T>::load(turned + l * kLanes);
  return total;
}

template <class T>
MK_INLINE void put_dgrid(const ResampleArgs& a, int64_t n, int64_t pixel, int axis, Vec<T> slope,
                         int64_t count) {
  T* to = static_cast<T*>(a.dgrid) + (n * a.y.pixels + pixel) * a.rank + 2 - axis;
  slope = slope * Vec<T>(static_cast<T>(a.scale[axis]));
  for (int64_t l = 0; l < count; ++l) to[l * a.rank] = slope[static_cast<int>(l)];
}

// d y / d t along the axes for up to a vector of channels of one pixel.
template <class T>
MK_INLINE void slopes_of_pixel(const ResampleArgs& a, const Places<T>& places,
                               const Slopes<T>& slopes, int64_t i, const T* from, int64_t lanes,
                               Vec<T> value, Vec<T> (&total)[3]) {
  const int first = 3 - a.rank, neighbors = a.rank == 2 ? 4 : 8;
  for (int axis = first; axis < 3; ++axis) total[axis] = value * Vec<T>(slopes.outside[axis][i]);
  for (int k = 0; k < neighbors; ++k) {
    bool read = false;
    for (int axis = first; axis < 3; ++axis) read = read || slopes.of[axis][k][i] != 0;
    if (!read) continue;
    const Vec<T> x = load_lanes(from + places.offset[k][i], lanes);
    for (int axis = first; axis < 3; ++axis) {
      total[axis] = fma(x, Vec<T>(slopes.of[axis][k][i]), total[axis]);
    }
  }
}

template <class T>
void backward_grid_channels(const ResampleArgs& a, T* packed) {
  using V = Vec<T>;
  constexpr int64_t kLanes = V::kLanes;
  const ChannelBlocks<T> x = channel_blocks<T>(a.x, packed);
  if (x.packed) pack_planes<T>(a.x, packed);
  const int64_t blocks = blocks_of(a.y);
  const int first = 3 - a.rank;
  const V value(static_cast<T>(a.padding == ResamplePadding::constant ? a.value : 0));
  parallel_for(a.y.n * blocks, a.y.n * a.y.c * a.y.pixels * 24, [&](int64_t task, int) {
    const Block block = block_of(a.y, task / blocks, task % blocks);
    Places<T> places;
    Slopes<T> slopes;
    locate<T>(a, nullptr, block, x.step, places, &slopes);
    const T* dy = static_cast<const T*>(a.y.data) + block.n * a.y.stride_n + block.begin * a.y.step;
    for (int64_t i = 0; i < block.count; i += kLanes) {
      const int64_t pixels = smaller(kLanes, block.count - i);
      T sums[3][kLanes * kLanes] = {};
      for (int64_t g = 0; g < x.blocks; ++g) {
        const int64_t channels = smaller(kLanes, a.x.c - g * kLanes);
        const int64_t lanes = x.packed ? kLanes : channels;
        T tile[kLanes * kLanes];
        read_tile(a.y, dy + i * a.y.step + g * kLanes * a.y.stride_c, tile, pixels, channels);
        for (int64_t p = 0; p < pixels; ++p) {
          V slope[3];
          slopes_of_pixel(a, places, slopes, i + p, x.at(block.n, g), lanes, value, slope);
          for (int axis = first; axis < 3; ++axis) {
            T* sum = sums[axis] + p * kLanes;
            fma(slope[axis], V::load(tile + p * kLanes), V::load(sum)).store(sum);
          }
        }
      }
      for (int axis = first; axis < 3; ++axis) {
        put_dgrid<T>(a, block.n, block.begin + i, axis, sum_rows(sums[axis]), pixels);
      }
    }
  });
}

template <class T>
void backward_grid_pixels(const ResampleArgs& a) {
  using V = Vec<T>;
  constexpr int64_t kLanes = V::kLanes;
  const int64_t blocks = blocks_of(a.y);
  const int first = 3 - a.rank, neighbors = a.rank == 2 ? 4 : 8;
  const bool pairs = a.x.step == 1 && side_by_side(a);
  const V value(static_cast<T>(a.padding == ResamplePadding::constant ? a.value : 0));
  parallel_for(a.y.n * blocks, a.y.n * a.y.c * a.y.pixels * 24, [&](int64_t task, int) {
    const Block block = block_of(a.y, task / blocks, task % blocks);
    Places<T> places;
    Slopes<T> slopes;
    locate<T>(a, nullptr, block, a.x.step, places, &slopes);
    const T* x = static_cast<const T*>(a.x.data) + block.n * a.x.stride_n;
    const T* dy = static_cast<const T*>(a.y.data) + block.n * a.y.stride_n + block.begin * a.y.step;
    for (int64_t i = 0; i < block.count; i += kLanes) {
      const int64_t pixels = smaller(kLanes, block.count - i);
      V sums[3] = {V::zero(), V::zero(), V::zero()};
      for (int64_t c = 0; c < a.y.c; ++c) {
        V slope[3];
        for (int axis = first; axis < 3; ++axis) {
          slope[axis] = value * V::load(slopes.outside[axis] + i);
        }
        for_each_neighbor<T>(
            x + c * a.x.stride_c, places, i, neighbors, pairs, [&](int k, V element) {
              typename V::Mask read{};
              for (int axis = first; axis < 3; ++axis) {
                read |= V::load(slopes.of[axis][k] + i) != V::zero();
              }
              element = select<T>(read, element, V::zero());
              for (int axis = first; axis < 3; ++axis) {
                slope[axis] = fma(element, V::load(slopes.of[axis][k] + i), slope[axis]);
              }
            });
        T gradient[kLanes] = {};
        for (int64_t l = 0; l < pixels; ++l) {
          gradient[l] = dy[c * a.y.stride_c + (i + l) * a.y.step];
        }
        for (int axis = first; axis < 3; ++axis) {
          sums[axis] = fma(slope[axis], V::load(gradient), sums[axis]);
        }
      }
      for (int axis = first; axis < 3; ++axis) {
        put_dgrid<T>(a, block.n, block.begin + i, axis, sums[axis], pixels);
      }
    }
  });
}

// ---------------------------------------------------------------- the table

// Scratch memory of the forward pass: [table of the spline, x in blocks of channels].
size_t spline_bytes(const ResampleArgs& a) {
  if (a.displacement == nullptr) return 0;
  return static_cast<size_t>(a.control[2] * table_columns(a)) * size_of(a.dtype);
}

size_t pack_bytes(const ResampleArgs& a) {
  return a.dtype == Dtype::f32 ? packed_bytes<float>(a.x) : packed_bytes<double>(a.x);
}

size_t forward_workspace(const ResampleArgs& a) { return spline_bytes(a) + pack_bytes(a); }

template <class T>
void forward_of(const ResampleArgs& a) {
  T* table = a.displacement != nullptr ? static_cast<T*>(a.workspace) : nullptr;
  if (table != nullptr) fill_table(a, table);
  T* packed = static_cast<T*>(a.workspace) + spline_bytes(a) / sizeof(T);
  by_channels<T>(a.x) ? forward_channels<T>(a, table, packed) : forward_pixels<T>(a, table);
}

template <class T>
void backward_grid_of(const ResampleArgs& a) {
  by_channels<T>(a.x) ? backward_grid_channels<T>(a, static_cast<T*>(a.workspace))
                      : backward_grid_pixels<T>(a);
}

size_t backward_input_workspace(const ResampleArgs& a) {
  return a.dtype == Dtype::f32 ? scatter_bytes<float>(a) : scatter_bytes<double>(a);
}

void forward(const ResampleArgs& a) {
  a.dtype == Dtype::f32 ? forward_of<float>(a) : forward_of<double>(a);
}

void backward_input(const ResampleArgs& a) {
  a.dtype == Dtype::f32 ? scatter<float>(a) : scatter<double>(a);
}

void backward_grid(const ResampleArgs& a) {
  a.dtype == Dtype::f32 ? backward_grid_of<float>(a) : backward_grid_of<double>(a);
}

}  // namespace

extern const ResampleKernels resample_kernels;
constinit const ResampleKernels resample_kernels = {
    .forward_workspace = forward_workspace,
    .backward_input_workspace = backward_input_workspace,
    .backward_grid_workspace = pack_bytes,
    .forward = forward,
    .backward_input = backward_input,
    .backward_grid = backward_grid,
};

}  // namespace medkern::MK_ISA
