// Stacks to run on, and switching between them.
#pragma once

#include <stddef.h>

namespace standin {

/// Where a stack that does not run goes on.
struct Context {
  void *at = nullptr;
};

/// Goes on in `to`, until something goes on in `from`.
void switch_context(Context &from, const Context &to);

/// Memory for a stack, with a page below it that must not be touched.
class Stack {
public:
  Stack();
  ~Stack();
  Stack(const Stack &) = delete;
  Stack &operator=(const Stack &) = delete;

  /// A context in which `main` begins on this stack. It must not return.
  Context start(void (*main)());

private:
  char *memory, *top;
  void *fallback = nullptr;
};

} // namespace standin
