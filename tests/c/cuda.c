/* What the interface says of devices: the processor is always there; a GPU is described, or its driver is named as what is missing. */
#define _POSIX_C_SOURCE 199309L
#include "check.h"

#include <time.h>

#define INVALID INFER_ERROR_INVALID_ARGUMENT
enum { NO_SUCH_KIND = 77, NO_SUCH_GPU = 4096 };

static void wrong_arguments(void) {
  infer_device_info info = INFER_DEVICE_INFO_INIT;
  size_t count = 7;
  FAILS(infer_device_count(INFER_DEVICE_CPU, NULL), INVALID, "out");
  FAILS(infer_device_count(NO_SUCH_KIND, &count), INVALID, "device");
  CHECK(count == 7);
  FAILS(infer_device_describe(INFER_DEVICE_CPU, 0, NULL), INVALID, "out");
  FAILS(infer_device_describe(NO_SUCH_KIND, 0, &info), INVALID, "device");
  FAILS(infer_device_describe(INFER_DEVICE_CPU, 1, &info), INVALID, "id");
  FAILS(infer_device_describe(INFER_DEVICE_CUDA, -1, &info), INVALID, "id");
  info.struct_size = 8;
  FAILS(infer_device_describe(INFER_DEVICE_CPU, 0, &info), INVALID, "struct_size");
  FAILS(infer_device_trim(NO_SUCH_KIND, 0), INVALID, "device");
  FAILS(infer_device_trim(INFER_DEVICE_CPU, 1), INVALID, "id");
  FAILS(infer_device_trim(INFER_DEVICE_CUDA, -1), INVALID, "id");
}

static void the_processor(void) {
  infer_device_info info = INFER_DEVICE_INFO_INIT;
  size_t count = 0;
  OK(infer_device_count(INFER_DEVICE_CPU, &count));
  CHECK(count == 1);
  OK(infer_device_describe(INFER_DEVICE_CPU, 0, &info));
  CHECK(info.name[0] && info.units > 0 && info.capability == 0 && info.memory == 0 && info.reserved == 0);
  OK(infer_device_trim(INFER_DEVICE_CPU, 0));
}

static double milliseconds(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return (double)time.tv_sec * 1e3 + (double)time.tv_nsec * 1e-6;
}

/* Whether there is a GPU. Without one, the answer comes soon and tells why. */
static int a_gpu(void) {
  infer_device_info info = INFER_DEVICE_INFO_INIT;
  size_t count = 0;
  const double begun = milliseconds();
  if (infer_device_count(INFER_DEVICE_CUDA, &count) != INFER_OK) {
    CHECK(milliseconds() - begun < 50);
    FAILS(infer_device_count(INFER_DEVICE_CUDA, &count), INFER_ERROR_DEVICE, "driver");
    FAILS(infer_device_describe(INFER_DEVICE_CUDA, 0, &info), INFER_ERROR_DEVICE, "driver");
    FAILS(infer_device_trim(INFER_DEVICE_CUDA, 0), INFER_ERROR_DEVICE, "driver");
    CHECK(count == 0 && info.name[0] == 0);
    return 0;
  }
  CHECK(count > 0);
  OK(infer_device_describe(INFER_DEVICE_CUDA, 0, &info));
  CHECK(info.name[0] && info.units > 0 && info.capability >= 1000 && info.memory > 0);
  CHECK(info.memory_used <= info.memory_reserved && info.memory_reserved <= info.memory);
  OK(infer_device_trim(INFER_DEVICE_CUDA, 0));
  FAILS(infer_device_describe(INFER_DEVICE_CUDA, NO_SUCH_GPU, &info), INFER_ERROR_DEVICE, "4096");
  return 1;
}

static float pixels[PIXELS], logits[CLASSES];

/* The name of the first GPU by its UUID. */
static void name_of(char *name) {
  infer_device_info info = INFER_DEVICE_INFO_INIT;
  int i;
  OK(infer_device_describe(INFER_DEVICE_CUDA, 0, &info));
  name += sprintf(name, "cuda:GPU-");
  for (i = 0; i < 16; ++i) name += sprintf(name, "%s%02x", i == 4 || i == 6 || i == 8 || i == 10 ? "-" : "", info.uuid[i]);
}

