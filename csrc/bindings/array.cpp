#include "bindings/array.h"

#include <cstring>

#include "bindings/arguments.h"

namespace medkern::python {
namespace {

Shape dense_strides(const Shape& shape, Format format) {
  const int rank = static_cast<int>(shape.size());
  Shape strides(rank);
  int64_t step = 1;
  const auto place = [&](int axis) {
    strides[axis] = step;
    step *= shape[axis] > 0 ? shape[axis] : 1;
  };
  if (format == Format::channels_last) place(1);
  for (int axis = rank - 1; axis >= 0; --axis) {
    if (format == Format::contiguous || axis != 1) place(axis);
  }
  return strides;
}

bool has_strides(const Shape& shape, const Shape& strides, const Shape& expected) {
  for (size_t i = 0; i < shape.size(); ++i) {
    if (shape[i] == 0) return true;
    if (shape[i] != 1 && strides[i] != expected[i]) return false;
  }
  return true;
}

DLDataType dl_dtype(const std::string& format, int64_t item, const char* name) {
  const char code = format.empty() ? '?' : format.back();
  const auto bits = static_cast<uint8_t>(8 * item);
  if (std::strchr("fd", code) != nullptr) return {kDLFloat, bits, 1};
  if (std::strchr("bhilqn", code) != nullptr) return {kDLInt, bits, 1};
  if (std::strchr("BHILQN", code) != nullptr) return {kDLUInt, bits, 1};
  if (code == '?') return {kDLBool, 8, 1};
  throw py::type_error(std::string(name) + " has the unsupported element type '" + format + "'");
}

}  // namespace

void check(mk_status status) {
  if (status == MK_OK) return;
  const char* message = mk_last_error();
  switch (status) {
    case MK_INVALID_ARGUMENT:
      throw py::value_error(message);
    case MK_INVALID_TYPE:
      throw py::type_error(message);
    case MK_OUT_OF_MEMORY:
      PyErr_SetString(PyExc_MemoryError, message);
      throw py::error_already_set();
    case MK_DEVICE_ERROR: {
      PyErr_SetString(py::module_::import("medkern._C").attr("DeviceError").ptr(), message);
      throw py::error_already_set();
    }
    default:
      throw std::runtime_error(message);
  }
}

Array Array::empty(const Shape& shape, DLDataType dtype, DLDevice device, Format format) {
  Array array;
  array.shape_ = shape;
  int64_t count = 1;
  for (const int64_t size : shape) {
    if (size < 0) throw py::value_error("a shape has a negative size");
    if (__builtin_mul_overflow(count, size, &count)) {
      PyErr_SetString(PyExc_MemoryError, "a shape overflows 64 bits");
      throw py::error_already_set();
    }
  }
  array.strides_ = dense_strides(shape, shape.size() >= 3 ? format : Format::contiguous);
  array.tensor_.dtype = dtype;
  array.tensor_.device = device;
  size_t bytes;
  if (__builtin_mul_overflow(static_cast<size_t>(count), size_t{dtype.bits / 8u}, &bytes)) {
    PyErr_SetString(PyExc_MemoryError, "a shape overflows 64 bits");
    throw py::error_already_set();
  }
  check(mk_alloc(bytes, &array.tensor_.data));
  array.owner_ = std::shared_ptr<void>(array.tensor_.data, mk_free);
  return array;
}

Array Array::from_object(const py::object& object, const char* name) {
  if (py::isinstance<Array>(object)) return object.cast<Array>();
  Array array;
  if (PyObject_CheckBuffer(object.ptr()) && !py::isinstance<py::bytes>(object)) {
    auto info =
        std::make_shared<py::buffer_info>(py::reinterpret_borrow<py::buffer>(object).request());
    array.tensor_.data = info->ptr;
    array.tensor_.device = {kDLCPU, 0};
    array.tensor_.dtype = dl_dtype(info->format, info->itemsize, name);
    array.readonly_ = info->readonly;
    array.shape_.assign(info->shape.begin(), info->shape.end());
    bool aligned_strides = true, forward = true;
    for (const auto stride : info->strides) {
      aligned_strides &= stride % info->itemsize == 0;
      forward &= stride >= 0;
      array.strides_.push_back(stride / info->itemsize);
    }
    if (!aligned_strides || !forward ||
        reinterpret_cast<uintptr_t>(info->ptr) % info->itemsize != 0) {
      // Strides DLPack can't say, or that run backwards: NumPy makes the one copy.
      return from_object(py::module_::import("numpy").attr("array")(object, py::arg("copy") = true,
                                                                    py::arg("order") = "C"),
                         name);
    }
    // The buffer is released under the interpreter lock whichever thread drops the last reference.
    array.owner_ = std::shared_ptr<void>(info->ptr, [info](void*) mutable {
      py::gil_scoped_acquire locked;
      info.reset();
    });
    return array;
  }
  if (py::hasattr(object, "__dlpack__")) {
    py::capsule capsule = object.attr("__dlpack__")();
    auto* managed = static_cast<DLManagedTensor*>(PyCapsule_GetPointer(capsule.ptr(), "dltensor"));
    if (managed == nullptr) throw py::error_already_set();
    PyCapsule_SetName(capsule.ptr(), "used_dltensor");
    const DLTensor& tensor = managed->dl_tensor;
    array.owner_ = std::shared_ptr<void>(managed, [](void* p) {
      auto* owned = static_cast<DLManagedTensor*>(p);
      py::gil_scoped_acquire locked;
      if (owned->deleter != nullptr) owned->deleter(owned);
    });
    array.tensor_ = tensor;
    array.tensor_.data = static_cast<char*>(tensor.data) + tensor.byte_offset;
    array.tensor_.byte_offset = 0;
    array.shape_.assign(tensor.shape, tensor.shape + tensor.ndim);
    if (tensor.strides != nullptr) {
      array.strides_.assign(tensor.strides, tensor.strides + tensor.ndim);
    } else {
      array.strides_ = dense_strides(array.shape_, Format::contiguous);
    }
    return array;
  }
  throw py::type_error(std::string(name) +
                       " must be an array (NumPy, DLPack or medkern.Tensor), got " +
                       py::str(py::type::of(object).attr("__name__")).cast<std::string>());
}

Array Array::empty_like(const Shape& shape) const {
  return empty(shape, dtype(), device(), format());
}

Array Array::dense() const { return is_contiguous() || is_channels_last() ? *this : contiguous(); }

Array Array::contiguous() const {
  if (is_contiguous()) return *this;
  const py::object copy = py::module_::import("numpy").attr("ascontiguousarray")(py::cast(*this));
  return from_object(copy, "x");
}

Array Array::with_layout(Shape shape, Shape strides) const {
  Array array = *this;
  array.shape_ = std::move(shape);
  array.strides_ = std::move(strides);
  return array;
}

Format Array::format() const {
  if (is_contiguous() || rank() < 3 || strides_[1] != 1 || shape_[1] == 1) {
    return Format::contiguous;
  }
  for (int axis = 2; axis < rank(); ++axis) {
    if (shape_[axis] > 1 && strides_[axis] < shape_[1]) return Format::contiguous;
  }
  return Format::channels_last;
}

bool Array::is_contiguous() const {
  return has_strides(shape_, strides_, dense_strides(shape_, Format::contiguous));
}

bool Array::is_channels_last() const {
  return rank() >= 3 && has_strides(shape_, strides_, dense_strides(shape_, Format::channels_last));
}

int64_t Array::count() const {
  int64_t count = 1;
  for (const int64_t size : shape_) count *= size;
  return count;
}

py::dtype Array::numpy_dtype() const {
  const DLDataType type = dtype();
  const char* kind = type.code == kDLFloat  ? "f"
                     : type.code == kDLInt  ? "i"
                     : type.code == kDLUInt ? "u"
                                            : "b";
  return py::dtype(kind + std::to_string(type.bits / 8));
}

DLTensor* Array::dl() const {
  tensor_.ndim = rank();
  tensor_.shape = const_cast<int64_t*>(shape_.data());
  tensor_.strides = const_cast<int64_t*>(strides_.data());
  return &tensor_;
}

py::capsule Array::to_dlpack() const {
  struct Shared {
    Array array;
    DLManagedTensor managed;
  };
  auto* shared = new Shared{*this, {}};
  shared->managed.dl_tensor = *shared->array.dl();
  shared->managed.manager_ctx = shared;
  shared->managed.deleter = [](DLManagedTensor* self) {
    delete static_cast<Shared*>(self->manager_ctx);
  };
  return py::capsule(&shared->managed, "dltensor", [](PyObject* capsule) {
    // Still named "dltensor" only if no consumer took it.
    if (!PyCapsule_IsValid(capsule, "dltensor")) return;
    auto* managed = static_cast<DLManagedTensor*>(PyCapsule_GetPointer(capsule, "dltensor"));
    managed->deleter(managed);
  });
}

void bind_array(py::module_& module) {
  py::class_<Array>(module, "Array", py::buffer_protocol())
      .def(py::init([](const py::object& object) { return Array::from_object(object, "object"); }),
           py::arg("object"))
      .def_buffer([](Array& array) {
        const int64_t item = array.dtype().bits / 8;
        Shape byte_strides = array.strides();
        for (int64_t& stride : byte_strides) stride *= item;
        const std::string format(1, array.numpy_dtype().char_());
        return py::buffer_info(array.data(), item, format, array.rank(), array.shape(),
                               byte_strides, array.readonly());
      })
      .def_property_readonly("shape",
                             [](const Array& array) { return py::tuple(py::cast(array.shape())); })
      .def_property_readonly(
          "strides", [](const Array& array) { return py::tuple(py::cast(array.strides())); })
      .def_property_readonly("ndim", &Array::rank)
      .def_property_readonly("size", &Array::count)
      .def_property_readonly("dtype", &Array::numpy_dtype)
      .def_property_readonly("is_contiguous", &Array::is_contiguous)
      .def_property_readonly("is_channels_last", &Array::is_channels_last)
      .def("contiguous", &Array::contiguous)
      .def(
          "with_layout",
          [](const Array& array, Shape shape, Shape strides) {
            return array.with_layout(std::move(shape), std::move(strides));
          },
          py::arg("shape"), py::arg("strides"))
      .def("__dlpack__", [](const Array& array, const py::kwargs&) { return array.to_dlpack(); })
      .def("__dlpack_device__", [](const Array& array) {
        return py::make_tuple(int(array.device().device_type), array.device().device_id);
      });
  module.def(
      "empty",
      [](const Shape& shape, const py::object& dtype, bool channels_last) {
        return Array::empty(shape, dtype_argument(dtype), {kDLCPU, 0},
                            channels_last ? Format::channels_last : Format::contiguous);
      },
      py::arg("shape"), py::arg("dtype"), py::arg("channels_last") = false);
}

}  // namespace medkern::python
