/* Runs: into memory of the caller's, of the library's, of a context's; strided, in batches, stopped early; destroyed in any order. */
#include <math.h>

#include "check.h"

static infer_model *model;
static infer_session *session;
static float pixels[3 * 64], logits[3 * 10], wanted[3 * 10];

static int equal(const float *a, const float *b, size_t count) { return !memcmp(a, b, count * sizeof *a); }

static void library_memory(void) {
  infer_tensor in = images(pixels, 1), out = INFER_TENSOR_INIT;
  void *data;
  OK(infer_session_run(session, NULL, &in, 1, &out, 1));
  CHECK(out.owner && out.dtype == INFER_DTYPE_F32 && out.rank == 2 && out.shape[0] == 1 && out.shape[1] == 10);
  CHECK(out.byte_len == 40 && out.capacity >= 40 && equal(out.data, wanted, 10));
  data = out.data;
  OK(infer_session_run(session, NULL, &in, 1, &out, 1));
  CHECK(out.data == data && equal(data, wanted, 10));
  in = images(pixels, 3);
  OK(infer_session_run(session, NULL, &in, 1, &out, 1));
  CHECK(out.shape[0] == 3 && out.byte_len == 120 && equal(out.data, wanted, 30));
  data = out.data;
  in = images(pixels + 64, 1);
  OK(infer_session_run(session, NULL, &in, 1, &out, 1));
  CHECK(out.data == data && out.shape[0] == 1 && out.byte_len == 40 && out.capacity >= 120);
  CHECK(equal(data, wanted + 10, 10));
  infer_tensor_release(&out);
  CHECK(!out.data && !out.owner && !out.byte_len && !out.capacity);
  infer_tensor_release(&out);
}

static void unaligned_and_strided(void) {
  static char room[1 + sizeof pixels];
  static float wide[64 * 2], apart[10 * 3];
  infer_context *context = NULL;
  infer_tensor in = images(pixels, 1), out = scores(logits, 1);
  int i;
  OK(infer_context_create(session, &context));
  OK(infer_context_set_output(context, 0, &out));
  OK(infer_context_set_input(context, 0, &in));
  OK(infer_context_run(context, NULL));
  CHECK(infer_context_copies(context) == 0 && equal(logits, wanted, 10));

  memcpy(room + 1, pixels, 256);
  in.data = room + 1;
  memset(logits, 0, sizeof logits);
  OK(infer_context_set_input(context, 0, &in));
  OK(infer_context_run(context, NULL));
  CHECK(infer_context_copies(context) == 1 && equal(logits, wanted, 10));

  for (i = 0; i < 64; ++i) wide[2 * i] = pixels[i];
  in = floats(wide, sizeof wide, 4, 1, 1, 8, 8);
  in.flags = INFER_TENSOR_STRIDED;
  in.strides[2] = 16;
  in.strides[3] = 2;
  out = floats(apart, sizeof apart, 2, 1, 10, 0, 0);
  out.flags = INFER_TENSOR_STRIDED;
  out.strides[1] = 3;
  OK(infer_context_set_input(context, 0, &in));
  OK(infer_context_set_output(context, 0, &out));
  OK(infer_context_run(context, NULL));
  CHECK(infer_context_copies(context) == 3);
  for (i = 0; i < 10; ++i) CHECK(equal(apart + 3 * i, wanted + i, 1) && apart[3 * i + 1] == 0);
  infer_context_destroy(context);
}

