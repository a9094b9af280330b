// A stand-in for cuDNN beside that for the driver: the functions that the library calls. Graphs of a convolution and what follows
// it are computed plainly on the host, when the driver's stand-in comes to them.
//
// It refuses what the documentation forbids: attributes that are unknown, of another type or number, or set too late, parts
// that are not complete or no longer there, operands that are missing, doubled or not aligned.
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <mutex>
#include <set>
#include <string>

#include "cuda.hpp"
#include "engines.hpp"
#include "graph.hpp"

using namespace dnn;

namespace {

struct Handle {
  CUcontext context;
  CUstream stream = nullptr;
  std::atomic<int> users = 0;
};

struct State {
  std::mutex mutex;
  std::set<Descriptor *> live;
  unsigned long long executions[ENGINES] = {};
};

State &state() {
  static State *state = new State;
  return *state;
}

thread_local std::string last_error;

[[noreturn]] void die(const char *message) {
  fprintf(stderr, "stand-in for cuDNN: %s\n", message);
  abort();
}

/// Body of a function; the environment can make the function fail.
template <class Body> int guarded(const char *function, Body body) {
  std::lock_guard lock(state().mutex);
  try {
    const char *failing = getenv("INFER_STANDIN_DNN_FAIL");
    need(!failing || std::string(failing) != function, "the environment asks for a failure", EXECUTION_FAILED);
    body();
    return SUCCESS;
  } catch (Failure failure) {
    last_error = failure.reason;
    return failure.status;
  }
}

Descriptor &find(void *descriptor) {
  need(descriptor, "a descriptor is null", NULL_POINTER);
  need(state().live.count((Descriptor *)descriptor) > 0, "a descriptor does not exist (any more)");
  return *(Descriptor *)descriptor;
}

Descriptor &find_complete(void *descriptor, int kind) {
  Descriptor &found = find(descriptor);
  bool operation = found.kind == OPERATION_CONVOLUTION || found.kind == OPERATION_POINTWISE;
  need(kind < 0 ? operation : found.kind == kind, "a descriptor is of another kind", WRONG_DESCRIPTOR);
  need(found.finalized, "a part is not finalised", NOT_FINALIZED);
  return found;
}

/// Everything that the descriptor refers to still exists.
void need_live(const Descriptor &descriptor) {
  for (const Rule &rule : rules(descriptor.kind))
    if (rule.type == DESCRIPTOR)
      for (Descriptor *part : descriptor.all<Descriptor *>(rule.name))
        need_live(find_complete(part, rule.kind));
}

const Rule &rule_of(const Descriptor &descriptor, int name, int type) {
  for (const Rule &rule : rules(descriptor.kind))
    if (rule.name == name) {
      need(rule.type == type, "an attribute is of another type", WRONG_TYPE);
      return rule;
    }
  throw Failure{BAD_PARAM, "no such attribute"};
}

/// Results of a query are written into descriptors of the caller's.
void give(Descriptor result, void *into, Kind kind) {
  Descriptor &target = find(into);
  need(target.kind == kind && !target.finalized, "results are written into new descriptors of their kind", WRONG_DESCRIPTOR);
  result.finalized = true;
  target = std::move(result);
}

Descriptor engine_of(Descriptor *graph, int64_t index) {
  Descriptor engine{ENGINE};
  engine.put<Descriptor *>(ENGINE_GRAPH, {graph});
  engine.put<int64_t>(ENGINE_INDEX, {index});
  return engine;
}

/// Descriptors that queries make and that belong to no caller: they stay.
Descriptor *kept(Descriptor descriptor) {
  auto *made = new Descriptor(std::move(descriptor));
  made->finalized = true;
  state().live.insert(made);
  return made;
}

Descriptor config_of(Descriptor *graph, Proposal proposal) {
  Descriptor config{ENGINE_CONFIG};
  config.put<Descriptor *>(CONFIG_ENGINE, {kept(engine_of(graph, proposal.index))});
  if (proposal.index != TENSOR_CORES)
    return config;
  std::vector<Descriptor *> knobs;
  for (auto [type, value] : {std::pair<int, int64_t>{TURNED, proposal.turned}, {STAGES, 3}}) {
    Descriptor knob{KNOB_CHOICE};
    knob.put<int32_t>(KNOB_TYPE_OF, {type});
    knob.put<int64_t>(KNOB_VALUE, {value});
    knobs.push_back(kept(std::move(knob)));
  }
  config.put(CONFIG_KNOBS, knobs);
  return config;
}

void check_plan(const Descriptor &plan) {
  need(plan.get<Handle *>(PLAN_HANDLE), "a plan has a handle", NULL_POINTER);
  need(plan.part(PLAN_CONFIG).part(CONFIG_ENGINE).number(ENGINE_INDEX) != ABSENT, "an engine cannot be prepared", NOT_SUPPORTED);
}

void check_pack(const Descriptor &pack) {
  auto ids = pack.numbers(PACK_IDS);
  need(ids.size() == pack.all<void *>(PACK_POINTERS).size(), "as many addresses as numbers");
  need(std::set<int64_t>(ids.begin(), ids.end()).size() == ids.size(), "a number stands twice", DUPLICATED_ENTRIES);
}

void check_any(const Descriptor &descriptor) {
  switch (descriptor.kind) {
  case ENGINE:
    return check_engine(descriptor);
  case ENGINE_CONFIG:
    return check_config(descriptor);
  case HEURISTIC:
    return (void)proposals(descriptor.code(HEUR_MODE_OF));
  case PLAN:
    return check_plan(descriptor);
  case VARIANT_PACK:
    return check_pack(descriptor);
  default:
    return check(descriptor);
  }
}

/// Where the operands of a graph are.
void bind(Work &work, const Descriptor &pack) {
  auto ids = pack.numbers(PACK_IDS);
  auto addresses = pack.all<void *>(PACK_POINTERS);
  auto operands = work.operands();
  need(ids.size() == operands.size(), "all operands of the graph, and no others");
  for (Tensor *operand : operands) {
    for (size_t i = 0; i < ids.size(); ++i)
      if (ids[i] == operand->id)
        operand->at = addresses[i];
    need(operand->at, "an operand has no address", NULL_POINTER);
    need((uintptr_t)operand->at % operand->alignment == 0, "an operand is not aligned", MISALIGNED_POINTER);
  }
}

template <class T> void copy_out(const std::vector<T> &values, int64_t asked, int64_t *count, void *into) {
  if (count)
    *count = (int64_t)values.size();
  if (into)
    memcpy(into, values.data(), std::min<size_t>(asked, values.size()) * sizeof(T));
}

void query(Descriptor &descriptor, int name, int type, int64_t asked, int64_t *count, void *into) {
  auto parts = [&](size_t found, Kind kind, auto make) {
    need(type == DESCRIPTOR, "an attribute is of another type", WRONG_TYPE);
    if (count)
      *count = (int64_t)found;
    for (size_t i = 0; into && i < std::min<size_t>(asked, found); ++i)
      give(make(i), ((void **)into)[i], kind);
  };
  if (descriptor.kind == HEURISTIC && name == HEUR_RESULTS) {
    auto found = proposals(descriptor.code(HEUR_MODE_OF));
    auto *graph = descriptor.get<Descriptor *>(HEUR_GRAPH);
    return parts(found.size(), ENGINE_CONFIG, [&](size_t i) { return config_of(graph, found[i]); });
  }
  if (descriptor.kind == ENGINE_CONFIG && (name == CONFIG_ENGINE || name == CONFIG_KNOBS)) {
    auto found = descriptor.all<Descriptor *>((Name)name);
    return parts(found.size(), name == CONFIG_ENGINE ? ENGINE : KNOB_CHOICE, [&](size_t i) { return *found[i]; });
  }
  if (descriptor.kind == ENGINE && name == ENGINE_NOTES) {
    need(type == NUMERICAL_NOTE, "an attribute is of another type", WRONG_TYPE);
    return copy_out(notes(descriptor.number(ENGINE_INDEX)), asked, count, into);
  }
  if (descriptor.kind == PLAN && name == PLAN_WORKSPACE) {
    need(type == INT64, "an attribute is of another type", WRONG_TYPE);
    int64_t index = descriptor.part(PLAN_CONFIG).part(CONFIG_ENGINE).number(ENGINE_INDEX);
    return copy_out(std::vector<int64_t>{workspace(index)}, asked, count, into);
  }
  const Rule &rule = rule_of(descriptor, name, type);
  need(rule.type != DESCRIPTOR, "not a query that this knows", NOT_SUPPORTED);
  auto &bytes = descriptor.values[name];
  size_t size = size_of(rule.type);
  if (count)
    *count = (int64_t)(bytes.size() / size);
  if (into)
    memcpy(into, bytes.data(), std::min(asked * size, bytes.size()));
}

void execute(Handle *handle, const Descriptor &plan, const Descriptor &pack) {
  need(plan.get<Handle *>(PLAN_HANDLE) == handle, "a plan of another handle");
  const Descriptor &config = plan.part(PLAN_CONFIG), &engine = config.part(CONFIG_ENGINE);
  int64_t index = engine.number(ENGINE_INDEX), bytes = workspace(index);
  if (index == RACING || index == GREEDY)
    die("an engine runs that must not be used");
  need(index != BROKEN, "an engine fails", EXECUTION_FAILED);
  auto work = std::make_unique<Work>(work_of(engine.part(ENGINE_GRAPH)));
  bind(*work, pack);
  work->tf32 = index == TENSOR_CORES;
  work->reversed = index == TENSOR_CORES && knob(config, TURNED) == 1;
  auto *scratch = pack.get<void *>(PACK_WORKSPACE);
  if (bytes > 0) {
    need(scratch, "an engine needs a workspace", NULL_POINTER);
    need((uintptr_t)scratch % 16 == 0, "a workspace is not aligned", MISALIGNED_POINTER);
    // All of it may be written.
    CUresult filled = cuMemsetD8Async((CUdeviceptr)scratch, 0xff, bytes, handle->stream);
    need(filled == CUDA_SUCCESS, "the driver fails", EXECUTION_FAILED);
  }
  // It stays: captured work comes to it again and again.
  auto run = [](void *work) { ((Work *)work)->run(); };
  need(cuLaunchHostFunc(handle->stream, run, work.release()) == CUDA_SUCCESS, "the driver fails", EXECUTION_FAILED);
  ++state().executions[index];
}

/// A handle has a stream, and so one user at a time.
struct User {
  explicit User(Handle *handle) : handle(handle) {
    if (handle && handle->users++ > 0)
      die("two threads use a handle at the same time");
  }
  ~User() {
    if (handle)
      --handle->users;
  }
  Handle *handle;
};

} // namespace

