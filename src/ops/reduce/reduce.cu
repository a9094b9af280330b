// One number for all elements along some axes; see mod.rs and, for how the work is split, cuda.rs.
#include "number.cuh"
#include "team.cuh"
#include "walk.cuh"

/// What becomes of each element, how they are combined, and what becomes of the result.
enum Map { SAME, ABSOLUTE, SQUARE, EXPONENTIAL };
enum Fold { SUM, PRODUCT, LARGEST, SMALLEST };
enum Finish { NOTHING, MEAN, ROOT, LOGARITHM, LOG_SUM_EXP };

/// A launch's share of a reduction, passed by value.
struct Step {
  unsigned map, fold, finish;
  /// Elements of all launches together, for their mean.
  unsigned total;
};

/// Which elements a launch reduces, passed by value.
struct Shape {
  unsigned results, count;
  /// Elements of a block's slice of `count`.
  unsigned slice;
  unsigned lanes, adjacent;
};

/// Elements that a thread loads before it combines them.
template <class A> constexpr unsigned AHEAD = 1;
template <> constexpr unsigned AHEAD<float> = 4;

template <unsigned N, class F> __device__ inline void change(float (&x)[N], F f) {
#pragma unroll
  for (unsigned i = 0; i < N; ++i)
    x[i] = f(x[i]);
}

template <unsigned N> __device__ inline void map(float (&x)[N], unsigned map, float top) {
  if (map == ABSOLUTE)
    change(x, [](float x) { return fabsf(x); });
  else if (map == SQUARE)
    change(x, [](float x) { return x * x; });
  else if (map == EXPONENTIAL)
    change(x, [=](float x) { return expf(x - top); });
}

template <class I> __device__ inline void map(I (&x)[1], unsigned map, float) {
  typedef unsigned long long Word;
  if (map == SQUARE)
    x[0] = (I)((Word)x[0] * (Word)x[0]);
  else if (map == ABSOLUTE && x[0] < I(1))
    x[0] = (I)(0 - (Word)x[0]);
}

__device__ inline float joined(float a, float b, unsigned fold) {
  return fold == SUM ? a + b : fold == PRODUCT ? a * b : fold == LARGEST ? Max::of(a, b) : Min::of(a, b);
}

template <class I> __device__ inline I joined(I a, I b, unsigned fold) {
  typedef unsigned long long Word;
  return fold == SUM ? (I)((Word)a + (Word)b) : fold == PRODUCT ? (I)((Word)a * (Word)b) : (fold == LARGEST) == (a > b) ? a : b;
}

template <unsigned N, class F> __device__ inline float chain(float total, const float (&x)[N], F f) {
#pragma unroll
  for (unsigned i = 0; i < N; ++i)
    total = f(total, x[i]);
  return total;
}

template <unsigned N> __device__ inline float join(float total, const float (&x)[N], unsigned fold) {
  switch (fold) {
  case SUM:
    return chain(total, x, [](float a, float b) { return a + b; });
  case PRODUCT:
    return chain(total, x, [](float a, float b) { return a * b; });
  case LARGEST:
    return chain(total, x, [](float a, float b) { return Max::of(a, b); });
  default:
    return chain(total, x, [](float a, float b) { return Min::of(a, b); });
  }
}

template <class I> __device__ inline I join(I total, const I (&x)[1], unsigned fold) { return joined(total, x[0], fold); }

__device__ inline float finished(float x, unsigned finish, unsigned total, float top) {
  switch (finish) {
  case MEAN:
    return x / (float)total;
  case ROOT:
    return sqrtf(x);
  case LOGARITHM:
    return logf(x);
  case LOG_SUM_EXP:
    return logf(x) + top;
  default:
    return x;
  }
}

template <class I> __device__ inline I finished(I x, unsigned finish, unsigned total, float) {
  return finish == MEAN ? x / (I)total : x;
}

