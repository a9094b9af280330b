/* The shipped model on its held-out images: the answers that PyTorch gave, and the accuracy that the training script states. */
#include <math.h>

#include "check.h"

enum { COUNT = 450 };

static unsigned char grey[COUNT * 64], labels[COUNT];
static float pixels[COUNT * 64], logits[COUNT * 10], torch[COUNT * 10];

/* The elements of an .npy file, which are as many bytes as the file has at its end. */
static int read_npy(const char *folder, const char *name, void *data, size_t bytes) {
  char path[1024];
  FILE *file;
  size_t got = 0;
  snprintf(path, sizeof path, "%s/digits/%s", folder, name);
  file = fopen(path, "rb");
  if (file) {
    if (!fseek(file, -(long)bytes, SEEK_END)) got = fread(data, 1, bytes, file);
    fclose(file);
  }
  return got == bytes;
}

int main(int argc, char **argv) {
  infer_model *model = NULL;
  infer_session *session = NULL;
  infer_tensor in = images(pixels, COUNT), out = scores(logits, COUNT);
  double largest = 0, error = 0;
  int i, k, right = 0;
  if (argc < 3) return 2;
  CHECK(read_npy(argv[2], "images.npy", grey, sizeof grey) && read_npy(argv[2], "labels.npy", labels, sizeof labels));
  CHECK(read_npy(argv[2], "logits.npy", torch, sizeof torch));
  for (i = 0; i < COUNT * 64; ++i) pixels[i] = (float)grey[i] / 255;

  OK(infer_model_open(argv[1], NULL, &model));
  OK(infer_session_create(model, NULL, &session));
  OK(infer_session_run(session, NULL, &in, 1, &out, 1));
  for (i = 0; i < COUNT; ++i) {
    int best = 0;
    for (k = 0; k < 10; ++k) {
      largest = fmax(largest, fabs((double)torch[10 * i + k]));
      error = fmax(error, fabs((double)logits[10 * i + k] - (double)torch[10 * i + k]));
      if (logits[10 * i + k] > logits[10 * i + best]) best = k;
    }
    right += best == labels[i];
  }
  printf("%d of %d right; largest difference to PyTorch %.1e of the largest output\n", right, COUNT, error / largest);
  CHECK(right >= 445);
  CHECK(error <= 1e-4 * largest);
  infer_session_destroy(session);
  infer_model_destroy(model);
  return finish();
}
