/* Once inputs of some shape have been run, further runs that write to the caller's memory allocate nothing: neither on the
 * caller's thread nor on the session's. */
#define _POSIX_C_SOURCE 200809L
#include "check.h"

#include <stdatomic.h>
#include <time.h>

#if defined(__SANITIZE_ADDRESS__) || !defined(__GLIBC__)
int main(void) {
  puts("skipped: the allocator cannot be replaced in this build");
  return 0;
}
#else

enum { RUNS = 100, BATCH = 3 };

static atomic_uint allocations;

/* glibc's own functions, which the ones below stand in front of, for the shared library as well as for the static one. */
void *__libc_malloc(size_t);
void *__libc_calloc(size_t, size_t);
void *__libc_realloc(void *, size_t);
void *__libc_memalign(size_t, size_t);

void *malloc(size_t size) {
  atomic_fetch_add(&allocations, 1);
  return __libc_malloc(size);
}

void *calloc(size_t count, size_t size) {
  atomic_fetch_add(&allocations, 1);
  return __libc_calloc(count, size);
}

void *realloc(void *old, size_t size) {
  atomic_fetch_add(&allocations, 1);
  return __libc_realloc(old, size);
}

void *aligned_alloc(size_t alignment, size_t size) {
  atomic_fetch_add(&allocations, 1);
  return __libc_memalign(alignment, size);
}

int posix_memalign(void **out, size_t alignment, size_t size) {
  *out = aligned_alloc(alignment, size);
  return *out ? 0 : 12;
}

static float pixels[BATCH * PIXELS], logits[BATCH * CLASSES];

int main(int argc, char **argv) {
  const struct timespec moment = {0, 50 * 1000 * 1000};
  uint32_t threads;
  unsigned before, made;
  int i;
  CHECK(argc > 1);
  before = atomic_load(&allocations);
  free(malloc(1));
  CHECK(atomic_load(&allocations) > before); /* the counter works */
  fill(pixels, BATCH, 1);

  for (threads = 1; threads <= 3; ++threads) {
    infer_session *session = open_session(argv[1], threads);
    const infer_tensor in = images(pixels, BATCH);
    infer_tensor out = scores(logits, BATCH);
    OK(infer_session_run(session, NULL, &in, 1, &out, 1));
    nanosleep(&moment, NULL); /* threads may still be on their way to their first work */
    before = atomic_load(&allocations);
    for (i = 0; i < RUNS; ++i) OK(infer_session_run(session, NULL, &in, 1, &out, 1));
    made = atomic_load(&allocations) - before;
    printf("%u allocations in %d runs with %u threads\n", made, RUNS, threads);
    CHECK(made == 0);
    infer_session_destroy(session);
  }
  return finish();
}
#endif
