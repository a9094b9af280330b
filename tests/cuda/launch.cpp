// Runs grids on all cores, and reports what kernels do wrong.
#include "launch.hpp"

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <csignal>
#include <cstdio>
#include <functional>
#include <map>
#include <mutex>
#include <thread>
#include <unistd.h>

#include "driver.hpp"

namespace standin {

namespace {

/// More threads would need more stacks than a process may have mappings.
constexpr unsigned MAX_WORKERS = 8;

std::map<std::string, Kernel> &kernels() {
  static std::map<std::string, Kernel> table;
  return table;
}

/// Threads that wait for work. They are never joined: the process may end while they wait.
class Pool {
public:
  static Pool &get() {
    static Pool *pool = new Pool;
    return *pool;
  }

  /// The caller and each worker do the job once.
  void run(const std::function<void()> &job) {
    std::unique_lock lock(mutex);
    current = &job;
    working = workers;
    ++generation;
    changed.notify_all();
    lock.unlock();
    job();
    lock.lock();
    changed.wait(lock, [&] { return working == 0; });
  }

private:
  Pool() : workers(std::clamp(std::thread::hardware_concurrency(), 1u, MAX_WORKERS) - 1) {
    for (unsigned i = 0; i < workers; ++i)
      std::thread([this] { loop(); }).detach();
  }

  void loop() {
    unsigned long long seen = 0;
    std::unique_lock lock(mutex);
    for (;;) {
      changed.wait(lock, [&] { return generation != seen; });
      seen = generation;
      lock.unlock();
      (*current)();
      lock.lock();
      if (--working == 0)
        changed.notify_all();
    }
  }

  const unsigned workers;
  std::mutex mutex;
  std::condition_variable changed;
  const std::function<void()> *current = nullptr;
  unsigned long long generation = 0;
  unsigned working = 0;
};

/// The kernel that this thread runs, for reports of faults.
__thread const char *running;

/// Faults in kernels can be overflows of stacks, so they are handled on another one.
void need_signal_stack() {
  static thread_local std::unique_ptr<char[]> memory;
  stack_t old;
  if (memory || sigaltstack(nullptr, &old) != 0 || !(old.ss_flags & SS_DISABLE))
    return;
  constexpr size_t BYTES = 64 << 10;
  memory.reset(new char[BYTES]);
  stack_t fresh = {};
  fresh.ss_sp = memory.get();
  fresh.ss_size = BYTES;
  sigaltstack(&fresh, nullptr);
}

constexpr int FAULTS[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE};
struct sigaction before[65];

const char *fault_name(int signal) {
  switch (signal) {
  case SIGILL:
    return "accesses a misaligned address, or traps";
  case SIGFPE:
    return "divides by zero";
  default:
    return "accesses memory that it must not";
  }
}

void on_fault(int signal, siginfo_t *info, void *) {
  if (running) {
    char text[300];
    int length = snprintf(text, sizeof text, "stand-in: kernel %s %s: block (%u, %u, %u), thread (%u, %u, %u), address %p\n",
                          running, fault_name(signal), blockIdx.x, blockIdx.y, blockIdx.z, threadIdx.x, threadIdx.y,
                          threadIdx.z, info->si_addr);
    if (write(STDERR_FILENO, text, (size_t)length) < 0 || length < 0)
      _exit(1);
  }
  // The instruction runs again, and meets what was there before.
  sigaction(signal, &before[signal], nullptr);
}

} // namespace

void add_kernel(const Kernel &kernel) { kernels().emplace(kernel.name, kernel); }

const Kernel *find_kernel(const std::string &name) {
  auto found = kernels().find(name);
  return found == kernels().end() ? nullptr : &found->second;
}

void report_faults() {
  struct sigaction action = {};
  action.sa_sigaction = on_fault;
  action.sa_flags = SA_SIGINFO | SA_ONSTACK;
  for (int fault : FAULTS)
    sigaction(fault, &action, &before[fault]);
}

void run(const Launch &launch) {
  unsigned long long blocks = volume(launch.grid);
  std::atomic<unsigned long long> next = 0;
  unsigned long long step = std::max(1ull, blocks / (MAX_WORKERS * 16));
  auto job = [&] {
    need_signal_stack();
    running = launch.kernel->name;
    std::unique_ptr<Runner> runner;
    for (unsigned long long start; (start = next.fetch_add(step)) < blocks;) {
      if (!runner)
        runner = std::make_unique<Runner>(launch);
      for (unsigned long long block = start; block < std::min(start + step, blocks); ++block)
        runner->run(block);
    }
    running = nullptr;
  };
  if (blocks == 1)
    job();
  else
    Pool::get().run(job);
}

} // namespace standin
