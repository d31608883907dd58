/* Threads, memory and the choice of instruction set. */
#ifndef MEDKERN_RUNTIME_H
#define MEDKERN_RUNTIME_H

#include "medkern/base.h"

#ifdef __cplusplus
extern "C" {
#endif

/* The version of the library, "major.minor.patch". */
MK_API const char* mk_version(void);

/* Instruction sets of this build, best first: index 0 .. mk_isa_count() - 1. */
MK_API int32_t mk_isa_count(void);
MK_API const char* mk_isa_name(int32_t index);
/* 1 if this processor can run the instruction set, else 0. */
MK_API int32_t mk_isa_supported(int32_t index);

/* The name of the instruction set in use: the best one supported, or the one MEDKERN_ISA names.
 * Fails with MK_DEVICE_ERROR if MEDKERN_ISA names one that is unknown or not supported. */
MK_API mk_status mk_isa_active(const char** name);

/* Use this instruction set from now on; for tests and benchmarks. No kernel may be running. */
MK_API mk_status mk_isa_select(const char* name);

/* The number of threads kernels may use. Its first value is MEDKERN_NUM_THREADS, else
 * OMP_NUM_THREADS, else the number of processors the process may run on or its control group's CPU
 * quota, whichever is smaller. Setting it waits for a loop that is running on the threads; a call
 * whose workspace was asked for before may then find it too small and fail. */
MK_API int32_t mk_get_num_threads(void);
MK_API mk_status mk_set_num_threads(int32_t count);

/* Memory aligned to 64 bytes, kept for reuse after mk_free; contents are undefined. mk_free(NULL)
 * does nothing. */
MK_API mk_status mk_alloc(size_t bytes, void** memory);
MK_API void mk_free(void* memory);

/* Bytes handed out and not yet freed, their largest value since the last reset, and bytes kept for
 * reuse. */
typedef struct mk_memory_stats {
  size_t struct_size;
  size_t bytes_in_use;
  size_t peak_bytes_in_use;
  size_t bytes_cached;
} mk_memory_stats;
MK_API mk_status mk_memory_get_stats(mk_memory_stats* stats);
MK_API void mk_memory_reset_peak(void);
/* Gives all memory kept for reuse back to the system. */
MK_API void mk_memory_trim(void);

#ifdef __cplusplus
}
#endif

#endif
