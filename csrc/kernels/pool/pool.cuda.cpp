// CUDA kernels of pooling: what the checked arguments come to on the device.
#include "kernels/pool/pool.cuda.h"

#include <algorithm>

#include "cuda/launch.h"
#include "cuda/variants.h"
#include "kernels/image.cuda.h"
#include "kernels/pool/pool.h"

namespace medkern::cuda {
namespace {

// Windows of so many positions are summed by teams of threads: in memory with all channels of a
// pixel side by side, and else by warps, of even larger ones by blocks.
constexpr int64_t kLargeOfPixels = 256, kLargeOfPlanes = 32, kLargeForWarp = 4096;
constexpr int64_t kWarps = kRowThreads / 32;

// Vectors of four float32, float32, vectors of eight bfloat16.
using Windows = Kernel[3];
#define MK_WINDOWS(file, name) {{file, name "_f32x4"}, {file, name "_f32"}, {file, name "_bf16x8"}}
Windows max_2x2 = MK_WINDOWS("pool", "pool_max_2x2");
Windows max_3x3 = MK_WINDOWS("pool", "pool_max_3x3");
Variants max_any = MK_VARIANTS("pool", "pool_max");
Variants max_i64 = MK_VARIANTS("pool", "pool_max_i64");
Variants max_gradient = MK_VARIANTS("pool", "pool_max_backward");
Variants max_tiles_gradient = MK_VARIANTS("pool", "pool_max_backward_tiles");
Windows average_2x2 = MK_WINDOWS("pool_average", "pool_average_2x2");
Windows average_3x3 = MK_WINDOWS("pool_average", "pool_average_3x3");
Variants average_any = MK_VARIANTS("pool_average", "pool_average");
Variants average_gradient = MK_VARIANTS("pool_average", "pool_average_backward");
Variants average_tiles_gradient = MK_VARIANTS("pool_average", "pool_average_backward_tiles");
Types average_by_warp = MK_TYPES("pool_average", "pool_average_by_warp");
Types average_by_block = MK_TYPES("pool_average", "pool_average_by_block");
Variants average_of_pixels = MK_VARIANTS("pool_average", "pool_average_of_pixels");
Variants spread_kernels = MK_VARIANTS("pool_scatter", "pool_spread");
Types scatter_add_kernels = MK_TYPES("pool_scatter", "pool_scatter_add");
Types scatter_kernels = MK_TYPES("pool_scatter", "pool_scatter");
Types gather_kernels = MK_TYPES("pool_scatter", "pool_gather");

constexpr const char* kOp = "pooling";

int64_t spatial_count(const Image& x) { return x.size[0] * x.size[1] * x.size[2]; }

// Offsets inside a sample are counted in 32 bits.
void expect_small_samples(const Image& x) {
  int64_t last = (x.c - 1) * x.stride_c;
  for (int i = 0; i < 3; ++i) last += (x.size[i] - 1) * x.stride[i];
  require(last <= INT32_MAX, "pooling: a CUDA kernel's samples span up to 2^31 elements, got ",
          last + 1);
}

// Of a pass that writes `to`, one of x and y. `indices` may have no data.
struct Pass {
  PoolKernelArgs args{};
  bool pixels;
  int variant;
  int64_t lanes;

