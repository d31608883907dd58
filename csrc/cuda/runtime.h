// The CUDA runtime, opened when CUDA is first asked for.
#pragma once

#include "cuda/cudart.h"

namespace medkern::cuda {

// Opens libcudart.so.12, or else libcudart.so.13, on the first call; fails with MK_DEVICE_ERROR and
// the reason if there is none, or no device.
//
// It is looked for among what the process has loaded, in the package nvidia-cuda-runtime-cu12
// (nvidia-cuda-runtime) beside medkern and in the folders of mk_cuda_search_packages, and where the
// system looks. MEDKERN_CUDA=off keeps it closed;
// MEDKERN_CUDA=emulated opens the emulator of the tests, at the path MEDKERN_CUDA_EMULATOR.
//
// A call of its functions is on the device that use_device of cuda/devices.h has named in this
// thread, and leaves the caller's own current device as it was: others' work depends on that.
class Entered {
 public:
  explicit Entered(const Runtime& functions);
  ~Entered();
  Entered(const Entered&) = delete;
  Entered& operator=(const Entered&) = delete;
  const Runtime* operator->() const { return &functions_; }

 private:
  const Runtime& functions_;
  int callers_ = -1;  // device, where it is another
};
Entered runtime();

bool emulated();
int device_count();
// The device that this thread works on; see above.
int current_device();

// Fails with the runtime's own words unless `status` is success.
void expect_success(Status status, const char* what);

}  // namespace medkern::cuda
