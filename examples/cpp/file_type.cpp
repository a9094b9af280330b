// Tells what is in files from their content: file_type MODEL.infer MAGIKA_FOLDER FILE...
//
// The network and its settings come out of the Python package `magika` 1.0.3: MODEL.infer is its
// models/standard_v3_3/model.onnx after `infer convert`, MAGIKA_FOLDER the package's folder. The network sees the first and the
// last bytes of a file; the rules around it are the package's: see its model settings (config.min.json) for the numbers.
#include <infer.hpp>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <exception>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <stdexcept>
#include <string>
#include <vector>

#include "json.hpp"

namespace {

namespace fs = std::filesystem;

json::Value read_json(const fs::path &path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) throw std::runtime_error(path.string() + " cannot be opened");
  try {
    return json::Reader(std::string(std::istreambuf_iterator<char>(file), {})).read();
  } catch (const std::exception &error) {
    throw std::runtime_error(path.string() + ": " + error.what());
  }
}

// What Python's bytes.strip() takes away.
bool is_space(unsigned char byte) { return byte == ' ' || (byte >= '\t' && byte <= '\r'); }

// Whether Python's bytes.decode("utf-8") would succeed.
bool is_utf8(const std::vector<unsigned char> &text) {
  for (size_t i = 0; i < text.size();) {
    const unsigned lead = text[i];
    const size_t length = lead < 0x80 ? 1 : lead >= 0xC2 && lead < 0xE0 ? 2 : (lead & 0xF0) == 0xE0 ? 3 : lead >= 0xF0 && lead < 0xF5 ? 4 : 0;
    if (length == 0 || text.size() - i < length) return false;
    for (size_t k = 1; k < length; ++k) {
      if ((text[i + k] & 0xC0) != 0x80) return false;
    }
    const unsigned next = length > 1 ? text[i + 1] : 0;
    const bool overlong = (lead == 0xE0 && next < 0xA0) || (lead == 0xF0 && next < 0x90);
    const bool beyond = (lead == 0xED && next >= 0xA0) || (lead == 0xF4 && next >= 0x90);
    if (overlong || beyond) return false;
    i += length;
  }
  return true;
}

struct Answer {
  std::string label;
  double score;
};

class Detector {
 public:
  Detector(const char *model, const fs::path &package)
      : config_(read_json(package / "models/standard_v3_3/config.min.json")),
        types_(read_json(package / "config/content_types_kb.min.json")),
        model_(infer::Model::open(model).value()),
        session_(infer::Session::create(model_).value()) {
    begin_size_ = size("beg_size");
    end_size_ = size("end_size");
    block_size_ = size("block_size");
    least_ = size("min_file_size_for_dl");
    padding_ = static_cast<int32_t>(size("padding_token"));
    if (size("mid_size") != 0 || least_ == 0 || least_ > begin_size_) throw std::runtime_error("unknown model settings");
    const infer_tensor_info input = model_.input(0).value(), output = model_.output(0).value();
    const bool fits = input.dtype == INFER_DTYPE_I32 && input.rank == 2 && output.dtype == INFER_DTYPE_F32 && output.rank == 2 &&
                      input.shape[1] == static_cast<int64_t>(begin_size_ + end_size_) &&
                      output.shape[1] == static_cast<int64_t>(labels().size());
    if (!fits) throw std::runtime_error(std::string(model) + " is a model, but not the one that these settings belong to");
  }

  Answer detect(const fs::path &path) const {
    if (fs::is_directory(path)) return {"directory", 1};
    std::ifstream file(path, std::ios::binary | std::ios::ate);
    if (!file) throw std::runtime_error(path.string() + " cannot be opened");
    const size_t length = static_cast<size_t>(file.tellg());
    if (length == 0) return {"empty", 1};
    const size_t block = std::min(block_size_, length);
    const std::vector<unsigned char> head = read(file, 0, block);
    if (length < least_) return {is_utf8(head) ? "txt" : "unknown", 1};
    const std::vector<int32_t> features = extract(head, read(file, length - block, block));
    if (features[least_ - 1] == padding_) return {is_utf8(head) ? "txt" : "unknown", 1};
    return classify(features);
  }

