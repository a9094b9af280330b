// What the tests of the stand-in share.
#pragma once

#include <cstdio>
#include <string>
#include <vector>

#include "../cuda.hpp"

/// One that fails is counted and named.
#define CHECK(condition) check(condition, __FILE__, __LINE__, #condition)

/// The call returns that code.
#define RETURNS(code, call) check_code(code, call, __FILE__, __LINE__, #call)
#define OK(call) RETURNS(CUDA_SUCCESS, call)

void check(bool condition, const char *file, int line, const char *text);
void check_code(int expected, int got, const char *file, int line, const char *text);

/// A file of the repository.
std::string read_file(const char *path);

/// A context that is current, with our test kernels loaded.
struct Session {
  explicit Session(const char *ptx = "tests/cuda/selftest/kernels.ptx");
  ~Session();
  CUfunction function(const char *name);

  template <class... P> int launch(const char *name, unsigned grid, unsigned block, CUstream stream, P... params) {
    return launch_shared(name, grid, block, 0, stream, params...);
  }
  template <class... P>
  int launch_shared(const char *name, unsigned grid, unsigned block, unsigned shared, CUstream stream, P... params) {
    void *pointers[] = {&params..., nullptr};
    return cuLaunchKernel(function(name), grid, 1, 1, block, 1, 1, shared, stream, pointers, nullptr);
  }

  CUcontext context = nullptr;
  CUmodule module = nullptr;
};

/// Device memory that ends with its scope.
struct Memory {
  explicit Memory(size_t bytes) { OK(cuMemAlloc_v2(&at, bytes)); }
  ~Memory() { OK(cuMemFree_v2(at)); }
  Memory(const Memory &) = delete;
  Memory &operator=(const Memory &) = delete;

  CUdeviceptr at = 0;
};

template <class T> void upload(CUdeviceptr to, const std::vector<T> &from) {
  OK(cuMemcpyHtoD_v2(to, from.data(), from.size() * sizeof(T)));
}

template <class T> std::vector<T> download(CUdeviceptr from, size_t count) {
  std::vector<T> result(count);
  OK(cuMemcpyDtoH_v2(result.data(), from, count * sizeof(T)));
  return result;
}

/// A named test. A scenario runs only in a process of its own, which a test starts; see `outcome`.
struct Test {
  Test(const char *name, void (*run)(), bool scenario = false);
};

#define TEST(name)                                                                                                              \
  static void name();                                                                                                           \
  static const Test test_of_##name(#name, name);                                                                                \
  static void name()

#define SCENARIO(name)                                                                                                          \
  static void name();                                                                                                           \
  static const Test test_of_##name(#name, name, true);                                                                          \
  static void name()

/// Runs a scenario in a process with variables `name=value` in its environment. What it prints to its standard error; "" if all
/// its checks hold.
std::string outcome(const char *scenario, const std::vector<std::string> &environment = {});
