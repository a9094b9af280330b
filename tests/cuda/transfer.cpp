// Functions for memory: taking and giving it back, pools, copies.
#include <algorithm>
#include <cstring>

#include "driver.hpp"

using namespace standin;

namespace {

/// What a stream does later needs the range that it was given.
void need_still(CUdeviceptr start, size_t bytes, const char *what) {
  if (bytes > 0 && !driver().memory.holds(start, bytes))
    die("%s comes to %zu bytes at %#llx when that memory has been given back", what, bytes, start);
}

/// The bytes lie in one allocation that nobody has asked to give back.
void need_range(CUdeviceptr start, size_t bytes) {
  need(bytes == 0 || (driver().memory.holds(start, bytes) && !driver().memory.find(start)->freeing));
}

void submit_upload(const StreamPtr &stream, CUdeviceptr to, const void *from, size_t bytes) {
  need_range(to, bytes);
  need(from || bytes == 0);
  // As with a driver, memory that is not pinned may be used again at once; pinned memory only when the copy is done.
  std::shared_ptr<std::vector<char>> staged;
  if (!stream->capture && !driver().pinned.holds(from, bytes))
    staged = std::make_shared<std::vector<char>>((const char *)from, (const char *)from + bytes);
  submit_work(stream, true, [=] {
    need_still(to, bytes, "a copy");
    memcpy((void *)to, staged ? staged->data() : from, bytes);
  });
}

/// The copy is late even if the memory is not pinned, so that it shows if nobody waits for it.
void submit_download(const StreamPtr &stream, void *to, CUdeviceptr from, size_t bytes) {
  need_range(from, bytes);
  need(to || bytes == 0);
  submit_work(stream, true, [=] {
    need_still(from, bytes, "a copy");
    memcpy(to, (const void *)from, bytes);
  });
}

template <class T> void submit_fill(const StreamPtr &stream, CUdeviceptr to, T value, size_t count) {
  need(to % sizeof(T) == 0 && count <= (size_t)-1 / sizeof(T));
  need_range(to, count * sizeof(T));
  submit_work(stream, true, [=] {
    need_still(to, count * sizeof(T), "a fill");
    std::fill_n((T *)to, count, value);
  });
}

/// The memory is there at once. What a graph would allocate is not supported.
void allocate_async(CUctx_st &context, CUdeviceptr *pointer, size_t bytes, CUmemoryPool pool, CUstream handle) {
  need(pointer);
  StreamPtr stream = find_stream(&context, handle);
  need_no_capture(stream);
  need(pool->device == stream->context->device);
  *pointer = driver().memory.allocate(stream->context, bytes, pool);
}

template <class T> void store(void *value, T what) { memcpy(value, &what, sizeof what); }

} // namespace

CUresult cuMemAlloc_v2(CUdeviceptr *pointer, size_t bytes) {
  return in_context(__func__, [&](CUctx_st &context) {
    need(pointer);
    need_no_unsafe_capture();
    *pointer = driver().memory.allocate(&context, bytes, nullptr);
  });
}

CUresult cuMemFree_v2(CUdeviceptr pointer) {
  return in_context(__func__, [&](CUctx_st &) {
    need_no_unsafe_capture();
    need(!driver().memory.at(pointer).freeing);
    drain_context(driver().memory.at(pointer).context);
    driver().memory.free(pointer);
  });
}

CUresult cuMemAllocAsync(CUdeviceptr *pointer, size_t bytes, CUstream stream) {
  return in_context(__func__, [&](CUctx_st &context) { allocate_async(context, pointer, bytes, context.pool, stream); });
}

CUresult cuMemAllocFromPoolAsync(CUdeviceptr *pointer, size_t bytes, CUmemoryPool pool, CUstream stream) {
  return in_context(__func__, [&](CUctx_st &context) {
    allocate_async(context, pointer, bytes, driver().pools.find(pool).get(), stream);
  });
}

CUresult cuMemFreeAsync(CUdeviceptr pointer, CUstream handle) {
  return in_context(__func__, [&](CUctx_st &context) {
    StreamPtr stream = find_stream(&context, handle);
    need_no_capture(stream);
    Allocation &allocation = driver().memory.at(pointer);
    need(!allocation.freeing);
    allocation.freeing = true;
    submit_work(stream, true, [=] { driver().memory.free(pointer); });
  });
}

CUresult cuMemPoolCreate(CUmemoryPool *pool, const CUmemPoolProps *props) {
  return in_driver(__func__, [&] {
    need(pool && props && props->allocType == CU_MEM_ALLOCATION_TYPE_PINNED);
    need(props->location.type == CU_MEM_LOCATION_TYPE_DEVICE);
    need(props->location.id >= 0 && (size_t)props->location.id < driver().devices.size());
    *pool = driver().pools.add(std::make_shared<CUmemPoolHandle_st>(CUmemPoolHandle_st{props->location.id}));
  });
}

CUresult cuMemPoolDestroy(CUmemoryPool pool) {
  return in_driver(__func__, [&] {
    // What was taken from the pool stays, and goes to nobody.
    driver().pools.find(pool);
    driver().memory.leave(pool);
    driver().pools.remove(pool);
  });
}

