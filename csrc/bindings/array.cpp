#include "bindings/array.h"

#include <utility>

#include "bindings/arguments.h"
#include "bindings/call.h"
#include "bindings/exchange.h"

namespace medkern::python {
namespace {

thread_local bool t_outlining = false;

// Blocks of mirrored arrays that no kernel has written yet.
thread_local std::vector<std::weak_ptr<void>> t_mirrored;

// What the data of an outline points to: aligned, so that it passes for memory, and never read.
alignas(64) char g_nowhere[64];

bool has_strides(const Shape& shape, const Shape& strides, const Shape& expected) {
  for (size_t i = 0; i < shape.size(); ++i) {
    if (shape[i] == 0) return true;
    if (shape[i] != 1 && strides[i] != expected[i]) return false;
  }
  return true;
}

[[noreturn]] void throw_memory_error(const char* message) {
  PyErr_SetString(PyExc_MemoryError, message);
  throw py::error_already_set();
}

[[noreturn]] void throw_no_values() {
  throw py::value_error(
      "the values of this array are not known: it is an outline, from following a model without "
      "computing it");
}

// The largest offset of an element plus 1, 0 if there is none; nothing if it leaves 64 bits.
std::optional<int64_t> extent(const Shape& shape, const Shape& strides) {
  int64_t last = 0;
  for (const int64_t size : shape) {
    if (size == 0) return 0;
  }
  for (size_t i = 0; i < shape.size(); ++i) {
    int64_t step;
    if (__builtin_mul_overflow(shape[i] - 1, strides[i], &step) ||
        __builtin_add_overflow(last, step, &last)) {
      return std::nullopt;
    }
  }
  return last == INT64_MAX ? std::nullopt : std::optional(last + 1);
}

}  // namespace

bool outlining() { return t_outlining; }

void check(mk_status status) {
  if (status == MK_OK) return;
  const char* message = mk_last_error();
  switch (status) {
    case MK_INVALID_ARGUMENT:
      throw py::value_error(message);
    case MK_INVALID_TYPE:
      throw py::type_error(message);
    case MK_OUT_OF_MEMORY:
      throw_memory_error(message);
    case MK_DEVICE_ERROR:
      throw_device_error(message);
    default:
      throw std::runtime_error(message);
  }
}

void throw_device_error(const std::string& message) {
  PyErr_SetString(py::module_::import("medkern._C").attr("DeviceError").ptr(), message.c_str());
  throw py::error_already_set();
}

Shape dense_strides(const Shape& shape, Format format) {
  const int rank = static_cast<int>(shape.size());
  Shape strides(rank);
  int64_t step = 1;
  const auto place = [&](int axis) {
    strides[axis] = step;
    // Only the strides of an empty array can overflow, and those are never used.
    if (shape[axis] > 0 && __builtin_mul_overflow(step, shape[axis], &step)) step = 1;
  };
  if (format == Format::channels_last && rank >= 3) {
    place(1);
    for (int axis = rank - 1; axis >= 0; --axis) {
      if (axis != 1) place(axis);
    }
  } else {
    for (int axis = rank - 1; axis >= 0; --axis) place(axis);
  }
  return strides;
}

void Shape::throw_too_long(size_t rank) {
  throw py::value_error("a shape must have at most " + std::to_string(MK_MAX_RANK) +
                        " dimensions, got " + std::to_string(rank));
}

Array Array::over(std::shared_ptr<void> owner, void* data, DLDataType dtype, DLDevice device,
                  const Shape& shape, const Shape& strides, bool readonly) {
  if (is_cpu(device))
    return described(std::move(owner), data, dtype, device, shape, strides, readonly);
  const auto memory = std::make_shared<DeviceMemory>(std::move(owner), device);
  const Array array = described(memory, data, dtype, device, shape, strides, readonly);
  array.block_->memory = memory.get();
  return array;
}

Array Array::described(std::shared_ptr<void> owner, void* data, DLDataType dtype, DLDevice device,
                       const Shape& shape, const Shape& strides, bool readonly) {
  const auto block = std::make_shared<Block>();
  block->shape = shape;
  block->strides = strides;
  block->owner = std::move(owner);
  block->readonly = readonly;
  block->tensor.data = data;
  block->tensor.device = device;
  block->tensor.dtype = dtype;
  block->tensor.ndim = static_cast<int32_t>(shape.size());
  block->tensor.shape = block->shape.data();
  block->tensor.strides = block->strides.data();
  return Array(block);
}

Array Array::allocated(const Shape& shape, DLDataType dtype, DLDevice device,
                       const Shape& strides) {
  const std::optional<int64_t> elements = extent(shape, strides);
  int64_t bytes = 0;
  if (!elements || __builtin_mul_overflow(*elements, dtype.bits / 8, &bytes)) {
    throw_memory_error("the bytes of a shape overflow 64 bits");
  }
  if (is_cpu(device)) {
    void* data = nullptr;
    check(mk_alloc(static_cast<size_t>(bytes), &data));
    return described(std::shared_ptr<void>(data, mk_free), data, dtype, device, shape, strides,
                     false);
  }
  const auto memory = std::make_shared<DeviceMemory>(static_cast<size_t>(bytes), device);
  const Array array = described(memory, memory->data(), dtype, device, shape, strides, false);
  array.block_->memory = memory.get();
  return array;
}

Array Array::empty(const Shape& shape, DLDataType dtype, DLDevice device, Format format) {
  bool fits = true;
  int64_t bytes = dtype.bits / 8;
  for (const int64_t size : shape) {
    if (size < 0) {
      throw py::value_error("a shape has a negative size: " +
                            py::repr(py::tuple(py::cast(shape))).cast<std::string>());
    }
    fits = fits && !__builtin_mul_overflow(bytes, size, &bytes);
  }
  if (!fits) throw_memory_error("the bytes of a shape overflow 64 bits");
  if (outlining()) {
    const Array outline =
        described(nullptr, g_nowhere, dtype, device, shape, dense_strides(shape, format), false);
    outline.block_->outline = true;
    return outline;
  }
  return allocated(shape, dtype, device, dense_strides(shape, format));
}

Array Array::from_object(const py::object& object, const char* name) {
  const Array array = view(object, name);
  if (is_cpu(default_device()) || !is_cpu(array.device()) || py::isinstance<Array>(object)) {
    return array;
  }
  return array.transferred(default_device());
}

Array Array::view(const py::object& object, const char* name) {
  // Most arguments are NumPy's, and to ask whether an object is is quick.
  if (py::isinstance<py::array>(object)) return array_from_buffer(object, name);
  if (py::isinstance<Array>(object)) return object.cast<Array>();
  if (PyObject_CheckBuffer(object.ptr()) && !py::isinstance<py::bytes>(object)) {
    return array_from_buffer(object, name);
  }
  if (py::hasattr(object, "__dlpack__")) return array_from_dlpack(object, name);
  if (py::hasattr(object, "__cuda_array_interface__")) {
    return array_from_cuda_interface(object, name);
  }
  throw py::type_error(std::string(name) +
                       " must be an array (NumPy, DLPack or medkern.Tensor), got " +
                       py::str(py::type::of(object).attr("__name__")).cast<std::string>());
}

Array Array::empty_like(const Shape& shape) const {
  return empty(shape, dtype(), device(), format());
}

Array Array::dense() const { return is_dense() ? *this : copy(format()); }

Array Array::contiguous() const { return is_contiguous() ? *this : copy(Format::contiguous); }

Array Array::copy(Format format) const {
  const Array result = empty(shape(), dtype(), device(), format);
  call(mk_copy, *this, result);
  return result;
}

Array Array::to(DLDevice device) const {
  if (same_device(device, this->device())) return *this;
  // Dense in another order, such as a transposed matrix; and while outlining no kernel could make
  // it dense.
  if (!is_dense() && (extent_bytes() == bytes() || outlining())) return transferred(device);
  const Array source = dense();
  const Shape strides = dense_strides(shape(), source.format());
  if (outline()) return empty(shape(), dtype(), device, source.format());
  const Array result = allocated(shape(), dtype(), device, strides);
  copy_bytes(device, result.data(), this->device(), source.dl()->data, source.extent_bytes());
  return result;
}

Array Array::transferred(DLDevice device) const {
  if (outline()) return empty(shape(), dtype(), device, format());
  const Array result = allocated(shape(), dtype(), device, strides());
  copy_bytes(device, result.data(), this->device(), dl()->data, extent_bytes());
  return result;
}

Array Array::mirrored(DLDevice device) const {
  const Array result = transferred(device);
  result.block_->mirror = std::make_unique<Array>(*this);
  t_mirrored.emplace_back(result.block_);
  return result;
}

void write_back() {
  if (t_mirrored.empty()) return;
  const auto waiting = std::exchange(t_mirrored, {});
  for (const auto& weak : waiting) {
    const auto block = std::static_pointer_cast<Array::Block>(weak.lock());
    if (block == nullptr) continue;
    if (!block->touched) {  // its turn is yet to come
      t_mirrored.push_back(weak);
      continue;
    }
    const Array& host = *block->mirror;
    copy_bytes(kCpu, host.data(), block->tensor.device, block->tensor.data, host.extent_bytes());
  }
}

Array Array::placed(const Array& outline, int64_t offset) const {
  if (offset < 0 || static_cast<uint64_t>(offset) + outline.extent_bytes() > extent_bytes()) {
    throw py::value_error("placed: the outline reaches beyond this array's memory");
  }
  const Array array = described(block_->owner, static_cast<char*>(data()) + offset, outline.dtype(),
                                device(), outline.shape(), outline.strides(), readonly());
  array.block_->memory = block_->memory;
  return array;
}

size_t Array::extent_bytes() const {
  return static_cast<size_t>(extent(shape(), strides()).value_or(0)) * (dtype().bits / 8);
}

void Array::precede(void* stream) const {
  if (block_->memory == nullptr) return;
  block_->memory->use();
  block_->memory->precede(stream);
}

Array Array::with_layout(const Shape& shape, const Shape& strides, int64_t offset) const {
  if (shape.size() != strides.size()) {
    throw py::value_error("with_layout: shape and strides must have the same length");
  }
  for (size_t i = 0; i < shape.size(); ++i) {
    if (shape[i] < 0 || strides[i] < 0) {
      throw py::value_error("with_layout: shape and strides must not be negative");
    }
  }
  const std::optional<int64_t> wanted = extent(shape, strides),
                               there = extent(this->shape(), this->strides());
  if (!wanted || !there || offset < 0 || *wanted > *there || offset > *there - *wanted) {
    throw py::value_error("with_layout: the new layout reaches beyond this array's memory");
  }
  char* first = static_cast<char*>(data()) + offset * (dtype().bits / 8);
  const Array array = described(block_->owner, outline() ? g_nowhere : first, dtype(), device(),
                                shape, strides, readonly());
  array.block_->outline = outline();
  array.block_->memory = block_->memory;
  if (block_->is_slot || block_->slot != nullptr) {
    array.block_->slot = block_->is_slot ? block_ : block_->slot;
    array.block_->from_slot = block_->from_slot + offset * (dtype().bits / 8);
  }
  return array;
}

Format Array::format() const {
  if (is_contiguous() || rank() < 3 || strides()[1] != 1 || shape()[1] == 1) {
    return Format::contiguous;
  }
  for (int axis = 2; axis < rank(); ++axis) {
    // A stride of 0 repeats an element and says nothing.
    if (shape()[axis] > 1 && strides()[axis] > 0 && strides()[axis] < shape()[1]) {
      return Format::contiguous;
    }
  }
  return Format::channels_last;
}

bool Array::is_contiguous() const {
  return has_strides(shape(), strides(), dense_strides(shape(), Format::contiguous));
}

bool Array::is_channels_last() const {
  return rank() >= 3 &&
         has_strides(shape(), strides(), dense_strides(shape(), Format::channels_last));
}

bool Array::is_channel_slice() const {
  if (rank() < 3) return false;
  Shape whole = shape();
  for (int i = 0; i < rank(); ++i) {
    if (i != 1 && shape()[i] > 1)
      whole[1] = strides()[i];  // in the end elements from pixel to pixel
  }
  return whole[1] >= shape()[1] &&
         has_strides(shape(), strides(), dense_strides(whole, Format::channels_last));
}

int64_t Array::count() const {
  int64_t count = 1;
  for (const int64_t size : shape()) count *= size;
  return count;
}

void Array::expect_values() const {
  if (outline()) throw_no_values();
}

DLTensor* Array::dl() const {
  if (outline() && !outlining()) throw_no_values();
  if (block_->memory != nullptr) {
    block_->memory->use();
    block_->touched = true;
  }
  if (block_->slot != nullptr) {
    block_->tensor.data = static_cast<char*>(block_->slot->tensor.data) + block_->from_slot;
  }
  return &block_->tensor;
}

void bind_array(py::module_& module) {
  py::class_<Array>(module, "Array", py::buffer_protocol())
      .def(py::init([](const py::object& object, const py::object& device) {
             if (device.is_none()) return Array::from_object(object, "object");
             return Array::view(object, "object").to(device_argument(device));
           }),
           py::arg("object"), py::arg("device") = py::none())
      .def_buffer([](Array& array) {
        array.expect_values();
        if (!is_cpu(array.device())) {
          throw py::buffer_error("an array on a CUDA device has no buffer; .numpy() copies it");
        }
        if (is_bfloat16(array.dtype())) throw py::buffer_error("bfloat16 has no buffer format");
        const int64_t item = array.dtype().bits / 8;
        Shape byte_strides = array.strides();
        for (int64_t& stride : byte_strides) stride *= item;
        const std::string format(1, numpy_dtype(array.dtype()).char_());
        return py::buffer_info(array.data(), item, format, array.rank(), array.shape(),
                               byte_strides, array.readonly());
      })
      .def_property_readonly("shape",
                             [](const Array& array) { return py::tuple(py::cast(array.shape())); })
      .def_property_readonly(
          "strides", [](const Array& array) { return py::tuple(py::cast(array.strides())); })
      .def_property_readonly("ndim", &Array::rank)
      .def_property_readonly("size", &Array::count)
      .def_property_readonly("dtype",
                             [](const Array& array) { return dtype_object(array.dtype()); })
      .def_property_readonly("device",
                             [](const Array& array) { return device_name(array.device()); })
      .def_property_readonly("is_outline", &Array::outline)
      .def_property_readonly("is_contiguous", &Array::is_contiguous)
      .def_property_readonly("is_channels_last", &Array::is_channels_last)
      .def_property_readonly(
          "keeps_channels_last",
          [](const Array& array) { return array.is_channels_last() && !array.is_contiguous(); })
      .def("contiguous", &Array::contiguous)
      .def(
          "to",
          [](const Array& array, const py::object& device) {
            return array.to(device_argument(device));
          },
          py::arg("device"))
      .def(
          "with_layout",
          [](const Array& array, const Shape& shape, const Shape& strides, int64_t offset) {
            return array.with_layout(shape, strides, offset);
          },
          py::arg("shape"), py::arg("strides"), py::arg("offset") = 0)
      .def(
          "placed",
          [](const Array& array, const Array& outline, int64_t offset) {
            return array.placed(outline, offset);
          },
          py::arg("outline"), py::arg("offset"))
      .def("numpy", numpy_array)
      .def(
          "__array__",
          // NumPy takes the buffer; it comes here only where there is none, and forgot why.
          [](const Array& self, const py::object& dtype, const py::object& copy) {
            self.expect_values();
            if (!copy.is_none() && !copy.cast<bool>()) {
              throw py::value_error("__array__: an array on a CUDA device has to be copied");
            }
            const py::object values = numpy_array(self);
            return dtype.is_none() ? values : values.attr("astype")(dtype);
          },
          py::arg("dtype") = py::none(), py::arg("copy") = py::none())
      .def_property_readonly("__cuda_array_interface__", cuda_interface)
      .def("__dlpack__", dlpack_capsule, py::kw_only(), py::arg("stream") = py::none(),
           py::arg("max_version") = py::none(), py::arg("dl_device") = py::none(),
           py::arg("copy") = py::none())
      .def("__dlpack_device__", [](const Array& array) {
        return py::make_tuple(int(array.device().device_type), array.device().device_id);
      });
  module.def(
      "outlining",
      [](bool enabled) {
        const bool before = t_outlining;
        t_outlining = enabled;
        return before;
      },
      py::arg("enabled"));
  module.def(
      "empty",
      [](const Shape& shape, const py::object& dtype, bool channels_last,
         const py::object& device) {
        return Array::empty(shape, dtype_argument(dtype), device_argument(device),
                            channels_last ? Format::channels_last : Format::contiguous);
      },
      py::arg("shape"), py::arg("dtype"), py::arg("channels_last") = false,
      py::arg("device") = py::none());
}

}  // namespace medkern::python
