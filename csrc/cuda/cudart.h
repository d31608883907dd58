// The part of the CUDA runtime's ABI (version 12) that medkern calls. Declared here, since its own
// headers don't compile without the toolkit's. Handles are pointers to what only the runtime knows.
#pragma once

#include <cstddef>
#include <cstdint>

namespace medkern::cuda {

using Status = int;  // cudaError_t
constexpr Status kSuccess = 0;
constexpr Status kOutOfMemory = 2;
constexpr Status kInsufficientDriver = 35;
constexpr Status kNoDevice = 100;

using Stream = void*;  // cudaStream_t; nullptr is the default stream of a device
using Event = void*;
using Library = void*;
using KernelHandle = void*;
using MemoryPool = void*;
using GraphHandle = void*;
using GraphExec = void*;

struct Dim3 {
  uint32_t x, y, z;
};

struct LaunchAttribute {
  uint32_t id;
  char pad[4];
  union {
    char bytes[64];
    int32_t cooperative;
  };
};
constexpr uint32_t kLaunchCooperative = 2;

struct LaunchConfig {
  Dim3 grid, block;
  size_t shared_bytes;
  Stream stream;
  LaunchAttribute* attributes;
  uint32_t attribute_count;
};

struct PointerAttributes {
  int kind, device;  // cudaMemoryType: kUnknownMemory, ...
  void *of_device, *of_host;
  long rest[8];  // of later versions
};
constexpr int kUnknownMemory = 0, kHostMemory = 1;  // the others are a device's

// Numbers of enumerations.
constexpr int kMultiprocessors = 16, kComputeMajor = 75, kComputeMinor = 76;  // cudaDeviceAttr
constexpr int kMostSharedBytes = 97;                                          // the same
constexpr int kMaxDynamicSharedBytes = 8;                                     // cudaFuncAttribute
constexpr int kReleaseThreshold = 4, kReservedNow = 5, kUsedNow = 7;          // cudaMemPoolAttr
constexpr int kCopyDefault = 4;                                               // cudaMemcpyKind
constexpr int kCaptureThreadLocal = 1;  // cudaStreamCaptureMode
constexpr unsigned kStreamNonBlocking = 1;
constexpr unsigned kHostPortable = 1, kHostMapped = 2;

// The functions, found by name: `cudaX` is the member of that name.
struct Runtime {
  Status (*cudaGetDeviceCount)(int*);
  Status (*cudaSetDevice)(int);
  Status (*cudaGetDevice)(int*);
  Status (*cudaDeviceGetAttribute)(int*, int attribute, int device);
  // Begins with 256 bytes of name; the rest is left alone. The struct has less than 4096 bytes.
  Status (*cudaGetDeviceProperties_v2)(void*, int device);
  Status (*cudaMemGetInfo)(size_t* free, size_t* total);
  Status (*cudaDeviceSynchronize)();
  const char* (*cudaGetErrorString)(Status);
  Status (*cudaGetLastError)();

  Status (*cudaDeviceGetDefaultMemPool)(MemoryPool*, int device);
  Status (*cudaMemPoolSetAttribute)(MemoryPool, int attribute, void* value);
  Status (*cudaMemPoolGetAttribute)(MemoryPool, int attribute, void* value);
  Status (*cudaMemPoolTrimTo)(MemoryPool, size_t bytes);
  Status (*cudaMallocAsync)(void**, size_t, Stream);
  Status (*cudaFreeAsync)(void*, Stream);
  Status (*cudaHostAlloc)(void**, size_t, unsigned flags);
  Status (*cudaPointerGetAttributes)(PointerAttributes*, const void*);
  Status (*cudaMemcpyAsync)(void* to, const void* from, size_t, int kind, Stream);
  Status (*cudaMemsetAsync)(void*, int value, size_t, Stream);

  Status (*cudaStreamCreateWithFlags)(Stream*, unsigned flags);
  Status (*cudaStreamDestroy)(Stream);
  Status (*cudaStreamSynchronize)(Stream);
  Status (*cudaStreamWaitEvent)(Stream, Event, unsigned flags);
  Status (*cudaStreamBeginCapture)(Stream, int mode);
  Status (*cudaStreamEndCapture)(Stream, GraphHandle*);
  Status (*cudaGraphInstantiate)(GraphExec*, GraphHandle, unsigned long long flags);
  Status (*cudaGraphLaunch)(GraphExec, Stream);
  Status (*cudaGraphDestroy)(GraphHandle);
  Status (*cudaGraphExecDestroy)(GraphExec);
  Status (*cudaEventCreateWithFlags)(Event*, unsigned flags);
  Status (*cudaEventDestroy)(Event);
  Status (*cudaEventRecord)(Event, Stream);
  Status (*cudaEventSynchronize)(Event);
  Status (*cudaEventElapsedTime)(float* milliseconds, Event, Event);

  Status (*cudaLibraryLoadData)(Library*, const void* code, int* jit_options, void** jit_values,
                                unsigned jit_count, int* options, void** values, unsigned count);
  Status (*cudaLibraryGetKernel)(KernelHandle*, Library, const char* name);
  Status (*cudaKernelSetAttributeForDevice)(KernelHandle, int attribute, int value, int device);
  Status (*cudaOccupancyMaxActiveBlocksPerMultiprocessor)(int*, const void* kernel, int threads,
                                                          size_t shared_bytes);
  Status (*cudaGetDriverEntryPoint)(const char* name, void** function, unsigned long long flags,
                                    int* found);
  Status (*cudaLaunchKernelExC)(const LaunchConfig*, const void* kernel, void** args);
};

}  // namespace medkern::cuda
