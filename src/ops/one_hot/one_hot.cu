// OneHot; see mod.rs. One thread writes one element.
#include "index.cuh"
#include "number.cuh"

/// A float truncated to an integer, which is then in range; 0 for NaN.
template <class F> __device__ long long truncated(F value) {
  const F limit = (F)9.2e18;
  return value != value ? 0 : (long long)(value > limit ? limit : value < -limit ? -limit : value);
}

/// Element `i` of a tensor as an integer.
__device__ inline long long integer_at(const void *data, unsigned i, unsigned type) {
  if (type == F64)
    return truncated(((const double *)data)[i]);
  return type <= BF16 ? truncated(load_single(data, i, type)) : load_integer(data, i, type);
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

#define ONE_HOT_KERNEL(W, suffix)                                                                                              \
  KERNEL one_hot_##suffix(const void *indices, const W *values, W *y, unsigned count, unsigned type, Divisor inner,            \
                          Divisor depth) {                                                                                     \
    one_hot(indices, values, y, count, type, inner, depth);                                                                    \
  }
WORDS(ONE_HOT_KERNEL)
