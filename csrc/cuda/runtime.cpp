#include "cuda/runtime.h"

#include <dlfcn.h>

#include <cstdlib>
#include <cstring>
#include <mutex>
#include <string>
#include <vector>

#include "core/status.h"
#include "cuda/devices.h"

namespace medkern::cuda {
namespace {

// What is called is the same in both versions; packages put them into different folders.
struct Version {
  const char* library;
  const char* folder;
};
constexpr Version kVersions[] = {{"libcudart.so.12", "nvidia/cuda_runtime/lib/"},
                                 {"libcudart.so.13", "nvidia/cu13/lib/"}};

std::mutex packages_mutex;
std::vector<std::string> package_folders;  // where packages lie, each with a slash

thread_local int t_device = 0;  // that the thread works on

// The folder this library lies in, with a slash; "" if it isn't known.
std::string own_folder() {
  Dl_info info;
  if (dladdr(reinterpret_cast<const void*>(&own_folder), &info) == 0) return "";
  const std::string path = info.dli_fname;
  const size_t slash = path.rfind('/');
  return slash == std::string::npos ? "" : path.substr(0, slash + 1);
}

void* open_library(bool is_emulated) {
  if (is_emulated) {
    const char* path = std::getenv("MEDKERN_CUDA_EMULATOR");
    if (path == nullptr) {
      fail(MK_DEVICE_ERROR,
           "MEDKERN_CUDA=emulated needs MEDKERN_CUDA_EMULATOR, the emulator's path");
    }
    void* library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (library == nullptr) fail(MK_DEVICE_ERROR, "the emulator can't be opened: ", dlerror());
    return library;
  }
  const std::lock_guard<std::mutex> lock(packages_mutex);
  package_folders.insert(package_folders.begin(), own_folder() + "../");
  for (const Version& version : kVersions) {
    if (void* library = dlopen(version.library, RTLD_NOW | RTLD_NOLOAD)) return library;
    for (const std::string& folder : package_folders) {
      const std::string path = folder + version.folder + version.library;
      if (void* library = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL)) return library;
    }
    if (void* library = dlopen(version.library, RTLD_NOW | RTLD_LOCAL)) return library;
  }
  fail(MK_DEVICE_ERROR, "CUDA: ", kVersions[0].library,
       " is not to be found; the package nvidia-cuda-runtime-cu12 has it");
}

template <class Function>
void find(void* library, Function& function, const char* name) {
  function = reinterpret_cast<Function>(dlsym(library, name));
  if (function == nullptr) fail(MK_DEVICE_ERROR, "CUDA: the runtime has no ", name);
}

Runtime functions_of(void* library) {
  Runtime r{};
#define MK_FIND(name) find(library, r.name, #name)
  MK_FIND(cudaGetDeviceCount);
  MK_FIND(cudaSetDevice);
  MK_FIND(cudaGetDevice);
  MK_FIND(cudaDeviceGetAttribute);
  // Version 13 has it under the plain name, which in version 12 is an older one's.
  r.cudaGetDeviceProperties_v2 = reinterpret_cast<decltype(r.cudaGetDeviceProperties_v2)>(
      dlsym(library, "cudaGetDeviceProperties_v2"));
  if (r.cudaGetDeviceProperties_v2 == nullptr) {
    find(library, r.cudaGetDeviceProperties_v2, "cudaGetDeviceProperties");
  }
  MK_FIND(cudaMemGetInfo);
  MK_FIND(cudaDeviceSynchronize);
  MK_FIND(cudaGetErrorString);
  MK_FIND(cudaGetLastError);
  MK_FIND(cudaDeviceGetDefaultMemPool);
  MK_FIND(cudaMemPoolSetAttribute);
  MK_FIND(cudaMemPoolGetAttribute);
  MK_FIND(cudaMemPoolTrimTo);
  MK_FIND(cudaMallocAsync);
  MK_FIND(cudaFreeAsync);
  MK_FIND(cudaHostAlloc);
  MK_FIND(cudaPointerGetAttributes);
  MK_FIND(cudaMemcpyAsync);
  MK_FIND(cudaMemsetAsync);
  MK_FIND(cudaStreamCreateWithFlags);
  MK_FIND(cudaStreamDestroy);
  MK_FIND(cudaStreamSynchronize);
  MK_FIND(cudaStreamWaitEvent);
  MK_FIND(cudaStreamBeginCapture);
  MK_FIND(cudaStreamEndCapture);
  MK_FIND(cudaGraphInstantiate);
  MK_FIND(cudaGraphLaunch);
  MK_FIND(cudaGraphDestroy);
  MK_FIND(cudaGraphExecDestroy);
  MK_FIND(cudaEventCreateWithFlags);
  MK_FIND(cudaEventDestroy);
  MK_FIND(cudaEventRecord);
  MK_FIND(cudaEventSynchronize);
  MK_FIND(cudaEventElapsedTime);
  MK_FIND(cudaLibraryLoadData);
  MK_FIND(cudaLibraryGetKernel);
  MK_FIND(cudaKernelSetAttributeForDevice);
  MK_FIND(cudaOccupancyMaxActiveBlocksPerMultiprocessor);
  MK_FIND(cudaGetDriverEntryPoint);
  MK_FIND(cudaLaunchKernelExC);
#undef MK_FIND
  return r;
}

// What opening CUDA came to; it is tried once.
struct Opened {
  Runtime functions{};
  int devices = 0;
  bool is_emulated = false;
  std::string reason;  // why there is no CUDA; "" if there is
};

void open(Opened& opened) {
  const char* wish = std::getenv("MEDKERN_CUDA");
  if (wish == nullptr) wish = "";
  if (std::strcmp(wish, "off") == 0)
    fail(MK_DEVICE_ERROR, "CUDA is switched off by MEDKERN_CUDA=off");
  opened.is_emulated = std::strcmp(wish, "emulated") == 0;
  if (!opened.is_emulated && wish[0] != '\0' && std::strcmp(wish, "on") != 0) {
    fail(MK_DEVICE_ERROR, "MEDKERN_CUDA: expected on, off or emulated, got '", wish, "'");
  }
  opened.functions = functions_of(open_library(opened.is_emulated));
  const Status status = opened.functions.cudaGetDeviceCount(&opened.devices);
  if (status == kNoDevice || (status == kSuccess && opened.devices == 0)) {
    fail(MK_DEVICE_ERROR, "CUDA: no device was found");
  }
  if (status == kInsufficientDriver) {
    fail(MK_DEVICE_ERROR,
         "CUDA: no NVIDIA driver, or one older than CUDA 12 (525) or 13 (580) needs");
  }
  if (status != kSuccess) {
    fail(MK_DEVICE_ERROR, "CUDA: ", opened.functions.cudaGetErrorString(status));
  }
}

const Opened& opened() {
  // Never destroyed: arrays may be freed when the interpreter has ended.
  static const Opened* once = [] {
    auto* made = new Opened;
    try {
      open(*made);
    } catch (const Error& error) {
      made->reason = error.what();
    }
    return made;
  }();
  return *once;
}

}  // namespace

