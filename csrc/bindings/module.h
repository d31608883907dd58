// One bind_<family> per file of this folder; module.cpp calls them all.
#pragma once

#include <pybind11/pybind11.h>

namespace medkern::python {

void bind_runtime(pybind11::module_& module);
void bind_conv(pybind11::module_& module);
void bind_copy(pybind11::module_& module);
void bind_device(pybind11::module_& module);
void bind_embedding(pybind11::module_& module);
void bind_gemm(pybind11::module_& module);
void bind_norm(pybind11::module_& module);
void bind_optim(pybind11::module_& module);
void bind_peak(pybind11::module_& module);
void bind_pointwise(pybind11::module_& module);
void bind_pool(pybind11::module_& module);
void bind_program(pybind11::module_& module);
void bind_random(pybind11::module_& module);
void bind_recurrent(pybind11::module_& module);
void bind_reduce(pybind11::module_& module);
void bind_resample(pybind11::module_& module);
void bind_resize(pybind11::module_& module);
void bind_softmax(pybind11::module_& module);

}  // namespace medkern::python
