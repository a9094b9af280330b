// Streams, events, captures and graphs.
#include <mutex>
#include <string>
#include <thread>

#include "selftest.hpp"

namespace {

struct Stream {
  Stream() { OK(cuStreamCreate(&at, CU_STREAM_NON_BLOCKING)); }
  ~Stream() { OK(cuStreamDestroy_v2(at)); }
  operator CUstream() const { return at; }
  CUstream at = nullptr;
};

struct Event {
  Event() { OK(cuEventCreate(&at, CU_EVENT_DEFAULT)); }
  ~Event() { OK(cuEventDestroy_v2(at)); }
  operator CUevent() const { return at; }
  CUevent at = nullptr;
};

/// What lies there now, without waiting for anything.
unsigned peek(const Memory &memory) { return *(volatile unsigned *)memory.at; }

int add(Session &session, const Memory &memory, unsigned value, CUstream stream) {
  return session.launch("test_add", 1, 32, stream, memory.at, 1u, value);
}

CUgraphExec instantiate(CUstream stream) {
  CUgraph graph = nullptr;
  CUgraphExec exec = nullptr;
  OK(cuStreamEndCapture(stream, &graph));
  OK(cuGraphInstantiateWithFlags(&exec, graph, 0));
  OK(cuGraphDestroy(graph));
  return exec;
}

} // namespace

TEST(work_waits_until_somebody_waits) {
  Session session;
  Memory memory(4);
  Stream a, b;
  unsigned pageable = 7;
  OK(cuMemcpyHtoDAsync_v2(memory.at, &pageable, 4, a));
  pageable = 100;
  OK(add(session, memory, 1, a));
  CHECK(peek(memory) == 0xffffffffu);
  OK(cuStreamSynchronize(b));
  CHECK(peek(memory) == 0xffffffffu);
  unsigned result = 0;
  OK(cuMemcpyDtoHAsync_v2(&result, memory.at, 4, a));
  OK(add(session, memory, 1, a));
  CHECK(result == 0);
  OK(cuStreamSynchronize(a));
  CHECK(result == 8 && peek(memory) == 9);
}

TEST(pinned_memory_is_read_late) {
  Session session;
  Memory memory(4);
  Stream stream;
  unsigned *pinned = nullptr;
  OK(cuMemHostAlloc((void **)&pinned, 4, 0));
  *pinned = 1;
  OK(cuMemcpyHtoDAsync_v2(memory.at, pinned, 4, stream));
  *pinned = 2;
  OK(cuStreamSynchronize(stream));
  CHECK(peek(memory) == 2 && infer_standin_count("pinned") == 1);
  int type = 0, device = -1;
  OK(cuPointerGetAttribute(&type, CU_POINTER_ATTRIBUTE_MEMORY_TYPE, (CUdeviceptr)pinned));
  CHECK(type == CU_MEMORYTYPE_HOST);
  OK(cuPointerGetAttribute(&type, CU_POINTER_ATTRIBUTE_MEMORY_TYPE, memory.at + 3));
  OK(cuPointerGetAttribute(&device, CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL, memory.at));
  CHECK(type == CU_MEMORYTYPE_DEVICE && device == 0);
  RETURNS(1, cuPointerGetAttribute(&type, CU_POINTER_ATTRIBUTE_MEMORY_TYPE, (CUdeviceptr)&type));
  OK(cuMemFreeHost(pinned));
}

TEST(events_order_streams) {
  Session session;
  Memory memory(4);
  Stream a, b;
  Event event, never;
  OK(cuMemsetD32Async(memory.at, 5, 1, a));
  OK(cuEventRecord(event, a));
  OK(cuMemsetD32Async(memory.at, 50, 1, a));
  OK(cuStreamWaitEvent(b, event, 0));
  OK(cuStreamWaitEvent(b, never, 0));
  OK(add(session, memory, 1, b));
  RETURNS(600, cuStreamQuery(b));
  OK(cuStreamSynchronize(b));
  CHECK(peek(memory) == 6);
  OK(cuStreamQuery(b));
  OK(cuEventQuery(event));
  OK(cuEventQuery(never));
  OK(cuEventRecord(event, a));
  RETURNS(600, cuEventQuery(event));
  OK(cuEventQuery(event));
  CHECK(peek(memory) == 50);
}