Entered::Entered(const Runtime& functions) : functions_(functions) {
  int now = 0;
  if (functions_.cudaGetDevice(&now) != kSuccess || now == t_device) return;
  if (functions_.cudaSetDevice(t_device) == kSuccess) callers_ = now;
}

Entered::~Entered() {
  if (callers_ >= 0) functions_.cudaSetDevice(callers_);
}

Entered runtime() {
  const Opened& cuda = opened();
  if (!cuda.reason.empty()) fail(MK_DEVICE_ERROR, cuda.reason);
  return Entered(cuda.functions);
}

void search_packages(const char* folder) {
  const std::lock_guard<std::mutex> lock(packages_mutex);
  package_folders.push_back(std::string(folder) + "/");
}

bool emulated() { return opened().reason.empty() && opened().is_emulated; }

int device_count() {
  if (!opened().reason.empty()) fail(MK_DEVICE_ERROR, opened().reason);
  return opened().devices;
}

void use_device(int device) {
  if (device < 0 || device >= device_count()) {
    fail(MK_DEVICE_ERROR, "CUDA: there is no device ", device, "; this machine has ",
         device_count());
  }
  t_device = device;
}

int current_device() { return t_device; }

void expect_success(Status status, const char* what) {
  if (status == kSuccess) return;
  const char* reason = runtime()->cudaGetErrorString(status);
  runtime()->cudaGetLastError();  // errors that can be got over shall not be reported twice
  fail(status == kOutOfMemory ? MK_OUT_OF_MEMORY : MK_DEVICE_ERROR, "CUDA: ", what, ": ", reason);
}

}  // namespace medkern::cuda