  Pass(Dtype dtype, const PoolWindows& windows, const Image& x, const Image& y,
       const Image& indices, const Image& to);
};

Pass::Pass(Dtype dtype, const PoolWindows& windows, const Image& x, const Image& y,
           const Image& indices, const Image& to) {
  const bool indexed = indices.data != nullptr;
  pixels = have_pixels({&x, &y}) && (!indexed || have_pixels({&indices}));
  // Indices of one byte are the narrowest vectors, those of eight are moved 16 bytes at once.
  const int64_t whole = lanes_of(dtype);
  const bool vectors = whole > 1 && have_vectors({&x, &y}, whole, size_of(dtype)) &&
                       (!indexed || have_vectors({&indices}, whole, 16 / whole));
  lanes = vectors ? whole : 1;
  variant = variant_of(dtype, vectors);
  for (const Image* image : {&x, &y, &indices}) expect_small_samples(*image);
  PoolKernelArgs& a = args;
  a.x = x.data;
  a.y = y.data;
  a.indices = indices.data;
  const Window& w = windows.window;
  for (int i = 0; i < 3; ++i) {
    PoolAxis& axis = a.axis[i];
    const auto size = static_cast<int64_t>(narrow(kOp, x.size[i]));
    const auto count = static_cast<int64_t>(narrow(kOp, y.size[i]));
    axis.size = static_cast<int32_t>(size);
    axis.count = static_cast<int32_t>(count);
    axis.adaptive = windows.adaptive;
    require(!windows.adaptive || (size + 1) * (count + 1) <= INT32_MAX,
            "adaptive pooling: CUDA kernels take axes whose size times output size is below 2^31, ",
            "got ", size, " and ", count);
    axis.kernel = static_cast<int32_t>(narrow(kOp, w.kernel[i]));
    axis.stride = static_cast<int32_t>(std::min<int64_t>(w.stride[i], INT32_MAX / 2));
    axis.pad = static_cast<int32_t>(w.pad_before[i]);
    axis.pad_after = static_cast<int32_t>(w.pad_after[i]);
    axis.dilation = w.kernel[i] > 1 ? static_cast<int32_t>(narrow(kOp, w.dilation[i])) : 1;
    axis.by_stride = divider(static_cast<uint32_t>(axis.stride));
    axis.by_dilation = divider(static_cast<uint32_t>(axis.dilation));
    axis.by_size = divider(static_cast<uint32_t>(std::max<int64_t>(size, 1)));
    axis.by_count = divider(static_cast<uint32_t>(std::max<int64_t>(count, 1)));
    axis.x_stride = static_cast<int32_t>(x.stride[i]);
    axis.y_stride = static_cast<int32_t>(y.stride[i]);
    axis.index_stride = static_cast<int32_t>(indices.stride[i]);
  }
  a.x_stride_n = x.stride_n;
  a.x_stride_c = x.stride_c;
  a.y_stride_n = y.stride_n;
  a.y_stride_c = y.stride_c;
  a.index_stride_n = indices.stride_n;
  a.index_stride_c = indices.stride_c;
  a.rows = image_rows(kOp, to, pixels, lanes);
}

void run(Kernel& kernel, const Pass& pass) {
  launch(kernel, {pass.args.rows.blocks}, kRowThreads, 0, pass.args);
}

// Of few slices, without dilation.
bool is_window(const PoolWindows& windows, int64_t extent) {
  const Window& w = windows.window;
  bool plain = !windows.adaptive && w.kernel[0] <= 4;
  for (const int64_t dilation : w.dilation) plain = plain && dilation == 1;
  return plain && w.kernel[1] == extent && w.kernel[2] == extent;
}

// Windows that stand side by side: no two of them share an element, none begins in padding.
bool are_tiles(const PoolWindows& windows) {
  const Window& w = windows.window;
  bool tiles = !windows.adaptive;
  for (int i = 0; i < 3; ++i) {
    tiles = tiles && w.stride[i] == w.kernel[i] && w.dilation[i] == 1 && w.pad_before[i] == 0;
  }
  return tiles;
}

// The kernel for slices of 2x2, of 3x3, or of any extent.
Kernel& kernel_for(const PoolWindows& windows, int variant, Windows& two, Windows& three,
                   Variants& any) {
  constexpr int kOf[] = {0, 1, -1, 2, -1};  // by variant
  const int kept = kOf[variant];
  if (kept >= 0 && is_window(windows, 2)) return two[kept];
  if (kept >= 0 && is_window(windows, 3)) return three[kept];
  return any[variant];
}

void max_forward(const MaxPoolArgs& m) {
  require(spatial_count(m.x) <= INT32_MAX, "max_pool: CUDA kernels number up to 2^31 pixels, got ",
          spatial_count(m.x));
  const Pass pass(m.dtype, m.windows, m.x, m.y, m.indices, m.y);
  run(m.index_dtype == Dtype::u8 || m.indices.data == nullptr
          ? kernel_for(m.windows, pass.variant, max_2x2, max_3x3, max_any)
          : max_i64[pass.variant],
      pass);
}

void max_backward(const MaxPoolArgs& m) {
  const Pass pass(m.dtype, m.windows, m.x, m.y, m.indices, m.x);
  run((are_tiles(m.windows) ? max_tiles_gradient : max_gradient)[pass.variant], pass);
}

// Positions of a window inside x at most.
int64_t taps_of(const AveragePoolArgs& p) {
  int64_t taps = 1;
  for (int i = 0; i < 3; ++i) taps *= std::min(p.windows.window.kernel[i], p.x.size[i]);
  return taps;
}

bool is_large(const AveragePoolArgs& p, bool pixels) {
  const int64_t taps = taps_of(p);
  return taps >= (pixels ? kLargeOfPixels : kLargeOfPlanes) && taps <= INT32_MAX / 2;
}

void average_large(const AveragePoolArgs& p, const Pass& pass) {
  LargePoolKernelArgs a{};
  a.pool = pass.args;
  const int64_t pixels = p.y.n * spatial_count(p.y);
  a.outputs = narrow(kOp, pass.pixels ? pixels : pixels * p.y.c);
  a.by_channels = divider(pass.pixels ? 1 : narrow(kOp, p.y.c));
  a.by_depth = divider(narrow(kOp, p.y.size[0]));
  a.by_height = divider(narrow(kOp, p.y.size[1]));
  a.by_width = divider(narrow(kOp, p.y.size[2]));
  const int type = type_of(p.dtype);
  if (!pass.pixels) {
    if (taps_of(p) > kLargeForWarp) {
      launch(average_by_block[type], {a.outputs}, kRowThreads, kWarps * sizeof(double), a);
    } else {
      launch(average_by_warp[type], {static_cast<uint32_t>(divide_up(a.outputs, kWarps))},
             kRowThreads, 0, a);
    }
    return;
  }
  const int64_t lanes = pass.lanes;
  a.vectors = static_cast<uint32_t>(p.y.c / lanes);
  // Of larger windows narrow tiles of vectors, so that there are more blocks. The order of sums is
  // the same for one sample and for many.
  const int64_t across = std::min<int64_t>(a.vectors, taps_of(p) > kLargeForWarp ? 2 : 8);
  a.across = static_cast<uint32_t>(across);
  a.down = taps_of(p) > kLargeForWarp ? 128 : 32;
  a.by_across = divider(a.across);
  launch(average_of_pixels[pass.variant],
         {a.outputs, static_cast<uint32_t>(divide_up(a.vectors, across))}, a.across * a.down,
         a.across * a.down * lanes * sizeof(double), a);
}

void average_forward(const AveragePoolArgs& p) {
  Pass pass(p.dtype, p.windows, p.x, p.y, {}, p.y);
  pass.args.count_include_pad = p.count_include_pad;
  if (is_large(p, pass.pixels)) return average_large(p, pass);
  run(kernel_for(p.windows, pass.variant, average_2x2, average_3x3, average_any), pass);
}

void average_backward(const AveragePoolArgs& p) {
  Pass pass(p.dtype, p.windows, p.x, p.y, {}, p.x);
  pass.args.count_include_pad = p.count_include_pad;
  run((are_tiles(p.windows) ? average_tiles_gradient : average_gradient)[pass.variant], pass);
}

// Elements of memory from one spatial position to the next: their dimensions are dense relative to
// each other.
int64_t unit_of(const Image& x) {
  for (int axis = 2; axis > 0; --axis) {
    if (x.size[axis] > 1) return x.stride[axis];
  }
  return x.stride[0];
}

ScatterKernelArgs scatter_arguments(const ScatterArgs& s) {
  require(spatial_count(s.large) <= INT32_MAX && spatial_count(s.small) <= INT32_MAX / 2 &&
              s.small.n * s.small.c * spatial_count(s.small) <= INT32_MAX,
          "max_unpool: CUDA kernels take up to 2^31 elements, got ",
          s.small.n * s.small.c * spatial_count(s.small));
  ScatterKernelArgs a{};
  a.large = s.large.data;
  a.small = s.small.data;
  a.indices = static_cast<const int64_t*>(s.indices.data);
  a.large_count = spatial_count(s.large);
  a.small_count = spatial_count(s.small);
  a.planes = narrow("max_unpool", s.large.n * s.large.c);
  a.by_channels = divider(narrow("max_unpool", std::max<int64_t>(s.large.c, 1)));
  a.by_size = divider(static_cast<uint32_t>(std::max<int64_t>(a.small_count, 1)));
  a.channels_last = s.small.stride_c == 1;
  a.large_unit = unit_of(s.large);
  a.small_unit = unit_of(s.small);
  a.index_unit = unit_of(s.indices);
  a.large_stride_n = s.large.stride_n;
  a.large_stride_c = s.large.stride_c;
  a.small_stride_n = s.small.stride_n;
  a.small_stride_c = s.small.stride_c;
  a.index_stride_n = s.indices.stride_n;
  a.index_stride_c = s.indices.stride_c;
  return a;
}

void scatter_by(Types& kernels, const ScatterArgs& s) {
  ScatterKernelArgs a = scatter_arguments(s);
  a.has_tiles = a.small_count > 0;
  for (int i = 0; i < 3 && a.has_tiles; ++i) {
    const int64_t tile = s.large.size[i] / s.small.size[i];
    a.has_tiles = tile > 0;
    if (!a.has_tiles) break;
    ScatterAxis& axis = a.axis[i];
    axis.large = static_cast<int32_t>(s.large.size[i]);
    axis.small = static_cast<int32_t>(s.small.size[i]);
    axis.by_tile = divider(static_cast<uint32_t>(tile));
    axis.by_large = divider(static_cast<uint32_t>(axis.large));
    axis.by_small = divider(static_cast<uint32_t>(axis.small));
    axis.large_stride = static_cast<int32_t>(s.large.stride[i]);
    axis.small_stride = static_cast<int32_t>(s.small.stride[i]);
    axis.index_stride = static_cast<int32_t>(s.indices.stride[i]);
  }
  if (a.has_tiles) {
    for (const Image* image : {&s.large, &s.small, &s.indices}) expect_small_samples(*image);
    const bool pixels = have_pixels({&s.large, &s.small, &s.indices});
    const int64_t lanes = lanes_of(s.dtype);
    const bool vectors = lanes > 1 && have_vectors({&s.large, &s.small}, lanes, size_of(s.dtype)) &&
                         have_vectors({&s.indices}, lanes, 16 / lanes);
    a.rows = image_rows("max_unpool", s.large, pixels, vectors ? lanes : 1);
    launch(spread_kernels[variant_of(s.dtype, vectors)], {a.rows.blocks}, kRowThreads, 0, a);
  } else {
    fill_zero(s.large.data, a.planes * a.large_count * size_of(s.dtype));
  }
  if (a.small_count > 0) launch(kernels[type_of(s.dtype)], {a.planes}, kRowThreads, 0, a);
}

void scatter_add(const ScatterArgs& s) { scatter_by(scatter_add_kernels, s); }
void scatter(const ScatterArgs& s) { scatter_by(scatter_kernels, s); }

void gather(const ScatterArgs& s) {
  const ScatterKernelArgs a = scatter_arguments(s);
  launch(gather_kernels[type_of(s.dtype)],
         {static_cast<uint32_t>(divide_up(a.planes * a.small_count, kRowThreads))}, kRowThreads, 0,
         a);
}

// The host can't look at indices. What would be done of those in tiles is done of all.
bool in_tiles(const ScatterArgs&) { return false; }

}  // namespace

extern const PoolKernels pool_kernels;
constinit const PoolKernels pool_kernels = {
    .max_forward = max_forward,
    .max_backward = max_backward,
    .average_forward = average_forward,
    .average_backward = average_backward,
    .scatter_add = scatter_add,
    .scatter = scatter,
    .gather = gather,
    .in_tiles = in_tiles,
    .spread = scatter,
    .collect = gather,
};

}  // namespace medkern::cuda
