// Reads handwritten digits: digits MODEL.infer IMAGE.pgm...
//
// The model is examples/digits/digits.onnx after `infer convert`. The images are binary PGM files of the size the model wants,
// light strokes on a dark ground. For each one it prints the digit, how sure the network is, and how long it took.
#include <infer.hpp>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <exception>
#include <fstream>
#include <stdexcept>
#include <string>
#include <vector>

namespace {

struct Answer {
  size_t digit;
  double certainty;
};

class Classifier {
 public:
  explicit Classifier(const char *path)
      : model_(infer::Model::open(path).value()), session_(infer::Session::create(model_).value()) {
    const infer_tensor_info in = model_.input(0).value(), out = model_.output(0).value();
    if (model_.input_count() != 1 || in.dtype != INFER_DTYPE_F32 || in.rank != 4 || in.shape[1] != 1 || in.shape[2] <= 0 ||
        in.shape[3] <= 0 || out.dtype != INFER_DTYPE_F32 || out.rank != 2) {
      throw std::runtime_error(std::string(path) + " is a model, but not one that reads digits");
    }
    height_ = in.shape[2];
    width_ = in.shape[3];
  }

  // The pixels of a PGM file as numbers from 0 to 1.
  std::vector<float> read_image(const std::string &path) const {
    std::ifstream file(path, std::ios::binary);
    std::string magic;
    int64_t width = 0, height = 0, white = 0;
    if (!file) throw std::runtime_error(path + " cannot be opened");
    if (!(file >> magic >> width >> height >> white) || magic != "P5" || white < 1 || white > 255) {
      throw std::runtime_error(path + " is not a binary PGM file with one byte for each pixel");
    }
    if (width != width_ || height != height_) throw std::runtime_error(path + " does not have the model's size");
    std::vector<char> bytes(static_cast<size_t>(width * height));
    file.get();  // The one space after the header.
    if (!file.read(bytes.data(), static_cast<std::streamsize>(bytes.size()))) throw std::runtime_error(path + " is cut short");
    std::vector<float> pixels(bytes.size());
    std::transform(bytes.begin(), bytes.end(), pixels.begin(),
                   [white](char byte) { return static_cast<float>(static_cast<unsigned char>(byte)) / static_cast<float>(white); });
    return pixels;
  }

  Answer classify(const std::vector<float> &pixels) const {
    const auto outputs = session_.run({infer::Tensor(pixels.data(), {1, 1, height_, width_})}).value();
    const infer::Span<float> logits = outputs[0].as<float>();
    float *best = std::max_element(logits.begin(), logits.end());
    double sum = 0;
    for (float logit : logits) sum += std::exp(static_cast<double>(logit - *best));
    return {static_cast<size_t>(best - logits.begin()), 1 / sum};
  }

 private:
  infer::Model model_;
  infer::Session session_;
  int64_t height_ = 0, width_ = 0;
};

}  // namespace

int main(int argc, char **argv) {
  if (argc < 3) {
    std::fprintf(stderr, "usage: %s MODEL.infer IMAGE.pgm...\n", argv[0]);
    return 2;
  }
  try {
    const Classifier classifier(argv[1]);
    for (int i = 2; i < argc; ++i) {
      const std::vector<float> pixels = classifier.read_image(argv[i]);
      const auto start = std::chrono::steady_clock::now();
      const Answer answer = classifier.classify(pixels);
      const std::chrono::duration<double, std::milli> elapsed = std::chrono::steady_clock::now() - start;
      std::printf("%s: %zu  %5.1f%%  %.3f ms\n", argv[i], answer.digit, 100 * answer.certainty, elapsed.count());
    }
  } catch (const std::exception &error) {
    std::fprintf(stderr, "digits: %s\n", error.what());
    return 1;
  }
  return 0;
}
