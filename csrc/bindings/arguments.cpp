#include "bindings/arguments.h"

namespace medkern::python {
namespace {

std::string repr(const py::object& value) { return py::repr(value).cast<std::string>(); }

[[noreturn]] void wrong_form(const char* op, const char* name, const std::string& expected,
                             const py::object& value) {
  throw py::type_error(std::string(op) + ": " + name + " must be " + expected + ", got " +
                       repr(value));
}

// Arrays have __index__ too, but count as sequences.
bool is_int(const py::handle& value) {
  return PyIndex_Check(value.ptr()) != 0 && PySequence_Check(value.ptr()) == 0 &&
         !PyBool_Check(value.ptr());
}

bool is_sequence(const py::handle& value) {
  return py::isinstance<py::sequence>(value) && !py::isinstance<py::str>(value);
}

int64_t to_int(const char* op, const char* name, const py::handle& value) {
  const auto index = py::reinterpret_steal<py::object>(PyNumber_Index(value.ptr()));
  if (!index) throw py::error_already_set();
  const long long result = PyLong_AsLongLong(index.ptr());
  if (result == -1 && PyErr_Occurred() != nullptr) {
    PyErr_Clear();
    throw py::value_error(std::string(op) + ": " + name +
                          " does not fit 64 bits: " + py::repr(value).cast<std::string>());
  }
  return result;
}

// The arrays of a descriptor have room for three axes; the rank comes from the length of a shape.
void expect_spatial_rank(const char* op, int rank) {
  if (rank < 1 || rank > 3) {
    throw py::value_error(std::string(op) + ": there must be 1 to 3 spatial dimensions, got " +
                          std::to_string(rank));
  }
}

}  // namespace

Array dense_argument(const py::object& object, const char* name) {
  return Array::from_object(object, name).dense();
}

Array image_argument(const py::object& object, const char* name) {
  const Array array = Array::from_object(object, name);
  return array.is_channel_slice() ? array : array.dense();
}

std::optional<Array> optional_argument(const py::object& object, const char* name) {
  if (object.is_none()) return std::nullopt;
  return dense_argument(object, name);
}

Array argument_like(const py::object& object, const char* name, const Array& like) {
  Array array = dense_argument(object, name);
  const bool fits =
      like.format() == Format::contiguous ? array.is_contiguous() : array.is_channels_last();
  return fits || array.rank() != like.rank() ? array : array.copy(like.format());
}

Array inplace_argument(const py::object& object, const char* name) {
  const Array array = Array::view(object, name);
  if (array.readonly()) throw py::value_error(std::string(name) + " is read-only");
  // from_object copies what an Array can't describe; a result written to a copy would be lost.
  if (!py::isinstance<Array>(object) && PyObject_CheckBuffer(object.ptr()) &&
      py::reinterpret_borrow<py::buffer>(object).request().ptr != array.data()) {
    throw py::value_error(std::string(name) +
                          " must be aligned and must not have negative strides");
  }
  if (is_cpu(default_device()) || !is_cpu(array.device()) || py::isinstance<Array>(object)) {
    return array;
  }
  return array.mirrored(default_device());
}

Array output_argument(const py::object& out, const Array& like, const Shape& shape) {
  return output_argument(out, like, shape, like.dtype());
}

Array output_argument(const py::object& out, const Array& like, const Shape& shape,
                      DLDataType dtype) {
  if (out.is_none()) return Array::empty(shape, dtype, like.device(), like.format());
  return inplace_argument(out, "out");
}

void ints_argument(const char* op, const char* name, const py::object& value, int count,
                   int64_t* result) {
  const std::string expected = "an int or a sequence of " + std::to_string(count) + " ints";
  if (is_int(value)) {
    for (int i = 0; i < count; ++i) result[i] = to_int(op, name, value);
    return;
  }
  if (!is_sequence(value) || py::len(value) != static_cast<size_t>(count)) {
    wrong_form(op, name, expected, value);
  }
  for (int i = 0; i < count; ++i) {
    const py::object item = value[py::int_(i)];
    if (!is_int(item)) wrong_form(op, name, expected, value);
    result[i] = to_int(op, name, item);
  }
}

void axes_argument(const char* op, const char* name, const py::object& value, int rank,
                   int64_t* result) {
  expect_spatial_rank(op, rank);
  ints_argument(op, name, value, rank, result);
}

void stride_argument(const char* op, const py::object& value, int rank, const int64_t* kernel_size,
                     int64_t* result) {
  expect_spatial_rank(op, rank);
  if (value.is_none()) {
    for (int i = 0; i < rank; ++i) result[i] = kernel_size[i];
  } else {
    axes_argument(op, "stride", value, rank, result);
  }
}

void padding_argument(const char* op, const py::object& value, int rank, const int64_t* kernel_size,
                      const int64_t* stride, const int64_t* dilation, int64_t result[][2]) {
  expect_spatial_rank(op, rank);
  if (py::isinstance<py::str>(value)) {
    const std::string text = value.cast<std::string>();
    if (text != "same" && text != "valid") {
      throw py::value_error(std::string(op) + ": padding must be 'same' or 'valid', got " +
                            repr(value));
    }
    for (int i = 0; i < rank; ++i) {
      if (text == "same" && stride[i] != 1) {
        throw py::value_error(std::string(op) + ": padding 'same' needs stride 1, got " +
                              std::to_string(stride[i]));
      }
      int64_t total = 0;
      if (text == "same" && (__builtin_sub_overflow(kernel_size[i], 1, &total) ||
                             __builtin_mul_overflow(dilation[i], total, &total))) {
        throw py::value_error(std::string(op) + ": dilation * kernel_size does not fit 64 bits");
      }
      result[i][0] = total / 2;
      result[i][1] = total - total / 2;
    }
    return;
  }
  if (is_int(value)) {
    for (int i = 0; i < rank; ++i) result[i][0] = result[i][1] = to_int(op, "padding", value);
    return;
  }
  const std::string expected = "an int, " + std::to_string(rank) + " ints, " +
                               std::to_string(rank) + " (before, after) pairs, 'same' or 'valid'";
  if (!is_sequence(value) || py::len(value) != static_cast<size_t>(rank)) {
    wrong_form(op, "padding", expected, value);
  }
  for (int i = 0; i < rank; ++i) {
    const py::object item = value[py::int_(i)];
    if (is_int(item)) {
      result[i][0] = result[i][1] = to_int(op, "padding", item);
    } else if (is_sequence(item) && py::len(item) == 2 && is_int(item[py::int_(0)]) &&
               is_int(item[py::int_(1)])) {
      result[i][0] = to_int(op, "padding", item[py::int_(0)]);
      result[i][1] = to_int(op, "padding", item[py::int_(1)]);
    } else {
      wrong_form(op, "padding", expected, value);
    }
  }
}

}  // namespace medkern::python
