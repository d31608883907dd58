// Devices as Python names them, and the memory of CUDA devices that arrays share.
#pragma once

#include <pybind11/pybind11.h>

#include <memory>
#include <string>
#include <vector>

#include "medkern.h"
#include "medkern/device.h"

namespace medkern::python {

namespace py = pybind11;

constexpr DLDevice kCpu{kDLCPU, 0};

inline bool is_cpu(DLDevice device) { return device.device_type == kDLCPU; }
inline bool same_device(DLDevice a, DLDevice b) {
  return a.device_type == b.device_type && a.device_id == b.device_id;
}

// "cpu", "cuda:0".
std::string device_name(DLDevice device);

// A device by its name; None is the default device, "cuda" without a number the default one if that
// is a CUDA device, else the first.
DLDevice device_argument(const py::object& device);

// Where host objects are put that enter an operation in this thread, and new arrays that name no
// device.
DLDevice default_device();

// The calling thread's current stream.
void* current_stream(DLDevice device);

// The default stream has two handles.
inline bool same_stream(void* a, void* b) {
  const auto plain = [](void* stream) {
    return stream == reinterpret_cast<void*>(1) ? nullptr : stream;
  };
  return plain(a) == plain(b);
}

// Memory on a CUDA device. It may be used on any stream: it remembers all but the one it was made
// on, and the stream on which it is freed waits for them.
class DeviceMemory {
 public:
  DeviceMemory(size_t bytes, DLDevice device);
  // Memory of another library, which `owner` keeps alive. Nobody knows on which stream that library
  // uses it again, so it goes only after all but the default stream are done with it.
  DeviceMemory(std::shared_ptr<void> owner, DLDevice device);
  ~DeviceMemory();
  DeviceMemory(const DeviceMemory&) = delete;
  DeviceMemory& operator=(const DeviceMemory&) = delete;

  void* data() const { return data_; }
  // Work that uses it is about to be queued on the current stream.
  void use();
  // What is queued on `stream` from now on comes after all work on it.
  void precede(void* stream) const;

 private:
  DLDevice device_;
  void* data_ = nullptr;
  std::shared_ptr<void> owner_;
  void* home_;                  // the stream it was made on
  std::vector<void*> streams_;  // others that used it
};

// Copies between devices, or on one; raises if it fails.
void copy_bytes(DLDevice to_device, void* to, DLDevice from_device, const void* from, size_t bytes);

}  // namespace medkern::python
