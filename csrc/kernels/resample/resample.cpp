// Entry points of reading images at any places: check, then call the table.
#include "kernels/resample/resample.h"

#include <cmath>

#include "kernels/image.h"
#include "kernels/table.h"
#include "medkern/resample.h"

namespace medkern {
namespace {

constexpr int64_t kMostElements = INT32_MAX;

// An image of a checked view whose channels' pixels number fewer than 2^31 elements.
PixelImage pixel_image(const char* op, const TensorView& x) {
  expect_dense(op, x);
  const Image image = image_of(x);
  PixelImage p{};
  p.data = x.data;
  p.n = image.n;
  p.c = image.c;
  p.pixels = 1;
  for (int i = 0; i < 3; ++i) {
    p.size[i] = image.size[i];
    p.pixels = checked_mul(op, p.pixels, image.size[i]);
  }
  const int64_t elements = checked_mul(op, p.pixels, p.c);
  require(elements <= kMostElements, op, ": a sample of ", x.name,
          " must have fewer than 2^31 elements, got shape ", shape_text(x));
  const bool planes = is_contiguous(x);
  p.stride_n = elements;
  p.stride_c = planes ? p.pixels : 1;
  p.step = planes ? 1 : p.c;
  return p;
}

void expect_rule(const char* op, int64_t rank, int64_t mode, int64_t padding, double value) {
  expect_range(op, "spatial_rank", rank, 2, 3);
  expect_range(op, "mode", mode, MK_RESAMPLE_NEAREST, MK_RESAMPLE_LINEAR);
  expect_range(op, "padding_mode", padding, MK_RESAMPLE_CONSTANT, MK_RESAMPLE_WRAP);
  require(std::isfinite(value), op, ": value must be finite, got ", value);
}

void expect_sizes(const char* op, const TensorView& x, int rank) {
  expect_image(op, x, rank);
  expect_float(op, x);
  for (int i = 0; i < rank; ++i) {
    expect_range(op, "the spatial size of x", x.shape[2 + i], 1, kMostElements);
  }
}

ResampleArgs rule_of(int rank, int mode, int padding, double value) {
  ResampleArgs args{};
  args.rank = rank;
  args.linear = mode == MK_RESAMPLE_LINEAR;
  args.padding = static_cast<ResamplePadding>(padding);
  args.value = value;
  for (int64_t& size : args.control) size = 1;
  return args;
}

// Checks the descriptor, and x (or dx) and the grid against each other.
void expect_grid(const char* op, const mk_grid_sample_desc* desc, const TensorView& x,
                 const TensorView& grid) {
  expect_descriptor(op, desc, desc != nullptr ? desc->struct_size : 0, sizeof(mk_grid_sample_desc));
  const int rank = desc->spatial_rank;
  expect_rule(op, rank, desc->mode, desc->padding, desc->value);
  expect_sizes(op, x, rank);
  expect_same_dtype(op, grid, x);
  expect_same_device(op, grid, x);
  expect_rank(op, grid, rank + 2);
  require(grid.shape[0] == x.shape[0] && grid.shape[rank + 1] == rank, op, ": grid must be (",
          x.shape[0], ", sizes of the result, ", rank, ") for x ", shape_text(x), ", got ",
          shape_text(grid));
  expect_contiguous(op, grid);
}

void grid_shape(const TensorView& x, const TensorView& grid, int64_t shape[5]) {
  shape[0] = x.shape[0];
  shape[1] = x.shape[1];
  for (int i = 2; i < x.rank; ++i) shape[i] = grid.shape[i - 1];
}

// What the kernels take of x (or dx) and the grid. y is without memory.
ResampleArgs grid_args(const char* op, const mk_grid_sample_desc* desc, const TensorView& x,
                       const TensorView& grid) {
  expect_grid(op, desc, x, grid);
  const int rank = desc->spatial_rank;
  ResampleArgs args = rule_of(rank, desc->mode, desc->padding, desc->value);
  args.dtype = x.dtype;
  args.mirrors_at_centers = desc->align_corners != 0;
  args.x = pixel_image(op, x);
  args.grid = grid.data;
  args.y = args.x;
  args.y.data = nullptr;
  args.y.pixels = 1;
  for (int i = 0; i < 3; ++i) {
    const int axis = i - (3 - rank);
    args.y.size[i] = axis < 0 ? 1 : grid.shape[1 + axis];
    args.y.pixels = checked_mul(op, args.y.pixels, args.y.size[i]);
    const auto size = static_cast<double>(args.x.size[i]);
    args.scale[i] = (args.mirrors_at_centers ? size - 1 : size) / 2;
    args.shift[i] = (size - 1) / 2;
  }
  return args;
}

// Adds y (or dy), which is checked.
void add_result(const char* op, ResampleArgs& args, const TensorView& x, const TensorView& y,
                const int64_t shape[5]) {
  expect_same_dtype(op, y, x);
  expect_shape(op, y, x.rank, shape);
  expect_same_device(op, y, x);
  args.y = pixel_image(op, y);
}

ResampleArgs affine_args(const char* op, const mk_affine_resample_desc* desc, const TensorView& x,
                         const TensorView& displacement, int64_t shape[5]) {
  expect_descriptor(op, desc, desc != nullptr ? desc->struct_size : 0,
                    sizeof(mk_affine_resample_desc));
  const int rank = desc->spatial_rank;
  expect_rule(op, rank, desc->mode, desc->padding, desc->value);
  require(desc->spline == MK_RESAMPLE_SPLINE_LINEAR || desc->spline == MK_RESAMPLE_SPLINE_CUBIC, op,
          ": spline must be linear or cubic");
  expect_sizes(op, x, rank);
  ResampleArgs args = rule_of(rank, desc->mode, desc->padding, desc->value);
  args.dtype = x.dtype;
  args.ties_up = true;
  args.x = pixel_image(op, x);
  args.y = args.x;
  args.y.data = nullptr;
  args.y.pixels = 1;
  args.cubic = desc->spline == MK_RESAMPLE_SPLINE_CUBIC;
  shape[0] = x.shape[0];
  shape[1] = x.shape[1];
  for (int i = 0; i < rank; ++i) {
    expect_range(op, "size", desc->size[i], 1, kMostElements);
    shape[2 + i] = desc->size[i];
    args.y.size[3 - rank + i] = desc->size[i];
    args.y.pixels = checked_mul(op, args.y.pixels, desc->size[i]);
  }
  if (displacement.rank == 0) return args;
  expect_rank(op, displacement, rank + 2);
  expect_same_dtype(op, displacement, x);
  expect_same_device(op, displacement, x);
  require(displacement.shape[0] == x.shape[0] && displacement.shape[1] == rank, op,
          ": displacement must be (", x.shape[0], ", ", rank, ", control points) for x ",
          shape_text(x), ", got ", shape_text(displacement));
  for (int i = 0; i < rank; ++i) {
    expect_range(op, args.cubic ? "control points of a cubic spline" : "control points",
                 displacement.shape[2 + i], args.cubic ? 4 : 2, kMostControls);
    args.control[3 - rank + i] = displacement.shape[2 + i];
  }
  expect_contiguous(op, displacement);
  args.displacement = displacement.data;
  return args;
}

const ResampleKernels& kernels_of(const TensorView& x) { return *kernels_for(x.device).resample; }

using WorkspaceOf = size_t (*)(const ResampleArgs&);
using Pass = void (*)(const ResampleArgs&);

int64_t outputs(const ResampleArgs& args) { return args.x.n * args.x.c * args.y.pixels; }

// Runs a pass with the workspace it takes: none where there is no output to read.
void run(const char* op, const TensorView& x, ResampleArgs& args,
         WorkspaceOf ResampleKernels::* size, Pass ResampleKernels::* pass, void* workspace,
         size_t workspace_bytes) {
  const ResampleKernels& kernels = kernels_of(x);
  const size_t needed = outputs(args) > 0 ? (kernels.*size)(args) : 0;
  expect_workspace(op, workspace, workspace_bytes, needed);
  args.workspace = workspace;
  (kernels.*pass)(args);
}

mk_status grid_workspace(const mk_grid_sample_desc* desc, const DLTensor* x, const DLTensor* grid,
                         size_t* bytes, WorkspaceOf ResampleKernels::* pass) {
  return guarded([&] {
    const char* op = "grid_sample";
    const TensorView xv = view(op, "x", x), gv = view(op, "grid", grid);
    const ResampleArgs args = grid_args(op, desc, xv, gv);
    require(bytes != nullptr, op, ": bytes is NULL");
    *bytes = outputs(args) > 0 ? (kernels_of(xv).*pass)(args) : 0;
  });
}

}  // namespace
}  // namespace medkern

