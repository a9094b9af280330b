// Streams and events: work waits in queues until somebody waits for it.
#include <algorithm>
#include <chrono>
#include <utility>

#include "driver.hpp"

using namespace standin;

namespace {

/// INFER_STANDIN_EAGER=1 runs everything at once.
bool eager() {
  static const bool value = environment("INFER_STANDIN_EAGER", 0) != 0;
  return value;
}

std::shared_ptr<Moment> end_of(const StreamPtr &stream) {
  return std::make_shared<Moment>(Moment{stream, stream->submitted, nullptr});
}

void append(const StreamPtr &stream, Command command) {
  if (command.wait && command.wait->reached())
    command.wait = nullptr;
  stream->queue.push_back(std::move(command));
  ++stream->submitted;
}

/// Work in the legacy stream and work in streams that do not opt out wait for each other.
void wait_for_legacy(const StreamPtr &stream) {
  CUctx_st &context = *stream->context;
  auto wait_for = [&](const StreamPtr &other) {
    if (other->completed < other->submitted)
      append(stream, {end_of(other), nullptr});
  };
  if (stream == context.legacy) {
    for (auto &[handle, other] : driver().streams)
      if (other->context == &context && !(other->flags & CU_STREAM_NON_BLOCKING))
        wait_for(other);
  } else if (!(stream->flags & CU_STREAM_NON_BLOCKING)) {
    wait_for(context.legacy);
  }
}

/// Runs the stream's commands up to a position. The earlier a command was submitted the less it can wait for, so this ends.
void run_until(const StreamPtr &stream, unsigned long long position) {
  while (stream->completed < position) {
    Command command = std::move(stream->queue.front());
    stream->queue.pop_front();
    if (command.wait)
      run_until(command.wait->stream, command.wait->position);
    // Nothing else runs any more in a context in which a kernel has failed.
    if (stream->context->sticky == CUDA_SUCCESS || command.always)
      execute(command);
    ++stream->completed;
  }
}

StreamPtr find_usable_stream(CUctx_st &context, CUstream handle) {
  StreamPtr stream = find_stream(&context, handle);
  need(stream->context->sticky == CUDA_SUCCESS, stream->context->sticky);
  return stream;
}

/// Where the event is in a stream; not if a graph was captured since it was last recorded.
const std::shared_ptr<Moment> &moment_of(const CUevent_st &event) {
  need(!event.moment || !event.moment->capture, CUDA_ERROR_CAPTURED_EVENT);
  return event.moment;
}

void wait_in_capture(const StreamPtr &stream, const std::shared_ptr<Moment> &moment) {
  std::shared_ptr<Capture> own = stream->capture, other = moment->capture;
  if (!own) {
    need(!other->ended, CUDA_ERROR_CAPTURED_EVENT);
    need(stream != stream->context->legacy, CUDA_ERROR_STREAM_CAPTURE_IMPLICIT);
    stream->capture = own = other;
  }
  if (own != other) {
    own->invalid = true;
    if (other)
      other->invalid = true;
    throw Failure{other ? CUDA_ERROR_STREAM_CAPTURE_MERGE : CUDA_ERROR_STREAM_CAPTURE_ISOLATION};
  }
  own->tracks[stream].push_back({moment, nullptr});
}

/// Calls a function of the host, which must not call the API.
template <class Function> void in_host(Function function) {
  in_host_function = true;
  function();
  in_host_function = false;
}

CUresult elapsed(const char *name, float *milliseconds, CUevent start, CUevent end) {
  return in_context(name, [&](CUctx_st &) {
    need(milliseconds);
    long long times[2];
    for (int i = 0; i < 2; ++i) {
      const CUevent_st &event = *driver().events.find(i ? end : start);
      need(event.moment && !(event.flags & CU_EVENT_DISABLE_TIMING), CUDA_ERROR_INVALID_HANDLE);
      need(moment_of(event)->reached(), CUDA_ERROR_NOT_READY);
      times[i] = event.moment->nanoseconds;
    }
    *milliseconds = (float)((double)(times[1] - times[0]) * 1e-6);
  });
}

} // namespace

