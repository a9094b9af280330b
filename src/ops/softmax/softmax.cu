// Softmax of `rows` rows of `len` elements, `stride` apart; see mod.rs.
#include "team.cuh"

enum Kind { SOFTMAX, LOG_SOFTMAX, HARDMAX };

template <class T, unsigned V>
__device__ void softmax(const T *x, T *y, unsigned rows, unsigned len, unsigned stride, unsigned lanes, unsigned kind) {
  Team team(lanes, stride == 1);
  Row<T, V> row(x, rows, len, stride, team);
  float top = -INFINITY, sum = 0.0f;
  row.each([&](float x, unsigned) { top = Max::of(top, x); });
  top = team.fold<Max>(top);
  if (kind == HARDMAX) {
    float first = (float)len;
    row.each([&](float x, unsigned i) { first = x == top ? fminf(first, (float)i) : first; });
    unsigned at = (unsigned)team.fold<Min>(first);
    row.map(y, [=](float, unsigned i) { return i == at ? 1.0f : 0.0f; });
    return;
  }
  row.each([&](float x, unsigned) { sum += expf(x - top); });
  sum = team.fold<Sum>(sum);
  float scale = 1.0f / sum, shift = logf(sum);
  row.map(y, [=](float x, unsigned) { return kind == SOFTMAX ? expf(x - top) * scale : x - top - shift; });
}

#define SOFTMAX_KERNEL(name, T, V)                                                                                             \
  TEAM_KERNEL name(const T *x, T *y, unsigned rows, unsigned len, unsigned stride, unsigned lanes, unsigned kind) {            \
    softmax<T, V>(x, y, rows, len, stride, lanes, kind);                                                                       \
  }
#define SOFTMAX_KERNELS(T, suffix)                                                                                             \
  SOFTMAX_KERNEL(softmax_##suffix, T, 1)                                                                                       \
  SOFTMAX_KERNEL(softmax_##suffix##_wide, T, 4)
FLOATS(SOFTMAX_KERNELS)
