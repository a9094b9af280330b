// What the stand-in says of mistakes, and failures that it is asked for. What ends a process runs in one of its own.
#include <string>

#include "selftest.hpp"

namespace {

bool has(const std::string &text, const char *part) {
  bool found = text.find(part) != std::string::npos;
  if (!found)
    fprintf(stderr, "no \"%s\" in: %s\n", part, text.c_str());
  return found;
}

template <class... P> void launch_and_wait(const char *name, P... params) {
  Session session;
  OK(session.launch(name, 1, 64, nullptr, params...));
  OK(cuCtxSynchronize());
}

/// Writes a word so many bytes from the start of an allocation of 1000.
void write_at(int byte) {
  Session session;
  Memory memory(1000);
  OK(session.launch("bad_write", 1, 32, nullptr, memory.at + (CUdeviceptr)byte, 0u));
}

} // namespace

SCENARIO(writes_within) { write_at(996); }
SCENARIO(writes_behind) { write_at(1000); }
SCENARIO(writes_before) { write_at(-4); }
SCENARIO(writes_far_behind) { write_at(1024); }

SCENARIO(writes_what_is_given_back) {
  Session session;
  CUdeviceptr memory = 0;
  OK(cuMemAllocAsync(&memory, 1000, nullptr));
  OK(session.launch("bad_write", 1, 32, nullptr, memory, 1u));
  OK(cuMemFreeAsync(memory, nullptr));
  OK(session.launch("bad_write", 1, 32, nullptr, memory, 1u));
  OK(cuCtxSynchronize());
}

SCENARIO(copies_what_is_given_back) {
  Session session;
  CUdeviceptr memory = 0;
  unsigned word = 0;
  CUstream a = nullptr, b = nullptr;
  OK(cuStreamCreate(&a, CU_STREAM_NON_BLOCKING));
  OK(cuStreamCreate(&b, CU_STREAM_NON_BLOCKING));
  OK(cuMemAllocAsync(&memory, 1000, a));
  OK(cuMemcpyDtoHAsync_v2(&word, memory, 4, b));
  OK(cuMemFreeAsync(memory, a));
  OK(cuStreamSynchronize(a));
  OK(cuStreamSynchronize(b));
}

TEST(writes_beside_memory_are_reported) {
  CHECK(outcome("writes_within").empty());
  CHECK(has(outcome("writes_behind"), "the byte at +1000 of an allocation of 1000 bytes has been written"));
  CHECK(has(outcome("writes_before"), "the byte at -4 of an allocation of 1000 bytes has been written"));
  CHECK(has(outcome("writes_far_behind"), "kernel bad_write accesses memory that it must not: block (0, 0, 0), thread (0,"));
  CHECK(has(outcome("writes_what_is_given_back"), "kernel bad_write accesses memory that it must not"));
  CHECK(has(outcome("copies_what_is_given_back"), "a copy comes to 4 bytes"));
}

SCENARIO(misaligned) {
  Session session;
  Memory memory(1000);
  OK(session.launch("bad_alignment", 1, 32, nullptr, memory.at, 2u));
}

SCENARIO(out_of_bounds) {
  Session session;
  Memory memory(1000);
  OK(session.launch("bad_bounds", 1, 32, nullptr, memory.at, 2u));
}

SCENARIO(waits_forever) { launch_and_wait("bad_barriers"); }
SCENARIO(meets_in_different_calls) { launch_and_wait("bad_meeting", (CUdeviceptr)0); }

TEST(mistakes_of_kernels_are_reported) {
  CHECK(has(outcome("misaligned"), "kernel bad_alignment accesses a misaligned address, or traps"));
  CHECK(has(outcome("out_of_bounds"), "kernel bad_bounds accesses a misaligned address, or traps"));
  CHECK(has(outcome("waits_forever"), "kernel bad_barriers: threads of block (0, 0, 0) wait forever: 32 at __syncthreads, 32"));
  CHECK(has(outcome("meets_in_different_calls"), "kernel bad_meeting: threads 0 and 1 of a block meet in their warp, one in a "));
}

TEST(copies_stay_within_memory) {
  Session session;
  Memory memory(1000), other(1000);
  std::vector<char> host(2000);
  OK(cuMemcpyHtoD_v2(memory.at + 500, host.data(), 500));
  RETURNS(1, cuMemcpyHtoD_v2(memory.at + 501, host.data(), 500));
  RETURNS(1, cuMemcpyDtoH_v2(host.data(), memory.at - 1, 1));
  RETURNS(1, cuMemcpyDtoDAsync_v2(memory.at, other.at, 1001, nullptr));
  RETURNS(1, cuMemsetD32Async(memory.at + 2, 0, 1, nullptr));
  RETURNS(1, cuMemsetD8Async(memory.at, 0, 1001, nullptr));
  OK(cuMemcpyDtoDAsync_v2(memory.at, other.at, 1000, nullptr));
  RETURNS(1, cuMemFree_v2(memory.at + 1));
}

