// CUDA kernels of pooling: what the checked arguments come to on the device.
#include "kernels/pool/pool.cuda.h"

#include "cuda/absent.h"
#include "cuda/launch.h"
#include "kernels/image.cuda.h"
#include "kernels/pool/pool.h"

namespace medkern::cuda {
namespace {

constexpr uint32_t kThreads = 256;

Kernel max_forward_f32_u8{"pool", "pool_max_forward_f32_u8"};
Kernel max_forward_f32_i64{"pool", "pool_max_forward_f32_i64"};
Kernel max_forward_f64_u8{"pool", "pool_max_forward_f64_u8"};
Kernel max_forward_f64_i64{"pool", "pool_max_forward_f64_i64"};

void max_forward(const MaxPoolArgs& args) {
  const Window& window = args.windows.window;
  MaxPoolKernelArgs p{};
  p.x = args.x.data;
  p.y = args.y.data;
  p.indices = args.indices.data;
  p.count = element_count("max_pool", args.y);
  p.channels_last = is_channels_last(args.y);
  p.channels = divider(args.y.c);
  p.depth = divider(args.y.size[0]);
  p.height = divider(args.y.size[1]);
  p.width = divider(args.y.size[2]);
  p.x_stride_n = args.x.stride_n;
  p.x_stride_c = args.x.stride_c;
  for (int i = 0; i < 3; ++i) {
    p.axis[i] = {
        static_cast<int32_t>(args.x.size[i]),     static_cast<int32_t>(window.kernel[i]),
        static_cast<int32_t>(window.stride[i]),   static_cast<int32_t>(window.pad_before[i]),
        static_cast<int32_t>(window.dilation[i]), args.x.stride[i]};
  }
  const bool bytes = args.index_dtype == Dtype::u8;
  Kernel& kernel = args.dtype == Dtype::f32 ? (bytes ? max_forward_f32_u8 : max_forward_f32_i64)
                                            : (bytes ? max_forward_f64_u8 : max_forward_f64_i64);
  launch(kernel, {blocks_for(p.count, kThreads)}, kThreads, 0, p);
}

}  // namespace

extern const PoolKernels pool_kernels;
constinit const PoolKernels pool_kernels = {
    .max_forward = max_forward,
    .max_backward = absent,
    .average_forward = absent,
    .average_backward = absent,
    .scatter_add = absent,
    .scatter = absent,
    .gather = absent,
    .in_tiles = absent,
    .spread = absent,
    .collect = absent,
};

}  // namespace medkern::cuda
