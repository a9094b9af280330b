// What kernels may use: places in grids, barriers, warps, shared memory, atomics.
#include <numeric>

#include "selftest.hpp"

namespace {

struct Dims {
  unsigned n[8];
};

} // namespace

TEST(places_in_three_dimensions) {
  Session session;
  Memory memory(24 * 30 * 4);
  unsigned char small = 3;
  Dims dims = {{1000, 0, 0, 0, 0, 0, 0, 1}};
  void *params[] = {&small, &dims, &memory.at};
  OK(cuLaunchKernel(session.function("test_places"), 2, 3, 4, 5, 3, 2, 0, nullptr, params, nullptr));
  std::vector<unsigned> y = download<unsigned>(memory.at, 24 * 30);
  bool right = true;
  for (unsigned i = 0; i < y.size(); ++i)
    right &= y[i] == i / 30 * 1000 + i % 30 + 3;
  CHECK(right);
}

TEST(shared_memory_of_the_launch) {
  Session session;
  Memory memory(5000 * 1024 * 4);
  std::vector<unsigned> x(5000 * 1024);
  std::iota(x.begin(), x.end(), 0u);
  upload(memory.at, x);
  OK(session.launch_shared("test_reverse", 5000, 1024, 4096, nullptr, memory.at));
  for (unsigned &value : x)
    value += 2;
  CHECK(download<unsigned>(memory.at, x.size()) == x);
}

TEST(threads_may_leave_before_a_barrier) {
  Session session;
  Memory memory(256 * 4);
  OK(session.launch("test_leave", 1, 256, nullptr, memory.at, 77u));
  std::vector<unsigned> y = download<unsigned>(memory.at, 256);
  CHECK(y[0] == 76 && y[76] == 0 && y[77] == 0xffffffffu);
}

TEST(functions_of_warps) {
  Session session;
  Memory memory(64 * 16 * 4);
  OK(session.launch("test_warp", 1, 64, nullptr, memory.at));
  std::vector<unsigned> y = download<unsigned>(memory.at, 64 * 16);
  for (unsigned t = 0; t < 64; ++t) {
    unsigned lane = t % 32, warp = t - lane, segment = t & ~7u;
    const unsigned expected[16] = {
        t ^ 5,
        lane < 3 ? t : t - 3,
        lane > 28 ? t : t + 3,
        warp + 7,
        segment + 1,
        t - segment < 3 ? t : t - 3,
        t - segment > 4 ? t : t + 3,
        // Lanes of a segment before its own can be read, those behind it cannot.
        lane % 16 < 8 ? t : t ^ 12,
        0x49249249u,
        warp == 32,
        warp == 0,
        t ^ 1,
        lane < 16 ? 0xaaaau : 0xcccc0000u,
        5,
        1,
        32,
    };
    for (unsigned i = 0; i < 16; ++i)
      if (y[t * 16 + i] != expected[i])
        fprintf(stderr, "thread %u, result %u: %#x instead of %#x\n", t, i, y[t * 16 + i], expected[i]);
    CHECK(std::equal(expected, expected + 16, &y[t * 16]));
  }
}

TEST(gathers_of_warps) {
  Session session;
  Memory memory(64 * 32 * 4);
  OK(session.launch("test_gather", 1, 64, nullptr, memory.at));
  std::vector<unsigned> y = download<unsigned>(memory.at, 64 * 32);
  bool right = true;
  for (unsigned i = 0; i < y.size(); ++i)
    right &= y[i] == 2 * (i / 1024 * 32 + i % 32) + 5;
  CHECK(right);
}

TEST(atomics) {
  Session session;
  Memory memory(20);
  upload<unsigned>(memory.at, {0, 0, 1000, 0, 0});
  OK(session.launch("test_atomics", 100, 64, nullptr, memory.at));
  CHECK((download<unsigned>(memory.at, 5) == std::vector<unsigned>{100 * 63 * 32, 6399, 7, 0xffffffffu, 12800}));
}

TEST(launches_are_checked) {
  Session session;
  Memory memory(4096);
  CUfunction function = session.function("test_index"), with_shared = session.function("test_reverse");
  unsigned len = 1;
  void *params[] = {&memory.at, &len};
  auto launch = [&](CUfunction function, unsigned grid_y, unsigned block, unsigned shared) {
    return cuLaunchKernel(function, 1, grid_y, 1, block, 1, 1, shared, nullptr, params, nullptr);
  };
  OK(launch(function, 65535, 1, 0));
  RETURNS(1, launch(function, 65536, 1, 0));
  RETURNS(1, launch(function, 0, 1, 0));
  OK(launch(function, 1, 1024, 0));
  RETURNS(1, launch(function, 1, 1025, 0));
  RETURNS(400, launch(nullptr, 1, 1, 0));
  OK(launch(with_shared, 1, 1, 49152));
  RETURNS(1, launch(with_shared, 1, 1, 49153));
  RETURNS(1, cuFuncSetAttribute(with_shared, CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES, 232449));
  OK(cuFuncSetAttribute(with_shared, CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES, 100000));
  OK(launch(with_shared, 1, 1, 100000));
  int bytes = 0;
  OK(cuFuncGetAttribute(&bytes, CU_FUNC_ATTRIBUTE_SHARED_SIZE_BYTES, session.function("test_leave")));
  CHECK(bytes == 1024);
}

TEST(modules_are_checked) {
  Session session;
  CUmodule module = nullptr;
  CUfunction function = nullptr;
  char log[100] = "";
  int options[] = {CU_JIT_ERROR_LOG_BUFFER, CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES};
  void *values[] = {log, (void *)sizeof log};
  RETURNS(218, cuModuleLoadDataEx(&module, "nonsense", 2, options, values));
  CHECK(std::string(log).find(".version") != std::string::npos);
  RETURNS(222, cuModuleLoadData(&module, ".version 8.5\n.target sm_75\n"));
  RETURNS(209, cuModuleLoadData(&module, ".version 8.4\n.target sm_100\n"));
  RETURNS(500, cuModuleGetFunction(&function, session.module, "softmax_f32"));
  OK(cuModuleLoadData(&module, ".version 8.4\n.target sm_75\n"));
  OK(cuModuleUnload(module));
  RETURNS(400, cuModuleUnload(module));
}