using namespace medkern;

extern "C" mk_status mk_grid_sample_output_shape(const mk_grid_sample_desc* desc, const DLTensor* x,
                                                 const DLTensor* grid, int64_t* shape) {
  return guarded([&] {
    const char* op = "grid_sample";
    const TensorView xv = view(op, "x", x), gv = view(op, "grid", grid);
    expect_grid(op, desc, xv, gv);
    int64_t y_shape[5];
    grid_shape(xv, gv, y_shape);
    give_shape(op, shape, xv.rank, y_shape);
  });
}

extern "C" mk_status mk_grid_sample_forward_workspace(const mk_grid_sample_desc* desc,
                                                      const DLTensor* x, const DLTensor* grid,
                                                      size_t* bytes) {
  return grid_workspace(desc, x, grid, bytes, &ResampleKernels::forward_workspace);
}

extern "C" mk_status mk_grid_sample_backward_input_workspace(const mk_grid_sample_desc* desc,
                                                             const DLTensor* dx,
                                                             const DLTensor* grid, size_t* bytes) {
  return grid_workspace(desc, dx, grid, bytes, &ResampleKernels::backward_input_workspace);
}

extern "C" mk_status mk_grid_sample_backward_grid_workspace(const mk_grid_sample_desc* desc,
                                                            const DLTensor* x, const DLTensor* grid,
                                                            size_t* bytes) {
  return grid_workspace(desc, x, grid, bytes, &ResampleKernels::backward_grid_workspace);
}