namespace standin {

/// Destroyed streams with work left to do.
constexpr size_t MOST_ORPHANS = 64;

bool Moment::reached() const { return !capture && stream->completed >= position; }

StreamPtr find_stream(CUcontext context, CUstream stream) {
  // 1 is the legacy stream by its name.
  return (size_t)stream <= 1 ? context->legacy : driver().streams.find(stream);
}

std::vector<StreamPtr> all_streams(CUcontext context) {
  std::vector<StreamPtr> result = driver().orphans;
  result.push_back(context->legacy);
  for (auto &[handle, stream] : driver().streams)
    if (stream->context == context)
      result.push_back(stream);
  return result;
}

void submit(const StreamPtr &stream, Command command) {
  need(stream->context->sticky == CUDA_SUCCESS, stream->context->sticky);
  if (stream->capture) {
    need(!stream->capture->invalid, CUDA_ERROR_STREAM_CAPTURE_INVALIDATED);
    stream->capture->tracks[stream].push_back(std::move(command));
    return;
  }
  if (stream == stream->context->legacy)
    need_free_legacy(*stream->context);
  wait_for_legacy(stream);
  append(stream, std::move(command));
  if (eager())
    drain(stream, stream->submitted);
}

void submit_work(const StreamPtr &stream, bool locked, std::function<void()> work) {
  submit(stream, {nullptr, std::move(work), locked});
}

void execute(const Command &command) {
  if (command.work && command.locked)
    command.work();
  if (command.work && !command.locked) {
    driver().mutex.unlock();
    command.work();
    driver().mutex.lock();
  }
  if (command.moment)
    command.moment->nanoseconds = std::chrono::steady_clock::now().time_since_epoch() / std::chrono::nanoseconds(1);
}

void drain(StreamPtr stream, unsigned long long position) {
  Driver &state = driver();
  state.idle.wait(state.mutex, [&] { return !state.executing; });
  state.executing = true;
  run_until(stream, position);
  state.executing = false;
  state.idle.notify_all();
}

void drain_context(CUcontext context) {
  for (const StreamPtr &stream : all_streams(context))
    drain(stream, stream->submitted);
  auto &orphans = driver().orphans;
  auto done = [](const StreamPtr &stream) { return stream->completed == stream->submitted; };
  orphans.erase(std::remove_if(orphans.begin(), orphans.end(), done), orphans.end());
}

} // namespace standin

CUresult cuStreamCreate(CUstream *stream, unsigned flags) {
  return in_context(__func__, [&](CUctx_st &context) {
    need(stream && flags <= CU_STREAM_NON_BLOCKING);
    *stream = driver().streams.add(std::make_shared<CUstream_st>(CUstream_st{&context, flags}));
  });
}

CUresult cuStreamCreateWithPriority(CUstream *stream, unsigned flags, int) {
  return in_context(__func__, [&](CUctx_st &context) {
    need(stream && flags <= CU_STREAM_NON_BLOCKING);
    *stream = driver().streams.add(std::make_shared<CUstream_st>(CUstream_st{&context, flags}));
  });
}

CUresult cuStreamDestroy_v2(CUstream handle) {
  return in_context(__func__, [&](CUctx_st &) {
    StreamPtr stream = driver().streams.find(handle);
    if (stream->capture)
      stream->capture->invalid = true;
    if (stream->completed < stream->submitted)
      driver().orphans.push_back(stream);
    driver().streams.remove(handle);
    // Work that nobody waits for is done as well some time, and gives its memory back.
    if (driver().orphans.size() > MOST_ORPHANS) {
      StreamPtr oldest = driver().orphans.front();
      driver().orphans.erase(driver().orphans.begin());
      drain(oldest, oldest->submitted);
    }
  });
}

CUresult cuStreamSynchronize(CUstream handle) {
  return in_context(__func__, [&](CUctx_st &context) {
    StreamPtr stream = find_usable_stream(context, handle);
    need_no_capture(stream);
    drain(stream, stream->submitted);
  });
}

