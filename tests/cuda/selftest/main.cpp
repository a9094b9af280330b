// Tests of the stand-in for the CUDA driver: `selftest` runs all of them, in the root of the repository.
#include "selftest.hpp"

#include <cstdlib>
#include <cstring>
#include <fstream>
#include <sstream>
#include <sys/wait.h>
#include <unistd.h>

namespace {

struct Entry {
  const char *name;
  void (*run)();
  bool scenario;
};

std::vector<Entry> &entries() {
  static std::vector<Entry> entries;
  return entries;
}

unsigned failures = 0;

/// Runs the scenario of that name; the exit status of the process.
int run_scenario(const char *name) {
  for (const Entry &entry : entries()) {
    if (entry.scenario && strcmp(entry.name, name) == 0) {
      entry.run();
      return failures > 0;
    }
  }
  fprintf(stderr, "no scenario is called %s\n", name);
  return 1;
}

} // namespace

Test::Test(const char *name, void (*run)(), bool scenario) { entries().push_back({name, run, scenario}); }

void check(bool condition, const char *file, int line, const char *text) {
  if (condition)
    return;
  ++failures;
  fprintf(stderr, "%s:%d: not so: %s\n", file, line, text);
}

void check_code(int expected, int got, const char *file, int line, const char *text) {
  if (expected == got)
    return;
  ++failures;
  fprintf(stderr, "%s:%d: %d instead of %d from %s\n", file, line, got, expected, text);
}

std::string read_file(const char *path) {
  std::ifstream file(path);
  CHECK(file.good());
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

Session::Session(const char *ptx) {
  OK(cuInit(0));
  OK(cuDevicePrimaryCtxRetain(&context, 0));
  OK(cuCtxSetCurrent(context));
  OK(cuModuleLoadData(&module, read_file(ptx).c_str()));
}

Session::~Session() {
  OK(cuModuleUnload(module));
  OK(cuDevicePrimaryCtxRelease_v2(0));
  OK(cuCtxSetCurrent(nullptr));
}

CUfunction Session::function(const char *name) {
  CUfunction result = nullptr;
  OK(cuModuleGetFunction(&result, module, name));
  return result;
}

std::string outcome(const char *scenario, const std::vector<std::string> &environment) {
  int ends[2];
  CHECK(pipe(ends) == 0);
  pid_t child = fork();
  if (child == 0) {
    for (const std::string &variable : environment)
      putenv(strdup(variable.c_str()));
    dup2(ends[1], STDERR_FILENO);
    execl("/proc/self/exe", "selftest", scenario, (char *)nullptr);
    _exit(127);
  }
  close(ends[1]);
  std::string text;
  char buffer[256];
  for (ssize_t got; (got = read(ends[0], buffer, sizeof buffer)) > 0;)
    text.append(buffer, (size_t)got);
  close(ends[0]);
  int status = 0;
  waitpid(child, &status, 0);
  if (text.empty() && status != 0)
    text = "ended without a word";
  return text;
}

int main(int count, char **arguments) {
  if (count > 1)
    return run_scenario(arguments[1]);
  unsigned passed = 0, failed = 0;
  for (const Entry &entry : entries()) {
    if (entry.scenario)
      continue;
    unsigned before = failures;
    entry.run();
    bool good = failures == before;
    ++(good ? passed : failed);
    printf("%s %s\n", good ? "ok" : "FAILED", entry.name);
  }
  printf("%u passed, %u failed\n", passed, failed);
  return failed > 0;
}