  std::string description(const std::string &label) const {
    const json::Value &type = types_[label];
    const json::Value &text = type["description"], &group = type["group"];
    return (text.is("null") ? label : text.text) + " (" + (group.is("null") ? "unknown" : group.text) + ")";
  }

 private:
  size_t size(const char *name) const { return static_cast<size_t>(config_[name].number()); }
  const std::vector<json::Value> &labels() const { return config_["target_labels_space"].items; }

  static std::vector<unsigned char> read(std::ifstream &file, size_t offset, size_t count) {
    std::vector<unsigned char> bytes(count);
    file.seekg(static_cast<std::streamoff>(offset));
    if (!file.read(reinterpret_cast<char *>(bytes.data()), static_cast<std::streamsize>(count))) {
      throw std::runtime_error("the file cannot be read");
    }
    return bytes;
  }

  // The first bytes from the first that is no white space on, padded at the end; then the last ones up to the last that is
  // none, padded in front.
  std::vector<int32_t> extract(const std::vector<unsigned char> &head, const std::vector<unsigned char> &tail) const {
    std::vector<int32_t> features(begin_size_ + end_size_, padding_);
    const auto begin = std::find_if_not(head.begin(), head.end(), is_space);
    std::copy_n(begin, std::min(static_cast<size_t>(head.end() - begin), begin_size_), features.begin());
    const auto end = std::find_if_not(tail.rbegin(), tail.rend(), is_space);
    std::copy_n(end, std::min(static_cast<size_t>(tail.rend() - end), end_size_), features.rbegin());
    return features;
  }

  Answer classify(const std::vector<int32_t> &features) const {
    const auto outputs = session_.run({infer::Tensor(features.data(), {1, static_cast<int64_t>(features.size())})}).value();
    const infer::Span<float> scores = outputs[0].as<float>();
    const float *best = std::max_element(scores.begin(), scores.end());
    return {trusted(labels()[static_cast<size_t>(best - scores.begin())].text, *best), *best};
  }

  // The label that stands for the network's, or a general one if the network is not sure enough of it.
  std::string trusted(const std::string &label, float score) const {
    const json::Value &thresholds = config_["thresholds"], &renamed = config_["overwrite_map"];
    const std::string output = renamed.has(label) ? renamed[label].text : label;
    const json::Value &threshold = thresholds.has(label) ? thresholds[label] : config_["medium_confidence_threshold"];
    if (score >= threshold.number()) return output;
    return types_[output]["is_text"].is("true") ? "txt" : "unknown";
  }

  json::Value config_, types_;
  infer::Model model_;
  infer::Session session_;
  size_t begin_size_, end_size_, block_size_, least_;
  int32_t padding_;
};

}  // namespace

int main(int argc, char **argv) {
  if (argc < 4) {
    std::fprintf(stderr, "usage: %s MODEL.infer MAGIKA_FOLDER FILE...\n", argv[0]);
    return 2;
  }
  int status = 0;
  try {
    const Detector detector(argv[1], argv[2]);
    for (int i = 3; i < argc; ++i) {
      try {
        const auto start = std::chrono::steady_clock::now();
        const Answer answer = detector.detect(argv[i]);
        const std::chrono::duration<double, std::milli> elapsed = std::chrono::steady_clock::now() - start;
        std::printf("%s: %s %d%%  [%s, %.1f ms]\n", argv[i], detector.description(answer.label).c_str(),
                    static_cast<int>(answer.score * 100), answer.label.c_str(), elapsed.count());
      } catch (const std::exception &error) {
        std::fprintf(stderr, "file_type: %s: %s\n", argv[i], error.what());
        status = 1;
      }
    }
  } catch (const std::exception &error) {
    std::fprintf(stderr, "file_type: %s\n", error.what());
    return 1;
  }
  return status;
}
