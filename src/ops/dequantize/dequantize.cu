// (x - zero point) · scale; see mod.rs.
#include "scales.cuh"

KERNEL dequantize(const void *x, const void *scale, const void *zero, void *y, unsigned n, Scales scales, unsigned from,
                  unsigned to) {
  unsigned i = thread_index();
  if (i >= n)
    return;
  unsigned at = scales.of(i);
  store_single(y, i, to, (load_float(x, i, from) - scales.zero(zero, at)) * scales.scale(scale, at));
}
