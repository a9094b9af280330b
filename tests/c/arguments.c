/* Whatever a caller may get wrong is a status and a message, and changes nothing. */
#include "check.h"

#define INVALID INFER_ERROR_INVALID_ARGUMENT

static infer_model *model;
static infer_session *session;
static float pixels[2 * 64], logits[2 * 10];

static void null_pointers(const char *path) {
  infer_model *m = NULL;
  infer_session *s = NULL;
  infer_context *c = NULL;
  infer_tensor in = images(pixels, 1), out = scores(logits, 1);
  infer_tensor_info info = INFER_TENSOR_INFO_INIT;
  const char *text = NULL;
  size_t index = 7;

  FAILS(infer_last_error(NULL), INVALID, "out");
  FAILS(infer_runtime_options_create(NULL), INVALID, "out");
  FAILS(infer_runtime_options_set_threads(NULL, 1), INVALID, "options");
  FAILS(infer_runtime_options_set_log(NULL, INFER_LOG_INFO, NULL, NULL), INVALID, "options");
  FAILS(infer_runtime_create(NULL, NULL), INVALID, "out");
  FAILS(infer_model_options_create(NULL), INVALID, "out");
  FAILS(infer_model_options_set_runtime(NULL, NULL), INVALID, "options");
  FAILS(infer_model_options_set_mode(NULL, INFER_OPEN_MAP), INVALID, "options");
  FAILS(infer_model_options_set_verify(NULL, 1), INVALID, "options");
  FAILS(infer_model_options_set_weight_memory(NULL, 1), INVALID, "options");
  FAILS(infer_model_open(NULL, NULL, &m), INVALID, "path");
  FAILS(infer_model_open(path, NULL, NULL), INVALID, "out");
  FAILS(infer_model_open_fd(0, 0, 0, NULL, NULL), INVALID, "out");
  FAILS(infer_model_open_memory(NULL, 8, NULL, NULL, NULL, &m), INVALID, "data");
  FAILS(infer_model_open_memory(pixels, sizeof pixels, NULL, NULL, NULL, NULL), INVALID, "out");
  CHECK(infer_model_input_count(NULL) == 0 && infer_model_output_count(NULL) == 0);
  CHECK(infer_model_metadata_count(NULL) == 0);
  FAILS(infer_model_input_info(NULL, 0, &info), INVALID, "model");
  FAILS(infer_model_input_info(model, 0, NULL), INVALID, "out");
  FAILS(infer_model_output_info(NULL, 0, &info), INVALID, "model");
  FAILS(infer_model_output_info(model, 0, NULL), INVALID, "out");
  FAILS(infer_model_input_index(NULL, "image", &index), INVALID, "model");
  FAILS(infer_model_input_index(model, NULL, &index), INVALID, "name");
  FAILS(infer_model_input_index(model, "image", NULL), INVALID, "out");
  FAILS(infer_model_output_index(NULL, "logits", &index), INVALID, "model");
  FAILS(infer_model_output_index(model, NULL, &index), INVALID, "name");
  FAILS(infer_model_output_index(model, "logits", NULL), INVALID, "out");
  FAILS(infer_model_metadata_at(NULL, 0, &text, &text), INVALID, "model");
  FAILS(infer_model_metadata_at(model, 0, NULL, &text), INVALID, "key");
  FAILS(infer_model_metadata_at(model, 0, &text, NULL), INVALID, "value");
  FAILS(infer_model_metadata_get(NULL, "k", &text), INVALID, "model");
  FAILS(infer_model_metadata_get(model, NULL, &text), INVALID, "key");
  FAILS(infer_model_metadata_get(model, "k", NULL), INVALID, "value");
  FAILS(infer_cancel_create(NULL), INVALID, "out");
  FAILS(infer_cancel_set(NULL, 1), INVALID, "cancel");
  FAILS(infer_session_options_create(NULL), INVALID, "out");
  FAILS(infer_session_options_set_threads(NULL, 1), INVALID, "options");
  FAILS(infer_session_options_set_device(NULL, INFER_DEVICE_CPU, 0, 0), INVALID, "options");
  FAILS(infer_session_options_set_precision(NULL, INFER_PRECISION_F16), INVALID, "options");
  FAILS(infer_session_options_set_max_memory(NULL, 1), INVALID, "options");
  FAILS(infer_session_options_set_max_contexts(NULL, 1), INVALID, "options");
  FAILS(infer_session_create(NULL, NULL, &s), INVALID, "model");
  FAILS(infer_session_create(model, NULL, NULL), INVALID, "out");
  FAILS(infer_session_prepare(NULL, &in, 1), INVALID, "session");
  FAILS(infer_session_prepare(session, NULL, 1), INVALID, "inputs");
  FAILS(infer_session_run(NULL, NULL, &in, 1, &out, 1), INVALID, "session");
  FAILS(infer_session_run(session, NULL, NULL, 1, &out, 1), INVALID, "inputs");
  FAILS(infer_session_run(session, NULL, &in, 1, NULL, 1), INVALID, "outputs");
  FAILS(infer_context_create(NULL, &c), INVALID, "session");
  FAILS(infer_context_create(session, NULL), INVALID, "out");
  FAILS(infer_context_set_input(NULL, 0, &in), INVALID, "context");
  FAILS(infer_context_set_output(NULL, 0, &out), INVALID, "context");
  FAILS(infer_context_run(NULL, NULL), INVALID, "context");
  FAILS(infer_context_get_output(NULL, 0, &out), INVALID, "context");
  CHECK(infer_context_copies(NULL) == 0);
  CHECK(!m && !s && !c && !text && index == 7);

  infer_tensor_release(NULL);
  infer_runtime_options_destroy(NULL);
  infer_runtime_destroy(NULL);
  infer_model_options_destroy(NULL);
  infer_model_destroy(NULL);
  infer_session_options_destroy(NULL);
  infer_session_destroy(NULL);
  infer_cancel_destroy(NULL);
  infer_context_destroy(NULL);
}

