// Runs a model in two streams of a GPU at once: streams MODEL.infer
//
// Each stream has a context, whose input and output stay in the GPU's memory: copies and runs are put into the stream, and only the
// end is waited for. Built without the CUDA toolkit, the memory is the host's, and each run is waited for.
// The model has one input and one output of f32, like examples/digits/digits.onnx after `infer convert`.
#include <infer.hpp>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <stdexcept>
#include <string>
#include <vector>

#ifdef WITH_CUDA_RUNTIME
#include <cuda_runtime_api.h>
#endif

namespace {

constexpr int64_t BATCH = 16;  // for every extent that the model leaves open
constexpr int RUNS = 50;

std::vector<int64_t> shape_of(const infer_tensor_info &info) {
  if (info.dtype != INFER_DTYPE_F32) throw std::runtime_error(std::string(info.name) + " is not of f32");
  std::vector<int64_t> shape(info.shape, info.shape + info.rank);
  std::replace(shape.begin(), shape.end(), int64_t{-1}, BATCH);
  return shape;
}

size_t count_of(const std::vector<int64_t> &shape) {
  size_t count = 1;
  for (int64_t extent : shape) count *= static_cast<size_t>(extent);
  return count;
}

#ifdef WITH_CUDA_RUNTIME
void check(cudaError_t error) {
  if (error != cudaSuccess) throw std::runtime_error(cudaGetErrorString(error));
}

// Elements in the GPU's memory, and in memory of the host's from which and to which copies need not be waited for.
struct Elements {
  explicit Elements(const std::vector<int64_t> &shape) : bytes(count_of(shape) * sizeof(float)) {
    check(cudaMallocHost(reinterpret_cast<void **>(&host), bytes));
    check(cudaMalloc(reinterpret_cast<void **>(&device), bytes));
    tensor = infer::Tensor(device, shape);
    tensor.raw().device = INFER_DEVICE_CUDA;
  }
  Elements(const Elements &) = delete;
  ~Elements() {
    cudaFree(device);
    cudaFreeHost(host);
  }

  size_t bytes;
  float *host = nullptr, *device = nullptr;
  infer::Tensor tensor;
};

struct Stream {
  Stream() { check(cudaStreamCreateWithFlags(&handle, cudaStreamNonBlocking)); }
  Stream(const Stream &) = delete;
  ~Stream() { cudaStreamDestroy(handle); }

  void run(infer::Context &context, const Elements &in, const Elements &out) {
    infer_run_options options = INFER_RUN_OPTIONS_INIT;
    options.stream = handle;
    options.flags = INFER_RUN_ASYNC;
    check(cudaMemcpyAsync(in.device, in.host, in.bytes, cudaMemcpyHostToDevice, handle));
    context.run(&options).check();
    check(cudaMemcpyAsync(out.host, out.device, out.bytes, cudaMemcpyDeviceToHost, handle));
  }
  void wait() { check(cudaStreamSynchronize(handle)); }

  cudaStream_t handle = nullptr;
};
#else
struct Elements {
  explicit Elements(const std::vector<int64_t> &shape) : memory(count_of(shape)), host(memory.data()), tensor(host, shape) {}

  std::vector<float> memory;
  float *host;
  infer::Tensor tensor;
};

struct Stream {
  void run(infer::Context &context, const Elements &, const Elements &) { context.run().check(); }
  void wait() {}
};
#endif

// What runs beside others. The context goes first: it may still use the memory.
struct Lane {
  Lane(const infer::Session &session, const std::vector<int64_t> &in_shape, const std::vector<int64_t> &out_shape)
      : in(in_shape), out(out_shape), context(infer::Context::create(session).value()) {
    context.set_input(0, in.tensor).check();
    context.set_output(0, out.tensor).check();
  }

  Stream stream;
  Elements in, out;
  infer::Context context;
};

void run(const infer::Model &model, const infer::Session &gpu) {
  const std::vector<int64_t> in_shape = shape_of(model.input(0).value()), out_shape = shape_of(model.output(0).value());
  const size_t in_count = count_of(in_shape), out_count = count_of(out_shape);
  Lane lanes[] = {{gpu, in_shape, out_shape}, {gpu, in_shape, out_shape}};
  for (size_t i = 0; i < in_count; ++i) {
    lanes[0].in.host[i] = static_cast<float>(i % 17) / 16;
    lanes[1].in.host[i] = static_cast<float>(i % 13) / 12;
  }
  const auto start = std::chrono::steady_clock::now();
  for (int i = 0; i < RUNS; ++i) {
    for (Lane &lane : lanes) lane.stream.run(lane.context, lane.in, lane.out);
  }
  for (Lane &lane : lanes) lane.stream.wait();
  const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - start;
  std::printf("%d runs in %.3f s\n", 2 * RUNS, elapsed.count());

  const infer::Session cpu = infer::Session::create(model).value();
  for (const Lane &lane : lanes) {
    const auto wanted = cpu.run({infer::Tensor(lane.in.host, in_shape)}).value();
    float difference = 0;
    for (size_t i = 0; i < out_count; ++i) {
      difference = std::max(difference, std::fabs(lane.out.host[i] - wanted[0].as<float>()[i]));
    }
    std::printf("largest difference from the processor's result: %.1e\n", static_cast<double>(difference));
  }
}

}  // namespace

int main(int argc, char **argv) {
  if (argc != 2) return std::fprintf(stderr, "usage: %s MODEL.infer\n", argv[0]), 2;
  try {
    const infer::Model model = infer::Model::open(argv[1]).value();
    auto session = infer::Session::create(model, infer::Session::Options().device(INFER_DEVICE_CUDA));
    if (session.status().code() == INFER_ERROR_DEVICE) {
      std::printf("There is no GPU to run on. %s\n", session.status().message());
      return 0;
    }
    run(model, std::move(session).value());
  } catch (const std::exception &error) {
    std::fprintf(stderr, "streams: %s\n", error.what());
    return 1;
  }
}