/// What changes nothing.
__device__ inline float nothing(float, unsigned fold) {
  return fold == SUM ? 0.0f : fold == PRODUCT ? 1.0f : fold == LARGEST ? -INFINITY : INFINITY;
}
__device__ inline long long nothing(long long, unsigned fold) {
  long long largest = 0x7fffffffffffffff;
  return fold == LARGEST ? -largest - 1 : fold == SMALLEST ? largest : fold;
}
__device__ inline unsigned long long nothing(unsigned long long, unsigned fold) {
  return fold == LARGEST ? 0 : fold == SMALLEST ? ~0ull : fold;
}

/// Folds what the threads of each team have; the first one gets the result.
template <class A> __device__ inline A fold_teams(A value, const Team &team, unsigned fold) {
  __shared__ A parts[THREADS];
  unsigned teams = THREADS / team.lanes, me = team.lane * teams + team.row % teams;
  parts[me] = value;
#pragma unroll 1
  for (unsigned apart = team.lanes / 2; apart > 0; apart /= 2) {
    __syncthreads();
    if (team.lane < apart)
      parts[me] = joined(parts[me], parts[me + apart * teams], fold);
  }
  return parts[me];
}

/// A team's slice of a result. `kept` tells where the elements of each result begin, `gone` where they are from there; `top` is
/// what is subtracted before an exponential.
template <class A, class Load>
__device__ inline A reduce(Load load, float top, const Team &team, const Shape &shape, const Walk<1> &kept, const Walk<1> &gone,
                           Step step) {
  A total = nothing(A(), step.fold);
  unsigned begin = blockIdx.y * shape.slice, end = min(begin + shape.slice, shape.count), start[1], at[1];
  if (team.row < shape.results) {
    kept.locate(team.row, start);
    constexpr unsigned N = AHEAD<A>;
#pragma unroll 1
    for (unsigned i = begin + team.lane; i < end; i += N * team.lanes) {
      A x[N];
#pragma unroll
      for (unsigned j = 0; j < N; ++j) {
        // Beyond the end the last element is read again, and left out.
        gone.locate(min(i + j * team.lanes, end - 1), at);
        x[j] = load(start[0] + at[0]);
      }
      map(x, step.map, top);
#pragma unroll
      for (unsigned j = 0; j < N; ++j)
        x[j] = i + j * team.lanes < end ? x[j] : nothing(A(), step.fold);
      total = join(total, x, step.fold);
    }
  }
  return fold_teams(total, team, step.fold);
}

#define PARAMETERS(A)                                                                                                          \
  const A *sums, const float *tops, A *partial, Shape shape, UNIFORM Walk<1> kept, UNIFORM Walk<1> gone, Step step

/// Reduces elements of x, or what earlier launches have left in `sums`; stores into `partial` what later ones take, or into y.
#define REDUCE(A, element, store)                                                                                              \
  Team team(shape.lanes, shape.adjacent);                                                                                      \
  bool first = team.lane == 0 && team.row < shape.results;                                                                     \
  float top = tops && team.row < shape.results ? tops[team.row] : 0.0f;                                                        \
  top = fabsf(top) < INFINITY ? top : 0.0f;                                                                                    \
  auto load = [=](unsigned i) -> A { return sums ? sums[i] : element; };                                                       \
  A total = reduce<A>(load, top, team, shape, kept, gone, step);                                                               \
  if (first && partial)                                                                                                        \
    partial[blockIdx.y * shape.results + team.row] = total;                                                                    \
  else if (first)                                                                                                              \
    store(team.row, finished(total, step.finish, step.total, top))

#define REDUCE_KERNEL(name, A, load_element, store_element)                                                                    \
  KERNEL name(const void *x, void *y, PARAMETERS(A), unsigned type) {                                                          \
    auto store = [=](unsigned i, A value) { store_element(y, i, type, value); };                                               \
    REDUCE(A, (A)load_element(x, i, type), store);                                                                             \
  }
REDUCE_KERNEL(reduce_float, float, load_single, store_single)
REDUCE_KERNEL(reduce_integer, long long, load_integer, store_integer)
REDUCE_KERNEL(reduce_u64, unsigned long long, load_integer, store_integer)
