// Cumulative sums and products along an axis; see mod.rs. Floats are combined in f64, integers as unsigned words that wrap.
#include "number.cuh"

enum Kind { SUM, PRODUCT };

/// A tensor seen as [outer, len, inner], accumulated along len; passed by value.
struct Space {
  unsigned columns, len, inner, kind, exclusive, reverse;
};

template <class A> __device__ inline A joined(A a, A b, unsigned kind) { return kind == SUM ? a + b : a * b; }

__device__ inline double wide(float x) { return x; }
__device__ inline double wide(f16 x) { return to_float(x); }
__device__ inline double wide(bf16 x) { return to_float(x); }
__device__ inline unsigned long long wide(unsigned char x) { return x; }
__device__ inline unsigned long long wide(unsigned short x) { return x; }
__device__ inline unsigned long long wide(unsigned x) { return x; }
__device__ inline unsigned long long wide(unsigned long long x) { return x; }

template <class T> __device__ inline T narrow(double x) { return from_double<T>(x); }
template <class T> __device__ inline T narrow(unsigned long long x) { return (T)x; }

/// Where element number `step` of a column is.
__device__ inline unsigned place(const Space &s, unsigned column, unsigned step) {
  unsigned outer = column / s.inner, i = s.reverse ? s.len - 1 - step : step;
  return (outer * s.len + i) * s.inner + column - outer * s.inner;
}

/// A thread for each column, which reads beside its neighbours.
template <class T, class A> __device__ void columns(const T *x, T *y, const Space &s) {
  unsigned column = thread_index();
  if (column >= s.columns)
    return;
  A running = (A)s.kind; // 0 for none in a sum, 1 in a product.
#pragma unroll 1
  for (unsigned step = 0; step < s.len; ++step) {
    unsigned at = place(s, column, step);
    A before = running;
    running = joined(before, (A)wide(x[at]), s.kind);
    y[at] = narrow<T>(s.exclusive ? before : running);
  }
}

/// A block for each column: what its threads have is accumulated in steps of doubled distance, on top of what came before.
template <class T, class A> __device__ void blocks(const T *x, T *y, const Space &s) {
  __shared__ A parts[THREADS];
  A nothing = (A)s.kind, carry = nothing;
#pragma unroll 1
  for (unsigned start = 0; start < s.len; start += THREADS) {
    unsigned step = start + threadIdx.x, at = step < s.len ? place(s, blockIdx.x, step) : 0;
    A own = step < s.len ? (A)wide(x[at]) : nothing, sum = own;
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
      y[at] = narrow<T>(s.exclusive ? before : joined(before, own, s.kind));
    carry = joined(carry, parts[THREADS - 1], s.kind);
  }
}

#define CUMULATIVE_KERNELS(T, A, suffix)                                                                                        \
  KERNEL cumulative_columns_##suffix(const T *x, T *y, Space s) { columns<T, A>(x, y, s); }                                     \
  KERNEL cumulative_blocks_##suffix(const T *x, T *y, Space s) { blocks<T, A>(x, y, s); }
#define OF_FLOATS(T, suffix) CUMULATIVE_KERNELS(T, double, suffix)
#define OF_WORDS(T, suffix) CUMULATIVE_KERNELS(T, unsigned long long, suffix)
FLOATS(OF_FLOATS)
WORDS(OF_WORDS)
