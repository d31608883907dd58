// Python bindings of devices: memory, streams, events, and the default device.
#include "bindings/device.h"

#include <algorithm>
#include <mutex>

#include "bindings/array.h"
#include "bindings/call.h"
#include "bindings/module.h"

namespace medkern::python {
namespace {

thread_local DLDevice t_default_device = kCpu;

std::mutex g_streams;  // guards the lists of streams

void* pointer(uintptr_t number) { return reinterpret_cast<void*>(number); }
uintptr_t number(void* pointer) { return reinterpret_cast<uintptr_t>(pointer); }

// A device that is there: DeviceError with the reason if not.
DLDevice present_device(const py::object& object) {
  const DLDevice device = device_argument(object);
  if (is_cpu(device)) return device;
  int32_t count = 0;
  check(mk_cuda_device_count(&count));
  if (device.device_id >= count) {
    throw_device_error("there is no device '" + device_name(device) + "': the number of CUDA " +
                       "devices is " + std::to_string(count));
  }
  return device;
}

// The same for functions that CUDA devices alone have.
DLDevice cuda_device(const py::object& object) {
  const DLDevice device = present_device(object);
  if (is_cpu(device)) throw py::value_error("device must be a CUDA device, got 'cpu'");
  return device;
}

}  // namespace

std::string device_name(DLDevice device) {
  return is_cpu(device) ? "cpu" : "cuda:" + std::to_string(device.device_id);
}

DLDevice device_argument(const py::object& device) {
  if (device.is_none()) return t_default_device;
  // Other libraries have classes for it that read alike.
  const std::string name = py::str(device).cast<std::string>();
  if (name == "cpu") return kCpu;
  if (name == "cuda") return is_cpu(t_default_device) ? DLDevice{kDLCUDA, 0} : t_default_device;
  const std::string digits = name.starts_with("cuda:") ? name.substr(5) : "";
  if (digits.empty() || digits.size() > 4 ||
      digits.find_first_not_of("0123456789") != std::string::npos) {
    throw py::value_error("device must be 'cpu', 'cuda' or 'cuda:' and a number, got " +
                          py::repr(device).cast<std::string>());
  }
  return {kDLCUDA, std::stoi(digits)};
}

DLDevice default_device() { return t_default_device; }

void* current_stream(DLDevice device) {
  void* stream = nullptr;
  check(mk_stream_get(device, &stream));
  return stream;
}

void copy_bytes(DLDevice to_device, void* to, DLDevice from_device, const void* from,
                size_t bytes) {
  if (bytes == 0) return;
  unlocked([&] { return mk_device_copy(to_device, to, from_device, from, bytes); });
}

DeviceMemory::DeviceMemory(size_t bytes, DLDevice device)
    : device_(device), home_(current_stream(device)) {
  check(mk_device_alloc(device, bytes, &data_));
}

DeviceMemory::DeviceMemory(std::shared_ptr<void> owner, DLDevice device)
    : device_(device), owner_(std::move(owner)), home_(current_stream(device)) {}

DeviceMemory::~DeviceMemory() {
  if (owner_ != nullptr) {
    streams_.push_back(home_);
    for (void* stream : streams_) {
      if (!same_stream(stream, nullptr)) mk_stream_synchronize(device_, stream);
    }
    return;
  }
  void* now = nullptr;
  if (!streams_.empty() && mk_stream_get(device_, &now) == MK_OK) precede(now);
  mk_device_free(device_, data_);  // in the order of the stream it was made on and the current one
}

void DeviceMemory::use() {
  void* const stream = current_stream(device_);
  if (same_stream(stream, home_)) return;
  const std::lock_guard<std::mutex> lock(g_streams);
  if (std::ranges::find(streams_, stream) == streams_.end()) streams_.push_back(stream);
}

void DeviceMemory::precede(void* stream) const {
  const auto wait_for = [&](void* other) {
    if (same_stream(stream, other)) return;
    // One that is no more has no work left.
    if (mk_stream_wait(device_, stream, other) != MK_OK) mk_device_synchronize(device_);
  };
  wait_for(home_);
  for (void* other : streams_) wait_for(other);
}

void bind_device(py::module_& module) {
  using py::arg;
  module.def("default_device", [] { return device_name(t_default_device); });
  module.def(
      "device_name", [](const py::object& device) { return device_name(device_argument(device)); },
      arg("device"));
  module.def(
      "set_default_device",
      [](const py::object& device) {
        const std::string before = device_name(t_default_device);
        t_default_device = present_device(device);
        return before;
      },
      arg("device"));
  module.def(
      "cuda_search_packages",
      [](const std::string& folder) { check(mk_cuda_search_packages(folder.c_str())); },
      arg("folder"));
  module.def("cuda_device_count", [] {
    int32_t count = 0;
    check(mk_cuda_device_count(&count));
    return count;
  });
  module.def(
      "device_properties",
      [](const py::object& device) {
        mk_device_properties properties{};
        properties.struct_size = sizeof properties;
        check(mk_device_get_properties(cuda_device(device), &properties));
        py::dict result;
        result["name"] = std::string(properties.name);
        result["memory_bytes"] = properties.memory_bytes;
        result["multiprocessors"] = properties.multiprocessors;
        result["compute_capability"] =
            py::make_tuple(properties.compute_major, properties.compute_minor);
        result["emulated"] = properties.emulated != 0;
        return result;
      },
      arg("device"));
  module.def(
      "device_synchronize",
      [](const py::object& object) {
        const DLDevice device = present_device(object);
        unlocked([&] { return mk_device_synchronize(device); });
      },
      arg("device"));
  module.def(
      "device_memory_stats",
      [](const py::object& device) {
        mk_device_memory_stats stats{};
        stats.struct_size = sizeof stats;
        check(mk_device_memory_get_stats(present_device(device), &stats));
        py::dict result;
        result["bytes_in_use"] = stats.bytes_in_use;
        result["peak_bytes_in_use"] = stats.peak_bytes_in_use;
        result["bytes_cached"] = stats.bytes_cached;
        return result;
      },
      arg("device"));
  module.def(
      "device_memory_reset_peak",
      [](const py::object& device) { check(mk_device_memory_reset_peak(present_device(device))); },
      arg("device"));
  module.def(
      "device_memory_trim",
      [](const py::object& object) {
        const DLDevice device = present_device(object);
        unlocked([&] { return mk_device_memory_trim(device); });
      },
      arg("device"));
  module.def(
      "stream_create",
      [](const py::object& device) {
        void* stream = nullptr;
        check(mk_stream_create(cuda_device(device), &stream));
        return number(stream);
      },
      arg("device"));
  module.def(
      "stream_get",
      [](const py::object& device) { return number(current_stream(cuda_device(device))); },
      arg("device"));
  module.def(
      "stream_set",
      [](const py::object& device, uintptr_t stream) {
        check(mk_stream_set(cuda_device(device), pointer(stream)));
      },
      arg("device"), arg("stream"));
  module.def(
      "stream_synchronize",
      [](const py::object& object, uintptr_t stream) {
        const DLDevice device = cuda_device(object);
        unlocked([&] { return mk_stream_synchronize(device, pointer(stream)); });
      },
      arg("device"), arg("stream"));
  module.def(
      "stream_wait",
      [](const py::object& device, uintptr_t stream, uintptr_t other) {
        check(mk_stream_wait(cuda_device(device), pointer(stream), pointer(other)));
      },
      arg("device"), arg("stream"), arg("other"));
  module.def(
      "event_create",
      [](const py::object& device) {
        void* event = nullptr;
        check(mk_event_create(cuda_device(device), &event));
        return number(event);
      },
      arg("device"));
  module.def(
      "event_destroy",
      [](const py::object& device, uintptr_t event) {
        check(mk_event_destroy(cuda_device(device), pointer(event)));
      },
      arg("device"), arg("event"));
  module.def(
      "event_record",
      [](const py::object& device, uintptr_t event) {
        check(mk_event_record(cuda_device(device), pointer(event)));
      },
      arg("device"), arg("event"));
  module.def(
      "event_milliseconds",
      [](const py::object& object, uintptr_t begin, uintptr_t end) {
        const DLDevice device = cuda_device(object);
        float milliseconds = 0;
        unlocked([&] {
          return mk_event_milliseconds(device, pointer(begin), pointer(end), &milliseconds);
        });
        return milliseconds;
      },
      arg("device"), arg("begin"), arg("end"));
}

}  // namespace medkern::python