CUresult cuMemPoolSetAttribute(CUmemoryPool handle, int attribute, void *value) {
  return in_driver(__func__, [&] {
    need(value);
    CUmemPoolHandle_st &pool = *driver().pools.find(handle);
    if (attribute == CU_MEMPOOL_ATTR_RELEASE_THRESHOLD)
      memcpy(&pool.threshold, value, sizeof pool.threshold);
    else if (attribute == CU_MEMPOOL_ATTR_USED_MEM_HIGH)
      pool.high = pool.used;
    else
      need(attribute >= 1 && attribute <= 3);
  });
}

CUresult cuMemPoolGetAttribute(CUmemoryPool handle, int attribute, void *value) {
  return in_driver(__func__, [&] {
    need(value && attribute >= 1 && attribute <= CU_MEMPOOL_ATTR_USED_MEM_HIGH);
    const CUmemPoolHandle_st &pool = *driver().pools.find(handle);
    // A pool reserves what is used; how it reuses memory cannot be changed.
    if (attribute < CU_MEMPOOL_ATTR_RELEASE_THRESHOLD)
      store(value, 1);
    else if (attribute == CU_MEMPOOL_ATTR_RELEASE_THRESHOLD)
      store(value, pool.threshold);
    else
      store(value, attribute % 2 ? pool.used : pool.high);
  });
}

CUresult cuMemPoolTrimTo(CUmemoryPool pool, size_t) {
  return in_driver(__func__, [&] { driver().pools.find(pool); });
}

CUresult cuMemHostAlloc(void **pointer, size_t bytes, unsigned) {
  return in_context(__func__, [&](CUctx_st &context) {
    need(pointer);
    need_no_unsafe_capture();
    *pointer = driver().pinned.allocate(&context, bytes);
  });
}

CUresult cuMemFreeHost(void *pointer) {
  return in_context(__func__, [&](CUctx_st &context) {
    need_no_unsafe_capture();
    drain_context(&context);
    driver().pinned.free(pointer);
  });
}

CUresult cuMemGetInfo_v2(size_t *free, size_t *total) {
  return in_context(__func__, [&](CUctx_st &context) {
    need(free && total);
    *total = device_limit();
    *free = *total - context.used;
  });
}

CUresult cuPointerGetAttribute(void *value, int attribute, CUdeviceptr pointer) {
  return in_context(__func__, [&](CUctx_st &) {
    need(value);
    const Allocation *device = driver().memory.find(pointer);
    const Allocation *found = device ? device : driver().pinned.find(pointer);
    need(found);
    switch (attribute) {
    case CU_POINTER_ATTRIBUTE_CONTEXT:
      return store(value, found->context);
    case CU_POINTER_ATTRIBUTE_MEMORY_TYPE:
      return store(value, device ? CU_MEMORYTYPE_DEVICE : CU_MEMORYTYPE_HOST);
    case CU_POINTER_ATTRIBUTE_DEVICE_POINTER:
      return store(value, pointer);
    case CU_POINTER_ATTRIBUTE_HOST_POINTER:
      need(!device);
      return store(value, pointer);
    case CU_POINTER_ATTRIBUTE_IS_MANAGED:
      return store(value, 0);
    case CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL:
      return store(value, found->context->device);
    case CU_POINTER_ATTRIBUTE_RANGE_START_ADDR:
      return store(value, found->start);
    case CU_POINTER_ATTRIBUTE_RANGE_SIZE:
      return store(value, found->bytes);
    default:
      throw Failure{CUDA_ERROR_NOT_SUPPORTED};
    }
  });
}

CUresult cuMemcpyHtoD_v2(CUdeviceptr to, const void *from, size_t bytes) {
  return in_context(__func__, [&](CUctx_st &context) {
    need_no_unsafe_capture();
    submit_upload(context.legacy, to, from, bytes);
    drain(context.legacy, context.legacy->submitted);
  });
}

CUresult cuMemcpyDtoH_v2(void *to, CUdeviceptr from, size_t bytes) {
  return in_context(__func__, [&](CUctx_st &context) {
    need_no_unsafe_capture();
    submit_download(context.legacy, to, from, bytes);
    drain(context.legacy, context.legacy->submitted);
  });
}

CUresult cuMemcpyHtoDAsync_v2(CUdeviceptr to, const void *from, size_t bytes, CUstream stream) {
  return in_context(__func__, [&](CUctx_st &context) { submit_upload(find_stream(&context, stream), to, from, bytes); });
}

CUresult cuMemcpyDtoHAsync_v2(void *to, CUdeviceptr from, size_t bytes, CUstream stream) {
  return in_context(__func__, [&](CUctx_st &context) { submit_download(find_stream(&context, stream), to, from, bytes); });
}

CUresult cuMemcpyDtoDAsync_v2(CUdeviceptr to, CUdeviceptr from, size_t bytes, CUstream stream) {
  return in_context(__func__, [&](CUctx_st &context) {
    need_range(to, bytes);
    need_range(from, bytes);
    submit_work(find_stream(&context, stream), true, [=] {
      need_still(to, bytes, "a copy");
      need_still(from, bytes, "a copy");
      memmove((void *)to, (const void *)from, bytes);
    });
  });
}

CUresult cuMemsetD8Async(CUdeviceptr to, unsigned char value, size_t count, CUstream stream) {
  return in_context(__func__, [&](CUctx_st &context) { submit_fill(find_stream(&context, stream), to, value, count); });
}

CUresult cuMemsetD32Async(CUdeviceptr to, unsigned value, size_t count, CUstream stream) {
  return in_context(__func__, [&](CUctx_st &context) { submit_fill(find_stream(&context, stream), to, value, count); });
}
