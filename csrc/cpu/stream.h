// How kernels that memory limits read and write it. To be included by *.simd.cpp files only, as
// cpu/vec.h.
#pragma once

#include "cpu/lanes.h"

namespace medkern::MK_ISA {

// How far ahead memory is fetched, in elements, where rows are too short or loads too irregular for
// the processor to see what will be read next.
template <class T>
constexpr int64_t kFetchAhead = 1024 / sizeof(T);

// `value`, in a register. GCC would turn select(mask, load, other) into a masked load, which Zen 5
// does not foresee: the gradient of a norm with ReLU took 2.5 times as long.
template <class T>
MK_INLINE Vec<T> in_register(Vec<T> value) {
#if defined(__AVX512F__)
  asm("" : "+v"(value.v));
#endif
  return value;
}

// Stores may go past the caches, for results that are larger than these: a plain store reads the
// line first that it is about to overwrite, a third of a copy's traffic, and drives out what will
// be read again.
//
// Arrays that together are larger than this have left the last cache of a few cores (32 MiB where
// it was measured: plain stores are as fast up to here) before anybody reads the result.
constexpr int64_t kStreamBytes = int64_t{36} << 20;

template <class T>
MK_INLINE bool is_aligned(const T* p) {
  return reinterpret_cast<uintptr_t>(p) % MK_VECTOR_BYTES == 0;
}

// Whether results at `p` should be streamed, with `bytes` read and written in all.
template <class T>
MK_INLINE bool may_stream(const T* p, int64_t bytes) {
  return bytes > kStreamBytes && is_aligned(p);
}

// p is aligned to a vector.
template <class T>
MK_INLINE void stream(Vec<T> value, T* p) {
#if defined(__AVX512F__)
  _mm512_stream_si512(reinterpret_cast<__m512i*>(p), reinterpret_cast<__m512i>(value.v));
#elif defined(__AVX2__)
  _mm256_stream_si256(reinterpret_cast<__m256i*>(p), reinterpret_cast<__m256i>(value.v));
#else
  value.store(p);
#endif
}

// A vector's first lanes; streamed if it is whole.
template <class T>
MK_INLINE void put(Vec<T> value, T* p, int64_t lanes, bool streams) {
  streams&& lanes == Vec<T>::kLanes ? stream(value, p) : store_lanes(value, p, lanes);
}

// To be called by a task after its last streamed store: only then do other threads see them in
// order with what comes after.
MK_INLINE void end_stream() {
#if defined(__AVX2__)
  _mm_sfence();
#endif
}

}  // namespace medkern::MK_ISA
