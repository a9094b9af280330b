// What stands for the device in kernels: the qualifiers, built-in variables and functions of CUDA that they may use.
//
// Each thread of a block is a fiber; all fibers of a block run on one thread of the host, so that what is local to that thread is
// the block's shared memory.
#pragma once

#include <stddef.h>

#include "kernel.hpp"
#include "math.hpp"

#define __global__
#define __device__
#define __host__
#define __constant__ static
#define __shared__ static __thread
#define __forceinline__ inline __attribute__((always_inline))
#define __noinline__ __attribute__((noinline))
#define __align__(bytes) __attribute__((aligned(bytes)))
#define __launch_bounds__(...)
#define warpSize 32

/// Shared memory whose size the launch gives.
#define DYNAMIC_SHARED(name) unsigned char *name = (unsigned char *)standin::dynamic_shared()

inline void __syncthreads() { standin::sync_block(0); }
inline int __syncthreads_count(int predicate) { return (int)standin::sync_block(predicate != 0); }
inline int __syncthreads_or(int predicate) { return standin::sync_block(predicate != 0) != 0; }
inline int __syncthreads_and(int predicate) { return standin::sync_block(predicate == 0) == 0; }
inline void __threadfence_block() { __atomic_thread_fence(__ATOMIC_SEQ_CST); }
inline void __threadfence() { __atomic_thread_fence(__ATOMIC_SEQ_CST); }
inline void __trap() { __builtin_trap(); }

inline void __syncwarp(unsigned mask = 0xffffffffu) { standin::meet(standin::Meeting::SYNC, mask, 0, 0); }
inline unsigned __ballot_sync(unsigned mask, int predicate) {
  return (unsigned)standin::meet(standin::Meeting::BALLOT, mask, predicate != 0, 0);
}
inline int __any_sync(unsigned mask, int predicate) { return __ballot_sync(mask, predicate) != 0; }
inline int __all_sync(unsigned mask, int predicate) { return __ballot_sync(mask, !predicate) == 0; }

namespace standin {

/// The value of another thread of the warp; lanes outside the segment of `width` keep their own.
template <class T> inline T shuffle(unsigned mask, T value, unsigned source, bool inside) {
  static_assert(sizeof(T) == 4 || sizeof(T) == 8);
  unsigned long long word = 0;
  memcpy(&word, &value, sizeof value);
  word = meet(Meeting::SHUFFLE, mask, word, inside ? source : lane());
  memcpy(&value, &word, sizeof value);
  return value;
}

/// What each thread of the warp passes, in the order of lanes: from this, instructions that work on matrices can be built.
template <class T> inline void warp_gather(const T &mine, T (&all)[32]) { gather(&mine, all, sizeof(T)); }

} // namespace standin

template <class T> inline T __shfl_sync(unsigned mask, T value, int source, int width = 32) {
  unsigned lane = standin::lane(), segment = lane & ~(unsigned)(width - 1);
  return standin::shuffle(mask, value, segment | ((unsigned)source & (unsigned)(width - 1)), true);
}
template <class T> inline T __shfl_up_sync(unsigned mask, T value, unsigned apart, int width = 32) {
  unsigned lane = standin::lane();
  return standin::shuffle(mask, value, lane - apart, (lane & (unsigned)(width - 1)) >= apart);
}
template <class T> inline T __shfl_down_sync(unsigned mask, T value, unsigned apart, int width = 32) {
  unsigned lane = standin::lane();
  return standin::shuffle(mask, value, lane + apart, (lane & (unsigned)(width - 1)) + apart < (unsigned)width);
}
template <class T> inline T __shfl_xor_sync(unsigned mask, T value, int apart, int width = 32) {
  unsigned lane = standin::lane(), source = lane ^ (unsigned)apart;
  return standin::shuffle(mask, value, source, source < (lane | (unsigned)(width - 1)) + 1u);
}

template <class T> inline T __ldg(const T *pointer) { return *pointer; }
template <class T> inline T __ldcg(const T *pointer) { return *pointer; }
template <class T> inline T __ldcs(const T *pointer) { return *pointer; }
template <class T> inline void __stcg(T *pointer, T value) { *pointer = value; }
template <class T> inline void __stcs(T *pointer, T value) { *pointer = value; }

namespace standin {

/// Replaces what is in memory by `change` of it, in one step; returns what was there.
template <class T, class Change> inline T atomically(T *at, Change change) {
  T old = __atomic_load_n(at, __ATOMIC_RELAXED);
  while (!__atomic_compare_exchange_n(at, &old, change(old), false, __ATOMIC_RELAXED, __ATOMIC_RELAXED)) {
  }
  return old;
}

} // namespace standin

#define STANDIN_ATOMIC(T, name, change)                                                                                         \
  inline T name(T *at, T value) {                                                                                               \
    return standin::atomically(at, [value]([[maybe_unused]] T old) { return (T)(change); });                                                     \
  }
#define STANDIN_ATOMICS(T)                                                                                                      \
  STANDIN_ATOMIC(T, atomicAdd, old + value)                                                                                     \
  STANDIN_ATOMIC(T, atomicExch, value)                                                                                          \
  STANDIN_ATOMIC(T, atomicMin, min(old, value))                                                                                 \
  STANDIN_ATOMIC(T, atomicMax, max(old, value))                                                                                 \
  STANDIN_ATOMIC(T, atomicAnd, old &value)                                                                                      \
  STANDIN_ATOMIC(T, atomicOr, old | value)                                                                                      \
  STANDIN_ATOMIC(T, atomicXor, old ^ value)                                                                                     \
  inline T atomicCAS(T *at, T expected, T value) {                                                                              \
    return standin::atomically(at, [=](T old) { return old == expected ? value : old; });                                       \
  }
STANDIN_ATOMICS(int)
STANDIN_ATOMICS(unsigned)
STANDIN_ATOMICS(unsigned long long)
STANDIN_ATOMIC(int, atomicSub, old - value)
STANDIN_ATOMIC(unsigned, atomicSub, old - value)
STANDIN_ATOMIC(unsigned, atomicInc, old >= value ? 0u : old + 1u)
STANDIN_ATOMIC(unsigned, atomicDec, old == 0u || old > value ? value : old - 1u)
#undef STANDIN_ATOMICS
#undef STANDIN_ATOMIC
