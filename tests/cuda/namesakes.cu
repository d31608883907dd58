// Has a function of the name of another in faults.cu, which must keep its own.
#include "cuda/device.h"

namespace medkern::cuda {

struct TestArgs {
  const void *a, *b;
  void* out;
  int64_t count;
  int32_t number;
};

template <int N>
struct Namesake {
  static __attribute__((noinline)) float value(float x) { return x + 2 * N; }
};

}  // namespace medkern::cuda

using namespace medkern::cuda;

MK_KERNEL(namesake_of_two, TestArgs, 32) {
  static_cast<float*>(args.out)[threadIdx.x] = Namesake<1>::value(1);
}
