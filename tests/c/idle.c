/* Between runs, a session's threads use no processor time. */
#define _POSIX_C_SOURCE 200809L
#include "check.h"

#include <sys/resource.h>
#include <time.h>

static double processor_seconds(void) {
  struct rusage usage;
  CHECK(getrusage(RUSAGE_SELF, &usage) == 0);
  return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
         (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) * 1e-6;
}

int main(int argc, char **argv) {
  const struct timespec two_seconds = {2, 0}, moment = {0, 50 * 1000 * 1000};
  float pixels[PIXELS], logits[CLASSES];
  const infer_tensor in = images(pixels, 1);
  infer_tensor out = scores(logits, 1);
  infer_session *session;
  double before, used;
  CHECK(argc > 1);
  session = open_session(argv[1], 4);
  fill(pixels, 1, 1);
  OK(infer_session_run(session, NULL, &in, 1, &out, 1));
  nanosleep(&moment, NULL); /* workers spin for a moment after a run, and then sleep */

  before = processor_seconds();
  nanosleep(&two_seconds, NULL);
  used = processor_seconds() - before;
  printf("%.6f s of processor time in 2 s\n", used);
  CHECK(used < 0.002);

  infer_session_destroy(session);
  return finish();
}