static void names_and_indices(void) {
  infer_tensor_info info = INFER_TENSOR_INFO_INIT;
  const char *key = NULL, *value = NULL;
  size_t index = 7;
  CHECK(infer_model_input_count(model) == 1 && infer_model_output_count(model) == 1);
  OK(infer_model_input_info(model, 0, &info));
  CHECK(!strcmp(info.name, "image") && info.dtype == INFER_DTYPE_F32 && info.rank == 4);
  CHECK(info.shape[0] == -1 && !strcmp(info.dim_names[0], "batch") && info.dim_max[0] >= 1000000);
  CHECK(info.shape[3] == 8 && !info.dim_names[3] && info.dim_min[3] == 8 && info.dim_max[3] == 8);
  OK(infer_model_output_info(model, 0, &info));
  CHECK(!strcmp(info.name, "logits") && info.rank == 2 && info.shape[1] == 10);
  OK(infer_model_input_index(model, "image", &index));
  CHECK(index == 0);
  index = 7;
  FAILS(infer_model_input_index(model, "picture", &index), INVALID, "it has: image");
  FAILS(infer_model_input_index(model, "im\xff", &index), INVALID, "UTF-8");
  FAILS(infer_model_output_index(model, "", &index), INVALID, "logits");
  FAILS(infer_model_input_info(model, 1, &info), INVALID, "no input 1");
  FAILS(infer_model_output_info(model, SIZE_MAX, &info), INVALID, "no output");
  FAILS(infer_model_metadata_at(model, infer_model_metadata_count(model), &key, &value), INVALID, "metadata");
  FAILS(infer_model_metadata_get(model, "no such key", &value), INVALID, "no such key");
  CHECK(index == 7 && !key && !value && !strcmp(info.name, "logits"));
}

