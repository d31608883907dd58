// CUDA kernels of reading images at any places: what the checked arguments come to on the device.
#include "kernels/resample/resample.cuda.h"

#include <algorithm>

#include "core/status.h"
#include "cuda/align.h"
#include "cuda/launch.h"
#include "kernels/resample/resample.h"

namespace medkern::cuda {
namespace {

// Vectors of four float, float, double.
Kernel forward_pixels[3] = {{"resample", "resample_forward_f32x4"},
                            {"resample", "resample_forward_f32"},
                            {"resample", "resample_forward_f64"}};
// float, double.
Kernel forward_planes[2] = {{"resample", "resample_planes_f32"},
                            {"resample", "resample_planes_f64"}};
Kernel grid_by_warp[2] = {{"resample", "resample_grid_by_warp_f32"},
                          {"resample", "resample_grid_by_warp_f64"}};
Kernel grid_by_thread[2] = {{"resample", "resample_grid_f32"}, {"resample", "resample_grid_f64"}};
Kernel largest_kernels[2] = {{"resample", "resample_largest_f32"},
                             {"resample", "resample_largest_f64"}};
Kernel scatter_pixels[2] = {{"resample", "resample_scatter_f32"},
                            {"resample", "resample_scatter_f64"}};
Kernel scatter_planes[2] = {{"resample", "resample_scatter_planes_f32"},
                            {"resample", "resample_scatter_planes_f64"}};
Kernel settle_kernels[2] = {{"resample", "resample_settle_f32"},
                            {"resample", "resample_settle_f64"}};

// From so many channels on a warp takes a pixel's.
constexpr int64_t kManyChannels = 16;

uint32_t count_of(int64_t count) {
  require(count < INT32_MAX, "resample: CUDA kernels count up to 2^31 elements, got ", count);
  return static_cast<uint32_t>(count);
}

uint32_t blocks_of(uint32_t threads) {
  return static_cast<uint32_t>(divide_up(threads, kResampleThreads));
}

bool is_double(const ResampleArgs& r) { return r.dtype == Dtype::f64; }

bool have_pixels(const ResampleArgs& r) { return r.x.stride_c == 1 && r.y.stride_c == 1; }

ResampleKernelArgs kernel_args(const ResampleArgs& r) {
  ResampleKernelArgs a{};
  a.x = r.x.data;
  a.y = r.y.data;
  a.grid = r.grid;
  a.dgrid = r.dgrid;
  a.matrix = r.matrix;
  a.displacement = r.displacement;
  for (int i = 0; i < 3; ++i) {
    a.axis[i] = {static_cast<int32_t>(r.x.size[i]), static_cast<int32_t>(r.y.size[i]),
                 static_cast<int32_t>(r.control[i]), r.scale[i], r.shift[i]};
  }
  a.rank = r.rank;
  a.beyond = static_cast<int32_t>(r.padding);
  a.linear = r.linear;
  a.ties_up = r.ties_up;
  a.mirrors_at_centers = r.mirrors_at_centers;
  a.cubic = r.cubic;
  a.value = r.value;
  a.x_stride_n = r.x.stride_n;
  a.y_stride_n = r.y.stride_n;
  a.x_stride_c = r.x.stride_c;
  a.y_stride_c = r.y.stride_c;
  a.x_step = static_cast<int32_t>(r.x.step);
  a.y_step = static_cast<int32_t>(r.y.step);
  a.channels = static_cast<int32_t>(r.x.c);
  a.pixels = count_of(r.y.pixels);
  a.by_pixels = divider(std::max(1u, a.pixels));
  a.by_height = divider(static_cast<uint32_t>(r.y.size[1]));
  a.by_width = divider(static_cast<uint32_t>(r.y.size[2]));
  return a;
}

// Items of vectors of `lanes` channels, or of stretches of planes.
void count_items(ResampleKernelArgs& a, const ResampleArgs& r, int64_t lanes) {
  const int64_t groups = have_pixels(r) ? r.x.c / lanes : divide_up(r.x.c, kResampleChannels);
  a.by_groups = divider(count_of(groups));
  a.items = count_of(r.y.n * r.y.pixels * groups);
}

void forward(const ResampleArgs& r) {
  ResampleKernelArgs a = kernel_args(r);
  const bool vectors =
      have_pixels(r) && !is_double(r) && r.x.c % 4 == 0 && are_aligned({r.x.data, r.y.data});
  count_items(a, r, vectors ? 4 : 1);
  Kernel& kernel = have_pixels(r) ? forward_pixels[vectors ? 0 : 1 + is_double(r)]
                                  : forward_planes[is_double(r)];
  launch(kernel, {blocks_of(a.items)}, kResampleThreads, 0, a);
}

void backward_grid(const ResampleArgs& r) {
  ResampleKernelArgs a = kernel_args(r);
  const bool warps = r.x.c >= kManyChannels;
  a.items = count_of(r.y.n * r.y.pixels);
  Kernel& kernel = warps ? grid_by_warp[is_double(r)] : grid_by_thread[is_double(r)];
  launch(kernel, {blocks_of(count_of(int64_t{a.items} * (warps ? 32 : 1)))}, kResampleThreads, 0,
         a);
}

// Scratch memory: [largest of each sample][sums][flags].
int64_t words_of(const ResampleArgs& r) { return is_double(r) ? 2 : 1; }
int64_t largest_bytes(const ResampleArgs& r) { return divide_up(r.x.n * 8, 64) * 64; }
size_t backward_input_workspace(const ResampleArgs& r) {
  const int64_t elements = r.x.n * r.x.c * r.x.pixels;
  return static_cast<size_t>(largest_bytes(r) + elements * (8 * words_of(r) + 4));
}

void backward_input(const ResampleArgs& r) {
  const int64_t elements = r.x.n * r.x.c * r.x.pixels;
  if (r.y.pixels == 0) return fill_zero(r.x.data, static_cast<size_t>(elements) * size_of(r.dtype));
  require(r.x.n <= 65535, "grid_sample_backward_input: CUDA kernels take up to 65535 samples, got ",
          r.x.n);
  ResampleKernelArgs a = kernel_args(r);
  char* workspace = static_cast<char*>(r.workspace);
  a.largest = reinterpret_cast<uint64_t*>(workspace);
  a.sums = reinterpret_cast<uint64_t*>(workspace + largest_bytes(r));
  a.words = static_cast<int32_t>(words_of(r));
  a.flags = reinterpret_cast<uint32_t*>(a.sums + elements * a.words);
  a.dx = r.x.data;
  a.elements = count_of(r.x.c * r.x.pixels);
  while ((int64_t{1} << a.headroom) < r.y.pixels) ++a.headroom;
  fill_zero(workspace, backward_input_workspace(r));

  const uint32_t samples = static_cast<uint32_t>(r.x.n);
  const uint32_t parts = blocks_for(r.y.pixels * r.y.c, kResampleThreads, 8);
  launch(largest_kernels[is_double(r)], {parts, samples}, kResampleThreads, 0, a);
  count_items(a, r, 1);
  Kernel& scatter = have_pixels(r) ? scatter_pixels[is_double(r)] : scatter_planes[is_double(r)];
  launch(scatter, {blocks_of(a.items)}, kResampleThreads, 0, a);
  launch(settle_kernels[is_double(r)], {blocks_of(a.elements), samples}, kResampleThreads, 0, a);
}

size_t none(const ResampleArgs&) { return 0; }

}  // namespace

extern const ResampleKernels resample_kernels;
constinit const ResampleKernels resample_kernels = {
    .forward_workspace = none,
    .backward_input_workspace = backward_input_workspace,
    .backward_grid_workspace = none,
    .forward = forward,
    .backward_input = backward_input,
    .backward_grid = backward_grid,
};

}  // namespace medkern::cuda
