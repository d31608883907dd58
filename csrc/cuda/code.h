// Device code as the build leaves it in the library: one file's, for several architectures.
#pragma once

namespace medkern::cuda {

struct MachineCode {
  const char* architecture;  // sm_80, sm_90a: machine code; compute_80: PTX, which ends in a 0
  const unsigned char *begin, *end;
};

struct DeviceCode {
  const char* family;
  MachineCode code[3];  // nullptr for those it isn't compiled for, which come last
};

// That of every file; ends with nullptr. Defined by the build.
extern const DeviceCode* const all_code[];

}  // namespace medkern::cuda
