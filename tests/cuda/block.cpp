// Runs the threads of a block as fibers. Threads that wait for nobody run one after another on the same stack; one that waits
// keeps the stack, and the next thread gets another.
#include <algorithm>
#include <cstring>

#include "driver.hpp"
#include "launch.hpp"

__thread uint3 threadIdx, blockIdx, blockDim, gridDim;

namespace standin {

namespace {

constexpr unsigned WARP_LANES = 32;
constexpr size_t SHARED_ALIGNMENT = 128;

/// The runner of this thread of the host.
thread_local Runner *runner;

/// Stacks outlive launches.
thread_local std::vector<std::unique_ptr<Stack>> stacks;

uint3 position(unsigned long long index, const Extent &extent) {
  return {(unsigned)(index % extent[0]), (unsigned)(index / extent[0] % extent[1]),
          (unsigned)(index / extent[0] / extent[1])};
}

/// Whether threads and blocks run in the opposite order, which shows some of the races that the usual one hides.
bool reversed() {
  static const bool value = environment("INFER_STANDIN_REVERSE", 0) != 0;
  return value;
}

} // namespace

Runner::Runner(const Launch &launch)
    : launch(launch), values(launch.values), shared(new std::byte[launch.shared + SHARED_ALIGNMENT]), threads(volume(launch.block)),
      exited((threads.size() + WARP_LANES - 1) / WARP_LANES), waiting(exited.size()) {
  for (size_t i = 0; i < threads.size(); ++i)
    threads[i].index = position(i, launch.block);
  for (size_t offset : launch.offsets)
    params.push_back(values.data() + offset);
  for (auto &stack : stacks)
    free.push_back(stack.get());
}

void Runner::run(unsigned long long block) {
  runner = this;
  begin();
  blockIdx = position(reversed() ? volume(launch.grid) - 1 - block : block, launch.grid);
  blockDim = {launch.block[0], launch.block[1], launch.block[2]};
  gridDim = {launch.grid[0], launch.grid[1], launch.grid[2]};
  while (alive > 0) {
    if (next_ready < ready.size()) {
      resume(ready[next_ready++]);
      if (next_ready == ready.size()) {
        ready.clear();
        next_ready = 0;
      }
    } else if (started < threads.size()) {
      if (free.empty())
        free.push_back(stacks.emplace_back(new Stack).get());
      stack = free.back();
      free.pop_back();
      switch_context(scheduler, stack->start(&fiber));
    } else {
      deadlock();
    }
  }
  runner = nullptr;
}

void Runner::begin() {
  // Shared memory is garbage when a block begins.
  std::memset(shared.get(), 0xff, launch.shared + SHARED_ALIGNMENT);
  for (Thread &thread : threads)
    thread.state = State::NEW;
  std::fill(exited.begin(), exited.end(), 0u);
  if (threads.size() % WARP_LANES != 0)
    exited.back() = ~0u << threads.size() % WARP_LANES;
  ready.clear();
  next_ready = 0;
  started = at_block = sum = 0;
  alive = (unsigned)threads.size();
}

void Runner::fiber() { runner->fiber_loop(); }

/// Runs new threads for as long as none waits for its turn.
void Runner::fiber_loop() {
  Stack *own = stack;
  while (next_ready == ready.size() && started < threads.size()) {
    enter(reversed() ? (unsigned)threads.size() - 1 - started : started);
    ++started;
    launch.kernel->call(params.data());
    exit();
  }
  free.push_back(own);
  Context gone;
  switch_context(gone, scheduler);
}

void Runner::enter(unsigned thread) {
  current = thread;
  threads[thread].state = State::RUNS;
  threadIdx = threads[thread].index;
}

void Runner::resume(unsigned thread) {
  enter(thread);
  switch_context(scheduler, threads[thread].context);
}

void Runner::suspend(State state) {
  Thread &thread = threads[current];
  thread.state = state;
  switch_context(thread.context, scheduler);
}

/// Others may have waited only for threads that are gone now.
void Runner::exit() {
  threads[current].state = State::EXITED;
  --alive;
  unsigned warp = current / WARP_LANES;
  exited[warp] |= 1u << current % WARP_LANES;
  if (at_block > 0 && at_block == alive)
    release_block();
  for (unsigned rest = waiting[warp]; rest != 0; rest &= rest - 1)
    if (waiting[warp] & rest & -rest)
      meet_if_complete(warp, threads[warp * WARP_LANES + __builtin_ctz(rest)].visit.mask);
}

unsigned Runner::wait_for_block(unsigned value) {
  sum += value;
  if (++at_block == alive) {
    release_block();
  } else {
    suspend(State::AT_BLOCK);
  }
  return last_sum;
}

void Runner::release_block() {
  for (unsigned i = 0; i < threads.size(); ++i) {
    if (threads[i].state == State::AT_BLOCK) {
      threads[i].state = State::READY;
      ready.push_back(i);
    }
  }
  last_sum = sum;
  sum = at_block = 0;
}

/// What the current thread brings to its warp, to be filled in.
Runner::Visit &Runner::begin_visit(Meeting meeting, unsigned mask) {
  if (!(mask >> current % WARP_LANES & 1u))
    die("kernel %s: thread %u of a block meets its warp with mask %#x, which does not name it", launch.kernel->name, current,
        mask);
  Visit &visit = threads[current].visit;
  visit.meeting = meeting;
  visit.mask = mask;
  return visit;
}

void Runner::wait_for_warp() {
  waiting[current / WARP_LANES] |= 1u << current % WARP_LANES;
  if (!meet_if_complete(current / WARP_LANES, threads[current].visit.mask))
    suspend(State::AT_WARP);
}

/// The threads go on that the mask names, if all of them wait; the current one is not made ready.
bool Runner::meet_if_complete(unsigned warp, unsigned mask) {
  unsigned lanes = mask & ~exited[warp];
  if ((waiting[warp] & lanes) != lanes)
    return false;
  Thread *first = &threads[warp * WARP_LANES];
  const Thread &one = first[__builtin_ctz(lanes)];
  for (unsigned rest = lanes; rest != 0; rest &= rest - 1) {
    const Thread &other = first[__builtin_ctz(rest)];
    if (other.visit.mask != mask || other.visit.meeting != one.visit.meeting || other.visit.bytes != one.visit.bytes)
      mismatch(one, other);
  }
  exchange(warp, lanes);
  waiting[warp] &= ~lanes;
  for (unsigned rest = lanes; rest != 0; rest &= rest - 1) {
    unsigned thread = warp * WARP_LANES + __builtin_ctz(rest);
    if (thread == current)
      continue;
    threads[thread].state = State::READY;
    ready.push_back(thread);
  }
  return true;
}

void Runner::exchange(unsigned warp, unsigned lanes) {
  Thread *first = &threads[warp * WARP_LANES];
  unsigned long long all[WARP_LANES] = {}, ballot = 0;
  for (unsigned rest = lanes; rest != 0; rest &= rest - 1) {
    unsigned lane = __builtin_ctz(rest);
    all[lane] = first[lane].visit.value;
    ballot |= all[lane] << lane;
  }
  for (unsigned rest = lanes; rest != 0; rest &= rest - 1) {
    Visit &visit = first[__builtin_ctz(rest)].visit;
    if (visit.meeting == Meeting::BALLOT)
      visit.value = ballot;
    // What a lane that does not take part would have is undefined: all bits set is a NaN.
    if (visit.meeting == Meeting::SHUFFLE)
      visit.value = lanes >> visit.source & 1u ? all[visit.source] : ~0ull;
    if (visit.meeting == Meeting::GATHER)
      for (unsigned from = lanes; from != 0; from &= from - 1)
        std::memcpy((char *)visit.all + __builtin_ctz(from) * visit.bytes, first[__builtin_ctz(from)].visit.mine, visit.bytes);
  }
}

void Runner::deadlock() const {
  auto count = [&](State state) {
    return (int)std::count_if(threads.begin(), threads.end(), [&](const Thread &thread) { return thread.state == state; });
  };
  die("kernel %s: threads of block (%u, %u, %u) wait forever: %d at __syncthreads, %d for their warp; %d have exited",
      launch.kernel->name, blockIdx.x, blockIdx.y, blockIdx.z, count(State::AT_BLOCK), count(State::AT_WARP),
      count(State::EXITED));
}

void Runner::mismatch(const Thread &a, const Thread &b) const {
  static const char *const NAMES[] = {"__syncwarp", "a shuffle", "a vote", "a gather"};
  die("kernel %s: threads %d and %d of a block meet in their warp, one in %s with mask %#x, one in %s with mask %#x",
      launch.kernel->name, (int)(&a - threads.data()), (int)(&b - threads.data()), NAMES[(int)a.visit.meeting], a.visit.mask,
      NAMES[(int)b.visit.meeting], b.visit.mask);
}

unsigned sync_block(unsigned value) { return runner->wait_for_block(value); }

unsigned long long meet(Meeting meeting, unsigned mask, unsigned long long value, unsigned source) {
  Runner::Visit &visit = runner->begin_visit(meeting, mask);
  visit.value = value;
  visit.source = source;
  visit.bytes = 0;
  runner->wait_for_warp();
  return visit.value;
}

void gather(const void *mine, void *all, size_t bytes) {
  Runner::Visit &visit = runner->begin_visit(Meeting::GATHER, ~0u);
  visit.mine = mine;
  visit.all = all;
  visit.bytes = bytes;
  visit.value = 0;
  runner->wait_for_warp();
}

unsigned lane() { return runner->current % WARP_LANES; }

void *dynamic_shared() {
  size_t start = (size_t)runner->shared.get();
  return (void *)((start + SHARED_ALIGNMENT - 1) / SHARED_ALIGNMENT * SHARED_ALIGNMENT);
}

} // namespace standin
