// The current device of a thread, and what it is.
#include <algorithm>
#include <cstring>
#include <mutex>
#include <vector>

#include "core/status.h"
#include "cuda/devices.h"
#include "cuda/fault.h"
#include "cuda/launch.h"
#include "cuda/runtime.h"

namespace medkern::cuda {
namespace {

int attribute(int device, int number) {
  int value = 0;
  expect_success(runtime()->cudaDeviceGetAttribute(&value, number, device), "properties");
  return value;
}

}  // namespace

int multiprocessors() { return attribute(current_device(), kMultiprocessors); }

int compute_capability() {
  const int device = current_device();
  return 10 * attribute(device, kComputeMajor) + attribute(device, kComputeMinor);
}

size_t most_shared_bytes() {
  return static_cast<size_t>(attribute(current_device(), kMostSharedBytes));
}

void describe(mk_device_properties& properties) {
  const int device = current_device();
  char all[4096] = {};  // the name comes first
  expect_success(runtime()->cudaGetDeviceProperties_v2(all, device), "properties");
  std::memcpy(properties.name, all, sizeof properties.name);
  properties.name[sizeof properties.name - 1] = '\0';
  size_t free = 0;
  expect_success(runtime()->cudaMemGetInfo(&free, &properties.memory_bytes), "properties");
  properties.multiprocessors = attribute(device, kMultiprocessors);
  properties.compute_major = attribute(device, kComputeMajor);
  properties.compute_minor = attribute(device, kComputeMinor);
  properties.emulated = emulated();
}

void synchronize() {
  expect_success(runtime()->cudaDeviceSynchronize(), "work on the device");
  expect_no_fault();
}

}  // namespace medkern::cuda