static void options_out_of_range(void) {
  infer_runtime_options *runtime = NULL;
  infer_model_options *opening = NULL;
  infer_session_options *options = NULL;
  infer_session *s = NULL;
  infer_cancel *cancel = NULL;
  OK(infer_runtime_options_create(&runtime));
  FAILS(infer_runtime_options_set_threads(runtime, 1025), INVALID, "1025");
  FAILS(infer_runtime_options_set_threads(runtime, UINT32_MAX), INVALID, "at most 1024");
  FAILS(infer_runtime_options_set_log(runtime, 0, NULL, NULL), INVALID, "level");
  FAILS(infer_runtime_options_set_log(runtime, 9, NULL, NULL), INVALID, "level");
  OK(infer_model_options_create(&opening));
  FAILS(infer_model_options_set_mode(opening, 2), INVALID, "mode");
  FAILS(infer_model_options_set_verify(opening, 2), INVALID, "verify");
  OK(infer_session_options_create(&options));
  FAILS(infer_session_options_set_threads(options, 1000000000), INVALID, "threads");
  FAILS(infer_session_options_set_device(options, 77, 0, 0), INVALID, "device");
  FAILS(infer_session_options_set_device(options, INFER_DEVICE_CPU, 1, 0), INVALID, "id");
  FAILS(infer_session_options_set_device(options, INFER_DEVICE_CUDA, 0, 3), INVALID, "fallback");
  FAILS(infer_session_options_set_precision(options, 4), INVALID, "precision");
  OK(infer_session_options_set_precision(options, INFER_PRECISION_BF16));
  OK(infer_session_options_set_max_memory(options, 16));
  OK(infer_session_create(model, options, &s));
  if (s) {
    infer_tensor in = images(pixels, 2), out = scores(logits, 2);
    FAILS(infer_session_run(s, NULL, &in, 1, &out, 1), INFER_ERROR_NO_MEMORY, "");
  }
  infer_session_destroy(s);
  OK(infer_cancel_create(&cancel));
  FAILS(infer_cancel_set(cancel, 2), INVALID, "requested");
  infer_cancel_destroy(cancel);
  infer_session_options_destroy(options);
  infer_model_options_destroy(opening);
  infer_runtime_options_destroy(runtime);
}

static void struct_sizes(void) {
  struct {
    infer_tensor known;
    uint64_t unknown;
  } newer;
  infer_tensor out = scores(logits, 1);
  infer_error error = INFER_ERROR_INIT;
  memset(&newer, 0, sizeof newer);
  newer.known = images(pixels, 1);
  newer.known.struct_size = sizeof newer;
  OK(infer_session_run(session, NULL, &newer.known, 1, &out, 1));
  newer.unknown = 1;
  FAILS(infer_session_run(session, NULL, &newer.known, 1, &out, 1), INVALID, "newer release");
  newer.known.struct_size = 0;
  FAILS(infer_session_run(session, NULL, &newer.known, 1, &out, 1), INVALID, "struct_size");
  newer.known.struct_size = sizeof newer.known - 8;
  FAILS(infer_session_run(session, NULL, &newer.known, 1, &out, 1), INVALID, "INIT");
  newer.known.struct_size = 0xCDCDCDCD;
  FAILS(infer_session_run(session, NULL, &newer.known, 1, &out, 1), INVALID, "struct_size");
  error.struct_size = 4;
  CHECK(infer_last_error(&error) == INVALID && error.status == INFER_OK);
}

