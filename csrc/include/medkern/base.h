/* Status codes, the DLPack tensor, and the export mark: what every other header here needs. */
#ifndef MEDKERN_BASE_H
#define MEDKERN_BASE_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(MK_BUILDING_LIBRARY)
#define MK_API __attribute__((visibility("default")))
#else
#define MK_API
#endif

/* Largest number of dimensions of any tensor. */
#define MK_MAX_RANK 8

typedef enum mk_status {
  MK_OK = 0,
  MK_INVALID_ARGUMENT = 1, /* a shape, stride, range or option is wrong */
  MK_INVALID_TYPE = 2,     /* a tensor's data type is wrong */
  MK_OUT_OF_MEMORY = 3,    /* memory ran out, or a size overflows 64 bits */
  MK_DEVICE_ERROR = 4,     /* a device or instruction set is missing */
  MK_INTERNAL = 5          /* a fault of medkern itself */
} mk_status;

/* What is done to a result as it is stored. */
typedef enum mk_activation {
  MK_ACTIVATION_NONE = 0,
  MK_ACTIVATION_RELU = 1 /* max(y, 0); NaN stays NaN */
} mk_activation;

/* The message of the last failure in this thread; "" if there was none. Valid until the next call.
 */
MK_API const char* mk_last_error(void);

/* The DLPack ABI (version 1), declared here unless dlpack.h came first. */
#ifndef DLPACK_MAJOR_VERSION
typedef enum { kDLCPU = 1, kDLCUDA = 2, kDLCUDAHost = 3 } DLDeviceType;
typedef struct {
  DLDeviceType device_type;
  int32_t device_id;
} DLDevice;
typedef enum { kDLInt = 0, kDLUInt = 1, kDLFloat = 2, kDLBfloat = 4, kDLBool = 6 } DLDataTypeCode;
typedef struct {
  uint8_t code;
  uint8_t bits;
  uint16_t lanes;
} DLDataType;
typedef struct {
  void* data;
  DLDevice device;
  int32_t ndim;
  DLDataType dtype;
  int64_t* shape;
  int64_t* strides; /* in elements; NULL means C-contiguous */
  uint64_t byte_offset;
} DLTensor;
typedef struct DLManagedTensor {
  DLTensor dl_tensor;
  void* manager_ctx;
  void (*deleter)(struct DLManagedTensor* self);
} DLManagedTensor;
#endif

#ifdef __cplusplus
}
#endif

#endif
