// The integers that device code and the host code beside it name alike.
#pragma once

#if defined(__CUDACC_RTC__)

// NVRTC brings no headers.
using int8_t = signed char;
using uint8_t = unsigned char;
using int16_t = short;
using uint16_t = unsigned short;
using int32_t = int;
using uint32_t = unsigned int;
using int64_t = long long;
using uint64_t = unsigned long long;
using size_t = unsigned long;

#else

#include <cstddef>
#include <cstdint>

#endif
