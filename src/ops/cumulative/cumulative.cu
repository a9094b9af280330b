// Cumulative sums and products along an axis; see mod.rs. Floats are combined in f64, integers as unsigned words that wrap.
#include "number.cuh"

enum Kind { SUM, PRODUCT };

/// A tensor seen as [outer, len, inner], accumulated along len; passed by value.
struct Space {
  unsigned columns, len, inner, kind, exclusive, reverse;
};

template <class A> __device__ inline A joined(A a, A b, unsigned kind) { return kind == SUM ? a + b : a * b; }

/// Elements of a type that is known when the kernel runs, as what they are combined in.
__device__ inline void load(const void *x, unsigned i, unsigned type, double &to) { to = load_single(x, i, type); }
__device__ inline void load(const void *x, unsigned i, unsigned type, unsigned long long &to) {
  to = (unsigned long long)load_integer(x, i, type);
}

__device__ inline void store(void *y, unsigned i, unsigned type, double value) {
  store_single(y, i, type, type == F32 ? (float)value : to_odd(value));
}
__device__ inline void store(void *y, unsigned i, unsigned type, unsigned long long value) { store_integer(y, i, type, value); }

/// Where element number `step` of a column is.
__device__ inline unsigned place(const Space &s, unsigned column, unsigned step) {
  unsigned outer = column / s.inner, i = s.reverse ? s.len - 1 - step : step;
  return (outer * s.len + i) * s.inner + column - outer * s.inner;
}

/// A thread for each column, which reads beside its neighbours.
template <class A> __device__ void columns(const void *x, void *y, const Space &s, unsigned type) {
  unsigned column = thread_index();
  if (column >= s.columns)
    return;
  A running = (A)s.kind; // 0 for none in a sum, 1 in a product.
#pragma unroll 1
  for (unsigned step = 0; step < s.len; ++step) {
    unsigned at = place(s, column, step);
    A before = running, own;
    load(x, at, type, own);
    running = joined(before, own, s.kind);
    store(y, at, type, s.exclusive ? before : running);
  }
}

/// A block for each column: what its threads have is accumulated in steps of doubled distance, on top of what came before.
template <class A> __device__ void blocks(const void *x, void *y, const Space &s, unsigned type) {
  __shared__ A parts[THREADS];
  A nothing = (A)s.kind, carry = nothing;
#pragma unroll 1
  for (unsigned start = 0; start < s.len; start += THREADS) {
    unsigned step = start + threadIdx.x, at = step < s.len ? place(s, blockIdx.x, step) : 0;
    A own = nothing;
    if (step < s.len)
      load(x, at, type, own);
    A sum = own;
#pragma unroll 1
    for (unsigned apart = 1; apart < THREADS; apart *= 2) {
      __syncthreads(); // What was there before is read.
      parts[threadIdx.x] = sum;
      __syncthreads();
      sum = threadIdx.x >= apart ? joined(parts[threadIdx.x - apart], sum, s.kind) : sum;
    }
    __syncthreads();
    parts[threadIdx.x] = sum;
    __syncthreads();
    A before = threadIdx.x > 0 ? joined(carry, parts[threadIdx.x - 1], s.kind) : carry;
    if (step < s.len)
      store(y, at, type, s.exclusive ? before : joined(before, own, s.kind));
    carry = joined(carry, parts[THREADS - 1], s.kind);
  }
}

#define CUMULATIVE_KERNELS(A, suffix)                                                                                          \
  KERNEL cumulative_columns_##suffix(const void *x, void *y, Space s, unsigned type) { columns<A>(x, y, s, type); }            \
  KERNEL cumulative_blocks_##suffix(const void *x, void *y, Space s, unsigned type) { blocks<A>(x, y, s, type); }
CUMULATIVE_KERNELS(double, float)
CUMULATIVE_KERNELS(unsigned long long, integer)
