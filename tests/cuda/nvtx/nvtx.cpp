// A profiler as NVTX sees it: the library that NVTX_INJECTION64_PATH names. It writes what it is told to standard error.
#include <cstdint>
#include <cstdio>

namespace {

typedef void (*Function)();

struct Callbacks {
  size_t struct_size;
  int (*table)(int module, Function ***table, unsigned *size);
};

struct VersionInfo {
  size_t struct_size;
  uint32_t version, reserved;
  void (*set_version)(uint32_t version);
};

enum { CALLBACKS = 1, VERSION_INFO = 3 };
enum { CORE = 1, CORE2 = 5, MODULES = 7 };
enum { PUSH = 9, POP = 11, CORE_SIZE = 16 };

int depth = 0;

int push(const char *name) {
  fprintf(stderr, "range %d: %s\n", depth, name);
  return depth++;
}

int pop() { return --depth; }

} // namespace

extern "C" __attribute__((visibility("default"))) int InitializeInjectionNvtx2(const void *(*export_table)(uint32_t id)) {
  auto *version = (const VersionInfo *)export_table(VERSION_INFO);
  if (!version || version->struct_size < sizeof *version || version->version != 3)
    return 0;
  version->set_version(3);
  auto *callbacks = (const Callbacks *)export_table(CALLBACKS);
  if (!callbacks || callbacks->struct_size < sizeof *callbacks || export_table(2))
    return 0;
  Function **table = nullptr;
  unsigned size = 0;
  for (int module = 1; module < MODULES; ++module) {
    // Each entry but the first is the address of a place for a function; a null ends them.
    if (!callbacks->table(module, &table, &size) || table[0] || table[size])
      return 0;
    for (unsigned i = 1; i < size; ++i)
      if (!table[i])
        return 0;
  }
  if (callbacks->table(0, &table, &size) || callbacks->table(MODULES, &table, &size))
    return 0;
  if (!callbacks->table(CORE, &table, &size) || size != CORE_SIZE)
    return 0;
  *table[PUSH] = (Function)push;
  *table[POP] = (Function)pop;
  return 1;
}
