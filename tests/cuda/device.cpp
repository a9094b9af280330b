// Devices and their contexts.
#include <cstdio>
#include <cstring>

#include "driver.hpp"

using namespace standin;

namespace {

/// The contexts of a thread; the last one is current.
thread_local std::vector<CUctx_st *> stack;

constexpr int MULTIPROCESSORS = 132;

CUctx_st &find_device(CUdevice device) {
  need(device >= 0 && (size_t)device < driver().devices.size(), CUDA_ERROR_INVALID_DEVICE);
  return *driver().devices[(size_t)device];
}

CUctx_st *find_context(CUcontext context) {
  for (auto &device : driver().devices)
    if (device.get() == context && context->references > 0)
      return context;
  throw Failure{CUDA_ERROR_INVALID_CONTEXT};
}

void copy_text(char *to, int size, const char *text) {
  need(to && size > 0);
  snprintf(to, (size_t)size, "%s", text);
}

/// The device's attributes by number; 0 for those that say that something is not there.
int attribute(int attribute, CUdevice device) {
  static const std::map<int, int> VALUES = {
      {1, 1024},             // threads of a block
      {2, 1024},             // block, x
      {3, 1024},             // block, y
      {4, 64},               // block, z
      {5, 0x7fffffff},       // grid, x
      {6, 65535},            // grid, y
      {7, 65535},            // grid, z
      {8, 49152},            // shared memory of a block
      {9, 65536},            // constant memory
      {10, 32},              // warp
      {12, 65536},           // registers of a block
      {13, 1980000},         // clock, kHz
      {15, 1},               // copies beside kernels
      {16, MULTIPROCESSORS}, // multiprocessors
      {19, 1},               // can map memory of the host
      {31, 1},               // concurrent kernels
      {36, 2619000},         // clock of the memory, kHz
      {37, 5120},            // width of the memory's bus
      {38, 50 << 20},        // L2 cache
      {39, 2048},            // threads of a multiprocessor
      {40, 3},               // engines that copy
      {41, 1},               // unified addressing
      {78, 1},               // priorities of streams
      {81, 233472},          // shared memory of a multiprocessor
      {82, 65536},           // registers of a multiprocessor
      {95, 1},               // cooperative launches
      {97, 232448},          // shared memory of a block, where it asks for more
      {102, 1},              // management of virtual addresses
      {106, 32},             // blocks of a multiprocessor
      {111, 1024},           // shared memory of a block that is reserved
      {115, 1},              // memory pools
  };
  if (attribute == 33)
    return device + 1; // PCI bus
  if (attribute == 75 || attribute == 76)
    return capability() / (attribute == 75 ? 10 : 1) % 10;
  need(attribute > 0);
  auto found = VALUES.find(attribute);
  return found == VALUES.end() ? 0 : found->second;
}

/// Gives back all that belongs to the context.
void destroy(CUctx_st &context) {
  Driver &state = driver();
  auto own = [&](auto &object) { return object.context == &context; };
  drop_captures(context);
  drain_context(&context);
  state.streams.remove_if(own);
  state.events.remove_if(own);
  state.execs.remove_if(own);
  state.functions.remove_if([&](CUfunc_st &function) { return own(*function.module); });
  state.modules.remove_if(own);
  state.memory.free_all(&context);
  state.pinned.free_all(&context);
  context.legacy = nullptr;
  context.sticky = CUDA_SUCCESS;
}

} // namespace

namespace standin {

int capability() {
  const char *value = getenv("INFER_STANDIN_CAPABILITY");
  int major = 9, minor = 0;
  if (value && sscanf(value, "%d.%d", &major, &minor) != 2)
    die("INFER_STANDIN_CAPABILITY is as 7.5; it is: %s", value);
  return major * 10 + minor;
}

CUctx_st *current_context() { return stack.empty() ? nullptr : stack.back(); }

CUctx_st &need_context() {
  CUctx_st *context = current_context();
  need(context, CUDA_ERROR_INVALID_CONTEXT);
  need(context->references > 0, CUDA_ERROR_CONTEXT_IS_DESTROYED);
  need(context->sticky == CUDA_SUCCESS, context->sticky);
  return *context;
}

} // namespace standin

CUresult cuDeviceGetCount(int *count) {
  return in_driver(__func__, [&] {
    need(count);
    *count = (int)driver().devices.size();
  });
}

