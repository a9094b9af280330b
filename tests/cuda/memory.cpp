#include "memory.hpp"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <sys/mman.h>
#include <unistd.h>

#include "driver.hpp"

namespace standin {

namespace {

constexpr size_t GRANULE = 256;
/// What memory holds that nobody has written: as floats, NaN.
constexpr int UNWRITTEN = 0xff;
/// What surrounds an allocation where its pages are larger.
constexpr unsigned char CANARY = 0xa5;

size_t page() {
  static const size_t bytes = (size_t)sysconf(_SC_PAGESIZE);
  return bytes;
}

size_t round_up(size_t bytes, size_t unit) { return (bytes + unit - 1) / unit * unit; }

/// The pages of an allocation.
size_t first_byte(const Allocation &allocation) { return allocation.start / page() * page(); }
size_t last_byte(const Allocation &allocation) { return round_up(allocation.start + allocation.bytes, page()); }

/// Replaces pages by fresh ones; false if the system has no more.
bool map_at(size_t start, size_t bytes, int protection) {
  int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED;
  return mmap((void *)start, bytes, protection, flags, -1, 0) != MAP_FAILED;
}

void check_canary(const Allocation &allocation, size_t from, size_t to) {
  for (size_t at = from; at < to; ++at)
    if (*(unsigned char *)at != CANARY)
      die("device memory is damaged: the byte at %+lld of an allocation of %zu bytes has been written",
          (long long)(at - allocation.start), allocation.bytes);
}

template <class Map> auto containing(Map &allocations, size_t address) -> decltype(&allocations.begin()->second) {
  auto after = allocations.upper_bound(address);
  if (after == allocations.begin())
    return nullptr;
  auto &allocation = std::prev(after)->second;
  return address - allocation.start < allocation.bytes ? &allocation : nullptr;
}

} // namespace

size_t device_limit() {
  static const size_t limit = (size_t)environment("INFER_STANDIN_MEMORY", 8ll << 30);
  return limit;
}

size_t DeviceMemory::place(size_t bytes) {
  if (begin == 0) {
    size_t space = (size_t)1 << 40;
    void *start = MAP_FAILED;
    for (; start == MAP_FAILED && space > device_limit(); space /= 2)
      start = mmap(nullptr, space, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    need(start != MAP_FAILED, CUDA_ERROR_OUT_OF_MEMORY);
    begin = cursor = (size_t)start + page();
    end = (size_t)start + space * 2;
  }
  // Once around, then in the gaps.
  for (int round = 0; round < 2; ++round, cursor = begin) {
    for (auto it = allocations.lower_bound(cursor); cursor + bytes + page() <= end; ++it) {
      if (it == allocations.end() || cursor + bytes + page() <= first_byte(it->second)) {
        size_t found = cursor;
        cursor += bytes + page();
        return found;
      }
      cursor = last_byte(it->second) + page();
    }
  }
  throw Failure{CUDA_ERROR_OUT_OF_MEMORY};
}

size_t DeviceMemory::allocate(CUcontext context, size_t bytes, CUmemoryPool pool) {
  need(bytes > 0);
  need(bytes <= device_limit() && context->used + round_up(bytes, GRANULE) <= device_limit(), CUDA_ERROR_OUT_OF_MEMORY);
  size_t pages = round_up(bytes, page());
  size_t first = place(pages);
  need(map_at(first, pages, PROT_READ | PROT_WRITE), CUDA_ERROR_OUT_OF_MEMORY);
  size_t start = first + pages - round_up(bytes, GRANULE);
  std::memset((void *)first, CANARY, start - first);
  std::memset((void *)start, UNWRITTEN, bytes);
  std::memset((void *)(start + bytes), CANARY, first + pages - start - bytes);
  allocations[start] = {start, bytes, context, pool, false};
  context->used += round_up(bytes, GRANULE);
  if (pool) {
    pool->used += bytes;
    pool->high = std::max(pool->high, pool->used);
  }
  return start;
}

void DeviceMemory::free(size_t start) {
  const Allocation &allocation = at(start);
  size_t first = first_byte(allocation), last = last_byte(allocation);
  check_canary(allocation, first, start);
  check_canary(allocation, start + allocation.bytes, last);
  if (!map_at(first, last - first, PROT_NONE))
    die("the system refuses to take memory back");
  allocation.context->used -= round_up(allocation.bytes, GRANULE);
  if (allocation.pool)
    allocation.pool->used -= allocation.bytes;
  allocations.erase(start);
}

void DeviceMemory::free_all(CUcontext context) {
  for (auto it = allocations.begin(); it != allocations.end();) {
    size_t start = it->first;
    bool own = it++->second.context == context;
    if (own)
      free(start);
  }
}

void DeviceMemory::leave(CUmemoryPool pool) {
  for (auto &[start, allocation] : allocations)
    if (allocation.pool == pool)
      allocation.pool = nullptr;
}

Allocation &DeviceMemory::at(size_t start) {
  auto found = allocations.find(start);
  need(found != allocations.end());
  return found->second;
}

Allocation *DeviceMemory::find(size_t address) { return containing(allocations, address); }

bool DeviceMemory::holds(size_t address, size_t bytes) {
  const Allocation *allocation = find(address);
  return allocation && bytes <= allocation->start + allocation->bytes - address;
}

size_t DeviceMemory::bytes() const {
  size_t sum = 0;
  for (auto &[start, allocation] : allocations)
    sum += allocation.bytes;
  return sum;
}

void *PinnedMemory::allocate(CUcontext context, size_t bytes) {
  need(bytes > 0);
  void *start = std::aligned_alloc(page(), round_up(bytes, page()));
  need(start != nullptr, CUDA_ERROR_OUT_OF_MEMORY);
  std::memset(start, UNWRITTEN, bytes);
  allocations[(size_t)start] = {(size_t)start, bytes, context, nullptr, false};
  return start;
}

void PinnedMemory::free(void *start) {
  need(allocations.erase((size_t)start) == 1);
  std::free(start);
}

void PinnedMemory::free_all(CUcontext context) {
  for (auto it = allocations.begin(); it != allocations.end();) {
    void *start = (void *)it->first;
    bool own = it++->second.context == context;
    if (own)
      free(start);
  }
}

const Allocation *PinnedMemory::find(size_t address) const { return containing(allocations, address); }

bool PinnedMemory::holds(const void *start, size_t bytes) const {
  const Allocation *allocation = find((size_t)start);
  return allocation && bytes <= allocation->start + allocation->bytes - (size_t)start;
}

} // namespace standin
