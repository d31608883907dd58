// Python bindings of convolution.
#include "medkern/conv.h"

#include "bindings/arguments.h"
#include "bindings/call.h"
#include "bindings/module.h"

namespace medkern::python {
namespace {

// The spatial sizes of a weight are the kernel's; a weight of another rank is refused by the C API.
mk_conv_desc conv_desc(const char* op, int rank, const Shape& weight_shape,
                       const py::object& stride, const py::object& padding,
                       const py::object& dilation, int64_t groups, int algorithm) {
  mk_conv_desc desc{};
  desc.struct_size = sizeof desc;
  desc.spatial_rank = rank;
  desc.groups = groups;
  desc.algorithm = algorithm;
  if (rank < 1 || rank > 3) return desc;
  int64_t kernel[3] = {1, 1, 1};
  for (int i = 0; i < rank && i + 2 < static_cast<int>(weight_shape.size()); ++i) {
    kernel[i] = weight_shape[i + 2];
  }
  axes_argument(op, "stride", stride, rank, desc.stride);
  axes_argument(op, "dilation", dilation, rank, desc.dilation);
  padding_argument(op, padding, rank, kernel, desc.stride, desc.dilation, desc.padding);
  return desc;
}

// Padding in numbers: (before, after) for each axis.
std::vector<std::pair<int64_t, int64_t>> conv_padding(const Shape& weight_shape,
                                                      const py::object& stride,
                                                      const py::object& padding,
                                                      const py::object& dilation) {
  const int rank = static_cast<int>(weight_shape.size()) - 2;
  const mk_conv_desc desc = conv_desc("conv", rank, weight_shape, stride, padding, dilation, 1, 0);
  std::vector<std::pair<int64_t, int64_t>> pairs;
  for (int i = 0; i < rank; ++i) pairs.emplace_back(desc.padding[i][0], desc.padding[i][1]);
  return pairs;
}

// A result in the format of x, or channels-last on request.
Array result(const py::object& out, const Array& x, const Shape& shape, bool channels_last) {
  if (out.is_none() && channels_last) {
    return Array::empty(shape, x.dtype(), x.device(), Format::channels_last);
  }
  return output_argument(out, x, shape);
}

const std::optional<Array> kNone;

std::optional<Array> bias_argument(const py::object& object) {
  if (object.is_none()) return std::nullopt;
  return Array::from_object(object, "bias").contiguous();
}

Array conv(const py::object& x_object, const py::object& weight_object,
           const py::object& bias_object, int rank, const py::object& stride,
           const py::object& padding, const py::object& dilation, int64_t groups, int activation,
           bool channels_last, const py::object& out, int algorithm) {
  const Array x = dense_argument(x_object, "x");
  const Array weight = Array::from_object(weight_object, "weight").contiguous();
  const auto bias = bias_argument(bias_object);
  const mk_conv_desc desc =
      conv_desc("conv", rank, weight.shape(), stride, padding, dilation, groups, algorithm);
  Shape shape(rank + 2);
  size_t bytes = 0;
  check(mk_conv_output_shape(&desc, x.dl(), weight.dl(), shape.data()));
  check(mk_conv_workspace(&desc, x.dl(), weight.dl(), &bytes));
  const Array y = result(out, x, shape, channels_last);
  const Workspace workspace(bytes, x);
  call(mk_conv_forward, desc, x, weight, bias, activation, y, kNone, workspace);
  return y;
}

// As conv, channels-last, with the moments of the result, or None where they are not to be had.
py::tuple conv_with_moments(const py::object& x_object, const py::object& weight_object,
                            const py::object& bias_object, int rank, const py::object& stride,
                            const py::object& padding, const py::object& dilation, int64_t groups,
                            int activation, bool per_sample) {
  const Array x = dense_argument(x_object, "x");
  const Array weight = Array::from_object(weight_object, "weight").contiguous();
  const auto bias = bias_argument(bias_object);
  const mk_conv_desc desc =
      conv_desc("conv", rank, weight.shape(), stride, padding, dilation, groups, 0);
  Shape shape(rank + 2);
  size_t bytes = 0;
  int64_t chunks = 0;
  check(mk_conv_output_shape(&desc, x.dl(), weight.dl(), shape.data()));
  check(mk_conv_workspace(&desc, x.dl(), weight.dl(), &bytes));
  check(mk_conv_moment_chunks(&desc, x.dl(), weight.dl(), per_sample, &chunks));
  const Array y = Array::empty(shape, x.dtype(), x.device(), Format::channels_last);
  std::optional<Array> moments;
  if (chunks > 0) {
    moments = Array::empty({chunks, 2, shape[1]}, kFloat64, x.device(), Format::contiguous);
  }
  const Workspace workspace(bytes, x);
  call(mk_conv_forward, desc, x, weight, bias, activation, y, moments, workspace);
  return py::make_tuple(y, moments);
}

Array conv_transpose(const py::object& x_object, const py::object& weight_object,
                     const py::object& bias_object, int rank, const py::object& stride,
                     const py::object& padding, const py::object& output_padding, int64_t groups,
                     const py::object& dilation, int activation, bool channels_last,
                     const py::object& out, int algorithm) {
  const char* op = "conv_transpose";
  const Array x = dense_argument(x_object, "x");
  const Array weight = Array::from_object(weight_object, "weight").contiguous();
  const auto bias = bias_argument(bias_object);
  mk_conv_desc desc =
      conv_desc(op, rank, weight.shape(), stride, padding, dilation, groups, algorithm);
  axes_argument(op, "output_padding", output_padding, rank, desc.output_padding);
  Shape shape(rank + 2);
  size_t bytes = 0;
  check(mk_conv_transpose_output_shape(&desc, x.dl(), weight.dl(), shape.data()));
  check(mk_conv_transpose_workspace(&desc, x.dl(), weight.dl(), &bytes));
  const Array y = result(out, x, shape, channels_last);
  const Workspace workspace(bytes, x);
  call(mk_conv_transpose_forward, desc, x, weight, bias, activation, y, workspace);
  return y;
}

Array conv_backward_input(const py::object& dy_object, const py::object& weight_object,
                          const Shape& input_shape, const py::object& stride,
                          const py::object& padding, const py::object& dilation, int64_t groups,
                          bool channels_last, const py::object& out, int algorithm) {
  const Array dy = dense_argument(dy_object, "dy");
  const Array weight = Array::from_object(weight_object, "weight").contiguous();
  const int rank = static_cast<int>(input_shape.size()) - 2;
  const mk_conv_desc desc = conv_desc("conv_backward_input", rank, weight.shape(), stride, padding,
                                      dilation, groups, algorithm);
  const Array dx = result(out, dy, input_shape, channels_last);
  size_t bytes = 0;
  check(mk_conv_backward_input_workspace(&desc, dy.dl(), weight.dl(), dx.dl(), &bytes));
  const Workspace workspace(bytes, dy);
  call(mk_conv_backward_input, desc, dy, weight, dx, workspace);
  return dx;
}

Array conv_backward_weight(const py::object& dy_object, const py::object& x_object,
                           const Shape& weight_shape, const py::object& stride,
                           const py::object& padding, const py::object& dilation, int64_t groups,
                           const py::object& out, int algorithm) {
  const Array dy = dense_argument(dy_object, "dy"), x = dense_argument(x_object, "x");
  const int rank = static_cast<int>(weight_shape.size()) - 2;
  const mk_conv_desc desc = conv_desc("conv_backward_weight", rank, weight_shape, stride, padding,
                                      dilation, groups, algorithm);
  const Array dweight =
      out.is_none() ? Array::empty(weight_shape, dy.dtype(), dy.device(), Format::contiguous)
                    : output_argument(out, dy, weight_shape);
  size_t bytes = 0;
  check(mk_conv_backward_weight_workspace(&desc, dy.dl(), x.dl(), dweight.dl(), &bytes));
  const Workspace workspace(bytes, dy);
  call(mk_conv_backward_weight, desc, dy, x, dweight, workspace);
  return dweight;
}

// Weights packed for many calls, with their bias and activation. What is packed lies on the host;
// for a CUDA device it refers to the weights, which the plan keeps there in the kernels' order and,
// where channels are padded in that, as they came.
class ConvPlan {
 public:
  ConvPlan(const py::object& weight_object, const py::object& bias_object, int rank,
           const py::object& stride, const py::object& padding, const py::object& dilation,
           int64_t groups, bool transposed, const py::object& output_padding, int activation,
           int algorithm)
      : rank_(rank), activation_(activation) {
    Array weight = Array::from_object(weight_object, "weight").contiguous();
    // Copies: the caller may change his later.
    const auto bias = bias_argument(bias_object);
    if (bias) bias_ = bias->copy(Format::contiguous);
    desc_ = conv_desc(transposed ? "conv_transpose" : "conv", rank, weight.shape(), stride, padding,
                      dilation, groups, algorithm);
    axes_argument("conv_transpose", "output_padding", output_padding, rank, desc_.output_padding);
    size_t bytes = 0;
    check(mk_conv_packed_bytes(&desc_, transposed, weight.dl(), &bytes));
    for (int i = 0; i < rank; ++i) kernel_[i] = weight.shape()[i + 2];
    size_t arranged_bytes = 0;
    check(mk_conv_arranged_bytes(&desc_, transposed, weight.dl(), &arranged_bytes));
    if (!is_cpu(weight.device()) && arranged_bytes != weight.bytes()) {
      weight_ = weight.copy(Format::contiguous);
      weight = *weight_;
    }
    if (arranged_bytes > 0) {
      arranged_ = Array::empty({static_cast<int64_t>(arranged_bytes)}, kUint8, weight.device(),
                               Format::contiguous);
    }
    packed_ = std::shared_ptr<Memory>(
        new Memory(bytes, kCpu),
        [weight = weight_, arranged = arranged_](Memory* memory) { delete memory; });
    call(mk_conv_pack_arranged, desc_, transposed, weight, arranged_, packed_);
  }

