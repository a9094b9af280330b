// The state of the stand-in and what its functions share.
//
// Work is deferred: a stream is a queue of commands, and these run only when somebody must wait for them. A caller that forgets to
// wait therefore reads old data. All state lies behind one mutex, which is free while kernels and functions of the host run.
#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "cuda.hpp"
#include "memory.hpp"

namespace standin {

struct Capture;
struct Kernel;

using StreamPtr = std::shared_ptr<CUstream_st>;

/// What a function of the API returns instead of going on.
struct Failure {
  CUresult code;
};

/// Fails unless the condition holds.
inline void need(bool condition, CUresult code = CUDA_ERROR_INVALID_VALUE) {
  if (!condition)
    throw Failure{code};
}

/// Ends the process with a message: for what is an error of the caller or of a kernel, and has no error code that would be seen.
[[noreturn]] __attribute__((format(printf, 1, 2))) void die(const char *format, ...);

/// The number in a variable of the environment.
long long environment(const char *name, long long otherwise);

/// A place in a stream, or in what is captured there: all commands before it.
struct Moment {
  StreamPtr stream;
  unsigned long long position;
  std::shared_ptr<Capture> capture;
  bool queried = false;
  long long nanoseconds = 0;

  bool reached() const;
};

/// What a stream does, one after another. Each part is optional.
struct Command {
  /// Goes on when that is reached.
  std::shared_ptr<Moment> wait = {};
  std::function<void()> work = {};
  /// Whether the work needs the state; otherwise the mutex is free in the meantime.
  bool locked = false;
  /// Is reached by this command.
  std::shared_ptr<Moment> moment = {};
  /// Whether it runs in a context in which a kernel has failed as well.
  bool always = false;
};

/// A capture that has begun and not ended.
struct Capture {
  int mode;
  std::thread::id thread;
  StreamPtr origin;
  bool invalid = false, ended = false;
  std::map<StreamPtr, std::vector<Command>> tracks = {};
};

/// The objects of one kind that exist.
template <class T> class Handles {
public:
  T *add(std::shared_ptr<T> object) {
    T *handle = object.get();
    objects.emplace(handle, std::move(object));
    return handle;
  }
  const std::shared_ptr<T> &find(T *handle) const {
    auto found = objects.find(handle);
    need(found != objects.end(), CUDA_ERROR_INVALID_HANDLE);
    return found->second;
  }
  void remove(T *handle) {
    find(handle);
    objects.erase(handle);
  }
  template <class Condition> void remove_if(Condition condition) {
    for (auto it = objects.begin(); it != objects.end();)
      it = condition(*it->second) ? objects.erase(it) : std::next(it);
  }
  size_t size() const { return objects.size(); }
  auto begin() const { return objects.begin(); }
  auto end() const { return objects.end(); }

private:
  std::map<T *, std::shared_ptr<T>> objects;
};

} // namespace standin

struct CUstream_st {
  CUcontext context;
  unsigned flags;
  std::deque<standin::Command> queue = {};
  unsigned long long submitted = 0, completed = 0, queried = 0;
  std::shared_ptr<standin::Capture> capture = {};
};

struct CUevent_st {
  CUcontext context;
  unsigned flags;
  std::shared_ptr<standin::Moment> moment;
};

struct CUfunc_st {
  CUmodule module;
  const standin::Kernel *kernel;
  unsigned shared, max_threads, shared_limit;
};

struct CUmod_st {
  CUcontext context;
  std::map<std::string, std::shared_ptr<CUfunc_st>> functions;
};

struct CUgraph_st {
  std::vector<standin::Command> commands;
};

struct CUgraphExec_st {
  CUcontext context;
  std::shared_ptr<const std::vector<standin::Command>> commands;
};

struct CUmemPoolHandle_st {
  int device;
  unsigned long long threshold = 0, used = 0, high = 0;
};

/// A device and its primary context, the only kind of context that there is.
struct CUctx_st {
  int device;
  unsigned references = 0;
  /// What each function returns since a kernel has failed.
  CUresult sticky = CUDA_SUCCESS;
  standin::StreamPtr legacy;
  CUmemoryPool pool;
  size_t used = 0;
};

namespace standin {

struct Driver {
  std::mutex mutex;
  bool initialized = false;
  std::vector<std::unique_ptr<CUctx_st>> devices;
  Handles<CUstream_st> streams;
  Handles<CUevent_st> events;
  Handles<CUmod_st> modules;
  Handles<CUfunc_st> functions;
  Handles<CUgraph_st> graphs;
  Handles<CUgraphExec_st> execs;
  Handles<CUmemPoolHandle_st> pools;
  DeviceMemory memory;
  PinnedMemory pinned;
  std::vector<std::shared_ptr<Capture>> captures;
  /// Streams that were destroyed with work to do.
  std::vector<StreamPtr> orphans;
  /// Whether a thread runs commands; only one does at a time.
  bool executing = false;
  std::condition_variable_any idle;
  unsigned long long launches = 0, graph_launches = 0, kernels = 0;
};

/// The one driver. It is never destroyed: threads may use it while the process ends.
Driver &driver();

/// The compute capability of the devices, ten times.
int capability();

/// Fails if the environment asks for it.
void inject(const char *function);

/// The context that is current on this thread, or null.
CUctx_st *current_context();

/// The same, if it can be used.
CUctx_st &need_context();

/// The stream of a handle, where null is the legacy stream of the context.
StreamPtr find_stream(CUcontext context, CUstream stream);

/// Every stream of the context that may have work to do.
std::vector<StreamPtr> all_streams(CUcontext context);

/// Adds a command to the stream, or to what it captures.
void submit(const StreamPtr &stream, Command command);
void submit_work(const StreamPtr &stream, bool locked, std::function<void()> work);

/// Runs a command that is due.
void execute(const Command &command);

/// Runs what the stream has to do up to a position, and what that waits for.
void drain(StreamPtr stream, unsigned long long position);
void drain_context(CUcontext context);

/// Fails, as a stream cannot be waited for while it captures.
void need_no_capture(const StreamPtr &stream);

/// Fails if a capture is going on that calls with effects on the whole context would disturb.
void need_no_unsafe_capture();

/// Fails if the legacy stream would have to wait for a stream that captures.
void need_free_legacy(const CUctx_st &context);

/// Ends what is captured in the context.
void drop_captures(const CUctx_st &context);

/// Whether this thread runs a function of cuLaunchHostFunc, which must not call the API.
extern thread_local bool in_host_function;

/// Body of a function of the API that may be called at any time.
template <class Body> CUresult guarded(const char *name, Body body) {
  std::lock_guard lock(driver().mutex);
  try {
    need(!in_host_function, CUDA_ERROR_NOT_PERMITTED);
    inject(name);
    body();
    return CUDA_SUCCESS;
  } catch (Failure failure) {
    return failure.code;
  }
}

/// Body of a function that may be called after cuInit.
template <class Body> CUresult in_driver(const char *name, Body body) {
  return guarded(name, [&] {
    need(driver().initialized, CUDA_ERROR_NOT_INITIALIZED);
    body();
  });
}

/// Body of a function that works in the current context; it gets the context.
template <class Body> CUresult in_context(const char *name, Body body) {
  return in_driver(name, [&] { body(need_context()); });
}

} // namespace standin
