/* Sixteen threads run one session at the same time, with two batch sizes: every result is the same bytes as alone, and memory
 * stays where it was once all have run. */
#define _POSIX_C_SOURCE 199309L
#include "check.h"

#include <pthread.h>
#include <string.h>
#include <time.h>

enum { THREADS = 16, SHAPES = 2, LARGEST = 5, SECONDS = 3 };

static const int64_t batches[SHAPES] = {1, LARGEST};
static infer_session *session;
static float pixels[SHAPES][LARGEST * PIXELS], expected[SHAPES][LARGEST * CLASSES];

static double now(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return (double)time.tv_sec + (double)time.tv_nsec * 1e-9;
}

static long resident_pages(void) {
  long size = 0, resident = 0;
  FILE *file = fopen("/proc/self/statm", "r");
  CHECK(file && fscanf(file, "%ld %ld", &size, &resident) == 2);
  fclose(file);
  return resident;
}

/* Runs until the time that the argument points to. */
static void *work(void *argument) {
  const double end = *(const double *)argument;
  float logits[LARGEST * CLASSES];
  unsigned i;
  for (i = 0; now() < end; ++i) {
    const int which = i % SHAPES;
    const infer_tensor in = images(pixels[which], batches[which]);
    infer_tensor out = scores(logits, batches[which]);
    memset(logits, 0xa5, sizeof logits);
    OK(infer_session_run(session, NULL, &in, 1, &out, 1));
    CHECK(out.byte_len == (uint64_t)batches[which] * CLASSES * sizeof *logits);
    CHECK(memcmp(logits, expected[which], (size_t)out.byte_len) == 0);
  }
  CHECK(i > 0);
  return NULL;
}

static void run_for(double seconds) {
  pthread_t threads[THREADS];
  double end = now() + seconds;
  int i;
  for (i = 0; i < THREADS; ++i) CHECK(pthread_create(&threads[i], NULL, work, &end) == 0);
  for (i = 0; i < THREADS; ++i) CHECK(pthread_join(threads[i], NULL) == 0);
}

/* A thread sees its own errors only. */
static void *fail(void *argument) {
  infer_error error = INFER_ERROR_INIT;
  (void)argument;
  infer_last_error(&error);
  CHECK(error.status == INFER_OK);
  FAILS(infer_session_run(NULL, NULL, NULL, 0, NULL, 0), INFER_ERROR_INVALID_ARGUMENT, "session");
  return NULL;
}

static void errors(void) {
  infer_error error = INFER_ERROR_INIT;
  pthread_t other;
  FAILS(infer_cancel_create(NULL), INFER_ERROR_INVALID_ARGUMENT, "out");
  CHECK(pthread_create(&other, NULL, fail, NULL) == 0 && pthread_join(other, NULL) == 0);
  infer_last_error(&error);
  CHECK(strstr(error.message, "out"));
}

int main(int argc, char **argv) {
  long before, after;
  int i;
  CHECK(argc > 1);
  errors();
  session = open_session(argv[1], 2);
  for (i = 0; i < SHAPES; ++i) {
    infer_tensor in = images(pixels[i], batches[i]), out = scores(expected[i], batches[i]);
    fill(pixels[i], batches[i], (unsigned)i + 1);
    OK(infer_session_run(session, NULL, &in, 1, &out, 1));
  }

  run_for(1);
  before = resident_pages();
  run_for(SECONDS);
  after = resident_pages();
#if !defined(__SANITIZE_ADDRESS__) /* it keeps freed memory for a while */
  CHECK(after <= before + before / 4);
#endif
  printf("%ld pages resident before, %ld after\n", before, after);

  infer_session_destroy(session);
  return finish();
}