  // The same with another padding, without weights of its own: its packed bytes refer to these,
  // and keep them.
  ConvPlan padded(const py::object& padding) const {
    int64_t sides[3][2] = {};
    padding_argument("conv", padding, rank_, kernel_, desc_.stride, desc_.dilation, sides);
    size_t bytes = 0;
    check(mk_conv_shared_bytes(&bytes));
    ConvPlan other(*this);
    other.is_shared_ = true;
    other.packed_ = std::shared_ptr<Memory>(new Memory(bytes, kCpu),
                                            [owner = packed_](Memory* memory) { delete memory; });
    check(mk_conv_share(packed_->data(), packed_->bytes(), sides, other.packed_->data(), bytes));
    return other;
  }

  Array run(const py::object& x_object, bool channels_last, const py::object& out) const {
    const Array x = dense_argument(x_object, "x");
    if (weight_) weight_->dl();  // they are used on the current stream
    if (arranged_) arranged_->dl();
    const void* packed = packed_->data();
    const size_t packed_bytes = packed_->bytes();
    Shape shape(rank_ + 2);
    size_t bytes = 0;
    check(mk_conv_packed_output_shape(packed, packed_bytes, x.dl(), shape.data()));
    check(mk_conv_packed_workspace(packed, packed_bytes, x.dl(), &bytes));
    const Array y = result(out, x, shape, channels_last);
    const Workspace workspace(bytes, x);
    call(mk_conv_packed_forward, packed_, x, bias_, activation_, y, workspace);
    return y;
  }

