// What numbers a tensor of floats has; see census.rs.
#include "number.cuh"

#define NO_INDEX 0xffffffffu

/// Counts, and what they are folded into by atomics on integers: the same in any order.
struct Census {
  unsigned nan, infinite, first, largest;
};

/// The bits of an element's magnitude as f32. A finite f64 stays finite.
__device__ inline unsigned magnitude(const void *x, unsigned i, unsigned type) {
  if (type != F64)
    return __float_as_uint(load_single(x, i, type)) & 0x7fffffffu;
  double value = fabs(((const double *)x)[i]);
  unsigned bits = __float_as_uint((float)value);
  return bits == 0x7f800000u && value < (double)INFINITY ? bits - 1 : bits;
}

__device__ inline void fold(Census *into, const Census &seen) {
  if (seen.nan)
    atomicAdd(&into->nan, seen.nan);
  if (seen.infinite)
    atomicAdd(&into->infinite, seen.infinite);
  if (seen.first != NO_INDEX)
    atomicMin(&into->first, seen.first);
  if (seen.largest)
    atomicMax(&into->largest, seen.largest);
}

/// `result` begins as that of no elements.
KERNEL census(const void *x, Census *result, unsigned n, unsigned type) {
  __shared__ Census block;
  Census seen{0, 0, NO_INDEX, 0};
  if (threadIdx.x == 0)
    block = seen;
  __syncthreads();
  for (unsigned i = thread_index(); i < n; i += thread_count()) {
    unsigned bits = magnitude(x, i, type);
    if (bits < 0x7f800000u) {
      seen.largest = seen.largest > bits ? seen.largest : bits;
      continue;
    }
    seen.nan += bits > 0x7f800000u;
    seen.infinite += bits == 0x7f800000u;
    seen.first = seen.first < i ? seen.first : i;
  }
  fold(&block, seen);
  __syncthreads();
  if (threadIdx.x == 0)
    fold(result, block);
}