static void context_memory(void) {
  infer_context *context = NULL;
  infer_tensor in = images(pixels, 1), out = INFER_TENSOR_INIT;
  OK(infer_context_create(session, &context));
  FAILS(infer_context_run(context, NULL), INFER_ERROR_INVALID_ARGUMENT, "'image'");
  FAILS(infer_context_get_output(context, 0, &out), INFER_ERROR_STATE, "no result yet");
  FAILS(infer_context_set_input(context, 1, &in), INFER_ERROR_INVALID_ARGUMENT, "no input 1");
  FAILS(infer_context_set_output(context, 1, &in), INFER_ERROR_INVALID_ARGUMENT, "no output 1");
  FAILS(infer_context_set_output(context, 0, &out), INFER_ERROR_INVALID_ARGUMENT, "data");
  OK(infer_context_set_input(context, 0, &in));
  OK(infer_context_run(context, NULL));
  OK(infer_context_get_output(context, 0, &out));
  CHECK(!out.owner && out.rank == 2 && out.shape[0] == 1 && equal(out.data, wanted, 10));

  /* The same memory, read again where the input changes in place. */
  memcpy(pixels, pixels + 64, 256);
  OK(infer_context_run(context, NULL));
  CHECK(equal(out.data, wanted + 10, 10));
  memset(pixels, 0, 256);

  in = images(pixels, 3);
  OK(infer_context_set_input(context, 0, &in));
  OK(infer_context_run(context, NULL));
  OK(infer_context_get_output(context, 0, &out));
  CHECK(out.shape[0] == 3 && equal(out.data, wanted, 30));

  out = scores(logits, 1);
  OK(infer_context_set_output(context, 0, &out));
  FAILS(infer_context_run(context, NULL), INFER_ERROR_BUFFER_TOO_SMALL, "120");
  OK(infer_context_get_output(context, 0, &out));
  CHECK(out.byte_len == 120 && out.shape[0] == 3 && out.data == logits);
  OK(infer_context_set_output(context, 0, NULL));
  OK(infer_context_run(context, NULL));
  OK(infer_context_set_input(context, 0, NULL));
  FAILS(infer_context_run(context, NULL), INFER_ERROR_INVALID_ARGUMENT, "not bound");
  FAILS(infer_context_get_output(context, 1, &out), INFER_ERROR_INVALID_ARGUMENT, "no output 1");
  infer_context_destroy(context);
}

static void empty_batch(void) {
  infer_tensor in = images(NULL, 0), out = INFER_TENSOR_INIT;
  OK(infer_session_run(session, NULL, &in, 1, &out, 1));
  CHECK(out.rank == 2 && out.shape[0] == 0 && out.shape[1] == 10 && out.byte_len == 0);
  infer_tensor_release(&out);
}

static void stopped_early(void) {
  infer_cancel *cancel = NULL;
  infer_run_options options = INFER_RUN_OPTIONS_INIT;
  infer_tensor in = images(pixels, 1), out = scores(logits, 1);
  OK(infer_cancel_create(&cancel));
  options.cancel = cancel;
  OK(infer_session_run(session, &options, &in, 1, &out, 1));
  OK(infer_cancel_set(cancel, 1));
  FAILS(infer_session_run(session, &options, &in, 1, &out, 1), INFER_ERROR_CANCELLED, "cancelled");
  OK(infer_cancel_set(cancel, 0));
  options.timeout_ns = 1;
  FAILS(infer_session_run(session, &options, &in, 1, &out, 1), INFER_ERROR_CANCELLED, "deadline");
  options.timeout_ns = UINT64_MAX;
  memset(logits, 0, sizeof logits);
  OK(infer_session_run(session, &options, &in, 1, &out, 1));
  CHECK(equal(logits, wanted, 10));
  infer_cancel_destroy(cancel);
}

/* Any number of threads gives the same bits; what a parent made outlives it. */
static void orders_of_destruction(const char *path) {
  const uint32_t counts[] = {0, 1, 2, 3, 5, 8};
  size_t i;
  for (i = 0; i < sizeof counts / sizeof *counts; ++i) {
    infer_session_options *options = NULL;
    infer_model *m = NULL;
    infer_session *s = NULL;
    infer_context *c = NULL;
    infer_tensor in = images(pixels, 3), out = INFER_TENSOR_INIT;
    OK(infer_model_open(path, NULL, &m));
    OK(infer_session_options_create(&options));
    OK(infer_session_options_set_threads(options, counts[i]));
    OK(infer_session_create(m, options, &s));
    infer_session_options_destroy(options);
    infer_model_destroy(m);
    OK(infer_session_prepare(s, &in, 1));
    OK(infer_context_create(s, &c));
    infer_session_destroy(s);
    OK(infer_context_set_input(c, 0, &in));
    OK(infer_context_run(c, NULL));
    OK(infer_context_get_output(c, 0, &out));
    CHECK(equal(out.data, wanted, 30));
    infer_context_destroy(c);
  }
}

