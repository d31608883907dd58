// Python bindings of threads, memory and the choice of instruction set.
#include "medkern/runtime.h"

#include "bindings/call.h"
#include "bindings/module.h"

namespace medkern::python {

void bind_runtime(py::module_& module) {
  module.def("version", &mk_version);
  module.def(
      "isa_names",
      [](bool supported_only) {
        py::list names;
        for (int32_t i = 0; i < mk_isa_count(); ++i) {
          if (!supported_only || mk_isa_supported(i) != 0) names.append(mk_isa_name(i));
        }
        return names;
      },
      py::arg("supported_only") = true);
  module.def("isa_active", [] {
    const char* name = nullptr;
    check(mk_isa_active(&name));
    return std::string(name);
  });
  module.def(
      "isa_select", [](const std::string& name) { check(mk_isa_select(name.c_str())); },
      py::arg("name"));
  module.def("get_num_threads", &mk_get_num_threads);
  module.def(
      "set_num_threads", [](int32_t count) { call(mk_set_num_threads, count); }, py::arg("count"));
  module.def("memory_stats", [] {
    mk_memory_stats stats{};
    stats.struct_size = sizeof stats;
    check(mk_memory_get_stats(&stats));
    py::dict result;
    result["bytes_in_use"] = stats.bytes_in_use;
    result["peak_bytes_in_use"] = stats.peak_bytes_in_use;
    result["bytes_cached"] = stats.bytes_cached;
    return result;
  });
  module.def("memory_reset_peak", &mk_memory_reset_peak);
  module.def("memory_trim", &mk_memory_trim);
}

}  // namespace medkern::python
