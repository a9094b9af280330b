// What every kernel starts from: element types, indices, reductions. It needs no header of the CUDA toolkit, so that NVRTC
// alone compiles it. The tests compile it for the host as well: tests/cuda/device.hpp then stands for the device.
//
// Kernels compute in f32 whatever their elements are. They index with 32 bits: launches check that tensors have fewer than 2^31
// elements. A block has THREADS threads unless a kernel says otherwise. Every kernel is deterministic: no float is added to
// memory atomically, and sums are folded in an order that depends on shapes alone.
#pragma once

#define KERNEL extern "C" __global__ void

/// Threads of a block.
#define THREADS 256
#define WARP 32

/// X(type, suffix) for each floating-point type that kernels read and write.
#define FLOATS(X) X(float, f32) X(f16, f16) X(bf16, bf16)

/// X(type, suffix) for each size of element, for kernels that only move elements.
#define WORDS(X) X(unsigned char, b8) X(unsigned short, b16) X(unsigned, b32) X(unsigned long long, b64)

/// IEEE 754 binary16.
struct f16 {
  unsigned short bits;
};

/// The upper half of a binary32.
struct bf16 {
  unsigned short bits;
};

/// Of a parameter that is indexed by a variable: it is read where the launch has put it, not copied to the thread's memory.
#ifdef __CUDACC_RTC__
#define UNIFORM const __grid_constant__
#else
#define UNIFORM const
#endif

/// Extents or strides of a tensor, passed by value; the outermost first.
struct Dims {
  unsigned n[8];
};

#ifdef __CUDACC_RTC__
#define INFINITY __int_as_float(0x7f800000)
#define NAN __int_as_float(0x7fffffff)

/// Declares shared memory whose size the launch gives.
#define DYNAMIC_SHARED(name) extern __shared__ __align__(128) unsigned char name[]

__device__ inline float f16_to_float(unsigned short bits) {
  float value;
  asm("cvt.f32.f16 %0, %1;" : "=f"(value) : "h"(bits));
  return value;
}

__device__ inline unsigned short f16_from_float(float value) {
  unsigned short bits;
  asm("cvt.rn.f16.f32 %0, %1;" : "=h"(bits) : "f"(value));
  return bits;
}
#endif

/// An element as a float.
__device__ inline float to_float(float value) { return value; }
__device__ inline float to_float(f16 value) { return f16_to_float(value.bits); }
__device__ inline float to_float(bf16 value) { return __uint_as_float((unsigned)value.bits << 16); }

/// A float as an element, rounded to the nearest, ties to even.
template <class T> __device__ inline T from_float(float value);
template <> __device__ inline float from_float<float>(float value) { return value; }
template <> __device__ inline f16 from_float<f16>(float value) { return f16{f16_from_float(value)}; }
template <> __device__ inline bf16 from_float<bf16>(float value) {
  unsigned bits = __float_as_uint(value);
  // The quiet bit keeps a NaN one; what rounds up carries into the exponent as it should.
  bool nan = (bits & 0x7fffffffu) > 0x7f800000u;
  unsigned rounded = bits + 0x7fffu + (bits >> 16 & 1u);
  return bf16{(unsigned short)((nan ? bits | 0x00400000u : rounded) >> 16)};
}

/// Index of the thread in the whole grid, along x.
__device__ inline unsigned thread_index() { return blockIdx.x * blockDim.x + threadIdx.x; }

/// Number of threads in the whole grid, along x.
__device__ inline unsigned thread_count() { return gridDim.x * blockDim.x; }

struct Sum {
  static __device__ inline float of(float a, float b) { return a + b; }
};

/// The larger one; NaN if one is NaN.
struct Max {
  static __device__ inline float of(float a, float b) { return a > b || a != a ? a : b; }
};

/// The smaller one; NaN if one is NaN.
struct Min {
  static __device__ inline float of(float a, float b) { return a < b || a != a ? a : b; }
};

/// Folds the values of a warp's threads; each of them gets the result.
template <class Fold> __device__ inline float warp_fold(float value) {
  for (int apart = WARP / 2; apart > 0; apart /= 2)
    value = Fold::of(value, __shfl_xor_sync(0xffffffffu, value, apart));
  return value;
}

/// Folds the values of a block's threads (a multiple of WARP, at most 1024, along x); each of them gets the result. All threads
/// of the block must call it.
template <class Fold> __device__ inline float block_fold(float value) {
  __shared__ float warps[WARP];
  value = warp_fold<Fold>(value);
  __syncthreads(); // What an earlier call has left in `warps` is read.
  if (threadIdx.x % WARP == 0)
    warps[threadIdx.x / WARP] = value;
  __syncthreads();
  float result = warps[0];
#pragma unroll 1
  for (unsigned i = 1; i < blockDim.x / WARP; ++i)
    result = Fold::of(result, warps[i]);
  return result;
}
