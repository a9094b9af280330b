// Memory of devices, and memory of the host that is known to them.
#pragma once

#include <cstddef>
#include <map>

#include "cuda.hpp"

namespace standin {

struct Allocation {
  size_t start, bytes;
  CUcontext context;
  CUmemoryPool pool;
  /// Whether the memory is given back when its stream comes to that.
  bool freeing = false;
};

/// Every allocation ends, but for the rest of 256 bytes, where a page begins that cannot be touched; the page before it cannot be
/// touched either. Memory that is given back cannot be touched until the address space is used up.
class DeviceMemory {
public:
  size_t allocate(CUcontext context, size_t bytes, CUmemoryPool pool);
  /// Gives the memory back; ends the process if bytes around it have changed.
  void free(size_t start);
  void free_all(CUcontext context);
  /// What was taken from the pool no longer belongs to it.
  void leave(CUmemoryPool pool);
  /// The allocation that begins there.
  Allocation &at(size_t start);
  /// The allocation that the address lies in, or null.
  Allocation *find(size_t address);
  /// Whether all the bytes lie in one allocation.
  bool holds(size_t address, size_t bytes);
  size_t count() const { return allocations.size(); }
  size_t bytes() const;

private:
  /// Finds room between guards.
  size_t place(size_t pages);

  std::map<size_t, Allocation> allocations;
  size_t begin = 0, end = 0, cursor = 0;
};

/// What a device can hold.
size_t device_limit();

class PinnedMemory {
public:
  void *allocate(CUcontext context, size_t bytes);
  void free(void *start);
  void free_all(CUcontext context);
  const Allocation *find(size_t address) const;
  bool holds(const void *start, size_t bytes) const;
  size_t count() const { return allocations.size(); }

private:
  std::map<size_t, Allocation> allocations;
};

} // namespace standin
