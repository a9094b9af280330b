// The driver as a whole: its start, its errors, and what it counts.
#include "driver.hpp"

#include <atomic>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "launch.hpp"

namespace standin {

thread_local bool in_host_function = false;

Driver &driver() {
  static Driver *driver = new Driver;
  return *driver;
}

void die(const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  fprintf(stderr, "stand-in: ");
  vfprintf(stderr, format, arguments);
  fprintf(stderr, "\n");
  va_end(arguments);
  abort();
}

long long environment(const char *name, long long otherwise) {
  const char *value = getenv(name);
  return value ? atoll(value) : otherwise;
}

namespace {

/// Errors after which a context is of no use.
bool is_sticky(int code) {
  return code == CUDA_ERROR_ECC_UNCORRECTABLE || code == CUDA_ERROR_ILLEGAL_ADDRESS || code == CUDA_ERROR_LAUNCH_TIMEOUT ||
         code == CUDA_ERROR_ASSERT || (code >= CUDA_ERROR_HARDWARE_STACK_ERROR && code <= CUDA_ERROR_LAUNCH_FAILED);
}

/// An entry `function:n:code` of INFER_STANDIN_FAIL: the n-th call, from 1, of that function fails.
struct Injection {
  std::string function;
  long long calls;
  int code;
};

std::vector<Injection> read_injections() {
  std::vector<Injection> result;
  const char *value = getenv("INFER_STANDIN_FAIL");
  std::string text = value ? value : "";
  for (size_t start = 0; start < text.size();) {
    size_t end = std::min(text.find(',', start), text.size());
    char function[64];
    Injection injection = {};
    if (sscanf(text.substr(start, end - start).c_str(), " %63[^:]:%lld:%d", function, &injection.calls, &injection.code) != 3)
      die("INFER_STANDIN_FAIL is function:n:code,...; it has: %s", text.c_str());
    injection.function = function;
    result.push_back(injection);
    start = end + 1;
  }
  return result;
}

const char *describe(CUresult error, bool name) {
#define DESCRIBE(symbol, value, text)                                                                                           \
  case value:                                                                                                                   \
    return name ? #symbol : text;
  switch ((int)error) { CUDA_ERRORS(DESCRIBE) }
#undef DESCRIBE
  return nullptr;
}

CUresult describe(CUresult error, bool name, const char **text) {
  if (!text)
    return CUDA_ERROR_INVALID_VALUE;
  *text = describe(error, name);
  return *text ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

void make_devices(Driver &state) {
  const char *visible = getenv("CUDA_VISIBLE_DEVICES");
  long long count = visible && !*visible ? 0 : environment("INFER_STANDIN_DEVICES", 1);
  need(count > 0, CUDA_ERROR_NO_DEVICE);
  for (int device = 0; device < count; ++device) {
    auto context = std::make_unique<CUctx_st>();
    context->device = device;
    context->pool = state.pools.add(std::make_shared<CUmemPoolHandle_st>(CUmemPoolHandle_st{device}));
    state.devices.push_back(std::move(context));
  }
}

} // namespace

void inject(const char *function) {
  static std::vector<Injection> injections = read_injections();
  for (Injection &injection : injections) {
    if ((injection.function == function || injection.function + "_v2" == function) && --injection.calls == 0) {
      CUctx_st *context = current_context();
      if (context && is_sticky(injection.code)) {
        context->sticky = (CUresult)injection.code;
        // Callbacks are told of it.
        drain_context(context);
      }
      throw Failure{(CUresult)injection.code};
    }
  }
}

} // namespace standin

using namespace standin;

CUresult cuInit(unsigned flags) {
  return guarded(__func__, [&] {
    need(flags == 0);
    if (driver().initialized)
      return;
    make_devices(driver());
    report_faults();
    driver().initialized = true;
  });
}

CUresult cuDriverGetVersion(int *version) {
  return guarded(__func__, [&] {
    need(version);
    *version = (int)environment("INFER_STANDIN_DRIVER", 12040);
  });
}

CUresult cuGetErrorName(CUresult error, const char **name) { return describe(error, true, name); }

CUresult cuGetErrorString(CUresult error, const char **text) { return describe(error, false, text); }

/// The number of `what`: "launches" and "graph_launches" since the start, "kernels" that have run, or how many there are of
/// "allocations", "bytes", "pinned", "streams", "events", "modules", "graphs", "pools" and references to "contexts".
unsigned long long infer_standin_count(const char *what) {
  Driver &state = driver();
  std::lock_guard lock(state.mutex);
  unsigned long long contexts = 0;
  for (auto &context : state.devices)
    contexts += context->references;
  const std::map<std::string, unsigned long long> counts = {
      {"launches", state.launches},
      {"graph_launches", state.graph_launches},
      {"kernels", state.kernels},
      {"allocations", state.memory.count()},
      {"bytes", state.memory.bytes()},
      {"pinned", state.pinned.count()},
      {"streams", state.streams.size()},
      {"events", state.events.size()},
      {"modules", state.modules.size()},
      {"graphs", state.graphs.size() + state.execs.size()},
      {"pools", state.pools.size() - state.devices.size()},
      {"contexts", contexts},
  };
  auto found = counts.find(what);
  if (found == counts.end())
    die("nobody counts %s", what);
  return found->second;
}