/* One thing wrong with the input, or with the output, at a time. */
static void wrong_tensors(void) {
  infer_tensor in, out = scores(logits, 1), two[2];
  infer_run_options options = INFER_RUN_OPTIONS_INIT;
#define WRONG(change, status, words) \
  in = images(pixels, 1);            \
  in.change;                         \
  FAILS(infer_session_run(session, NULL, &in, 1, &out, 1), status, words)
  WRONG(dtype = INFER_DTYPE_F64, INVALID, "byte_len");
  WRONG(dtype = INFER_DTYPE_I32, INFER_ERROR_DTYPE, "'image'");
  WRONG(dtype = 0, INFER_ERROR_DTYPE, "'image'");
  WRONG(dtype = 1000, INFER_ERROR_DTYPE, "1000");
  WRONG(rank = 3, INVALID, "byte_len");
  WRONG(rank = 9, INFER_ERROR_SHAPE, "9");
  WRONG(rank = UINT32_MAX, INFER_ERROR_SHAPE, "rank");
  WRONG(shape[3] = 4, INVALID, "byte_len");
  WRONG(shape[0] = -1, INFER_ERROR_SHAPE, "-1");
  WRONG(shape[0] = INT64_MAX, INFER_ERROR_SHAPE, "too large");
  WRONG(byte_len = 252, INVALID, "256");
  WRONG(byte_len = 260, INVALID, "256");
  WRONG(byte_len = UINT64_MAX, INVALID, "byte_len");
  WRONG(data = NULL, INVALID, "data");
  WRONG(flags = 2, INVALID, "flags");
  WRONG(device = INFER_DEVICE_CUDA, INFER_ERROR_DEVICE, "device");
  WRONG(device_id = 1, INFER_ERROR_DEVICE, "device");
  WRONG(flags = INFER_TENSOR_STRIDED; in.strides[3] = -1, INVALID, "strides");
  WRONG(flags = INFER_TENSOR_STRIDED; in.strides[3] = INT64_MAX, INVALID, "strides");
  WRONG(flags = INFER_TENSOR_STRIDED; in.strides[2] = 9; in.strides[3] = 1, INVALID, "strides");
#undef WRONG
  in = floats(pixels, 256, 4, 1, 1, 4, 16);
  FAILS(infer_session_run(session, NULL, &in, 1, &out, 1), INFER_ERROR_SHAPE, "'image'");
  in = floats(pixels, 256, 2, 1, 64, 0, 0);
  FAILS(infer_session_run(session, NULL, &in, 1, &out, 1), INFER_ERROR_SHAPE, "'image'");
  FAILS(infer_session_prepare(session, &in, 1), INFER_ERROR_SHAPE, "'image'");

  in = images(pixels, 1);
#define WRONG(change, status, words) \
  out = scores(logits, 1);           \
  out.change;                        \
  FAILS(infer_session_run(session, NULL, &in, 1, &out, 1), status, words)
  WRONG(dtype = INFER_DTYPE_I32, INFER_ERROR_DTYPE, "'logits'");
  WRONG(dtype = 77, INFER_ERROR_DTYPE, "77");
  WRONG(data = NULL, INVALID, "capacity");
  WRONG(data = pixels, INVALID, "overlaps");
  WRONG(capacity = UINT64_MAX, INVALID, "data");
  WRONG(flags = 4, INVALID, "flags");
  WRONG(device = 3, INFER_ERROR_DEVICE, "device");
  WRONG(flags = INFER_TENSOR_STRIDED; out.strides[1] = 2, INVALID, "strides");
  WRONG(flags = INFER_TENSOR_STRIDED; out.shape[1] = 9, INFER_ERROR_SHAPE, "9");
#undef WRONG

  out = scores(logits, 1);
  two[0] = two[1] = in;
  FAILS(infer_session_run(session, NULL, two, 2, &out, 1), INVALID, "2 inputs");
  FAILS(infer_session_run(session, NULL, NULL, 0, &out, 1), INVALID, "0 inputs");
  FAILS(infer_session_run(session, NULL, &in, SIZE_MAX, &out, 1), INVALID, "inputs");
  FAILS(infer_session_run(session, NULL, &in, 1, NULL, 0), INVALID, "0 outputs");
  FAILS(infer_session_prepare(session, two, 2), INVALID, "2 inputs");
  options.flags = 2;
  FAILS(infer_session_run(session, &options, &in, 1, &out, 1), INVALID, "flags");
  options.flags = INFER_RUN_ASYNC;
  FAILS(infer_session_run(session, &options, &in, 1, &out, 1), INVALID, "stream");
}

static void too_small(void) {
  infer_tensor in = images(pixels, 2), out = scores(logits, 2);
  out.capacity = 79;
  out.rank = 0;
  out.byte_len = 0;
  logits[0] = 42;
  FAILS(infer_session_run(session, NULL, &in, 1, &out, 1), INFER_ERROR_BUFFER_TOO_SMALL, "80");
  CHECK(out.byte_len == 80 && out.rank == 2 && out.shape[0] == 2 && out.shape[1] == 10 && out.capacity == 79);
  CHECK(out.data == logits && !out.owner && logits[0] == 42);
}

int main(int argc, char **argv) {
  if (argc < 2) return 2;
  OK(infer_model_open(argv[1], NULL, &model));
  OK(infer_session_create(model, NULL, &session));
  if (!session) return finish();
  null_pointers(argv[1]);
  names_and_indices();
  options_out_of_range();
  struct_sizes();
  wrong_tensors();
  too_small();
  infer_session_destroy(session);
  infer_model_destroy(model);
  return finish();
}