TEST(the_legacy_stream_waits_for_blocking_streams_only) {
  Session session;
  Memory blocking(4), other(4);
  Stream non_blocking;
  CUstream stream = nullptr;
  OK(cuStreamCreate(&stream, CU_STREAM_DEFAULT));
  OK(cuMemsetD8Async(blocking.at, 1, 4, stream));
  OK(cuMemsetD8Async(other.at, 1, 4, non_blocking));
  CHECK(download<unsigned>(blocking.at, 1)[0] == 0x01010101u);
  CHECK(download<unsigned>(other.at, 1)[0] == 0xffffffffu);
  OK(cuStreamDestroy_v2(stream));
}

TEST(events_tell_times) {
  Session session;
  Event start, end;
  Stream stream;
  float milliseconds = -1;
  OK(cuEventRecord(start, stream));
  RETURNS(600, cuEventElapsedTime(&milliseconds, start, start));
  OK(cuEventRecord(end, stream));
  OK(cuEventSynchronize(end));
  OK(cuEventElapsedTime(&milliseconds, start, end));
  CHECK(milliseconds >= 0);
}

TEST(work_of_destroyed_streams_is_done) {
  Session session;
  Memory memory(4);
  CUstream stream = nullptr;
  OK(cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING));
  OK(cuMemsetD32Async(memory.at, 9, 1, stream));
  OK(cuStreamDestroy_v2(stream));
  RETURNS(400, cuStreamSynchronize(stream));
  CHECK(peek(memory) == 0xffffffffu);
  OK(cuCtxSynchronize());
  CHECK(peek(memory) == 9);
}

TEST(functions_of_the_host_run_in_order) {
  Session session;
  Memory memory(4);
  Stream stream;
  static unsigned seen, code;
  seen = 0;
  OK(cuMemsetD32Async(memory.at, 11, 1, stream));
  auto look = [](void *at) {
    seen = *(unsigned *)at;
    code = (unsigned)cuCtxSynchronize();
  };
  OK(cuLaunchHostFunc(stream, look, (void *)memory.at));
  OK(cuMemsetD32Async(memory.at, 12, 1, stream));
  CHECK(seen == 0);
  OK(cuStreamSynchronize(stream));
  CHECK(seen == 11 && code == CUDA_ERROR_NOT_PERMITTED);
}

TEST(callbacks_are_told_how_work_ended) {
  Session session;
  Stream stream;
  static int status, calls, nested;
  status = -1, calls = 0;
  auto note = [](CUstream, CUresult result, void *) {
    status = (int)result, ++calls;
    nested = (int)cuCtxSynchronize();
  };
  RETURNS(CUDA_ERROR_INVALID_VALUE, cuStreamAddCallback(stream, nullptr, nullptr, 0));
  OK(cuStreamAddCallback(stream, note, nullptr, 0));
  CHECK(calls == 0);
  OK(cuStreamSynchronize(stream));
  CHECK(status == CUDA_SUCCESS && calls == 1 && nested == CUDA_ERROR_NOT_PERMITTED);
  OK(cuStreamBeginCapture_v2(stream, CU_STREAM_CAPTURE_MODE_THREAD_LOCAL));
  RETURNS(CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED, cuStreamAddCallback(stream, note, nullptr, 0));
  CUgraph graph = nullptr;
  RETURNS(CUDA_ERROR_STREAM_CAPTURE_INVALIDATED, cuStreamEndCapture(stream, &graph));
}

/// Functions of the host take a mutex that threads hold while they submit work.
TEST(threads_share_a_device) {
  Session session;
  static std::mutex mutex;
  bool right[4] = {};
  auto work = [&](bool &right) {
    OK(cuCtxSetCurrent(session.context));
    Memory memory(4);
    Stream stream;
    OK(cuMemsetD32Async(memory.at, 0, 1, stream));
    right = true;
    for (unsigned i = 1; i <= 200; ++i) {
      std::unique_lock lock(mutex);
      OK(add(session, memory, 1, stream));
      lock.unlock();
      OK(cuLaunchHostFunc(stream, [](void *) { std::lock_guard lock(mutex); }, nullptr));
      unsigned result = 0;
      OK(cuMemcpyDtoHAsync_v2(&result, memory.at, 4, stream));
      OK(cuStreamSynchronize(stream));
      right &= result == i;
    }
  };
  std::vector<std::thread> threads;
  for (bool &one : right)
    threads.emplace_back([&] { work(one); });
  for (std::thread &thread : threads)
    thread.join();
  CHECK(right[0] && right[1] && right[2] && right[3]);
}

