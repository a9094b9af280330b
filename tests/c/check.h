/* What the C tests share: checks that say where they failed, and the digit classifier's input and output. */
#ifndef CHECK_H
#define CHECK_H

#include <infer.h>

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static atomic_int checks_passed, checks_failed;

#define CHECK(condition) check_that((condition) != 0, #condition, __FILE__, __LINE__)

/* A call that must succeed. */
#define OK(call) FAILS(call, INFER_OK, "")

/* A call that must return this status; a failure must leave a message that contains `words`. */
#define FAILS(call, status, words) check_status((call), (status), (words), #call, __FILE__, __LINE__)

static inline void check_that(int holds, const char *what, const char *file, int line) {
  if (holds) {
    ++checks_passed;
  } else {
    ++checks_failed;
    printf("%s:%d: does not hold: %s\n", file, line, what);
  }
}

static inline void check_status(infer_status got, infer_status wanted, const char *words, const char *call, const char *file,
                                int line) {
  infer_error error = INFER_ERROR_INIT;
  infer_last_error(&error);
  if (got == wanted && (got == INFER_OK || (error.status == got && strstr(error.message, words)))) {
    ++checks_passed;
    return;
  }
  ++checks_failed;
  printf("%s:%d: %s returned %s", file, line, call, infer_status_name(got));
  if (got != INFER_OK) printf(", %s: %s", infer_status_name(error.status), error.message);
  printf("\n");
}

/* What main returns. */
static inline int finish(void) {
  printf("%d passed, %d failed\n", checks_passed, checks_failed);
  return checks_failed > 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}

enum { PIXELS = 8 * 8, CLASSES = 10 };

/* A tensor of f32 with up to four extents; `bytes` is its length and its room. */
static inline infer_tensor floats(float *data, uint64_t bytes, uint32_t rank, int64_t a, int64_t b, int64_t c, int64_t d) {
  infer_tensor tensor = INFER_TENSOR_INIT;
  tensor.dtype = INFER_DTYPE_F32;
  tensor.rank = rank;
  tensor.shape[0] = a;
  tensor.shape[1] = b;
  tensor.shape[2] = c;
  tensor.shape[3] = d;
  tensor.data = data;
  tensor.byte_len = tensor.capacity = bytes;
  return tensor;
}

/* `batch` images of the digit classifier. */
static inline infer_tensor images(float *pixels, int64_t batch) {
  return floats(pixels, (uint64_t)batch * PIXELS * sizeof *pixels, 4, batch, 1, 8, 8);
}

/* Room for the scores of `batch` images. */
static inline infer_tensor scores(float *logits, int64_t batch) {
  return floats(logits, (uint64_t)batch * CLASSES * sizeof *logits, 2, batch, CLASSES, 0, 0);
}

/* Any images: the same ones for the same `seed`. */
static inline void fill(float *pixels, int64_t batch, unsigned seed) {
  int64_t i;
  for (i = 0; i < batch * PIXELS; ++i) {
    seed = seed * 1664525u + 1013904223u;
    pixels[i] = (float)(seed >> 8) / (float)(1 << 24);
  }
}

/* A session of the model with some number of threads; a test can do nothing without it. */
static inline infer_session *open_session(const char *path, uint32_t threads) {
  infer_model *model = NULL;
  infer_session_options *options = NULL;
  infer_session *session = NULL;
  OK(infer_model_open(path, NULL, &model));
  OK(infer_session_options_create(&options));
  OK(infer_session_options_set_threads(options, threads));
  OK(infer_session_create(model, options, &session));
  infer_session_options_destroy(options);
  infer_model_destroy(model);
  if (!session) exit(finish());
  return session;
}

#endif
