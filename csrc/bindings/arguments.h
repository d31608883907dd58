// Turning Python arguments into what the C API takes. Only the form is settled here (an int for a
// tuple, the kinds of padding); every value is checked by the C API.
#pragma once

#include <optional>
#include <string>

#include "bindings/array.h"
#include "bindings/dtype.h"

namespace medkern::python {

// A required tensor argument: a view of `object`, copied once if its memory is neither contiguous
// nor channels-last.
Array dense_argument(const py::object& object, const char* name);

// The same, but some of the channels of a channels-last array are taken as they are.
Array image_argument(const py::object& object, const char* name);

// A dense argument where None stands for no argument.
std::optional<Array> optional_argument(const py::object& object, const char* name);

// A tensor argument that is to have the memory format of `like`: copied once if it has not.
Array argument_like(const py::object& object, const char* name, const Array& like);

// A tensor argument that is changed in place: never a copy, and an error where it can't be written.
Array inplace_argument(const py::object& object, const char* name);

// The result array of an operation: `out` if it was given, else new memory in the format of `like`.
Array output_argument(const py::object& out, const Array& like, const Shape& shape);
Array output_argument(const py::object& out, const Array& like, const Shape& shape,
                      DLDataType dtype);

// An int that counts `count` times, or a sequence of `count` ints.
void ints_argument(const char* op, const char* name, const py::object& value, int count,
                   int64_t* result);

// The same for `rank` spatial axes, of which there must be 1 to 3.
void axes_argument(const char* op, const char* name, const py::object& value, int rank,
                   int64_t* result);

// stride=None means the kernel's own size.
void stride_argument(const char* op, const py::object& value, int rank, const int64_t* kernel_size,
                     int64_t* result);

// An int, one int per axis, one (before, after) pair per axis, "valid" (none), or "same" (stride 1:
// the output has the size of the input; an odd total puts the larger half behind).
void padding_argument(const char* op, const py::object& value, int rank, const int64_t* kernel_size,
                      const int64_t* stride, const int64_t* dilation, int64_t result[][2]);

// DLTensor of an optional array, or NULL.
inline DLTensor* dl(const std::optional<Array>& array) { return array ? array->dl() : nullptr; }

}  // namespace medkern::python
