#include "fiber.hpp"

#include <atomic>
#include <sys/mman.h>
#include <unistd.h>

#include "driver.hpp"

#if !defined(__x86_64__) && !defined(__aarch64__)
#include <ucontext.h>
#endif

namespace standin {

namespace {
constexpr size_t BYTES = 128 << 10;
/// Stacks begin at different places of their pages, so that what is in use of many of them fits into a cache.
constexpr size_t STEP = 64, STEPS = 64;
size_t page() { return (size_t)sysconf(_SC_PAGESIZE); }
} // namespace

Stack::Stack() {
  void *start = mmap(nullptr, page() + BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (start == MAP_FAILED || mprotect(start, page(), PROT_NONE) != 0)
    die("no memory for a stack");
  memory = (char *)start + page();
  static std::atomic<size_t> stacks = 0;
  top = memory + BYTES - stacks++ % STEPS * STEP;
}

#if defined(__x86_64__)

// Saves what a function must preserve on the old stack, and takes it from the new one. It ends with a jump, as processors predict
// returns from the calls of the old stack.
asm(R"(
.text
.hidden standin_switch
.globl standin_switch
.type standin_switch, @function
standin_switch:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  popq %rcx
  jmp *%rcx
.size standin_switch, .-standin_switch
)");

namespace {
constexpr size_t SAVED = 6;
/// The function finds its stack as a call would have left it: 8 bytes below a multiple of 16.
constexpr size_t ABOVE = 2;
constexpr size_t RETURN = SAVED;
} // namespace

#elif defined(__aarch64__)

asm(R"(
.text
.hidden standin_switch
.globl standin_switch
.type standin_switch, %function
standin_switch:
  sub sp, sp, #160
  stp x19, x20, [sp, #0]
  stp x21, x22, [sp, #16]
  stp x23, x24, [sp, #32]
  stp x25, x26, [sp, #48]
  stp x27, x28, [sp, #64]
  stp x29, x30, [sp, #80]
  stp d8, d9, [sp, #96]
  stp d10, d11, [sp, #112]
  stp d12, d13, [sp, #128]
  stp d14, d15, [sp, #144]
  mov x2, sp
  str x2, [x0]
  mov sp, x1
  ldp x19, x20, [sp, #0]
  ldp x21, x22, [sp, #16]
  ldp x23, x24, [sp, #32]
  ldp x25, x26, [sp, #48]
  ldp x27, x28, [sp, #64]
  ldp x29, x30, [sp, #80]
  ldp d8, d9, [sp, #96]
  ldp d10, d11, [sp, #112]
  ldp d12, d13, [sp, #128]
  ldp d14, d15, [sp, #144]
  add sp, sp, #160
  ret
.size standin_switch, .-standin_switch
)");

namespace {
constexpr size_t SAVED = 20;
constexpr size_t ABOVE = 0;
constexpr size_t RETURN = 11;
} // namespace

#endif

#if defined(__x86_64__) || defined(__aarch64__)

extern "C" void standin_switch(void **from, void *to);

void switch_context(Context &from, const Context &to) { standin_switch(&from.at, to.at); }

Context Stack::start(void (*main)()) {
  void **frame = (void **)top - ABOVE - SAVED;
  for (size_t i = 0; i < SAVED + ABOVE; ++i)
    frame[i] = nullptr;
  frame[RETURN] = (void *)main;
  return {frame};
}

Stack::~Stack() { munmap(memory - page(), page() + BYTES); }

#else

// Portable, with a system call for each switch.
void switch_context(Context &from, const Context &to) {
  ucontext_t here;
  from.at = &here;
  swapcontext(&here, (ucontext_t *)to.at);
}

Context Stack::start(void (*main)()) {
  if (!fallback)
    fallback = new ucontext_t;
  ucontext_t *context = (ucontext_t *)fallback;
  getcontext(context);
  context->uc_stack.ss_sp = memory;
  context->uc_stack.ss_size = (size_t)(top - memory);
  makecontext(context, main, 0);
  return {context};
}

Stack::~Stack() {
  delete (ucontext_t *)fallback;
  munmap(memory - page(), page() + BYTES);
}

#endif

} // namespace standin
