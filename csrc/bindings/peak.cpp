// Python binding of the chain of multiply-adds.
#include "medkern/peak.h"

#include "bindings/arguments.h"
#include "bindings/call.h"
#include "bindings/module.h"

namespace medkern::python {
namespace {

Array fma_chain(const py::object& x_object, int64_t rounds, const py::object& out) {
  const Array x = Array::from_object(x_object, "x").contiguous();
  const Array y = output_argument(out, x, x.shape());
  call(mk_fma_chain, x, rounds, y);
  return y;
}

}  // namespace

void bind_peak(py::module_& module) {
  using py::arg;
  module.def("fma_chain", fma_chain, arg("x"), arg("rounds"), arg("out"));
}

}  // namespace medkern::python
