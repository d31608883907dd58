#include "bindings/exchange.h"

#include <bit>
#include <cstring>

#include "bindings/arguments.h"

namespace medkern::python {
namespace {

// DLPack's capsule of version 1, which unlike version 0 can say that memory is read-only.
struct VersionedTensor {
  uint32_t major, minor;
  void* manager_ctx;
  void (*deleter)(VersionedTensor* self);
  uint64_t flags;
  DLTensor dl_tensor;
};
constexpr uint64_t kFlagReadOnly = 1, kFlagCopied = 2;

constexpr const char* kPlain = "dltensor";
constexpr const char* kVersioned = "dltensor_versioned";

// The element type of a buffer, from its format in the notation of Python's struct module.
DLDataType buffer_dtype(const std::string& format, int64_t item, const char* name) {
  std::string code = format;
  if (!code.empty() && std::strchr("@=<>!", code[0]) != nullptr) {
    const bool big = code[0] == '>' || code[0] == '!';
    const bool swapped = code[0] == '<' ? std::endian::native == std::endian::big
                                        : big && std::endian::native == std::endian::little;
    if (swapped && item > 1) {
      throw py::type_error(std::string(name) + " must be in native byte order, got '" + format +
                           "'");
    }
    code.erase(0, 1);
  }
  const auto bits = static_cast<uint8_t>(8 * item);
  if (code.size() == 1 && item <= 8) {
    if (std::strchr("efd", code[0]) != nullptr) return {kDLFloat, bits, 1};
    if (std::strchr("bhilqn", code[0]) != nullptr) return {kDLInt, bits, 1};
    if (std::strchr("BHILQN", code[0]) != nullptr) return {kDLUInt, bits, 1};
    if (code[0] == '?') return {kDLBool, 8, 1};
  }
  throw py::type_error(std::string(name) + " has the unsupported element type '" + format + "'");
}

bool is_known(DLDataType type) {
  if (type.lanes != 1) return false;
  switch (type.code) {
    case kDLFloat:
      return type.bits == 16 || type.bits == 32 || type.bits == 64;
    case kDLInt:
    case kDLUInt:
      return type.bits == 8 || type.bits == 16 || type.bits == 32 || type.bits == 64;
    case kDLBool:
      return type.bits == 8;
    case kDLBfloat:
      return type.bits == 16;
    default:
      return false;
  }
}

// The sizes or strides of an argument. It comes with as many as it likes.
template <class Size>
Shape shape_of(const Size* sizes, size_t rank, const char* name) {
  if (rank > MK_MAX_RANK) {
    throw py::value_error(std::string(name) + " must have at most " + std::to_string(MK_MAX_RANK) +
                          " dimensions, got " + std::to_string(rank));
  }
  return Shape(sizes, sizes + rank);
}

py::buffer_info request_buffer(const py::object& object, const char* name) {
  try {
    return py::reinterpret_borrow<py::buffer>(object).request();
  } catch (const py::error_already_set& error) {  // e.g. NumPy's dates, which have no format
    throw py::type_error(std::string(name) + " can't be viewed as an array: " +
                         py::str(error.value()).cast<std::string>());
  }
}

// `stream` is the one the memory must be ready on, None on the CPU.
py::object call_dlpack(const py::object& object, const py::object& stream) {
  const py::object method = object.attr("__dlpack__");
  py::dict options;
  if (!stream.is_none()) options["stream"] = stream;
  try {
    return method(**options, py::arg("max_version") = py::make_tuple(1, 0));
  } catch (const py::error_already_set& error) {
    if (!error.matches(PyExc_TypeError)) throw;
    return method(**options);  // a library from before version 1
  }
}

// The current stream by the number it has in exchange protocols, where 0 would be ambiguous.
uintptr_t stream_number(DLDevice device) {
  const auto number = reinterpret_cast<uintptr_t>(current_stream(device));
  return number == 0 ? 1 : number;
}

// Releases what a capsule held, under the interpreter lock whichever thread drops the last array.
template <class Managed>
void release(void* pointer) {
  auto* managed = static_cast<Managed*>(pointer);
  py::gil_scoped_acquire locked;
  if (managed->deleter != nullptr) managed->deleter(managed);
}

// Takes over what the capsule holds.
template <class Managed>
Array take_capsule(const py::object& capsule, const char* label, const char* used_label,
                   bool readonly, const char* name) {
  auto* managed = static_cast<Managed*>(PyCapsule_GetPointer(capsule.ptr(), label));
  if (managed == nullptr || PyCapsule_SetName(capsule.ptr(), used_label) != 0) {
    throw py::error_already_set();
  }
  const std::shared_ptr<void> owner(managed, release<Managed>);
  const DLTensor& tensor = managed->dl_tensor;
  if (!is_known(tensor.dtype)) {
    throw py::type_error(std::string(name) + " has an unsupported element type: DLPack type code " +
                         std::to_string(tensor.dtype.code) + " with " +
                         std::to_string(tensor.dtype.bits) + " bits and " +
                         std::to_string(tensor.dtype.lanes) + " lanes");
  }
  if (tensor.ndim < 0 || (tensor.ndim > 0 && tensor.shape == nullptr)) {
    throw py::value_error(std::string(name) + ": its DLPack capsule has no shape");
  }
  const Shape shape = shape_of(tensor.shape, tensor.ndim, name);
  const Shape strides = tensor.strides != nullptr ? shape_of(tensor.strides, tensor.ndim, name)
                                                  : dense_strides(shape, Format::contiguous);
  void* data =
      tensor.data != nullptr ? static_cast<char*>(tensor.data) + tensor.byte_offset : nullptr;
  // Pinned memory is the host's as well.
  const DLDevice device = tensor.device.device_type == kDLCUDAHost ? kCpu : tensor.device;
  return Array::over(owner, data, tensor.dtype, device, shape, strides, readonly);
}

// A capsule of the given kind that keeps `array` alive.
template <class Managed>
py::capsule make_capsule(const Array& array, const char* label) {
  struct Shared {
    Array array;
    Managed managed;
  };
  auto shared = std::make_unique<Shared>(Shared{array, {}});
  Managed& managed = shared->managed;
  managed.dl_tensor = *shared->array.dl();
  managed.manager_ctx = shared.get();
  managed.deleter = [](Managed* self) { delete static_cast<Shared*>(self->manager_ctx); };
  // Its name is still `label` only if no consumer took it.
  py::capsule capsule(&managed, label, [](PyObject* self) {
    const char* name = PyCapsule_GetName(self);
    if (std::strcmp(name, kPlain) != 0 && std::strcmp(name, kVersioned) != 0) return;
    auto* untaken = static_cast<Managed*>(PyCapsule_GetPointer(self, name));
    untaken->deleter(untaken);
  });
  shared.release();
  return capsule;
}

[[noreturn]] void throw_buffer_error(const char* message) { throw py::buffer_error(message); }

// The stream of such a number.
void* stream_of(uintptr_t number) {
  return number == 1 ? nullptr : reinterpret_cast<void*>(number);
}

// Makes a consumer's stream wait for the work on an array: that which a number stands for in
// __dlpack__.
void precede_consumer(const Array& array, const py::object& stream) {
  if (stream.is_none()) {  // the default stream
    array.precede(nullptr);
    return;
  }
  if (!py::isinstance<py::int_>(stream)) {
    throw py::type_error("__dlpack__: stream must be an int or None, got " +
                         py::repr(stream).cast<std::string>());
  }
  const auto number = stream.cast<int64_t>();
  if (number == -1) return;  // the consumer sees to it
  if (number < 1) {
    throw py::value_error(
        "__dlpack__: stream must be -1 (no synchronization), 1 (the default stream), 2 (the "
        "thread's default stream) or a cudaStream_t, got " +
        std::to_string(number));
  }
  array.precede(stream_of(number));
}

// Most arguments are plain NumPy arrays, and a small call has many of them: their fields are read
// directly. Nothing for what the buffer protocol has to explain, convert or refuse.
std::optional<Array> plain_numpy_array(const py::object& object, const char* name) {
  if (!py::isinstance<py::array>(object)) return std::nullopt;
  const auto array = py::reinterpret_borrow<py::array>(object);
  const py::dtype type = array.dtype();
  const int64_t item = type.itemsize();
  const char kind = type.kind(), order = type.byteorder();
  const bool native = order == '=' || order == '|' ||
                      order == (std::endian::native == std::endian::little ? '<' : '>');
  if (!native || item < 1 || item > 8) return std::nullopt;
  DLDataType dtype{0, static_cast<uint8_t>(8 * item), 1};
  switch (kind) {
    case 'f':
      dtype.code = kDLFloat;
      break;
    case 'i':
      dtype.code = kDLInt;
      break;
    case 'u':
      dtype.code = kDLUInt;
      break;
    case 'b':
      dtype.code = kDLBool;
      break;
    default:
      return std::nullopt;
  }
  const auto rank = static_cast<size_t>(array.ndim());
  if (reinterpret_cast<uintptr_t>(array.data()) % item != 0) return std::nullopt;
  const Shape shape = shape_of(array.shape(), rank, name);
  Shape strides(rank);
  for (size_t i = 0; i < rank; ++i) {
    const int64_t step = array.strides()[i];
    if (shape[i] > 1 && (step < 0 || step % item != 0)) return std::nullopt;
    strides[i] = step / item;
  }
  void* data = const_cast<void*>(array.data());
  const std::shared_ptr<void> owner(object.inc_ref().ptr(), [](void* held) {
    py::gil_scoped_acquire locked;
    Py_DECREF(static_cast<PyObject*>(held));
  });
  return Array::over(owner, data, dtype, {kDLCPU, 0}, shape, strides, !array.writeable());
}

}  // namespace

Array array_from_buffer(const py::object& object, const char* name) {
  if (const auto plain = plain_numpy_array(object, name)) return *plain;
  auto info = std::make_shared<py::buffer_info>(request_buffer(object, name));
  const DLDataType dtype = buffer_dtype(info->format, info->itemsize, name);
  const Shape shape = shape_of(info->shape.data(), info->shape.size(), name);
  Shape strides(shape.size());
  bool describable = reinterpret_cast<uintptr_t>(info->ptr) % info->itemsize == 0;
  for (size_t i = 0; i < shape.size(); ++i) {
    strides[i] = info->strides[i] / info->itemsize;
    if (shape[i] > 1 && (info->strides[i] < 0 || info->strides[i] % info->itemsize != 0)) {
      describable = false;
    }
  }
  if (!describable && info->size > 0) {
    return array_from_buffer(py::module_::import("numpy").attr("array")(
                                 object, py::arg("copy") = true, py::arg("order") = "C"),
                             name);
  }
  const std::shared_ptr<void> owner(info->ptr, [info](void*) mutable {
    py::gil_scoped_acquire locked;
    info.reset();
  });
  return Array::over(owner, info->ptr, dtype, {kDLCPU, 0}, shape, strides, info->readonly);
}

Array array_from_dlpack(const py::object& object, const char* name) {
  py::object stream = py::none();
  if (py::hasattr(object, "__dlpack_device__")) {
    const auto [type, id] = object.attr("__dlpack_device__")().cast<std::pair<int, int>>();
    if (type == kDLCUDA) {
      stream = py::int_(stream_number({kDLCUDA, id}));
    } else if (type != kDLCPU && type != kDLCUDAHost) {
      throw_device_error(std::string(name) + " is on DLPack device type " + std::to_string(type) +
                         "; medkern has kernels for the CPU and CUDA only");
    }
  }
  const py::object capsule = call_dlpack(object, stream);
  if (!PyCapsule_IsValid(capsule.ptr(), kVersioned)) {
    return take_capsule<DLManagedTensor>(capsule, kPlain, "used_dltensor", false, name);
  }
  const auto* managed =
      static_cast<VersionedTensor*>(PyCapsule_GetPointer(capsule.ptr(), kVersioned));
  if (managed->major != 1) {
    throw py::type_error(std::string(name) + " speaks DLPack version " +
                         std::to_string(managed->major) + ", medkern version 1");
  }
  return take_capsule<VersionedTensor>(capsule, kVersioned, "used_dltensor_versioned",
                                       (managed->flags & kFlagReadOnly) != 0, name);
}

Array array_from_cuda_interface(const py::object& object, const char* name) {
  const auto described = object.attr("__cuda_array_interface__").cast<py::dict>();
  const auto field = [&](const char* key) -> py::object {
    return described.contains(key) ? py::object(described[key]) : py::none();
  };
  if (!field("mask").is_none()) {
    throw py::type_error(std::string(name) + " has a mask, which no kernel takes");
  }
  const DLDataType dtype = dtype_argument(field("typestr"));
  const int64_t item = dtype.bits / 8;
  const auto shape = field("shape").cast<Shape>();
  Shape strides = dense_strides(shape, Format::contiguous);
  if (!field("strides").is_none()) {
    strides = field("strides").cast<Shape>();
    for (size_t i = 0; i < strides.size(); ++i) {
      if (shape[i] > 1 && (strides[i] < 0 || strides[i] % item != 0)) {
        throw py::value_error(std::string(name) +
                              " must be aligned and must not have negative strides");
      }
      strides[i] /= item;
    }
  }
  if (strides.size() != shape.size()) {
    throw py::value_error(std::string(name) + " must have a stride for each dimension");
  }
  const auto [address, readonly] = field("data").cast<std::pair<uintptr_t, bool>>();
  // An empty array has no address.
  DLDevice device = is_cpu(default_device()) ? DLDevice{kDLCUDA, 0} : default_device();
  if (address != 0) check(mk_device_of(reinterpret_cast<const void*>(address), &device));
  if (is_cpu(device)) {
    throw py::value_error(std::string(name) + ": no CUDA device has the memory at its address");
  }
  if (const py::object stream = field("stream"); !stream.is_none()) {
    check(mk_stream_wait(device, current_stream(device), stream_of(stream.cast<uintptr_t>())));
  }
  const std::shared_ptr<void> owner(object.inc_ref().ptr(), [](void* held) {
    py::gil_scoped_acquire locked;
    Py_DECREF(static_cast<PyObject*>(held));
  });
  return Array::over(owner, reinterpret_cast<void*>(address), dtype, device, shape, strides,
                     readonly);
}

py::array numpy_array(const Array& array) {
  array.expect_values();
  if (array.mirror() != nullptr) return numpy_array(*array.mirror());
  if (!is_cpu(array.device())) return numpy_array(array.to(kCpu));
  Shape strides = array.strides();
  for (int64_t& stride : strides) stride *= array.dtype().bits / 8;
  const py::capsule owner(new Array(array), [](void* held) { delete static_cast<Array*>(held); });
  py::array result(numpy_dtype(array.dtype()), array.shape(), strides, array.data(), owner);
  if (array.readonly()) result.attr("setflags")(py::arg("write") = false);
  return result;
}

py::object numpy_if(const py::object& x, const Array& result) {
  return py::isinstance<py::array>(x) ? py::object(numpy_array(result)) : py::cast(result);
}

py::dict cuda_interface(const Array& array) {
  array.expect_values();
  if (is_cpu(array.device())) {
    throw py::attribute_error("an array on the CPU has no __cuda_array_interface__");
  }
  array.precede(current_stream(array.device()));
  Shape strides = array.strides();
  for (int64_t& stride : strides) stride *= array.dtype().bits / 8;
  py::dict described;
  described["version"] = 3;
  described["shape"] = py::tuple(py::cast(array.shape()));
  described["typestr"] = numpy_dtype(array.dtype()).attr("str");
  described["data"] = py::make_tuple(
      array.count() == 0 ? 0 : reinterpret_cast<uintptr_t>(array.data()), array.readonly());
  described["strides"] =
      array.is_contiguous() ? py::none() : py::object(py::tuple(py::cast(strides)));
  described["stream"] = stream_number(array.device());
  return described;
}

py::capsule dlpack_capsule(const Array& array, const py::object& stream,
                           const py::object& max_version, const py::object& dl_device,
                           const py::object& copy) {
  array.expect_values();
  Array given = array;
  bool copied = !copy.is_none() && copy.cast<bool>();
  if (!dl_device.is_none()) {
    const auto [type, id] = dl_device.cast<std::pair<int, int>>();
    if (type != kDLCPU && type != kDLCUDA) {
      throw_buffer_error("__dlpack__: this array can be given on the CPU or a CUDA device only");
    }
    given = array.to({static_cast<DLDeviceType>(type), id});
    if (!same_device(given.device(), array.device())) {
      if (!copy.is_none() && !copied) {
        throw_buffer_error("__dlpack__: to be on another device this array has to be copied");
      }
      copied = true;
    }
  }
  if (copied && same_device(given.device(), array.device())) given = array.copy(array.format());
  if (!is_cpu(given.device())) {
    precede_consumer(given, stream);
  } else if (!stream.is_none() && is_cpu(array.device())) {
    throw py::value_error("__dlpack__: stream must be None on the CPU");
  }
  if (!max_version.is_none() && max_version.cast<std::pair<int, int>>().first >= 1) {
    py::capsule capsule = make_capsule<VersionedTensor>(given, kVersioned);
    auto* managed = static_cast<VersionedTensor*>(PyCapsule_GetPointer(capsule.ptr(), kVersioned));
    managed->major = 1;
    managed->flags = (given.readonly() ? kFlagReadOnly : 0) | (copied ? kFlagCopied : 0);
    return capsule;
  }
  if (given.readonly()) {
    throw_buffer_error("__dlpack__: a read-only array needs max_version (1, 0) or later");
  }
  return make_capsule<DLManagedTensor>(given, kPlain);
}

}  // namespace medkern::python
