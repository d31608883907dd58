// Python bindings of embedding.
#include "medkern/embedding.h"

#include "bindings/arguments.h"
#include "bindings/call.h"
#include "bindings/module.h"

namespace medkern::python {
namespace {

Array embedding(const py::object& indices_object, const py::object& weight_object,
                std::optional<int64_t> padding_idx, const py::object& out) {
  const Array indices = Array::from_object(indices_object, "indices").contiguous();
  const Array weight = Array::from_object(weight_object, "weight").contiguous();
  int64_t shape[MK_MAX_RANK];
  check(mk_embedding_output_shape(indices.dl(), weight.dl(), shape));
  const Array y = output_argument(out, weight, Shape(shape, shape + indices.rank() + 1));
  call(mk_embedding_forward, indices, weight, padding_idx, y);
  return y;
}

Array embedding_backward(const py::object& dy_object, const py::object& indices_object,
                         const Shape& weight_shape, std::optional<int64_t> padding_idx,
                         const py::object& out) {
  const Array dy = Array::from_object(dy_object, "dy").contiguous();
  const Array indices = Array::from_object(indices_object, "indices").contiguous();
  const Array dweight = output_argument(out, dy, weight_shape);
  call(mk_embedding_backward, dy, indices, padding_idx, dweight);
  return dweight;
}

}  // namespace

void bind_embedding(py::module_& module) {
  using py::arg;
  module.def("embedding", embedding, arg("indices"), arg("weight"), arg("padding_idx"), arg("out"));
  module.def("embedding_backward", embedding_backward, arg("dy"), arg("indices"),
             arg("weight_shape"), arg("padding_idx"), arg("out"));
}

}  // namespace medkern::python
