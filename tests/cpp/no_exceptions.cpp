// infer.hpp where exceptions and run-time types are switched off: every failure is a value.
#include <infer.hpp>

#include <cstdio>
#include <cstring>

#if defined(__EXCEPTIONS) || defined(__GXX_RTTI)
#error "to be compiled with -fno-exceptions -fno-rtti"
#endif

static int passed, failed;

static void check(bool holds, const char *what, int line) {
  ++(holds ? passed : failed);
  if (!holds) std::printf("%s:%d: does not hold: %s\n", __FILE__, line, what);
}
#define CHECK(condition) check(condition, #condition, __LINE__)

int main(int argc, char **argv) {
  if (argc < 2) return 2;
  const infer::Result<infer::Model> missing = infer::Model::open("/no/such/file");
  CHECK(!missing && missing.status().code() == INFER_ERROR_IO && std::strstr(missing.status().message(), "/no/such/file"));

  infer::Result<infer::Model> model = infer::Model::open(argv[1]);
  CHECK(model && model->input_count() == 1 && !std::strcmp(model.status().message(), ""));
  infer::Result<infer::Session> session = infer::Session::create(*model);
  CHECK(static_cast<bool>(session));

  const float pixels[64] = {0};
  infer::Result<std::vector<infer::Tensor>> out = session->run({infer::Tensor(pixels, {1, 1, 8, 8})});
  CHECK(out && (*out)[0].as<float>().size() == 10);
  CHECK(!session->run({infer::Tensor(pixels, {2, 1, 8, 4})}));

  std::printf("%d passed, %d failed\n", passed, failed);
  return failed ? 1 : 0;
}
