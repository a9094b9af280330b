/* What tells of a session: its memory, numbers that are not finite, and the end of a run. */
#include "check.h"

#include <math.h>

#define INVALID INFER_ERROR_INVALID_ARGUMENT

static float pixels[2 * PIXELS], logits[2 * CLASSES];

static void memory(const char *path) {
  infer_memory_info info = INFER_MEMORY_INFO_INIT, later = INFER_MEMORY_INFO_INIT;
  infer_session *session = open_session(path, 2);
  infer_context *context = NULL;
  infer_tensor in = images(pixels, 2), out = scores(logits, 2);
  FAILS(infer_session_memory(NULL, &info), INVALID, "session");
  FAILS(infer_session_memory(session, NULL), INVALID, "out");
  info.struct_size = 4;
  FAILS(infer_session_memory(session, &info), INVALID, "struct_size");
  info.struct_size = sizeof info;
  OK(infer_session_memory(session, &info));
  CHECK(info.weights > 1000 && info.contexts == 0 && info.arenas == 0 && info.plans == 0);
  OK(infer_context_create(session, &context));
  OK(infer_context_set_input(context, 0, &in));
  OK(infer_context_set_output(context, 0, &out));
  fill(pixels, 2, 1);
  OK(infer_context_run(context, NULL));
  OK(infer_session_run(session, NULL, &in, 1, &out, 1));
  OK(infer_session_memory(session, &info));
  CHECK(info.contexts == 2 && info.arenas > 0 && info.plans == 1);
  CHECK(info.device_weights == 0 && info.device_arenas == 0 && info.staging == 0);
  infer_context_destroy(context);
  OK(infer_session_memory(session, &later));
  CHECK(later.contexts == 1 && 2 * later.arenas == info.arenas && later.weights == info.weights);
  infer_session_destroy(session);
}

/* A session that checks numbers, or refuses its settings. */
static void numbers(const char *path) {
  infer_model *model = NULL;
  infer_session_options *options = NULL;
  infer_session *session = NULL;
  infer_tensor in = images(pixels, 1), out = scores(logits, 1);
  infer_error error = INFER_ERROR_INIT;
  OK(infer_model_open(path, NULL, &model));
  OK(infer_session_options_create(&options));
  FAILS(infer_session_options_set_check(NULL, 1), INVALID, "options");
  FAILS(infer_session_options_set_check(options, 2), INVALID, "check");
  FAILS(infer_session_options_keep_f32(NULL, ""), INVALID, "options");
  FAILS(infer_session_options_keep_f32(options, NULL), INVALID, "node");
  OK(infer_session_options_set_check(options, 1));
  OK(infer_session_create(model, options, &session));
  fill(pixels, 1, 1);
  OK(infer_session_run(session, NULL, &in, 1, &out, 1));
  pixels[9] = NAN;
  FAILS(infer_session_run(session, NULL, &in, 1, &out, 1), INFER_ERROR_NOT_FINITE, "input 0 'image': 1 of 64 values");
  FAILS(infer_session_run(session, NULL, &in, 1, &out, 1), INFER_ERROR_NOT_FINITE, "[0, 0, 1, 1]");
  /* A sum of large numbers is too large; the node in which that happens has a name. */
  {
    int i;
    for (i = 0; i < PIXELS; ++i) pixels[i] = 3e38f;
  }
  FAILS(infer_session_run(session, NULL, &in, 1, &out, 1), INFER_ERROR_NOT_FINITE, "it has read f32[1, ");
  OK(infer_last_error(&error));
  CHECK(error.node[0] && error.op[0]);
  infer_session_destroy(session);
  session = NULL;
  OK(infer_session_options_keep_f32(options, "no such node"));
  FAILS(infer_session_create(model, options, &session), INVALID, "no such node");
  infer_session_options_destroy(options);
  infer_model_destroy(model);
}

static int calls;
static infer_status told;

static void done(void *user_data, infer_status status) {
  CHECK(user_data == &calls);
  ++calls;
  told = status;
}

/* On the processor a run tells of its end before it returns. */
static void ends(const char *path) {
  infer_run_options options = INFER_RUN_OPTIONS_INIT;
  infer_session *session = open_session(path, 1);
  infer_tensor in = images(pixels, 1), out = scores(logits, 1);
  fill(pixels, 1, 1);
  options.done = done;
  options.user_data = &calls;
  for (options.flags = 0; options.flags <= INFER_RUN_ASYNC; ++options.flags) {
    told = INFER_ERROR_INTERNAL;
    OK(infer_session_run(session, &options, &in, 1, &out, 1));
    CHECK(calls == (int)options.flags + 1 && told == INFER_OK);
  }
  options.flags = INFER_RUN_ASYNC;
  in.rank = 3;
  CHECK(infer_session_run(session, &options, &in, 1, &out, 1) != INFER_OK);
  in.rank = 4;
  out.capacity = 4;
  FAILS(infer_session_run(session, &options, &in, 1, &out, 1), INFER_ERROR_BUFFER_TOO_SMALL, "logits");
  CHECK(calls == 2);
  infer_session_destroy(session);
}

static void names(void) {
  infer_session_options *options = NULL;
  OK(infer_session_options_create(&options));
  FAILS(infer_session_options_set_device_name(NULL, "cpu", 0), INVALID, "options");
  FAILS(infer_session_options_set_device_name(options, NULL, 0), INVALID, "name");
  FAILS(infer_session_options_set_device_name(options, "gpu", 0), INVALID, "cuda:N");
  FAILS(infer_session_options_set_device_name(options, "cpu", 2), INVALID, "fallback");
  OK(infer_session_options_set_device_name(options, "cpu", 0));
  OK(infer_session_options_set_device_name(options, "cuda:GPU-00000000-0000-0000-0000-000000000000", 1));
  infer_session_options_destroy(options);
}

int main(int argc, char **argv) {
  CHECK(argc > 1);
  memory(argv[1]);
  numbers(argv[1]);
  ends(argv[1]);
  names();
  return finish();
}