extern "C" mk_status mk_grid_sample_forward(const mk_grid_sample_desc* desc, const DLTensor* x,
                                            const DLTensor* grid, DLTensor* y, void* workspace,
                                            size_t workspace_bytes) {
  return guarded([&] {
    const char* op = "grid_sample";
    const TensorView xv = view(op, "x", x), gv = view(op, "grid", grid), yv = view(op, "y", y);
    ResampleArgs args = grid_args(op, desc, xv, gv);
    int64_t shape[5];
    grid_shape(xv, gv, shape);
    add_result(op, args, xv, yv, shape);
    expect_no_overlap(op, yv, xv);
    expect_no_overlap(op, yv, gv);
    if (yv.count == 0) return;
    run(op, xv, args, &ResampleKernels::forward_workspace, &ResampleKernels::forward, workspace,
        workspace_bytes);
  });
}

extern "C" mk_status mk_grid_sample_backward_input(const mk_grid_sample_desc* desc,
                                                   const DLTensor* dy, const DLTensor* grid,
                                                   DLTensor* dx, void* workspace,
                                                   size_t workspace_bytes) {
  return guarded([&] {
    const char* op = "grid_sample_backward_input";
    const TensorView dyv = view(op, "dy", dy), gv = view(op, "grid", grid),
                     dxv = view(op, "dx", dx);
    ResampleArgs args = grid_args(op, desc, dxv, gv);
    int64_t shape[5];
    grid_shape(dxv, gv, shape);
    add_result(op, args, dxv, dyv, shape);
    expect_no_overlap(op, dxv, dyv);
    expect_no_overlap(op, dxv, gv);
    if (dxv.count == 0) return;
    run(op, dxv, args, &ResampleKernels::backward_input_workspace, &ResampleKernels::backward_input,
        workspace, workspace_bytes);
  });
}

