// What compiled kernels and the machine that runs them know of each other.
#pragma once

#include <stddef.h>
#include <utility>

#include "vectors.hpp"

/// What CUDA calls its built-in variables.
extern __thread uint3 threadIdx, blockIdx, blockDim, gridDim;

namespace standin {

/// What threads of a warp do when they meet.
enum class Meeting { SYNC, SHUFFLE, BALLOT, GATHER };

/// Waits for all threads of the block; the sum of what they pass.
unsigned sync_block(unsigned value);

/// Waits for the threads of the warp that the mask names; a ballot of the values, or the value of the source.
unsigned long long meet(Meeting meeting, unsigned mask, unsigned long long value, unsigned source);

/// Waits for all threads of the warp; `all` becomes what each of them has at `mine`, in the order of lanes.
void gather(const void *mine, void *all, size_t bytes);

/// The thread's place in its warp.
unsigned lane();

void *dynamic_shared();

/// A compiled kernel. `call` runs one thread of it with parameters as cuLaunchKernel takes them.
struct Kernel {
  const char *name;
  void (*call)(void *const *params);
  const size_t *sizes;
  size_t count;
};

void add_kernel(const Kernel &kernel);

template <auto function> struct Entry;

template <class... P, void (*function)(P...)> struct Entry<function> {
  static constexpr size_t sizes[] = {sizeof(P)..., 0};

  static void call(void *const *params) { call(params, std::index_sequence_for<P...>()); }

  template <size_t... I> static void call([[maybe_unused]] void *const *params, std::index_sequence<I...>) {
    function(*(P *)params[I]...);
  }

  explicit Entry(const char *name) { add_kernel({name, &call, sizes, sizeof...(P)}); }
};

} // namespace standin

/// Enters a kernel into the table from which modules take their functions.
#define STANDIN_ENTRY(name) const standin::Entry<&name> standin_entry_##name(#name);
