/* Where models come from: files, descriptors, memory; and what is no model. */
#define _POSIX_C_SOURCE 200809L
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "check.h"

static int released;

static void release(void *user_data) {
  ++released;
  free(user_data);
}

static void works(infer_model *model) {
  infer_session *session = NULL;
  float pixels[64] = {0}, logits[10];
  infer_tensor in = images(pixels, 1), out = scores(logits, 1);
  OK(infer_session_create(model, NULL, &session));
  OK(infer_session_run(session, NULL, &in, 1, &out, 1));
  infer_session_destroy(session);
}

/* The bytes of a file after `padding` others, in memory that free() takes. */
static char *contents(const char *path, size_t padding, size_t *len) {
  FILE *file = fopen(path, "rb");
  char *bytes = NULL;
  if (file && !fseek(file, 0, SEEK_END)) {
    *len = (size_t)ftell(file);
    rewind(file);
    bytes = calloc(padding + *len, 1);
    if (bytes && fread(bytes + padding, 1, *len, file) != *len) *len = 0;
  }
  if (file) fclose(file);
  return bytes;
}

static void options(const char *path) {
  infer_model_options *options = NULL;
  infer_model *model = NULL;
  OK(infer_model_options_create(&options));
  OK(infer_model_options_set_mode(options, INFER_OPEN_COPY));
  OK(infer_model_options_set_verify(options, 1));
  OK(infer_model_open(path, options, &model));
  infer_model_options_destroy(options);
  works(model);
  infer_model_destroy(model);
}

static void descriptors(const char *path) {
  infer_model *model = NULL;
  size_t len = 0;
  /* An odd offset: the weights cannot be used where they are. */
  for (size_t padding = 0; padding <= 100; padding += 50) {
    char *bytes = contents(path, padding, &len);
    FILE *file = tmpfile();
    CHECK(bytes && file && fwrite(bytes, 1, padding + len, file) == padding + len && !fflush(file));
    if (file && bytes) {
      const off_t before = lseek(fileno(file), 3, SEEK_SET);
      OK(infer_model_open_fd(fileno(file), padding, len, NULL, &model));
      CHECK(lseek(fileno(file), 0, SEEK_CUR) == before);
      FAILS(infer_model_open_fd(fileno(file), padding, len + 1, NULL, &model), INFER_ERROR_INVALID_ARGUMENT, "");
      FAILS(infer_model_open_fd(fileno(file), UINT64_MAX, 2, NULL, &model), INFER_ERROR_INVALID_ARGUMENT, "");
      FAILS(infer_model_open_fd(fileno(file), 0, 0, NULL, &model), INFER_ERROR_FORMAT, "empty");
      fclose(file);
      works(model);
      infer_model_destroy(model);
    }
    free(bytes);
  }
  model = NULL;
  FAILS(infer_model_open_fd(-1, 0, 1, NULL, &model), INFER_ERROR_IO, "-1");
  FAILS(infer_model_open_fd(1000000, 0, 1, NULL, &model), INFER_ERROR_IO, "1000000");
  CHECK(!model);
}

static void memory(const char *path) {
  infer_model_options *copy = NULL;
  infer_model *model = NULL;
  infer_session *session = NULL;
  float pixels[64] = {0}, logits[10];
  infer_tensor in = images(pixels, 1), out = scores(logits, 1);
  size_t len = 0;
  char *bytes = contents(path, 0, &len);

  /* Released once the last user, here a session, does not need it. */
  OK(infer_model_open_memory(bytes, len, release, bytes, NULL, &model));
  OK(infer_session_create(model, NULL, &session));
  infer_model_destroy(model);
  OK(infer_session_run(session, NULL, &in, 1, &out, 1));
  infer_session_destroy(session);
  CHECK(released == 1);

  /* Copied, so released at once. */
  bytes = contents(path, 0, &len);
  OK(infer_model_options_create(&copy));
  OK(infer_model_options_set_mode(copy, INFER_OPEN_COPY));
  OK(infer_model_open_memory(bytes, len, release, bytes, copy, &model));
  infer_model_options_destroy(copy);
  CHECK(released == 2);
  works(model);
  infer_model_destroy(model);

  /* Not aligned, and never to be released. */
  bytes = contents(path, 1, &len);
  OK(infer_model_open_memory(bytes + 1, len, NULL, NULL, NULL, &model));
  works(model);
  infer_model_destroy(model);

  /* Not a model: it stays the caller's. */
  model = NULL;
  FAILS(infer_model_open_memory(bytes + 1, len / 2, release, bytes, NULL, &model), INFER_ERROR_FORMAT, "");
  FAILS(infer_model_open_memory(bytes, len, release, bytes, NULL, &model), INFER_ERROR_FORMAT, "");
  FAILS(infer_model_open_memory(NULL, 0, release, bytes, NULL, &model), INFER_ERROR_FORMAT, "empty");
  FAILS(infer_model_open_memory(bytes, SIZE_MAX, release, bytes, NULL, &model), INFER_ERROR_INVALID_ARGUMENT, "data");
  CHECK(released == 2 && !model);
  free(bytes);
}

static void no_models(const char *folder) {
  infer_model *model = NULL;
  infer_error error = INFER_ERROR_INIT;
  char pipe[64];
  FAILS(infer_model_open("/no/such/model.infer", NULL, &model), INFER_ERROR_IO, "/no/such/model.infer");
  infer_last_error(&error);
  CHECK(error.os_error == ENOENT);
  FAILS(infer_model_open("", NULL, &model), INFER_ERROR_IO, "");
  FAILS(infer_model_open(folder, NULL, &model), INFER_ERROR_IO, "regular");
  FAILS(infer_model_open("/dev/null", NULL, &model), INFER_ERROR_IO, "/dev/null");
  /* Nobody writes to this pipe: opening it must not wait. */
  CHECK(snprintf(pipe, sizeof pipe, "/tmp/infer-test-%ld", (long)getpid()) > 0 && !mkfifo(pipe, 0600));
  FAILS(infer_model_open(pipe, NULL, &model), INFER_ERROR_IO, "regular");
  CHECK(!unlink(pipe));
  FAILS(infer_model_open(__FILE__, NULL, &model), INFER_ERROR_FORMAT, "not a libinfer model");
  CHECK(!model);
}

int main(int argc, char **argv) {
  if (argc < 3) return 2;
  options(argv[1]);
  descriptors(argv[1]);
  memory(argv[1]);
  no_models(argv[2]);
  return finish();
}