extern "C" mk_status mk_grid_sample_backward_grid(const mk_grid_sample_desc* desc,
                                                  const DLTensor* dy, const DLTensor* x,
                                                  const DLTensor* grid, DLTensor* dgrid,
                                                  void* workspace, size_t workspace_bytes) {
  return guarded([&] {
    const char* op = "grid_sample_backward_grid";
    const TensorView dyv = view(op, "dy", dy), xv = view(op, "x", x), gv = view(op, "grid", grid);
    const TensorView dgv = view(op, "dgrid", dgrid);
    ResampleArgs args = grid_args(op, desc, xv, gv);
    int64_t shape[5];
    grid_shape(xv, gv, shape);
    add_result(op, args, xv, dyv, shape);
    expect_same_dtype(op, dgv, gv);
    expect_same_shape(op, dgv, gv);
    expect_same_device(op, dgv, gv);
    expect_contiguous(op, dgv);
    for (const TensorView* read : {&dyv, &xv, &gv}) expect_no_overlap(op, dgv, *read);
    if (dgv.count == 0) return;
    args.dgrid = dgv.data;
    run(op, xv, args, &ResampleKernels::backward_grid_workspace, &ResampleKernels::backward_grid,
        workspace, workspace_bytes);
  });
}

extern "C" mk_status mk_affine_resample_output_shape(const mk_affine_resample_desc* desc,
                                                     const DLTensor* x, int64_t* shape) {
  return guarded([&] {
    const char* op = "affine_resample";
    const TensorView xv = view(op, "x", x);
    int64_t y_shape[5];
    affine_args(op, desc, xv, optional_view(op, "displacement", nullptr), y_shape);
    give_shape(op, shape, xv.rank, y_shape);
  });
}

extern "C" mk_status mk_affine_resample_workspace(const mk_affine_resample_desc* desc,
                                                  const DLTensor* x, const DLTensor* displacement,
                                                  size_t* bytes) {
  return guarded([&] {
    const char* op = "affine_resample";
    const TensorView xv = view(op, "x", x), dv = optional_view(op, "displacement", displacement);
    int64_t shape[5];
    const ResampleArgs args = affine_args(op, desc, xv, dv, shape);
    require(bytes != nullptr, op, ": bytes is NULL");
    *bytes = args.x.n * args.x.c > 0 ? kernels_of(xv).forward_workspace(args) : 0;
  });
}

extern "C" mk_status mk_affine_resample_forward(const mk_affine_resample_desc* desc,
                                                const DLTensor* x, const DLTensor* matrix,
                                                const DLTensor* displacement, DLTensor* y,
                                                void* workspace, size_t workspace_bytes) {
  return guarded([&] {
    const char* op = "affine_resample";
    const TensorView xv = view(op, "x", x), mv = view(op, "matrix", matrix), yv = view(op, "y", y);
    const TensorView dv = optional_view(op, "displacement", displacement);
    int64_t shape[5];
    ResampleArgs args = affine_args(op, desc, xv, dv, shape);
    const int64_t rank = args.rank, matrix_shape[3] = {xv.shape[0], rank, rank + 1};
    expect_dtype(op, mv, Dtype::f64);
    expect_shape(op, mv, 3, matrix_shape);
    expect_same_device(op, mv, xv);
    expect_contiguous(op, mv);
    add_result(op, args, xv, yv, shape);
    expect_no_overlap(op, yv, xv);
    expect_no_overlap(op, yv, mv);
    if (dv.rank > 0) expect_no_overlap(op, yv, dv);
    if (yv.count == 0) return;
    args.matrix = mv.as<double>();
    run(op, xv, args, &ResampleKernels::forward_workspace, &ResampleKernels::forward, workspace,
        workspace_bytes);
  });
}
