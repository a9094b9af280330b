// Floats in memory, for what stands in for NVIDIA's libraries.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

namespace floats {

enum Kind { F32, F16, BF16 };

inline size_t size_of(Kind kind) { return kind == F32 ? 4 : 2; }

inline float from_bits(uint32_t bits) {
  float value;
  memcpy(&value, &bits, sizeof value);
  return value;
}

inline float load(const void *at, Kind kind, int64_t index) {
  if (kind == F32)
    return ((const float *)at)[index];
  if (kind == F16)
    return (float)((const _Float16 *)at)[index];
  return from_bits((uint32_t)((const uint16_t *)at)[index] << 16);
}

/// The bits of a float rounded, ties to even, to those above the lowest `dropped`.
inline uint32_t rounded(float value, int dropped) {
  uint32_t bits;
  memcpy(&bits, &value, sizeof bits);
  if (std::isnan(value))
    return bits | 0x400000;
  bits += (1u << (dropped - 1)) - 1 + (bits >> dropped & 1);
  return bits >> dropped << dropped;
}

/// Rounded to what TF32 has of it.
inline float tf32(float value) { return from_bits(rounded(value, 13)); }

inline void store(void *at, Kind kind, int64_t index, float value) {
  if (kind == F32)
    ((float *)at)[index] = value;
  else if (kind == F16)
    ((_Float16 *)at)[index] = (_Float16)value;
  else
    ((uint16_t *)at)[index] = (uint16_t)(rounded(value, 16) >> 16);
}

} // namespace floats
