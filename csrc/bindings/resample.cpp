// Python bindings of reading images at any places.
#include "medkern/resample.h"

#include "bindings/arguments.h"
#include "bindings/call.h"
#include "bindings/module.h"

namespace medkern::python {
namespace {

int32_t mode_of(const char* op, const std::string& mode) {
  if (mode == "nearest") return MK_RESAMPLE_NEAREST;
  // PyTorch says "bilinear" of volumes too.
  if (mode == "linear" || mode == "bilinear" || mode == "trilinear") return MK_RESAMPLE_LINEAR;
  throw py::value_error(std::string(op) +
                        ": mode must be 'nearest', 'linear', 'bilinear' or 'trilinear', got '" +
                        mode + "'");
}

int32_t padding_of(const char* op, const std::string& padding, double value) {
  if (padding == "zeros") {
    if (value != 0) {
      throw py::value_error(std::string(op) + ": a value goes with padding_mode 'constant'");
    }
    return MK_RESAMPLE_CONSTANT;
  }
  if (padding == "constant") return MK_RESAMPLE_CONSTANT;
  if (padding == "border") return MK_RESAMPLE_BORDER;
  if (padding == "reflection") return MK_RESAMPLE_REFLECTION;
  if (padding == "wrap") return MK_RESAMPLE_WRAP;
  throw py::value_error(
      std::string(op) +
      ": padding_mode must be 'zeros', 'constant', 'border', 'reflection' or 'wrap', got '" +
      padding + "'");
}

int spatial_rank(const char* op, int rank) {
  if (rank != 4 && rank != 5) {
    throw py::value_error(std::string(op) + ": x must have 4 or 5 dimensions, got " +
                          std::to_string(rank));
  }
  return rank - 2;
}

mk_grid_sample_desc grid_desc(const char* op, int rank, const std::string& mode,
                              const std::string& padding_mode, bool align_corners, double value) {
  mk_grid_sample_desc desc{};
  desc.struct_size = sizeof desc;
  desc.spatial_rank = spatial_rank(op, rank);
  desc.mode = mode_of(op, mode);
  desc.padding = padding_of(op, padding_mode, value);
  desc.align_corners = align_corners;
  desc.value = value;
  return desc;
}

using WorkspaceOf = mk_status (*)(const mk_grid_sample_desc*, const DLTensor*, const DLTensor*,
                                  size_t*);

size_t workspace_bytes(WorkspaceOf function, const mk_grid_sample_desc& desc, const Array& x,
                       const Array& grid) {
  size_t bytes = 0;
  check(function(&desc, x.dl(), grid.dl(), &bytes));
  return bytes;
}

Array grid_sample(const py::object& x_object, const py::object& grid_object,
                  const std::string& mode, const std::string& padding_mode, bool align_corners,
                  double value, const py::object& out) {
  const Array x = dense_argument(x_object, "x");
  const Array grid = dense_argument(grid_object, "grid").contiguous();
  const mk_grid_sample_desc desc =
      grid_desc("grid_sample", x.rank(), mode, padding_mode, align_corners, value);
  Shape shape(x.rank());
  check(mk_grid_sample_output_shape(&desc, x.dl(), grid.dl(), shape.data()));
  const Array y = output_argument(out, x, shape);
  const Workspace workspace(workspace_bytes(mk_grid_sample_forward_workspace, desc, x, grid), x);
  call(mk_grid_sample_forward, desc, x, grid, y, workspace);
  return y;
}

Array grid_sample_backward_input(const py::object& dy_object, const py::object& grid_object,
                                 const Shape& input_shape, const std::string& mode,
                                 const std::string& padding_mode, bool align_corners,
                                 const py::object& out) {
  const Array dy = dense_argument(dy_object, "dy");
  const Array grid = dense_argument(grid_object, "grid").contiguous();
  const mk_grid_sample_desc desc =
      grid_desc("grid_sample_backward_input", static_cast<int>(input_shape.size()), mode,
                padding_mode == "constant" ? "zeros" : padding_mode, align_corners, 0);
  const Array dx = output_argument(out, dy, input_shape);
  const Workspace workspace(
      workspace_bytes(mk_grid_sample_backward_input_workspace, desc, dx, grid), dy);
  call(mk_grid_sample_backward_input, desc, dy, grid, dx, workspace);
  return dx;
}

Array grid_sample_backward_grid(const py::object& dy_object, const py::object& x_object,
                                const py::object& grid_object, const std::string& mode,
                                const std::string& padding_mode, bool align_corners, double value,
                                const py::object& out) {
  const Array dy = dense_argument(dy_object, "dy");
  const Array x = dense_argument(x_object, "x");
  const Array grid = dense_argument(grid_object, "grid").contiguous();
  const mk_grid_sample_desc desc =
      grid_desc("grid_sample_backward_grid", x.rank(), mode, padding_mode, align_corners, value);
  const Array dgrid = output_argument(out, grid, grid.shape());
  const Workspace workspace(workspace_bytes(mk_grid_sample_backward_grid_workspace, desc, x, grid),
                            x);
  call(mk_grid_sample_backward_grid, desc, dy, x, grid, dgrid, workspace);
  return dgrid;
}

Array affine_resample(const py::object& x_object, const py::object& matrix_object,
                      const py::object& size, const py::object& displacement_object,
                      const std::string& spline, const std::string& mode,
                      const std::string& padding_mode, double value, const py::object& out) {
  const char* op = "affine_resample";
  const Array x = dense_argument(x_object, "x");
  const Array matrix = dense_argument(matrix_object, "matrix").contiguous();
  auto displacement = optional_argument(displacement_object, "displacement");
  if (displacement) displacement = displacement->contiguous();
  mk_affine_resample_desc desc{};
  desc.struct_size = sizeof desc;
  desc.spatial_rank = spatial_rank(op, x.rank());
  desc.mode = mode_of(op, mode);
  desc.padding = padding_of(op, padding_mode, value);
  desc.value = value;
  if (spline != "cubic" && spline != "linear") {
    throw py::value_error("affine_resample: spline must be 'cubic' or 'linear', got '" + spline +
                          "'");
  }
  desc.spline = spline == "cubic" ? MK_RESAMPLE_SPLINE_CUBIC : MK_RESAMPLE_SPLINE_LINEAR;
  if (size.is_none()) {
    std::copy(x.shape().begin() + 2, x.shape().end(), desc.size);
  } else {
    axes_argument(op, "size", size, desc.spatial_rank, desc.size);
  }
  Shape shape(x.rank());
  check(mk_affine_resample_output_shape(&desc, x.dl(), shape.data()));
  const Array y = output_argument(out, x, shape);
  size_t bytes = 0;
  check(mk_affine_resample_workspace(&desc, x.dl(), dl(displacement), &bytes));
  const Workspace workspace(bytes, x);
  call(mk_affine_resample_forward, desc, x, matrix, displacement, y, workspace);
  return y;
}

}  // namespace

void bind_resample(py::module_& module) {
  using py::arg;
  module.def("grid_sample", grid_sample, arg("x"), arg("grid"), arg("mode"), arg("padding_mode"),
             arg("align_corners"), arg("value"), arg("out"));
  module.def("grid_sample_backward_input", grid_sample_backward_input, arg("dy"), arg("grid"),
             arg("input_shape"), arg("mode"), arg("padding_mode"), arg("align_corners"),
             arg("out"));
  module.def("grid_sample_backward_grid", grid_sample_backward_grid, arg("dy"), arg("x"),
             arg("grid"), arg("mode"), arg("padding_mode"), arg("align_corners"), arg("value"),
             arg("out"));
  module.def("affine_resample", affine_resample, arg("x"), arg("matrix"), arg("size"),
             arg("displacement"), arg("spline"), arg("mode"), arg("padding_mode"), arg("value"),
             arg("out"));
}

}  // namespace medkern::python
