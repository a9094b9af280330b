// Rows whose elements are shared out among the threads of a team: src/ops/cuda.rs says how large the teams are.
#pragma once
#include "vector.cuh"

/// A kernel for teams of up to LARGEST_TEAM threads of src/ops/cuda.rs: the compiler keeps to the registers that so many have.
#define TEAM_KERNEL KERNEL __launch_bounds__(1024)

/// Folds the values of threads that have the same place among `teams`.
template <class Fold> __device__ inline float fold_columns(float value, unsigned lanes) {
  __shared__ float parts[THREADS];
  __syncthreads(); // What an earlier call has left is read.
  parts[threadIdx.x] = value;
  __syncthreads();
  unsigned teams = blockDim.x / lanes, team = threadIdx.x % teams;
  float result = parts[team];
#pragma unroll 1
  for (unsigned i = 1; i < lanes; ++i)
    result = Fold::of(result, parts[i * teams + team]);
  return result;
}

/// See Team::fold. It is called, not inlined: a module has it once for each fold.
template <class Fold> __noinline__ __device__ float fold_team(float value, unsigned lanes, bool adjacent) {
  if (!adjacent)
    return fold_columns<Fold>(value, lanes);
  if (lanes > WARP)
    return block_fold<Fold>(value);
#pragma unroll 1
  for (unsigned apart = lanes / 2; apart > 0; apart /= 2)
    value = Fold::of(value, __shfl_xor_sync(0xffffffffu, value, apart));
  return value;
}

/// Threads of a block that work on one row. Where a row's elements are neighbours, so are the threads of its team, which are
/// those of a warp, of a part of one, or of the block; otherwise neighbouring threads belong to neighbouring rows. Either way,
/// neighbouring threads read what is neighbouring in memory. All threads of a block take part in everything, also those whose
/// row is beyond the last one.
struct Team {
  unsigned row, lane, lanes;
  bool adjacent;

  __device__ Team(unsigned lanes, bool adjacent) : lanes(lanes), adjacent(adjacent) {
    unsigned teams = blockDim.x / lanes;
    row = blockIdx.x * teams + (adjacent ? threadIdx.x / lanes : threadIdx.x % teams);
    lane = adjacent ? threadIdx.x % lanes : threadIdx.x / teams;
  }

  /// Folds the values of the team's threads; each of them gets the result.
  template <class Fold> __device__ float fold(float value) const { return fold_team<Fold>(value, lanes, adjacent); }
};

/// What a thread of a team has of a row of `len` elements that lie `stride` apart.
///
/// With V > 1, it has at most V neighbours, which it keeps: the stride is 1, V divides the length, and the team is large
/// enough. With V = 1, it has any number of elements and reads them whenever they are needed, from the caches if the row is not
/// long.
template <class T, unsigned V> struct Row {
  const T *x;
  unsigned start, len, stride, first, lanes;
  float kept[V] = {};

  /// Row number `team.row` of `rows`; one beyond the last has no elements. Rows that are `stride` in number interleave.
  __device__ Row(const T *x, unsigned rows, unsigned len, unsigned stride, const Team &team)
      : x(x), start(V > 1 ? team.row * len : team.row / stride * len * stride + team.row % stride),
        len(team.row < rows ? len : 0), stride(stride), first(team.lane * V), lanes(team.lanes) {
    if (V > 1 && first < this->len)
      load_vector(x + start + first, kept);
  }

  /// Calls f(value, index) for each of the thread's elements.
  template <class F> __device__ void each(F f) const {
    if constexpr (V > 1) {
#pragma unroll
      for (unsigned j = 0; j < V; ++j)
        if (first < len)
          f(kept[j], first + j);
    } else {
#pragma unroll 1
      for (unsigned i = first; i < len; i += lanes)
        f(to_float(x[start + i * stride]), i);
    }
  }

  /// Stores f(value, index) for each of the thread's elements, in the same places of y.
  template <class F> __device__ void map(T *y, F f) const {
    if constexpr (V > 1) {
      if (first >= len)
        return;
      float values[V];
#pragma unroll
      for (unsigned j = 0; j < V; ++j)
        values[j] = f(kept[j], first + j);
      store_vector(y + start + first, values);
    } else {
#pragma unroll 1
      for (unsigned i = first; i < len; i += lanes)
        y[start + i * stride] = from_float<T>(f(to_float(x[start + i * stride]), i));
    }
  }
};
