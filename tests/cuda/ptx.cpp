#include "ptx.hpp"

#include <algorithm>
#include <cctype>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <set>

namespace standin {

namespace {

bool is_name(char c) { return isalnum((unsigned char)c) || c == '_' || c == '$' || c == '.' || c == '%'; }

/// The words of the text, and its other characters one by one; without comments.
std::vector<std::string> tokens(const std::string &text) {
  std::vector<std::string> result;
  for (size_t at = 0; at < text.size();) {
    size_t end = at + 1;
    if (text.compare(at, 2, "//") == 0) {
      at = std::min(text.find('\n', at), text.size());
      continue;
    }
    while (is_name(text[at]) && end < text.size() && is_name(text[end]))
      ++end;
    if (!isspace((unsigned char)text[at]))
      result.push_back(text.substr(at, end - at));
    at = end;
  }
  return result;
}

/// Bytes of a type as `.u32`.
size_t type_bytes(const std::string &type) {
  size_t digits = type.find_first_of("0123456789");
  return digits == std::string::npos ? 0 : (size_t)atoi(type.c_str() + digits) / 8;
}

class Parser {
public:
  explicit Parser(const std::string &text) : words(tokens(text)) {}

  std::vector<PtxEntry> entries() {
    std::vector<PtxEntry> result;
    std::map<std::string, size_t> shared;
    for (at = 0; at < words.size(); ++at) {
      if (word() == ".shared") {
        auto [name, bytes] = declaration();
        shared[name] = bytes;
      } else if (word() == ".entry") {
        result.push_back(entry());
      } else if (word() == "{" || word() == "}") {
        depth += word() == "{" ? 1 : -1;
        if (depth == 0)
          used.clear();
      } else if (depth > 0 && shared.count(word()) && used.insert(word()).second) {
        result.back().shared += (unsigned)shared[word()];
      }
    }
    return result;
  }

private:
  std::string word() const { return at < words.size() ? words[at] : ""; }

  /// `.shared .align 4 .b8 name[128]`, and the same of a parameter: the name and the bytes.
  std::pair<std::string, size_t> declaration() {
    std::string name;
    size_t bytes = 0;
    for (++at; at < words.size() && word() != "," && word() != ")" && word() != ";"; ++at) {
      if (word() == ".align")
        ++at;
      else if (word()[0] == '.')
        bytes = type_bytes(word());
      else if (word() == "[")
        bytes *= (size_t)atoi(words[at + 1].c_str());
      else if (name.empty())
        name = word();
    }
    return {name, bytes};
  }

  PtxEntry entry() {
    PtxEntry result;
    ++at;
    result.name = word();
    ++at;
    while (at < words.size() && word() != "{") {
      if (word() == ".param") {
        result.params.push_back(declaration().second);
      } else if (word() == ".maxntid" || word() == ".reqntid") {
        result.max_threads = 1;
        do
          result.max_threads *= (unsigned)atoi(words[++at].c_str());
        while (++at < words.size() && word() == ",");
      } else {
        ++at;
      }
    }
    --at;
    return result;
  }

  std::vector<std::string> words;
  size_t at = 0;
  int depth = 0;
  std::set<std::string> used;
};

} // namespace

Ptx::Ptx(const std::string &text) {
  int major = 0, minor = 0;
  size_t place = text.find(".version");
  if (place == std::string::npos || sscanf(text.c_str() + place, ".version %d.%d", &major, &minor) != 2)
    return;
  version = major * 10 + minor;
  place = text.find(".target");
  if (place != std::string::npos)
    sscanf(text.c_str() + place, ".target sm_%d", &target);
  entries = Parser(text).entries();
}

} // namespace standin
