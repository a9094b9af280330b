// ReverseSequence; see mod.rs. One thread moves one word of a step. Lengths out of range are taken as the nearest in range.
#include "index.cuh"
#include "vector.cuh"

/// A step is at (batch, time), or at (time, batch) if `time_first`.
struct Steps {
  /// Words of a step; extent of the second axis.
  Divisor len, inner;
  unsigned steps, time_first;
};

template <class W> __device__ void reverse_sequence(const W *x, const long long *lengths, W *y, unsigned words, Steps s) {
  unsigned index = thread_index(), outer = index;
  if (index >= words)
    return;
  unsigned within = split(outer, s.len), inner = split(outer, s.inner);
  unsigned time = s.time_first ? outer : inner, batch = s.time_first ? inner : outer;
  long long given = lengths[batch];
  unsigned length = given<0 ? 0 : given>(long long) s.steps ? s.steps : (unsigned)given;
  unsigned source = time < length ? length - 1 - time : time;
  unsigned row = s.time_first ? source * s.inner.value + inner : outer * s.inner.value + source;
  y[index] = x[row * s.len.value + within];
}

#define REVERSE_SEQUENCE_KERNEL(W, suffix)                                                                                     \
  KERNEL reverse_sequence_##suffix(const W *x, const long long *lengths, W *y, unsigned words, Steps steps) {                  \
    reverse_sequence(x, lengths, y, words, steps);                                                                             \
  }
WIDE_WORDS(REVERSE_SEQUENCE_KERNEL)
