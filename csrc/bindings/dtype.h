// Element types as Python names them: NumPy's, and bfloat16, which NumPy has not.
#pragma once

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include "medkern.h"

namespace medkern::python {

namespace py = pybind11;

constexpr DLDataType kBfloat16{kDLBfloat, 16, 1};
constexpr DLDataType kBool{kDLBool, 8, 1};
constexpr DLDataType kFloat32{kDLFloat, 32, 1};
constexpr DLDataType kFloat64{kDLFloat, 64, 1};
constexpr DLDataType kInt64{kDLInt, 64, 1};
constexpr DLDataType kUint8{kDLUInt, 8, 1};

inline bool is_bfloat16(DLDataType type) {
  return type.code == kDLBfloat && type.bits == 16 && type.lanes == 1;
}

// What `dtype` names: anything NumPy takes for a type, "bfloat16" or `_C.bfloat16`.
DLDataType dtype_argument(const py::object& dtype);

// NumPy's type; TypeError for bfloat16.
py::dtype numpy_dtype(DLDataType type);

// NumPy's type or `_C.bfloat16`.
py::object dtype_object(DLDataType type);

void bind_dtype(py::module_& module);

}  // namespace medkern::python