  size_t bytes() const {
    // Plans of other paddings share the weights of the first, and count as nothing.
    if (is_shared_) return packed_->bytes();
    return packed_->bytes() + (weight_ ? weight_->bytes() : 0) +
           (arranged_ ? arranged_->bytes() : 0);
  }

 private:
  int rank_, activation_;
  mk_conv_desc desc_;
  int64_t kernel_[3] = {1, 1, 1};
  std::optional<Array> weight_, arranged_, bias_;
  bool is_shared_ = false;
  std::shared_ptr<Memory> packed_;
};

void set_algorithm(int algorithm) { check(mk_conv_set_algorithm(algorithm)); }

}  // namespace

void bind_conv(py::module_& module) {
  using py::arg;
  module.def("conv", conv, arg("x"), arg("weight"), arg("bias"), arg("rank"), arg("stride"),
             arg("padding"), arg("dilation"), arg("groups"), arg("activation"),
             arg("channels_last"), arg("out"), arg("algorithm") = 0);
  module.def("conv_with_moments", conv_with_moments, arg("x"), arg("weight"), arg("bias"),
             arg("rank"), arg("stride"), arg("padding"), arg("dilation"), arg("groups"),
             arg("activation"), arg("per_sample"));
  module.def("conv_transpose", conv_transpose, arg("x"), arg("weight"), arg("bias"), arg("rank"),
             arg("stride"), arg("padding"), arg("output_padding"), arg("groups"), arg("dilation"),
             arg("activation"), arg("channels_last"), arg("out"), arg("algorithm") = 0);
  module.def("conv_backward_input", conv_backward_input, arg("dy"), arg("weight"),
             arg("input_shape"), arg("stride"), arg("padding"), arg("dilation"), arg("groups"),
             arg("channels_last"), arg("out"), arg("algorithm") = 0);
  module.def("conv_backward_weight", conv_backward_weight, arg("dy"), arg("x"), arg("weight_shape"),
             arg("stride"), arg("padding"), arg("dilation"), arg("groups"), arg("out"),
             arg("algorithm") = 0);
  py::class_<ConvPlan>(module, "ConvPlan")
      .def(py::init<const py::object&, const py::object&, int, const py::object&, const py::object&,
                    const py::object&, int64_t, bool, const py::object&, int, int>(),
           arg("weight"), arg("bias"), arg("rank"), arg("stride"), arg("padding"), arg("dilation"),
           arg("groups"), arg("transposed"), arg("output_padding"), arg("activation"),
           arg("algorithm"))
      .def("run", &ConvPlan::run, arg("x"), arg("channels_last"), arg("out"))
      .def("padded", &ConvPlan::padded, arg("padding"))
      .def_property_readonly("nbytes", &ConvPlan::bytes);
  module.def("conv_padding", conv_padding, arg("weight_shape"), arg("stride"), arg("padding"),
             arg("dilation"));
  module.def("conv_set_algorithm", set_algorithm, arg("algorithm"));
  module.def("conv_get_algorithm", mk_conv_get_algorithm);
}

}  // namespace medkern::python