TEST(graphs_replay_what_was_captured) {
  Session session;
  Memory memory(4);
  Stream a, b;
  Event fork, join;
  int status = -1;
  OK(cuStreamBeginCapture_v2(a, CU_STREAM_CAPTURE_MODE_THREAD_LOCAL));
  OK(cuMemsetD32Async(memory.at, 100, 1, a));
  OK(cuEventRecord(fork, a));
  OK(cuStreamWaitEvent(b, fork, 0));
  OK(add(session, memory, 10, b));
  OK(cuEventRecord(join, b));
  OK(cuStreamWaitEvent(a, join, 0));
  OK(add(session, memory, 1, a));
  OK(cuStreamIsCapturing(b, &status));
  CHECK(status == CU_STREAM_CAPTURE_STATUS_ACTIVE);
  CUgraphExec exec = instantiate(a);
  OK(cuStreamIsCapturing(b, &status));
  CHECK(status == CU_STREAM_CAPTURE_STATUS_NONE);
  OK(cuCtxSynchronize());
  CHECK(peek(memory) == 0xffffffffu);
  unsigned long long before = infer_standin_count("launches");
  for (unsigned i = 0; i < 3; ++i) {
    OK(cuGraphLaunch(exec, b));
    OK(add(session, memory, 1000, b));
  }
  OK(cuGraphExecDestroy(exec));
  OK(cuStreamSynchronize(b));
  CHECK(peek(memory) == 1111);
  CHECK(infer_standin_count("launches") == before + 3 && infer_standin_count("graph_launches") == 3);
  RETURNS(907, cuEventSynchronize(join));
}

/// Every call that a capture cannot keep fails, and the capture with it.
TEST(captures_refuse_what_they_cannot_keep) {
  Session session;
  Memory memory(4);
  Stream stream, other;
  Event before, inside;
  OK(cuEventRecord(before, other));
  auto refused = [&](int code, auto call) {
    CUgraph graph = nullptr;
    OK(cuStreamBeginCapture_v2(stream, CU_STREAM_CAPTURE_MODE_GLOBAL));
    OK(add(session, memory, 1, stream));
    RETURNS(code, call());
    RETURNS(901, cuStreamEndCapture(stream, &graph));
    CHECK(graph == nullptr);
  };
  CUdeviceptr pointer = 0;
  unsigned word = 0;
  refused(900, [&] { return cuStreamSynchronize(stream); });
  refused(900, [&] { return cuStreamQuery(stream); });
  refused(900, [&] { return cuCtxSynchronize(); });
  refused(900, [&] { return cuMemAlloc_v2(&pointer, 4); });
  refused(900, [&] { return cuMemAllocAsync(&pointer, 4, stream); });
  refused(900, [&] { return cuMemFree_v2(memory.at); });
  refused(900, [&] { return cuMemcpyDtoH_v2(&word, memory.at, 4); });
  refused(900, [&] { return cuModuleLoadData(nullptr, nullptr); });
  refused(905, [&] { return cuStreamWaitEvent(stream, before, 0); });
  CUgraph graph = nullptr;
  OK(cuStreamBeginCapture_v2(stream, CU_STREAM_CAPTURE_MODE_RELAXED));
  RETURNS(401, cuStreamBeginCapture_v2(stream, CU_STREAM_CAPTURE_MODE_RELAXED));
  OK(cuMemAlloc_v2(&pointer, 4));
  OK(cuMemFree_v2(pointer));
  OK(cuStreamSynchronize(other));
  OK(cuEventRecord(inside, stream));
  RETURNS(907, cuEventQuery(inside));
  OK(cuStreamWaitEvent(other, inside, 0));
  OK(add(session, memory, 1, other));
  RETURNS(903, cuStreamEndCapture(other, &graph));
  RETURNS(904, cuStreamEndCapture(stream, &graph));
  RETURNS(401, cuStreamEndCapture(stream, &graph));
  OK(add(session, memory, 1, other));
}

TEST(relaxed_threads_disturb_no_capture) {
  Session session;
  Stream stream;
  CUdeviceptr pointer = 0;
  int mode = CU_STREAM_CAPTURE_MODE_RELAXED;
  OK(cuThreadExchangeStreamCaptureMode(&mode));
  CHECK(mode == CU_STREAM_CAPTURE_MODE_GLOBAL);
  OK(cuStreamBeginCapture_v2(stream, CU_STREAM_CAPTURE_MODE_GLOBAL));
  OK(cuMemAlloc_v2(&pointer, 4));
  OK(cuMemFree_v2(pointer));
  OK(cuThreadExchangeStreamCaptureMode(&mode));
  CHECK(mode == CU_STREAM_CAPTURE_MODE_RELAXED);
  OK(cuGraphExecDestroy(instantiate(stream)));
  mode = 3;
  RETURNS(1, cuThreadExchangeStreamCaptureMode(&mode));
}
