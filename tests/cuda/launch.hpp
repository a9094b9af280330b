// Running kernels: grids, blocks and the threads of blocks.
#pragma once

#include <array>
#include <cstddef>
#include <memory>
#include <string>
#include <vector>

#include "fiber.hpp"
#include "kernel.hpp"

namespace standin {

using Extent = std::array<unsigned, 3>;

inline unsigned long long volume(const Extent &extent) { return 1ull * extent[0] * extent[1] * extent[2]; }

/// A kernel with all that its run needs.
struct Launch {
  const Kernel *kernel;
  Extent grid, block;
  unsigned shared;
  /// The values of the parameters, and where each of them lies there.
  std::vector<std::byte> values;
  std::vector<size_t> offsets;
};

/// The compiled kernel of that name, or null.
const Kernel *find_kernel(const std::string &name);

/// Runs all blocks of the grid, on all cores.
void run(const Launch &launch);

/// Reports faults in kernels with the kernel's name, before the process ends as it would without that.
void report_faults();

/// Runs blocks of a launch one after another, on the thread that made it.
class Runner {
public:
  explicit Runner(const Launch &launch);
  void run(unsigned long long block);

private:
  friend unsigned sync_block(unsigned);
  friend unsigned long long meet(Meeting, unsigned, unsigned long long, unsigned);
  friend void gather(const void *, void *, size_t);
  friend unsigned lane();
  friend void *dynamic_shared();

  enum class State { NEW, RUNS, READY, AT_BLOCK, AT_WARP, EXITED };

  /// What a thread brings to a meeting of its warp, and takes from it.
  struct Visit {
    Meeting meeting;
    unsigned mask, source;
    unsigned long long value;
    const void *mine;
    void *all;
    size_t bytes;
  };

  struct Thread {
    uint3 index;
    State state;
    Context context;
    Visit visit;
  };

  void begin();
  void resume(unsigned thread);
  void enter(unsigned thread);
  void suspend(State state);
  void exit();
  static void fiber();
  void fiber_loop();
  unsigned wait_for_block(unsigned value);
  void release_block();
  Visit &begin_visit(Meeting meeting, unsigned mask);
  void wait_for_warp();
  bool meet_if_complete(unsigned warp, unsigned mask);
  void exchange(unsigned warp, unsigned lanes);
  [[noreturn]] void deadlock() const;
  [[noreturn]] void mismatch(const Thread &a, const Thread &b) const;

  const Launch &launch;
  std::vector<void *> params;
  std::vector<std::byte> values;
  std::unique_ptr<std::byte[]> shared;
  std::vector<Thread> threads;
  /// Bits for the lanes of each warp: which have exited or never were, which wait for the warp.
  std::vector<unsigned> exited, waiting;
  /// Threads that can go on, in order.
  std::vector<unsigned> ready;
  size_t next_ready = 0;
  unsigned started = 0, alive = 0, current = 0;
  /// Threads at the block's barrier, the sum of what they bring and that of the last time.
  unsigned at_block = 0, sum = 0, last_sum = 0;
  Context scheduler;
  std::vector<Stack *> free;
  Stack *stack = nullptr;
};

} // namespace standin
