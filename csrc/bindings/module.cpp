// The native module medkern._C.
#include "bindings/module.h"

#include "bindings/array.h"
#include "bindings/dtype.h"

PYBIND11_MODULE(_C, module) {
  using namespace medkern::python;
  module.attr("DeviceError") =
      pybind11::exception<std::runtime_error>(module, "DeviceError", PyExc_RuntimeError);
  // What a binding can't convert by hand is a wrong type as well.
  pybind11::register_local_exception_translator([](std::exception_ptr raised) {
    try {
      if (raised) std::rethrow_exception(raised);
    } catch (const pybind11::cast_error& error) {
      PyErr_SetString(PyExc_TypeError, error.what());
    }
  });
  bind_dtype(module);
  bind_array(module);
  bind_runtime(module);
  bind_conv(module);
  bind_copy(module);
  bind_device(module);
  bind_embedding(module);
  bind_gemm(module);
  bind_norm(module);
  bind_optim(module);
  bind_peak(module);
  bind_pointwise(module);
  bind_pool(module);
  bind_program(module);
  bind_random(module);
  bind_recurrent(module);
  bind_reduce(module);
  bind_resample(module);
  bind_resize(module);
  bind_softmax(module);
}
