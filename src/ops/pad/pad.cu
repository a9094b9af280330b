// Pad; see mod.rs. One thread writes one word.
#include "index.cuh"
#include "vector.cuh"

enum Mode { CONSTANT, REFLECT, EDGE, WRAP };

/// How the elements of an axis of the output are those of the input.
struct Axis {
  Divisor extent;
  /// Place of the first element of the input that is left; how many are left, and where they begin in the input.
  int shift, kept;
  unsigned first, stride;
};

struct Axes {
  Axis n[8];
};

/// a modulo n, not negative.
__device__ inline int modulo(int a, int n) {
  int rest = a % n;
  return rest < 0 ? rest + n : rest;
}

/// The element that stands for one outside of 0 to n - 1.
__device__ inline int repeated(int at, int n, unsigned mode) {
  if (mode == EDGE)
    return at < 0 ? 0 : n - 1;
  if (mode == WRAP)
    return modulo(at, n);
  int turn = n > 1 ? 2 * (n - 1) : 1;
  at = modulo(at, turn);
  at = at < turn - at ? at : turn - at;
  return at < n - 1 ? at : n - 1;
}

/// The constant value in a word that holds several elements of `size` bytes.
template <class W> __device__ W constant(const unsigned char *value, unsigned size) {
  W word = {};
  if (value)
    for (unsigned i = 0; i < sizeof(W); ++i)
      ((unsigned char *)&word)[i] = value[i % size];
  return word;
}

template <class W>
__device__ void pad(const W *x, const unsigned char *value, W *y, unsigned count, unsigned size, unsigned mode, unsigned rank,
                    const Axes &axes) {
  unsigned index = thread_index(), rest = index, source = 0;
  if (index >= count)
    return;
#pragma unroll 1
  for (unsigned i = rank; i-- > 0;) {
    const Axis &axis = axes.n[i];
    int at = (int)split(rest, axis.extent) - axis.shift;
    if (at < 0 || at >= axis.kept) {
      if (mode == CONSTANT) {
        y[index] = constant<W>(value, size);
        return;
      }
      at = repeated(at, axis.kept, mode);
    }
    source += (axis.first + (unsigned)at) * axis.stride;
  }
  y[index] = x[source];
}

#define PAD_KERNEL(W, suffix)                                                                                                  \
  KERNEL pad_##suffix(const W *x, const unsigned char *value, W *y, unsigned count, unsigned size, unsigned mode,              \
                      unsigned rank, UNIFORM Axes axes) {                                                                      \
    pad(x, value, y, count, size, mode, rank, axes);                                                                           \
  }
WIDE_WORDS(PAD_KERNEL)