/* A session on a GPU where there is one, else the reason; or on the processor, if that will do. */
static void sessions(const char *path, int gpu) {
  infer_model *model = NULL;
  infer_session_options *options = NULL;
  infer_session *session = NULL;
  OK(infer_model_open(path, NULL, &model));
  OK(infer_session_options_create(&options));
  FAILS(infer_session_options_set_precision(NULL, INFER_PRECISION_F32), INVALID, "options");
  FAILS(infer_session_options_set_precision(options, INFER_PRECISION_BF16 + 1), INVALID, "precision");
  OK(infer_session_options_set_precision(options, INFER_PRECISION_F32));
  OK(infer_session_options_set_precision(options, INFER_PRECISION_TF32));
  OK(infer_session_options_set_precision(options, INFER_PRECISION_BF16));
  OK(infer_session_options_set_precision(options, INFER_PRECISION_F16));
  if (gpu) {
    infer_memory_info memory = INFER_MEMORY_INFO_INIT;
    infer_tensor in = images(pixels, 1), out = scores(logits, 1);
    char name[64] = "cuda:0";
    int i;
    for (i = 0; i < 2; ++i) {
      OK(infer_session_options_set_device_name(options, name, 0));
      OK(infer_session_create(model, options, &session));
      OK(infer_session_run(session, NULL, &in, 1, &out, 1));
      OK(infer_session_memory(session, &memory));
      CHECK(memory.device_weights > 0 && memory.device_arenas > 0 && memory.staging > 0 && memory.contexts == 1);
      infer_session_destroy(session);
      session = NULL;
      name_of(name);
    }
  }
  OK(infer_session_options_set_device_name(options, "GPU-00000000-0000-0000-0000-000000000000", 0));
  FAILS(infer_session_create(model, options, &session), INFER_ERROR_DEVICE, gpu ? "GPU-00000000-0000" : "driver");
  OK(infer_session_options_set_device(options, INFER_DEVICE_CUDA, NO_SUCH_GPU, 0));
  FAILS(infer_session_create(model, options, &session), INFER_ERROR_DEVICE, "driver");
  CHECK(!session);
  OK(infer_session_options_set_device(options, INFER_DEVICE_CUDA, NO_SUCH_GPU, 1));
  OK(infer_session_create(model, options, &session));
  infer_session_destroy(session);
  infer_session_options_destroy(options);
  infer_model_destroy(model);
}

static void runs(const char *path) {
  infer_run_options options = INFER_RUN_OPTIONS_INIT;
  infer_session *session = open_session(path, 1);
  infer_tensor in = images(pixels, 1), out = scores(logits, 1);
  fill(pixels, 1, 1);
  options.flags = INFER_RUN_ASYNC;
  FAILS(infer_session_run(session, &options, &in, 1, &out, 1), INVALID, "stream");
  options.flags = 2;
  FAILS(infer_session_run(session, &options, &in, 1, &out, 1), INVALID, "flags");
  options.flags = 0;
  in.device_id = 1;
  FAILS(infer_session_run(session, &options, &in, 1, &out, 1), INFER_ERROR_DEVICE, "device");
  in.device = NO_SUCH_KIND;
  FAILS(infer_session_run(session, &options, &in, 1, &out, 1), INFER_ERROR_DEVICE, "device");
  in.device = INFER_DEVICE_CUDA; /* never looked at: the session is the processor's */
  FAILS(infer_session_run(session, &options, &in, 1, &out, 1), INFER_ERROR_DEVICE, "CUDA device 1");
  in = images(pixels, 1);
  out.device = INFER_DEVICE_CUDA;
  FAILS(infer_session_run(session, &options, &in, 1, &out, 1), INFER_ERROR_DEVICE, "the processor");
  out = scores(logits, 1);
  OK(infer_session_run(session, &options, &in, 1, &out, 1));
  infer_session_destroy(session);
}

int main(int argc, char **argv) {
  int gpu;
  CHECK(argc > 1);
  wrong_arguments();
  the_processor();
  gpu = a_gpu();
  sessions(argv[1], gpu);
  runs(argv[1]);
  return finish();
}
