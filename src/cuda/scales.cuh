// Which scale and zero point belong to which element; see src/ops/quantize/scales.rs.
#pragma once
#include "number.cuh"
#include "vector.cuh"

enum Form { ONE, AXIS, BLOCKS };

/// A tensor seen as [outer, extent, inner] and its scales: one, one for each index along the extent, or one for each block of
/// neighbours along it. Passed by value.
struct Scales {
  unsigned form, extent, inner, block;
  /// Types of the scales and of the zero points.
  unsigned scales, zeros;

  /// Index of the scale of element i.
  __device__ unsigned of(unsigned i) const {
    if (form == ONE)
      return 0;
    unsigned line = i / inner, outer = line / extent, along = line - outer * extent;
    if (form == AXIS)
      return along;
    return (outer * ((extent + block - 1) / block) + along / block) * inner + i - line * inner;
  }

  __device__ float scale(const void *from, unsigned at) const { return load_single(from, at, scales); }

  /// A zero point; 0 if there is none.
  __device__ float zero(const void *from, unsigned at) const { return from ? (float)load_integer(from, at, zeros) : 0.0f; }
};

/// Stores integers of 8 or 16 bits.
template <unsigned N>
__device__ inline void store_narrow(void *y, unsigned i, unsigned type, const Vector<unsigned short, N> &values) {
  if (type == I16 || type == U16) {
    *(Vector<unsigned short, N> *)((unsigned short *)y + i) = values;
    return;
  }
  Vector<unsigned char, N> bytes;
#pragma unroll
  for (unsigned j = 0; j < N; ++j)
    bytes.at[j] = (unsigned char)values.at[j];
  *(Vector<unsigned char, N> *)((unsigned char *)y + i) = bytes;
}
