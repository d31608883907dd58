// The one place that chooses the device and the instruction set.
#include <atomic>
#include <cstdlib>
#include <cstring>
#include <mutex>

#include "core/status.h"
#include "cuda/devices.h"
#include "kernels/table.h"
#include "medkern/runtime.h"

namespace medkern {

#if defined(MK_X86)
namespace avx512 {
extern const KernelTable table;
}
namespace avx2 {
extern const KernelTable table;
}
#endif
namespace portable {
extern const KernelTable table;
}

namespace {

struct Isa {
  const char* name;
  const KernelTable* table;
  bool (*supported)();
};

// Best first.
constexpr Isa kIsas[] = {
#if defined(MK_X86)
    {"avx512", &avx512::table,
     [] {
       return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
              __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512dq") &&
              __builtin_cpu_supports("avx512vl");
     }},
    {"avx2", &avx2::table,
     [] {
       return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
              __builtin_cpu_supports("bmi") && __builtin_cpu_supports("bmi2");
     }},
    {"portable", &portable::table,
     [] { return __builtin_cpu_supports("sse4.2") && __builtin_cpu_supports("popcnt"); }},
#else
    {"portable", &portable::table, [] { return true; }},
#endif
};
constexpr int kIsaCount = sizeof(kIsas) / sizeof(kIsas[0]);

std::atomic<const Isa*> active{nullptr};

const Isa& find(const char* source, const char* name) {
  for (const Isa& isa : kIsas) {
    if (std::strcmp(isa.name, name) != 0) continue;
    if (!isa.supported()) {
      fail(MK_DEVICE_ERROR, source, ": this processor can't run instruction set '", name, "'");
    }
    return isa;
  }
  std::string names;
  for (const Isa& isa : kIsas) names += std::string(names.empty() ? "" : ", ") + isa.name;
  fail(MK_DEVICE_ERROR, source, ": unknown instruction set '", name, "'; this build has ", names);
}

const Isa& first_choice() {
  const char* forced = std::getenv("MEDKERN_ISA");
  if (forced != nullptr && forced[0] != '\0') return find("MEDKERN_ISA", forced);
  for (const Isa& isa : kIsas) {
    if (isa.supported()) return isa;
  }
  fail(MK_DEVICE_ERROR, "this processor can run none of the instruction sets of this build; on ",
       "x86-64 it needs at least SSE4.2");
}

const Isa& active_isa() {
  const Isa* isa = active.load(std::memory_order_acquire);
  if (isa == nullptr) {
    isa = &first_choice();
    active.store(isa, std::memory_order_release);
  }
  return *isa;
}

}  // namespace

const KernelTable& kernels_for(DLDevice device) {
  if (device.device_type == kDLCPU) return *active_isa().table;
  if (device.device_type != kDLCUDA) {
    fail(MK_DEVICE_ERROR,
         "medkern has kernels for the CPU and CUDA only; got a tensor on DLPack device type ",
         int(device.device_type));
  }
  cuda::use_device(device.device_id);
  return cuda::kernel_table();
}

}  // namespace medkern

using namespace medkern;

extern "C" const char* mk_version(void) { return MK_VERSION; }

extern "C" int32_t mk_isa_count(void) { return kIsaCount; }

extern "C" const char* mk_isa_name(int32_t index) {
  return index >= 0 && index < kIsaCount ? kIsas[index].name : nullptr;
}

extern "C" int32_t mk_isa_supported(int32_t index) {
  return index >= 0 && index < kIsaCount && kIsas[index].supported();
}

extern "C" mk_status mk_isa_active(const char** name) {
  return guarded([&] {
    require(name != nullptr, "mk_isa_active: name is NULL");
    *name = active_isa().name;
  });
}

extern "C" mk_status mk_isa_select(const char* name) {
  return guarded([&] {
    require(name != nullptr, "mk_isa_select: name is NULL");
    active.store(&find("mk_isa_select", name), std::memory_order_release);
  });
}
