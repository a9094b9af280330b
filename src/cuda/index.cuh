// Division by constants of a launch, and indices that models compute.
#pragma once
#include "prelude.cuh"

/// A number to divide by; `divisor` of src/cuda/launch.rs makes it.
struct Divisor {
  unsigned value, factor, shift;
  /// n / value, for n below 2^31.
  __device__ unsigned divide(unsigned n) const { return ((unsigned)((unsigned long long)n * factor >> 32) + n) >> shift; }
};

/// Replaces n by n / d and returns the remainder.
__device__ inline unsigned split(unsigned &n, const Divisor &d) {
  unsigned quotient = d.divide(n), rest = n - quotient * d.value;
  n = quotient;
  return rest;
}

/// Extents to take an index apart by, the outermost first.
struct Extents {
  Divisor n[8];
};

/// Index `i` of a tensor of i64 (`wide`) or i32, counted from the front of an axis of extent n; n if it is out of range.
__device__ inline unsigned index_at(const void *indices, unsigned i, unsigned wide, unsigned n) {
  long long index = wide ? ((const long long *)indices)[i] : (long long)((const int *)indices)[i];
  index = index < 0 ? (long long)((unsigned long long)index + n) : index;
  return (unsigned long long)index < n ? (unsigned)index : n;
}
