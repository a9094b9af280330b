/*
 * Reads handwritten digits: digits MODEL.infer IMAGE.pgm...
 *
 * The model is examples/digits/digits.onnx after `infer convert`. The images are binary PGM files of the size the model wants,
 * light strokes on a dark ground. For each one it prints the digit, how sure the network is, and how long it took.
 */
#define _POSIX_C_SOURCE 199309L
#include <infer.h>

#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { CLASSES = 10 };

/* A model that takes one grey image, and the memory for that image and for the answer. */
struct classifier {
  infer_model *model;
  infer_session *session;
  size_t height, width;
  float *pixels;
  float logits[CLASSES];
  infer_tensor input, output;
};

/* Says on stderr why the library's last call failed. */
static int failed(const char *what) {
  infer_error error = INFER_ERROR_INIT;
  infer_last_error(&error);
  fprintf(stderr, "digits: %s: %s\n", what, error.message);
  return 0;
}

/* The model's only input must be [batch, 1, height, width] of f32, its only output one score for each digit. */
static int describe(struct classifier *c, const char *path) {
  infer_tensor_info in = INFER_TENSOR_INFO_INIT, out = INFER_TENSOR_INFO_INIT;
  if (infer_model_input_info(c->model, 0, &in) || infer_model_output_info(c->model, 0, &out)) return failed(path);
  if (infer_model_input_count(c->model) != 1 || in.dtype != INFER_DTYPE_F32 || in.rank != 4 || in.shape[1] != 1 ||
      in.shape[2] <= 0 || in.shape[3] <= 0 || out.dtype != INFER_DTYPE_F32 || out.rank != 2 || out.shape[1] != CLASSES) {
    fprintf(stderr, "digits: %s is a model, but not one that reads digits\n", path);
    return 0;
  }
  c->height = (size_t)in.shape[2];
  c->width = (size_t)in.shape[3];
  return 1;
}

static int open_classifier(struct classifier *c, const char *path) {
  const infer_tensor empty = INFER_TENSOR_INIT;
  if (infer_model_open(path, NULL, &c->model)) return failed("cannot open the model");
  if (!describe(c, path)) return 0;
  if (infer_session_create(c->model, NULL, &c->session)) return failed(path);
  c->pixels = malloc(c->height * c->width * sizeof *c->pixels);
  if (!c->pixels) return fprintf(stderr, "digits: no memory\n"), 0;

  c->input = empty;
  c->input.dtype = INFER_DTYPE_F32;
  c->input.rank = 4;
  c->input.shape[0] = c->input.shape[1] = 1;
  c->input.shape[2] = (int64_t)c->height;
  c->input.shape[3] = (int64_t)c->width;
  c->input.data = c->pixels;
  c->input.byte_len = c->height * c->width * sizeof *c->pixels;
  c->output = empty;
  c->output.dtype = INFER_DTYPE_F32;
  c->output.data = c->logits;
  c->output.capacity = sizeof c->logits;
  return 1;
}

static void close_classifier(struct classifier *c) {
  infer_session_destroy(c->session);
  infer_model_destroy(c->model);
  free(c->pixels);
}

/* The next number of a PGM header, where comments run from '#' to the end of the line; -1 if there is none. */
static long header_number(FILE *file) {
  long number = 0;
  int c = getc(file), digits = 0;
  while (c == ' ' || c == '\t' || c == '\r' || c == '\n' || c == '#') {
    if (c == '#')
      while (c != '\n' && c != EOF) c = getc(file);
    if (c != EOF) c = getc(file);
  }
  for (; c >= '0' && c <= '9' && digits < 6; c = getc(file), ++digits) number = number * 10 + (c - '0');
  return digits > 0 ? number : -1;
}

/* Reads an image of the model's size into the input, as numbers from 0 to 1. Returns what is wrong with it, or NULL. */
static const char *read_image(struct classifier *c, const char *path) {
  const char *problem = NULL;
  size_t i, count = c->height * c->width;
  FILE *file = fopen(path, "rb");
  if (!file) return "cannot be opened";
  if (getc(file) != 'P' || getc(file) != '5') {
    problem = "is not a binary PGM file";
  } else {
    const long width = header_number(file), height = header_number(file), white = header_number(file);
    if (width != (long)c->width || height != (long)c->height) problem = "does not have the model's size";
    else if (white < 1 || white > 255) problem = "does not have one byte for each pixel";
    for (i = 0; !problem && i < count; ++i) {
      const int pixel = getc(file);
      if (pixel == EOF) problem = "is cut short";
      c->pixels[i] = (float)pixel / (float)white;
    }
  }
  fclose(file);
  return problem;
}

static double milliseconds(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (double)now.tv_sec * 1e3 + (double)now.tv_nsec * 1e-6;
}

/* Runs the network on one image and prints the answer. */
static int classify(struct classifier *c, const char *path) {
  const char *problem = read_image(c, path);
  double start, elapsed, sum = 0;
  int i, best = 0;
  if (problem) return fprintf(stderr, "digits: %s %s\n", path, problem), 0;

  start = milliseconds();
  if (infer_session_run(c->session, NULL, &c->input, 1, &c->output, 1)) return failed(path);
  elapsed = milliseconds() - start;

  for (i = 1; i < CLASSES; ++i)
    if (c->logits[i] > c->logits[best]) best = i;
  for (i = 0; i < CLASSES; ++i) sum += exp((double)(c->logits[i] - c->logits[best]));
  printf("%s: %d  %5.1f%%  %.3f ms\n", path, best, 100 / sum, elapsed);
  return 1;
}

int main(int argc, char **argv) {
  struct classifier classifier;
  int i, good;
  if (argc < 3) return fprintf(stderr, "usage: %s MODEL.infer IMAGE.pgm...\n", argv[0]), 2;
  memset(&classifier, 0, sizeof classifier);
  good = open_classifier(&classifier, argv[1]);
  for (i = 2; good && i < argc; ++i) good = classify(&classifier, argv[i]);
  close_classifier(&classifier);
  return good ? EXIT_SUCCESS : EXIT_FAILURE;
}
