// Memory that comes from other libraries and goes to them: the buffer protocol and DLPack.
#pragma once

#include "bindings/array.h"

namespace medkern::python {

// A view of an object with the buffer protocol. What an Array can't describe (elements that are not
// aligned, strides that run backwards) is copied once.
Array array_from_buffer(const py::object& object, const char* name);

// A view of an object with __dlpack__.
Array array_from_dlpack(const py::object& object, const char* name);

// A view of an object with __cuda_array_interface__, on the default CUDA device.
Array array_from_cuda_interface(const py::object& object, const char* name);

// A NumPy array over the memory of an Array, which it keeps alive; over a copy of it if it is on a
// CUDA device.
py::array numpy_array(const Array& array);

// A result as a NumPy array if the argument `x` was one: as the Array it would be one object more
// to make, a good part of what a small call takes.
py::object numpy_if(const py::object& x, const Array& result);

// What __cuda_array_interface__ gives, in version 3; AttributeError for an array on the CPU.
py::dict cuda_interface(const Array& array);

// What __dlpack__ returns: a capsule of version 1 if max_version allows it, else of version 0.
py::capsule dlpack_capsule(const Array& array, const py::object& stream,
                           const py::object& max_version, const py::object& dl_device,
                           const py::object& copy);

}  // namespace medkern::python
