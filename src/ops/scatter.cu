// ScatterElements and ScatterNd; see scatter.rs. Each slice of the output is a slice of the data, and then updates, one after
// another: `ends` has the last update of a slice if updates replace it, else the first one, from which `next` leads to others.
#include "walk.cuh"

/// An update that is none.
#define NONE 0xffffffffu

/// How updates are numbered, and which slice each one goes to.
struct Updates {
  unsigned count;
  /// Indices of an update; of 8 bytes or of 4.
  unsigned axes, wide;
};

/// The slice that an update goes to; NONE if an index is out of range. `own` tells what the update's own coordinates
/// contribute.
__device__ inline unsigned slice_of(unsigned update, const void *indices, const Updates &updates, const Dims &indexed,
                                    const Dims &steps, const Walk<1> &own) {
  unsigned slice[1];
  own.locate(update, slice);
#pragma unroll 1
  for (unsigned i = 0; i < updates.axes; ++i) {
    unsigned n = indexed.n[i], here = index_at(indices, update * updates.axes + i, updates.wide, n);
    if (here == n)
      return NONE;
    slice[0] += here * steps.n[i];
  }
  return slice[0];
}

KERNEL scatter_clear(unsigned *ends, unsigned slices) {
  unsigned slice = thread_index();
  if (slice < slices)
    ends[slice] = NONE;
}

/// Finds where updates go, and the first or, if `last`, the last update of each slice.
KERNEL scatter_places(const void *indices, unsigned *places, unsigned *ends, unsigned last, Updates updates,
                      UNIFORM Dims indexed, UNIFORM Dims steps, UNIFORM Walk<1> own) {
  unsigned update = thread_index();
  if (update >= updates.count)
    return;
  unsigned slice = slice_of(update, indices, updates, indexed, steps, own);
  places[update] = slice;
  if (slice == NONE)
    return;
  // As signed numbers NONE comes before all others, as unsigned ones after them.
  if (last)
    atomicMax((int *)&ends[slice], (int)update);
  else
    atomicMin(&ends[slice], update);
}

/// Finds the next update of the same slice, which is one of `lines` updates further, 2 · `lines`, and so on, `len` in all.
KERNEL scatter_next(const unsigned *places, unsigned *next, unsigned count, Divisor lines, Divisor len) {
  unsigned update = thread_index();
  if (update >= count)
    return;
  unsigned slice = places[update], rest = update, step = lines.value;
  split(rest, lines);
  unsigned left = slice == NONE ? 0 : len.value - 1 - split(rest, len), other = update + step;
#pragma unroll 4
  while (left > 0 && places[other] != slice) {
    other += step;
    --left;
  }
  next[update] = left > 0 ? other : NONE;
}

template <class W>
__device__ void replace(const W *x, const W *updates, W *y, const unsigned *ends, unsigned words, Divisor len) {
  unsigned index = thread_index(), slice = index;
  if (index >= words)
    return;
  unsigned within = split(slice, len), update = ends[slice];
  y[index] = update == NONE ? x[index] : updates[update * len.value + within];
}

#define REPLACE_KERNEL(W, suffix)                                                                                              \
  KERNEL scatter_replace_##suffix(const W *x, const W *updates, W *y, const unsigned *ends, unsigned words, Divisor len) {     \
    replace(x, updates, y, ends, words, len);                                                                                  \
  }
WIDE_WORDS(REPLACE_KERNEL)

enum Reduction { REPLACE, ADD, MUL, MAX, MIN };

/// What an element is computed in, and how it is rounded.
template <class T> struct Number {
  static __device__ T of(T value) { return value; }
  static __device__ T to(T value) { return value; }
};
template <class T> struct Half {
  static __device__ float of(T value) { return to_float(value); }
  static __device__ T to(float value) { return from_float<T>(value); }
};
template <> struct Number<f16> : Half<f16> {};
template <> struct Number<bf16> : Half<bf16> {};

/// An element combined with an update. Extremes of NaN and a number are NaN.
template <class T> __device__ T combine(T element, T update, unsigned reduction) {
  auto a = Number<T>::of(element), b = Number<T>::of(update);
  switch (reduction) {
  case ADD:
    return Number<T>::to(a + b);
  case MUL:
    return Number<T>::to(a * b);
  case MAX:
    return a >= b || a != a ? element : update;
  default:
    return a <= b || a != a ? element : update;
  }
}

template <class T>
__device__ void reduce(const T *x, const T *updates, T *y, const unsigned *ends, const unsigned *next, unsigned count,
                       unsigned reduction, Divisor len) {
  unsigned index = thread_index(), slice = index;
  if (index >= count)
    return;
  unsigned within = split(slice, len);
  T element = x[index];
#pragma unroll 1
  for (unsigned update = ends[slice]; update != NONE; update = next[update])
    element = combine(element, updates[update * len.value + within], reduction);
  y[index] = element;
}

#define REDUCE_KERNEL(T, suffix)                                                                                               \
  KERNEL scatter_reduce_##suffix(const T *x, const T *updates, T *y, const unsigned *ends, const unsigned *next,               \
                                 unsigned count, unsigned reduction, Divisor len) {                                            \
    reduce(x, updates, y, ends, next, count, reduction, len);                                                                  \
  }
FLOATS(REDUCE_KERNEL)
REDUCE_KERNEL(double, f64)
REDUCE_KERNEL(signed char, i8)
REDUCE_KERNEL(unsigned char, u8)
REDUCE_KERNEL(short, i16)
REDUCE_KERNEL(unsigned short, u16)
REDUCE_KERNEL(int, i32)
REDUCE_KERNEL(unsigned, u32)
REDUCE_KERNEL(long long, i64)
REDUCE_KERNEL(unsigned long long, u64)
