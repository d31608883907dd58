/* Devices: memory, copies, streams, events and graphs. A DLDevice is {kDLCPU, 0} or {kDLCUDA, i};
 * functions on tensors run on the device of their tensors, which must all lie on one.
 *
 * CUDA is opened when it is first asked for, never before; every function fails with
 * MK_DEVICE_ERROR and the reason where there is none. Work on a CUDA device is queued on a stream
 * and runs later: a call returns at once, and what it was given must stay until the stream has come
 * to it. Each thread has one current stream for each device, at first the device's default stream
 * (the one of other libraries). What the CUDA runtime calls a thread's current device is left as
 * it is. */
#ifndef MEDKERN_DEVICE_H
#define MEDKERN_DEVICE_H

#include "medkern/base.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Names a folder of Python packages, in which the CUDA runtime is looked for beside the usual
 * places (nvidia/cuda_runtime/lib there, or nvidia/cu13/lib). Has no effect once CUDA has been
 * opened. */
MK_API mk_status mk_cuda_search_packages(const char* folder);

/* The number of CUDA devices. */
MK_API mk_status mk_cuda_device_count(int32_t* count);

typedef struct mk_device_properties {
  size_t struct_size;
  char name[256];
  size_t memory_bytes;
  int32_t multiprocessors;
  int32_t compute_major, compute_minor;
  int32_t emulated; /* 1 for the emulator of the tests */
} mk_device_properties;
MK_API mk_status mk_device_get_properties(DLDevice device, mk_device_properties* properties);

/* Memory in the order of the current stream, aligned to 256 bytes on a CUDA device (64 on the CPU),
 * kept for reuse once freed: what was queued before mk_device_free may still use it. Contents are
 * undefined. */
MK_API mk_status mk_device_alloc(DLDevice device, size_t bytes, void** memory);
MK_API void mk_device_free(DLDevice device, void* memory);

/* Copies between devices in the order of the current stream. Host memory may be changed or read as
 * soon as the call returns. */
MK_API mk_status mk_device_copy(DLDevice to_device, void* to, DLDevice from_device,
                                const void* from, size_t bytes);

/* The device that has this memory; the CPU for any that CUDA doesn't know. */
MK_API mk_status mk_device_of(const void* memory, DLDevice* device);

/* Returns when all work queued on the device is done. Fails if some of it failed; an index that a
 * kernel found out of range is reported here, as MK_INVALID_ARGUMENT, or by a copy to the host. */
MK_API mk_status mk_device_synchronize(DLDevice device);

/* Bytes handed out and not yet freed, their largest value since the last reset, bytes kept for
 * reuse. */
typedef struct mk_device_memory_stats {
  size_t struct_size;
  size_t bytes_in_use;
  size_t peak_bytes_in_use;
  size_t bytes_cached;
} mk_device_memory_stats;
MK_API mk_status mk_device_memory_get_stats(DLDevice device, mk_device_memory_stats* stats);
MK_API mk_status mk_device_memory_reset_peak(DLDevice device);
MK_API mk_status mk_device_memory_trim(DLDevice device);

/* Streams; a CUDA stream (cudaStream_t) is what `stream` points to. Those of mk_stream_create alone
 * are destroyed here. */
MK_API mk_status mk_stream_create(DLDevice device, void** stream);
MK_API mk_status mk_stream_destroy(DLDevice device, void* stream);
/* The calling thread's current stream; any cudaStream_t of the device will do. */
MK_API mk_status mk_stream_get(DLDevice device, void** stream);
MK_API mk_status mk_stream_set(DLDevice device, void* stream);
MK_API mk_status mk_stream_synchronize(DLDevice device, void* stream);
/* What is queued on `stream` from now on waits for what is queued on `other` by now. */
MK_API mk_status mk_stream_wait(DLDevice device, void* stream, void* other);

/* Events on the current stream, for timing. */
MK_API mk_status mk_event_create(DLDevice device, void** event);
MK_API mk_status mk_event_destroy(DLDevice device, void* event);
MK_API mk_status mk_event_record(DLDevice device, void* event);
/* Waits for both. */
MK_API mk_status mk_event_milliseconds(DLDevice device, void* begin, void* end,
                                       float* milliseconds);

/* Graphs: the calls between begin and end are not run but kept, with their arguments, and
 * mk_graph_launch runs them all. The current stream must be one of mk_stream_create; memory can't
 * be allocated meanwhile. */
MK_API mk_status mk_graph_begin(DLDevice device);
MK_API mk_status mk_graph_end(DLDevice device, void** graph);
MK_API mk_status mk_graph_launch(DLDevice device, void* graph);
MK_API mk_status mk_graph_destroy(DLDevice device, void* graph);

#ifdef __cplusplus
}
#endif

#endif