TEST(memory_is_counted) {
  Session session;
  size_t free = 0, total = 0, rest = 0;
  OK(cuMemGetInfo_v2(&free, &total));
  CHECK(free == total && total == 8ull << 30);
  CUmemPoolProps props = {};
  props.allocType = CU_MEM_ALLOCATION_TYPE_PINNED;
  props.location = {CU_MEM_LOCATION_TYPE_DEVICE, 0};
  CUmemoryPool pool = nullptr;
  OK(cuMemPoolCreate(&pool, &props));
  unsigned long long used = 0, threshold = ~0ull;
  OK(cuMemPoolSetAttribute(pool, CU_MEMPOOL_ATTR_RELEASE_THRESHOLD, &threshold));
  CUdeviceptr memory = 0;
  OK(cuMemAllocFromPoolAsync(&memory, 1000, pool, nullptr));
  OK(cuMemPoolGetAttribute(pool, CU_MEMPOOL_ATTR_USED_MEM_CURRENT, &used));
  OK(cuMemGetInfo_v2(&rest, &total));
  CHECK(used == 1000 && free - rest == 1024 && memory % 256 == 0);
  CHECK(infer_standin_count("allocations") == 1 && infer_standin_count("bytes") == 1000);
  OK(cuMemFreeAsync(memory, nullptr));
  RETURNS(1, cuMemFreeAsync(memory, nullptr));
  CHECK(infer_standin_count("allocations") == 1);
  OK(cuMemPoolDestroy(pool));
  OK(cuCtxSynchronize());
  CHECK(infer_standin_count("allocations") == 0);
  RETURNS(2, cuMemAlloc_v2(&memory, (8ull << 30) + 1));
  RETURNS(1, cuMemAlloc_v2(&memory, 0));
}

SCENARIO(little_memory) {
  Session session;
  CUdeviceptr a = 0, b = 0;
  OK(cuMemAlloc_v2(&a, 512));
  RETURNS(2, cuMemAlloc_v2(&b, 513));
  OK(cuMemFree_v2(a));
  OK(cuMemAlloc_v2(&b, 1000));
}

SCENARIO(fails_once) {
  Session session;
  Memory memory(4);
  unsigned word = 0;
  OK(cuMemcpyDtoH_v2(&word, memory.at, 4));
  RETURNS(719, cuMemcpyDtoH_v2(&word, memory.at, 4));
  RETURNS(719, cuCtxSynchronize());
  RETURNS(719, cuMemFree_v2(memory.at));
  OK(cuDevicePrimaryCtxRelease_v2(0));
  CHECK(infer_standin_count("allocations") == 0);
  OK(cuDevicePrimaryCtxRetain(&session.context, 0));
  OK(cuMemAlloc_v2(&memory.at, 4));
  OK(cuModuleLoadData(&session.module, ".version 8.4\n.target sm_75\n"));
}

SCENARIO(calls_back_after_a_failure) {
  Session session;
  static int status = -1;
  OK(cuStreamAddCallback(nullptr, [](CUstream, CUresult result, void *) { status = (int)result; }, nullptr, 0));
  RETURNS(719, cuStreamSynchronize(nullptr));
  CHECK(status == 719);
  OK(cuDevicePrimaryCtxRelease_v2(0));
  OK(cuDevicePrimaryCtxRetain(&session.context, 0));
  OK(cuModuleLoadData(&session.module, ".version 8.4\n.target sm_75\n"));
}

SCENARIO(fails_for_once) {
  Session session;
  CUdeviceptr memory = 0;
  RETURNS(2, cuMemAlloc_v2(&memory, 4));
  OK(cuMemAlloc_v2(&memory, 4));
  RETURNS(999, cuMemFree_v2(memory));
  OK(cuMemFree_v2(memory));
}

TEST(failures_can_be_asked_for) {
  CHECK(outcome("little_memory", {"INFER_STANDIN_MEMORY=1024"}).empty());
  CHECK(outcome("fails_once", {"INFER_STANDIN_FAIL=cuMemcpyDtoH_v2:2:719"}).empty());
  CHECK(outcome("calls_back_after_a_failure", {"INFER_STANDIN_FAIL=cuStreamSynchronize:1:719"}).empty());
  CHECK(outcome("fails_for_once", {"INFER_STANDIN_FAIL=cuMemAlloc:1:2,cuMemFree:1:999"}).empty());
  CHECK(has(outcome("fails_once", {"INFER_STANDIN_FAIL=nonsense"}), "INFER_STANDIN_FAIL is function:n:code"));
}

