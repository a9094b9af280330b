/* What the C tests share: checks that say where they failed, and the digit classifier's input and output. */
#ifndef CHECK_H
#define CHECK_H

#include <infer.h>

#include <stdio.h>
#include <stdlib.h>

#define CHECK(condition) \
  do { \
    if (!(condition)) { \
      fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition); \
      exit(1); \
    } \
  } while (0)

/* A call that must succeed; says why it did not. */
#define OK(call) check_ok((call), #call, __FILE__, __LINE__)

static inline void check_ok(infer_status status, const char *call, const char *file, int line) {
  infer_error error = INFER_ERROR_INIT;
  if (status == INFER_OK) return;
  infer_last_error(&error);
  fprintf(stderr, "%s:%d: %s: %s: %s\n", file, line, call, infer_status_name(status), error.message);
  exit(1);
}

enum { PIXELS = 8 * 8, CLASSES = 10 };

/* `batch` images of the digit classifier. */
static inline infer_tensor images(float *pixels, int64_t batch) {
  infer_tensor tensor = INFER_TENSOR_INIT;
  tensor.dtype = INFER_DTYPE_F32;
  tensor.rank = 4;
  tensor.shape[0] = batch;
  tensor.shape[1] = 1;
  tensor.shape[2] = tensor.shape[3] = 8;
  tensor.data = pixels;
  tensor.byte_len = (uint64_t)batch * PIXELS * sizeof *pixels;
  return tensor;
}

/* Room for the scores of `batch` images. */
static inline infer_tensor scores(float *logits, int64_t batch) {
  infer_tensor tensor = INFER_TENSOR_INIT;
  tensor.dtype = INFER_DTYPE_F32;
  tensor.data = logits;
  tensor.capacity = (uint64_t)batch * CLASSES * sizeof *logits;
  return tensor;
}

/* Any images: the same ones for the same `seed`. */
static inline void fill(float *pixels, int64_t batch, unsigned seed) {
  int64_t i;
  for (i = 0; i < batch * PIXELS; ++i) {
    seed = seed * 1664525u + 1013904223u;
    pixels[i] = (float)(seed >> 8) / (float)(1 << 24);
  }
}

/* A session of the model with some number of threads. */
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
  return session;
}

#endif
