// infer.hpp as an application with exceptions uses it. second/unit.cpp includes it once more: both parts must link.
#include <infer.hpp>
#include <infer.hpp>

#include <cstdio>
#include <cstring>
#include <thread>
#include <type_traits>

#if __cplusplus >= 202002L
#include <span>
#endif

const char *version_of_second_unit();

namespace {

int passed, failed;

void check(bool holds, const char *what, int line) {
  ++(holds ? passed : failed);
  if (!holds) std::printf("%s:%d: does not hold: %s\n", __FILE__, line, what);
}
#define CHECK(condition) check(condition, #condition, __LINE__)

template <class Call>
infer_status thrown(Call call) {
  try {
    call();
  } catch (const infer::Error &error) {
    return std::strlen(error.what()) > 0 ? error.code() : INFER_OK;
  }
  return INFER_OK;
}

static_assert(std::is_nothrow_move_constructible<infer::Model>::value && !std::is_copy_constructible<infer::Model>::value, "");
static_assert(std::is_nothrow_move_assignable<infer::Session>::value && !std::is_copy_constructible<infer::Tensor>::value, "");
static_assert(std::is_nothrow_default_constructible<infer::Context>::value, "");
static_assert(sizeof(infer::Context) == sizeof(void *), "an owner is as large as a pointer");

void models(const char *path) {
  infer::Model model = infer::Model::open(path).value();
  CHECK(model && model.input_count() == 1 && model.output_count() == 1);
  CHECK(!std::strcmp(model.input(0).value().name, "image") && model.output(0).value().shape[1] == 10);
  CHECK(thrown([&] { (void)model.input(1).value(); }) == INFER_ERROR_INVALID_ARGUMENT);
  CHECK(model.metadata("no such key") == nullptr);
  CHECK(thrown([] { (void)infer::Model::open("/no/such/file").value(); }) == INFER_ERROR_IO);
  CHECK(thrown([&] { (void)infer::Model::open(path, infer::Model::Options().mode(9)).value(); }) == INFER_ERROR_INVALID_ARGUMENT);
  CHECK(thrown([] { (void)infer::Model::open_memory("no model", 8).value(); }) == INFER_ERROR_FORMAT);
  CHECK(thrown([] { (void)infer::Model::open_fd(-1, 0, 0).value(); }) == INFER_ERROR_IO);
  infer::Model other = std::move(model);
  CHECK(other && !model);
  model = std::move(other);
  CHECK(model && !other);
  // What is empty is an error, not a crash.
  CHECK(other.input_count() == 0 && !infer::Session::create(other));
}

void sessions(const char *path) {
  const infer::Runtime runtime = infer::Runtime::create(infer::Runtime::Options().threads(2)).value();
  const infer::Model model = infer::Model::open(path, infer::Model::Options().runtime(runtime).verify(true)).value();
  const infer::Session session = infer::Session::create(model).value();
  const std::vector<float> pixels(2 * 64, 0.5f);
  session.prepare({infer::Tensor(pixels.data(), {2, 1, 8, 8})}).check();
  const std::vector<infer::Tensor> out = session.run({infer::Tensor(pixels.data(), {2, 1, 8, 8})}).value();
  CHECK(out.size() == 1 && out[0].shape().size() == 2 && out[0].shape()[0] == 2 && out[0].size() == 20);
  CHECK(out[0].as<float>().size() == 20 && out[0].as<int32_t>().size() == 0);
#if __cplusplus >= 202002L
  const std::span<float> span = out[0].as<float>();
  CHECK(span.size() == 20);
#endif

  float scores[10] = {0};
  infer::Tensor input(pixels.data(), std::vector<int64_t>{1, 1, 8, 8}), output(scores, {1, 10});
  session.run(&input, 1, &output, 1).check();
  CHECK(!std::memcmp(scores, out[0].as<float>().data(), sizeof scores));
  // Memory of constants is for inputs.
  const float constants[10] = {0};
  infer::Tensor constant(constants, {1, 10});
  CHECK(session.run(&input, 1, &constant, 1).code() == INFER_ERROR_BUFFER_TOO_SMALL);
  CHECK(thrown([&] { (void)session.run({}).value(); }) == INFER_ERROR_INVALID_ARGUMENT);
  CHECK(thrown([&] { (void)session.run({infer::Tensor(pixels.data(), {1, 1, 4, 16})}).value(); }) == INFER_ERROR_SHAPE);
  CHECK(session.memory().value().contexts == 1 && infer::Session().memory().status().code() == INFER_ERROR_INVALID_ARGUMENT);
  const infer::Session checking =
      infer::Session::create(model, infer::Session::Options().device_name("cpu").check(true)).value();
  const std::vector<float> large(64, 3e38f);
  CHECK(thrown([&] { (void)checking.run({infer::Tensor(large.data(), {1, 1, 8, 8})}).value(); }) == INFER_ERROR_NOT_FINITE);
  const infer::Session::Options unknown = std::move(infer::Session::Options().keep_f32("no such node"));
  CHECK(infer::Session::create(model, unknown).status().code() == INFER_ERROR_INVALID_ARGUMENT);
  const infer::Session::Options cuda = std::move(infer::Session::Options().device(INFER_DEVICE_CUDA));
  CHECK(infer::Session::create(model, cuda).status().code() == INFER_ERROR_DEVICE);
}

void contexts(const char *path) {
  infer::Context context;
  float pixels[64] = {0}, scores[10] = {0};
  {
    const infer::Model model = infer::Model::open(path).value();
    context = infer::Context::create(infer::Session::create(model, infer::Session::Options().threads(1)).value()).value();
  }
  CHECK(context.run().code() == INFER_ERROR_INVALID_ARGUMENT);
  context.set_input(0, infer::Tensor(pixels, {1, 1, 8, 8})).check();
  context.run().check();
  const infer::Tensor own = context.output(0).value();
  const infer::Span<float> values = own.as<float>();
  CHECK(values.size() == 10);
  const std::vector<float> before(values.begin(), values.end());
  context.set_output(0, infer::Tensor(scores, {1, 10})).check();
  context.run().check();
  CHECK(!std::memcmp(scores, before.data(), sizeof scores) && context.copies() == 0);
}

}  // namespace

int main(int argc, char **argv) {
  if (argc < 2) return 2;
  try {
    models(argv[1]);
    sessions(argv[1]);
    contexts(argv[1]);
  } catch (const std::exception &error) {
    check(false, error.what(), __LINE__);
  }
  CHECK(std::string(version_of_second_unit()) == std::to_string(infer_version()));
  std::printf("%d passed, %d failed\n", passed, failed);
  return failed ? 1 : 0;
}