CUDA_API size_t cudnnGetVersion() { return 91002; }

CUDA_API void cudnnGetLastErrorString(char *text, size_t size) {
  snprintf(text, size, "%s", last_error.c_str());
  last_error.clear();
}

CUDA_API int cudnnCreate(Handle **handle) {
  return guarded("cudnnCreate", [&] {
    CUcontext context = nullptr;
    need(handle, "no place for a handle", NULL_POINTER);
    need(cuCtxGetCurrent(&context) == CUDA_SUCCESS && context, "no context is current", NOT_INITIALIZED);
    *handle = new Handle{context};
  });
}

CUDA_API int cudnnDestroy(Handle *handle) {
  delete handle;
  return SUCCESS;
}

CUDA_API int cudnnSetStream(Handle *handle, CUstream stream) {
  User user(handle);
  return guarded("cudnnSetStream", [&] {
    need(handle, "no handle", NULL_POINTER);
    handle->stream = stream;
  });
}

CUDA_API int cudnnBackendCreateDescriptor(int kind, Descriptor **descriptor) {
  return guarded("cudnnBackendCreateDescriptor", [&] {
    need(descriptor, "no place for a descriptor", NULL_POINTER);
    rules((Kind)kind);
    *descriptor = new Descriptor{(Kind)kind};
    state().live.insert(*descriptor);
  });
}