SCENARIO(runs_at_once) {
  Session session;
  Memory memory(4);
  OK(session.launch("test_index", 1, 32, nullptr, memory.at, 1u));
  CHECK(*(unsigned *)memory.at == 0);
}

SCENARIO(no_device) {
  RETURNS(100, cuInit(0));
  int count = 0;
  RETURNS(3, cuDeviceGetCount(&count));
}

SCENARIO(three_old_devices) {
  OK(cuInit(0));
  int count = 0, version = 0, major = 0, minor = 0, lanes = 0;
  OK(cuDeviceGetCount(&count));
  OK(cuDriverGetVersion(&version));
  OK(cuDeviceGetAttribute(&major, 75, 2));
  OK(cuDeviceGetAttribute(&minor, 76, 2));
  OK(cuDeviceGetAttribute(&lanes, 10, 2));
  CHECK(count == 3 && version == 12020 && major == 7 && minor == 5 && lanes == 32);
  RETURNS(101, cuDeviceGet(&count, 3));
  CUuuid a, b;
  OK(cuDeviceGetUuid(&a, 0));
  OK(cuDeviceGetUuid_v2(&b, 1));
  CHECK(std::string(a.bytes, 16) != std::string(b.bytes, 16));
  CUcontext first = nullptr, second = nullptr, current = nullptr;
  CUstream stream = nullptr;
  RETURNS(201, cuStreamCreate(&stream, 0));
  OK(cuDevicePrimaryCtxRetain(&first, 0));
  OK(cuDevicePrimaryCtxRetain(&second, 1));
  OK(cuCtxPushCurrent_v2(first));
  OK(cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING));
  OK(cuCtxPushCurrent_v2(second));
  CUmodule module = nullptr;
  CUfunction function = nullptr;
  OK(cuModuleLoadData(&module, ".version 8.2\n.target sm_75\n.entry bad_barriers(\n)\n{ }\n"));
  OK(cuModuleGetFunction(&function, module, "bad_barriers"));
  RETURNS(400, cuLaunchKernel(function, 1, 1, 1, 1, 1, 1, 0, stream, nullptr, nullptr));
  OK(cuCtxPopCurrent_v2(&current));
  CHECK(current == second);
  OK(cuDevicePrimaryCtxRelease_v2(0));
  RETURNS(709, cuStreamSynchronize(stream));
  CHECK(infer_standin_count("streams") == 0 && infer_standin_count("modules") == 1 && infer_standin_count("contexts") == 1);
}

SCENARIO(stale_kernel) {
  Session session;
  CUmodule module = nullptr;
  CUfunction function = nullptr;
  OK(cuModuleLoadData(&module, ".version 8.4\n.target sm_75\n.entry of_tomorrow(.param .u64 a)\n{ }\n"));
  cuModuleGetFunction(&function, module, "of_tomorrow");
}

SCENARIO(stale_parameters) {
  Session session;
  CUmodule module = nullptr;
  cuModuleLoadData(&module, ".version 8.4\n.target sm_75\n.entry test_add(.param .u64 a, .param .u64 b)\n{ }\n");
}

TEST(the_environment_shapes_the_driver) {
  CHECK(outcome("runs_at_once", {"INFER_STANDIN_EAGER=1"}).empty());
  CHECK(outcome("no_device", {"INFER_STANDIN_DEVICES=0"}).empty());
  CHECK(outcome("no_device", {"CUDA_VISIBLE_DEVICES="}).empty());
  const std::vector<std::string> old = {"INFER_STANDIN_DEVICES=3", "INFER_STANDIN_CAPABILITY=7.5", "INFER_STANDIN_DRIVER=12020"};
  CHECK(outcome("three_old_devices", old).empty());
}

TEST(ptx_of_another_day_is_reported) {
  CHECK(has(outcome("stale_kernel"), "kernel of_tomorrow is in the PTX but not in the stand-in"));
  CHECK(has(outcome("stale_parameters"), "kernel test_add has other parameters in the PTX"));
}

TEST(errors_have_names) {
  const char *text = nullptr;
  OK(cuGetErrorName(CUDA_ERROR_ILLEGAL_ADDRESS, &text));
  CHECK(std::string(text) == "CUDA_ERROR_ILLEGAL_ADDRESS");
  OK(cuGetErrorString(CUDA_ERROR_OUT_OF_MEMORY, &text));
  CHECK(std::string(text) == "out of memory");
  RETURNS(1, cuGetErrorName((CUresult)12345, &text));
}
