// OneHot; see mod.rs. One thread writes one element.
#include "any.cuh"
#include "index.cuh"

/// A float truncated to an integer, which is then in range; 0 for NaN.
template <class F> __device__ long long truncated(F value) {
  const F limit = (F)9.2e18;
  return value != value ? 0 : (long long)(value > limit ? limit : value < -limit ? -limit : value);
}

/// Element `i` of a tensor as an integer.
__device__ inline long long integer_at(const void *data, unsigned i, unsigned type) {
  switch (type) {
  case TYPE_F32:
    return truncated(((const float *)data)[i]);
  case TYPE_F64:
    return truncated(((const double *)data)[i]);
  case TYPE_F16:
    return truncated(to_float(((const f16 *)data)[i]));
  case TYPE_BF16:
    return truncated(to_float(((const bf16 *)data)[i]));
  case TYPE_I8:
    return ((const signed char *)data)[i];
  case TYPE_I16:
    return ((const short *)data)[i];
  case TYPE_I32:
    return ((const int *)data)[i];
  case TYPE_U8:
    return ((const unsigned char *)data)[i];
  case TYPE_U16:
    return ((const unsigned short *)data)[i];
  case TYPE_U32:
    return ((const unsigned *)data)[i];
  default:
    return ((const long long *)data)[i];
  }
}

template <class W>
__device__ void one_hot(const void *indices, const W *values, W *y, unsigned count, unsigned type, const Divisor &inner,
                        const Divisor &depth) {
  unsigned index = thread_index(), outer = index;
  if (index >= count)
    return;
  unsigned within = split(outer, inner), place = split(outer, depth);
  long long selected = integer_at(indices, outer * inner.value + within, type);
  selected = selected < 0 ? selected + (long long)depth.value : selected;
  y[index] = values[selected == (long long)place];
}

#define ONE_HOT_KERNEL(W, suffix)                                                                                               \
  KERNEL one_hot_##suffix(const void *indices, const W *values, W *y, unsigned count, unsigned type, Divisor inner,             \
                          Divisor depth) {                                                                                      \
    one_hot(indices, values, y, count, type, inner, depth);                                                                     \
  }
WORDS(ONE_HOT_KERNEL)
