/* Packed weights that are damaged or another operation's: refused with a message, nothing read
 * beyond their header. Prints nothing if all is well. */
#include <medkern.h>
#include <stdio.h>
#include <string.h>

#define CHECK(condition)                                                            \
  do {                                                                              \
    if (!(condition)) {                                                             \
      fprintf(stderr, "line %d: %s (%s)\n", __LINE__, #condition, mk_last_error()); \
      return 1;                                                                     \
    }                                                                               \
  } while (0)

/* That a call is refused, and the message has this in it. */
#define REFUSED(call, message)               \
  do {                                       \
    CHECK((call) == MK_INVALID_ARGUMENT);    \
    CHECK(strstr(mk_last_error(), message)); \
  } while (0)

static DLTensor tensor(float* data, int32_t rank, int64_t* shape) {
  DLTensor result;
  memset(&result, 0, sizeof result);
  result.data = data;
  result.device.device_type = kDLCPU;
  result.dtype.code = kDLFloat;
  result.dtype.bits = 32;
  result.dtype.lanes = 1;
  result.ndim = rank;
  result.shape = shape;
  return result;
}

int main(void) {
  int64_t filter_shape[4] = {2, 1, 1, 1}, image_shape[4] = {1, 1, 2, 2}, shape[4];
  int64_t matrix_shape[2] = {2, 3}, rows_shape[2] = {1, 3};
  float filter_data[2] = {1, 2}, image_data[4] = {1, 2, 3, 4}, result_data[8];
  float matrix_data[6] = {1, 2, 3, 4, 5, 6}, rows_data[3] = {1, 1, 1};
  DLTensor filter = tensor(filter_data, 4, filter_shape),
           image = tensor(image_data, 4, image_shape);
  DLTensor matrix = tensor(matrix_data, 2, matrix_shape), rows = tensor(rows_data, 2, rows_shape);
  DLTensor result;
  mk_conv_desc desc;
  size_t conv_bytes, linear_bytes, scratch_bytes;
  char *conv, *linear;
  void* scratch = NULL;
  char byte;
  size_t i;

  memset(&desc, 0, sizeof desc);
  desc.struct_size = sizeof desc;
  desc.spatial_rank = 2;
  desc.groups = 1;
  for (i = 0; i < 2; ++i) desc.stride[i] = desc.dilation[i] = 1;

  CHECK(mk_conv_packed_bytes(&desc, 0, &filter, &conv_bytes) == MK_OK);
  CHECK(mk_linear_packed_bytes(&matrix, &linear_bytes) == MK_OK);
  CHECK(mk_alloc(conv_bytes + 64, (void**)&conv) == MK_OK);
  CHECK(mk_alloc(linear_bytes + 64, (void**)&linear) == MK_OK);

  /* Memory to pack into: of just the size, aligned, there. */
  REFUSED(mk_conv_pack(&desc, 0, &filter, conv, conv_bytes - 1), "conv2d: packed must have");
  REFUSED(mk_conv_pack(&desc, 0, &filter, conv, conv_bytes + 1), "conv2d: packed must have");
  REFUSED(mk_conv_pack(&desc, 0, &filter, NULL, conv_bytes), "bytes, got 0");
  REFUSED(mk_conv_pack(&desc, 0, &filter, conv + 32, conv_bytes), "aligned to 64 bytes");
  REFUSED(mk_linear_pack(&matrix, linear, linear_bytes - 1), "linear_plan: packed must have");
  CHECK(mk_conv_pack(&desc, 0, &filter, conv, conv_bytes) == MK_OK);
  CHECK(mk_linear_pack(&matrix, linear, linear_bytes) == MK_OK);

  /* They work as they are. */
  CHECK(mk_conv_packed_output_shape(conv, conv_bytes, &image, shape) == MK_OK);
  CHECK(shape[0] == 1 && shape[1] == 2 && shape[2] == 2 && shape[3] == 2);
  CHECK(mk_conv_packed_workspace(conv, conv_bytes, &image, &scratch_bytes) == MK_OK);
  CHECK(mk_alloc(scratch_bytes + 1, &scratch) == MK_OK);
  result = tensor(result_data, 4, shape);
#define FORWARD(packed, bytes) \
  mk_conv_packed_forward(packed, bytes, &image, NULL, 0, &result, scratch, scratch_bytes)
  CHECK(FORWARD(conv, conv_bytes) == MK_OK);
  CHECK(result_data[0] == 1 && result_data[4] == 2 && result_data[7] == 8);
  CHECK(mk_linear_packed_output_shape(linear, linear_bytes, &rows, shape) == MK_OK);

  /* The wrong size: none, less than a header, a byte less or more than were written. */
  memset(result_data, 0, sizeof result_data);
  REFUSED(FORWARD(NULL, conv_bytes), "conv_plan: packed weights need at least");
  REFUSED(FORWARD(conv, 8), "bytes, got 8");
  REFUSED(FORWARD(conv, conv_bytes - 1), "conv_plan: packed must be what mk_conv_pack wrote");
  REFUSED(FORWARD(conv, conv_bytes + 1), "conv_plan: packed must be what mk_conv_pack wrote");
  REFUSED(mk_linear_packed_output_shape(linear, linear_bytes - 1, &rows, shape),
          "packed must be what mk_linear_pack wrote");

  /* Another place. */
  memmove(conv + 32, conv, conv_bytes);
  REFUSED(FORWARD(conv + 32, conv_bytes), "conv_plan: packed must be aligned to 64 bytes");
  memmove(conv, conv + 32, conv_bytes);
  CHECK(FORWARD(conv, conv_bytes) == MK_OK);
  memset(result_data, 0, sizeof result_data);

  /* Another operation's. */
  REFUSED(FORWARD(linear, linear_bytes), "packed must be what mk_conv_pack wrote");
  REFUSED(mk_linear_packed_output_shape(conv, conv_bytes, &rows, shape),
          "packed must be what mk_linear_pack wrote");

  /* A header of which a byte was changed: its mark, its size, whose kernels packed it. */
  for (i = 0; i < 3 * 8; ++i) {
    byte = conv[i];
    conv[i] = (char)(byte ^ 0x40);
    CHECK(FORWARD(conv, conv_bytes) == MK_INVALID_ARGUMENT);
    CHECK(strstr(mk_last_error(), i < 16 ? "packed must be what mk_conv_pack wrote"
                                         : "packed for another instruction set"));
    conv[i] = byte;
  }
  for (i = 0; i < 8; ++i) CHECK(result_data[i] == 0);
  CHECK(FORWARD(conv, conv_bytes) == MK_OK);

  mk_free(scratch);
  mk_free(conv);
  mk_free(linear);
  return 0;
}
