/* Max pooling from a plain C99 program, with no Python in it. Prints nothing if all is well. */
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

static DLTensor tensor(void* data, DLDataType dtype, int32_t rank, int64_t* shape) {
  DLTensor result;
  memset(&result, 0, sizeof result);
  result.data = data;
  result.device.device_type = kDLCPU;
  result.dtype = dtype;
  result.ndim = rank;
  result.shape = shape;
  return result;
}

int main(void) {
  const DLDataType f32 = {kDLFloat, 32, 1}, i64 = {kDLInt, 64, 1};
  int64_t x_shape[4] = {1, 2, 4, 4}, y_shape[4] = {0, 0, 0, 0};
  float* x_data = NULL;
  float y_data[8], dx_data[32];
  int64_t index_data[8];
  const float expected[8] = {5, 7, 13, 15, 21, 23, 29, 31};
  mk_pool_desc desc;
  mk_memory_stats stats;
  DLTensor x, y, indices, dx;
  int i;

  CHECK(mk_version()[0] != '\0');
  CHECK(mk_alloc(32 * sizeof(float), (void**)&x_data) == MK_OK);
  for (i = 0; i < 32; ++i) x_data[i] = (float)i;
  x = tensor(x_data, f32, 4, x_shape);

  memset(&desc, 0, sizeof desc);
  desc.struct_size = sizeof desc;
  desc.spatial_rank = 2;
  for (i = 0; i < 2; ++i) desc.kernel_size[i] = desc.stride[i] = 2;
  for (i = 0; i < 2; ++i) desc.dilation[i] = 1;

  CHECK(mk_max_pool_output_shape(&desc, &x, y_shape) == MK_OK);
  CHECK(y_shape[0] == 1 && y_shape[1] == 2 && y_shape[2] == 2 && y_shape[3] == 2);
  y = tensor(y_data, f32, 4, y_shape);
  indices = tensor(index_data, i64, 4, y_shape);
  CHECK(mk_max_pool_forward(&desc, &x, &y, &indices) == MK_OK);
  CHECK(memcmp(y_data, expected, sizeof expected) == 0);

  dx = tensor(dx_data, f32, 4, x_shape);
  CHECK(mk_max_pool_backward(&desc, &y, &indices, &dx) == MK_OK);
  for (i = 0; i < 32; ++i) {
    const int won = i / 4 % 4 % 2 == 1 && i % 2 == 1;
    CHECK(dx_data[i] == (won ? (float)i : 0));
  }

  /* What is wrong is said, and nothing is touched. */
  y_shape[3] = 3;
  CHECK(mk_max_pool_forward(&desc, &x, &y, NULL) == MK_INVALID_ARGUMENT);
  CHECK(strstr(mk_last_error(), "max_pool: y must have shape (1, 2, 2, 2)") != NULL);
  CHECK(mk_max_pool_forward(&desc, NULL, &y, NULL) == MK_INVALID_ARGUMENT);
  CHECK(strstr(mk_last_error(), "x is missing") != NULL);
  CHECK(mk_max_pool_forward(NULL, &x, &y, NULL) == MK_INVALID_ARGUMENT);
  desc.struct_size = 4;
  CHECK(mk_max_pool_forward(&desc, &x, &y, NULL) == MK_INVALID_ARGUMENT);
  CHECK(strstr(mk_last_error(), "struct_size") != NULL);
  desc.struct_size = sizeof desc;
  x.device.device_type = kDLCUDA;
  y_shape[3] = 2;
  y.device.device_type = kDLCUDA;
  CHECK(mk_max_pool_forward(&desc, &x, &y, NULL) == MK_DEVICE_ERROR);
  CHECK(memcmp(y_data, expected, sizeof expected) == 0);

  mk_free(x_data);
  stats.struct_size = sizeof stats;
  CHECK(mk_memory_get_stats(&stats) == MK_OK);
  CHECK(stats.bytes_in_use == 0 && stats.peak_bytes_in_use >= 128);
  mk_memory_trim();
  CHECK(mk_set_num_threads(2) == MK_OK && mk_get_num_threads() == 2);
  CHECK(mk_set_num_threads(0) == MK_INVALID_ARGUMENT);
  return 0;
}