CUresult cuDeviceGet(CUdevice *device, int ordinal) {
  return in_driver(__func__, [&] {
    need(device);
    *device = find_device(ordinal).device;
  });
}

CUresult cuDeviceGetName(char *name, int size, CUdevice device) {
  return in_driver(__func__, [&] {
    find_device(device);
    copy_text(name, size, "Stand-in");
  });
}

CUresult cuDeviceGetUuid(CUuuid *uuid, CUdevice device) { return cuDeviceGetUuid_v2(uuid, device); }

CUresult cuDeviceGetUuid_v2(CUuuid *uuid, CUdevice device) {
  return in_driver(__func__, [&] {
    need(uuid);
    find_device(device);
    memcpy(uuid->bytes, "infer stand-in", 15);
    uuid->bytes[15] = (char)device;
  });
}

CUresult cuDeviceGetAttribute(int *value, int number, CUdevice device) {
  return in_driver(__func__, [&] {
    need(value);
    find_device(device);
    *value = attribute(number, device);
  });
}

CUresult cuDeviceTotalMem_v2(size_t *bytes, CUdevice device) {
  return in_driver(__func__, [&] {
    need(bytes);
    find_device(device);
    *bytes = device_limit();
  });
}

CUresult cuDeviceGetPCIBusId(char *id, int size, CUdevice device) {
  return in_driver(__func__, [&] {
    find_device(device);
    char text[16];
    snprintf(text, sizeof text, "0000:%02x:00.0", (unsigned)(device + 1) & 0xffu);
    copy_text(id, size, text);
  });
}

CUresult cuDeviceCanAccessPeer(int *can, CUdevice device, CUdevice peer) {
  return in_driver(__func__, [&] {
    need(can);
    find_device(device);
    find_device(peer);
    *can = 0;
  });
}

CUresult cuDeviceGetDefaultMemPool(CUmemoryPool *pool, CUdevice device) {
  return in_driver(__func__, [&] {
    need(pool);
    *pool = find_device(device).pool;
  });
}

CUresult cuDevicePrimaryCtxRetain(CUcontext *context, CUdevice device) {
  return in_driver(__func__, [&] {
    need(context);
    CUctx_st &found = find_device(device);
    if (found.references++ == 0)
      found.legacy = std::make_shared<CUstream_st>(CUstream_st{&found, CU_STREAM_DEFAULT});
    *context = &found;
  });
}

CUresult cuDevicePrimaryCtxRelease_v2(CUdevice device) {
  return in_driver(__func__, [&] {
    CUctx_st &context = find_device(device);
    need(context.references > 0, CUDA_ERROR_INVALID_CONTEXT);
    if (context.references == 1)
      destroy(context);
    --context.references;
  });
}

CUresult cuDevicePrimaryCtxGetState(CUdevice device, unsigned *flags, int *active) {
  return in_driver(__func__, [&] {
    need(flags && active);
    *flags = 0;
    *active = find_device(device).references > 0;
  });
}

CUresult cuCtxPushCurrent_v2(CUcontext context) {
  return in_driver(__func__, [&] { stack.push_back(find_context(context)); });
}

CUresult cuCtxPopCurrent_v2(CUcontext *context) {
  return in_driver(__func__, [&] {
    need(!stack.empty(), CUDA_ERROR_INVALID_CONTEXT);
    if (context)
      *context = stack.back();
    stack.pop_back();
  });
}

CUresult cuCtxGetCurrent(CUcontext *context) {
  return in_driver(__func__, [&] {
    need(context);
    *context = current_context();
  });
}

CUresult cuCtxSetCurrent(CUcontext context) {
  return in_driver(__func__, [&] {
    CUctx_st *found = context ? find_context(context) : nullptr;
    if (!stack.empty())
      stack.pop_back();
    if (found)
      stack.push_back(found);
  });
}

CUresult cuCtxGetDevice(CUdevice *device) {
  return in_driver(__func__, [&] {
    need(device);
    need(current_context(), CUDA_ERROR_INVALID_CONTEXT);
    *device = current_context()->device;
  });
}

CUresult cuCtxSynchronize() {
  return in_context(__func__, [&](CUctx_st &context) {
    for (const StreamPtr &stream : all_streams(&context))
      need_no_capture(stream);
    drain_context(&context);
  });
}
