// A second user of the headers in one program.
#include <infer.h>
#include <infer.hpp>

#include <string>

const char *version_of_second_unit() {
  static const std::string text = std::to_string(infer_version());
  const infer::Tensor empty;
  return empty.as<float>().size() == 0 ? text.c_str() : "";
}