struct log {
  int messages[INFER_LOG_INFO + 1];
  char last[256];
};

static void on_message(void *user_data, infer_log_level level, const char *message) {
  struct log *log = user_data;
  ++log->messages[level];
  snprintf(log->last, sizeof log->last, "%s", message);
}

static void shared_runtime(const char *path) {
  struct log log;
  infer_runtime_options *options = NULL;
  infer_runtime *runtime = NULL;
  infer_model_options *opening = NULL;
  infer_session_options *settings = NULL;
  infer_model *m = NULL, *none = NULL;
  infer_session *a = NULL, *b = NULL;
  infer_tensor in = images(pixels, 3), out = scores(logits, 3);
  memset(&log, 0, sizeof log);
  OK(infer_runtime_options_create(&options));
  OK(infer_runtime_options_set_threads(options, 2));
  OK(infer_runtime_options_set_log(options, INFER_LOG_INFO, on_message, &log));
  OK(infer_runtime_create(options, &runtime));
  infer_runtime_options_destroy(options);
  OK(infer_model_options_create(&opening));
  OK(infer_model_options_set_runtime(opening, runtime));
  infer_runtime_destroy(runtime);
  OK(infer_model_open(path, opening, &m));
  CHECK(log.messages[INFER_LOG_INFO] == 1 && strstr(log.last, path));
  FAILS(infer_model_open("/no/such/file", opening, &none), INFER_ERROR_IO, "/no/such/file");
  CHECK(log.messages[INFER_LOG_ERROR] == 1 && strstr(log.last, "/no/such/file"));
  infer_model_options_destroy(opening);
  OK(infer_session_create(m, NULL, &a));
  CHECK(log.messages[INFER_LOG_INFO] == 2 && strstr(log.last, "2 threads"));
  OK(infer_session_options_create(&settings));
  OK(infer_session_options_set_device(settings, INFER_DEVICE_CUDA, 4096, 0)); /* the number of no machine's GPU */
  FAILS(infer_session_create(m, settings, &b), INFER_ERROR_DEVICE, "driver");
  OK(infer_session_options_set_device(settings, INFER_DEVICE_CUDA, 4096, 1));
  OK(infer_session_create(m, settings, &b));
  CHECK(log.messages[INFER_LOG_WARNING] == 1);
  infer_session_options_destroy(settings);
  infer_model_destroy(m);
  OK(infer_session_run(a, NULL, &in, 1, &out, 1));
  CHECK(equal(logits, wanted, 30));
  infer_session_destroy(a);
  OK(infer_session_run(b, NULL, &in, 1, &out, 1));
  infer_session_destroy(b);
}

int main(int argc, char **argv) {
  infer_tensor in = images(pixels, 3), out = scores(wanted, 3);
  int i;
  if (argc < 2) return 2;
  /* The first image is blank, the others are not. */
  for (i = 64; i < 3 * 64; ++i) pixels[i] = (float)(i * 37 % 17) / 16;
  OK(infer_model_open(argv[1], NULL, &model));
  OK(infer_session_create(model, NULL, &session));
  OK(infer_session_run(session, NULL, &in, 1, &out, 1));
  CHECK(out.owner == NULL && out.shape[0] == 3 && isfinite(wanted[0]) && !equal(wanted, wanted + 10, 10));
  library_memory();
  unaligned_and_strided();
  context_memory();
  empty_batch();
  stopped_early();
  orders_of_destruction(argv[1]);
  shared_runtime(argv[1]);
  infer_session_destroy(session);
  infer_model_destroy(model);
  return finish();
}