CUDA_API int cudnnBackendDestroyDescriptor(Descriptor *descriptor) {
  return guarded("cudnnBackendDestroyDescriptor", [&] {
    find(descriptor);
    state().live.erase(descriptor);
    delete descriptor;
  });
}

CUDA_API int cudnnBackendSetAttribute(Descriptor *descriptor, int name, int type, int64_t count, const void *elements) {
  return guarded("cudnnBackendSetAttribute", [&] {
    Descriptor &target = find(descriptor);
    need(!target.finalized, "a descriptor that is finalised does not change");
    const Rule &rule = rule_of(target, name, type);
    bool fits = count >= std::max<int64_t>(1, rule.least) && count <= rule.most;
    need(elements && fits, "an attribute has another number of elements", OUT_OF_BOUND);
    auto *bytes = (const uint8_t *)elements;
    target.values[name].assign(bytes, bytes + count * size_of(rule.type));
    if (rule.type == DESCRIPTOR)
      for (Descriptor *part : target.all<Descriptor *>(rule.name))
        find_complete(part, rule.kind);
  });
}

CUDA_API int cudnnBackendGetAttribute(Descriptor *descriptor, int name, int type, int64_t asked, int64_t *count, void *elements) {
  return guarded("cudnnBackendGetAttribute", [&] {
    Descriptor &source = find(descriptor);
    need(source.finalized, "only what is finalised can be asked", NOT_FINALIZED);
    need(asked >= 0, "a negative number of elements", OUT_OF_BOUND);
    query(source, name, type, asked, count, elements);
  });
}

CUDA_API int cudnnBackendFinalize(Descriptor *descriptor) {
  return guarded("cudnnBackendFinalize", [&] {
    Descriptor &target = find(descriptor);
    need(!target.finalized, "finalised twice");
    for (const Rule &rule : rules(target.kind))
      need(rule.least == 0 || target.has(rule.name), "an attribute is missing");
    need_live(target);
    check_any(target);
    target.finalized = true;
  });
}

#ifndef STANDIN_OLD
CUDA_API int cudnnBackendExecute(Handle *handle, Descriptor *plan, Descriptor *pack) {
  User user(handle);
  return guarded("cudnnBackendExecute", [&] {
    need(handle, "no handle", NULL_POINTER);
    CUcontext context = nullptr;
    need(cuCtxGetCurrent(&context) == CUDA_SUCCESS && context == handle->context, "another context is current");
    const Descriptor &what = find_complete(plan, PLAN), &where = find_complete(pack, VARIANT_PACK);
    need_live(what);
    execute(handle, what, where);
  });
}
#endif

/// How often an engine has run.
CUDA_API unsigned long long infer_standin_dnn_executions(int engine) {
  std::lock_guard lock(state().mutex);
  return engine >= 0 && engine < ENGINES ? state().executions[engine] : 0;
}