CUresult cuStreamQuery(CUstream handle) {
  return in_context(__func__, [&](CUctx_st &context) {
    StreamPtr stream = find_usable_stream(context, handle);
    need_no_capture(stream);
    if (stream->completed == stream->submitted)
      return;
    // Whoever asks again finds it done.
    bool again = stream->queried == stream->submitted;
    stream->queried = stream->submitted;
    need(again, CUDA_ERROR_NOT_READY);
    drain(stream, stream->submitted);
  });
}

CUresult cuStreamWaitEvent(CUstream handle, CUevent event, unsigned) {
  return in_context(__func__, [&](CUctx_st &context) {
    StreamPtr stream = find_usable_stream(context, handle);
    std::shared_ptr<Moment> moment = driver().events.find(event)->moment;
    if (!moment)
      return;
    if (stream->capture || moment->capture)
      wait_in_capture(stream, moment);
    else
      submit(stream, {moment, nullptr});
  });
}

CUresult cuStreamGetCtx(CUstream handle, CUcontext *result) {
  return in_context(__func__, [&](CUctx_st &context) {
    need(result);
    *result = find_stream(&context, handle)->context;
  });
}

CUresult cuStreamAddCallback(CUstream handle, CUstreamCallback callback, void *data, unsigned flags) {
  return in_context(__func__, [&](CUctx_st &context) {
    need(callback && flags == 0);
    StreamPtr stream = find_stream(&context, handle);
    need_no_capture(stream);
    Command command;
    command.work = [=] { in_host([=] { callback(handle, stream->context->sticky, data); }); };
    command.always = true;
    submit(stream, std::move(command));
  });
}

CUresult cuLaunchHostFunc(CUstream handle, CUhostFn function, void *data) {
  return in_context(__func__, [&](CUctx_st &context) {
    need(function);
    submit_work(find_stream(&context, handle), false, [=] { in_host([=] { function(data); }); });
  });
}

CUresult cuEventCreate(CUevent *event, unsigned flags) {
  return in_context(__func__, [&](CUctx_st &context) {
    need(event);
    *event = driver().events.add(std::make_shared<CUevent_st>(CUevent_st{&context, flags, nullptr}));
  });
}

CUresult cuEventDestroy_v2(CUevent event) {
  return in_context(__func__, [&](CUctx_st &) { driver().events.remove(event); });
}

CUresult cuEventRecord(CUevent handle, CUstream stream_handle) {
  return in_context(__func__, [&](CUctx_st &context) {
    CUevent_st &event = *driver().events.find(handle);
    StreamPtr stream = find_usable_stream(context, stream_handle);
    need(event.context == stream->context, CUDA_ERROR_INVALID_HANDLE);
    auto moment = std::make_shared<Moment>(Moment{stream, 0, stream->capture});
    Command command;
    command.moment = moment;
    submit(stream, std::move(command));
    moment->position = stream->capture ? stream->capture->tracks[stream].size() : stream->submitted;
    event.moment = moment;
  });
}

CUresult cuEventSynchronize(CUevent event) {
  return in_context(__func__, [&](CUctx_st &) {
    std::shared_ptr<Moment> moment = moment_of(*driver().events.find(event));
    if (moment)
      drain(moment->stream, moment->position);
  });
}

CUresult cuEventQuery(CUevent event) {
  return in_context(__func__, [&](CUctx_st &) {
    std::shared_ptr<Moment> moment = moment_of(*driver().events.find(event));
    if (!moment || moment->reached())
      return;
    // Whoever asks again finds it done.
    need(std::exchange(moment->queried, true), CUDA_ERROR_NOT_READY);
    drain(moment->stream, moment->position);
  });
}

CUresult cuEventElapsedTime(float *milliseconds, CUevent start, CUevent end) {
  return elapsed(__func__, milliseconds, start, end);
}

CUresult cuEventElapsedTime_v2(float *milliseconds, CUevent start, CUevent end) {
  return elapsed(__func__, milliseconds, start, end);
}
