// A reader of JSON in as few lines as the file_type example needs. Errors are exceptions that tell the position.
#ifndef EXAMPLES_JSON_HPP
#define EXAMPLES_JSON_HPP

#include <cstdlib>
#include <cstring>
#include <map>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace json {

struct Value {
  // The text of a string or number, or "true", "false", "null"; empty for an array or object.
  std::string text;
  std::vector<Value> items;
  std::map<std::string, Value> members;

  bool has(const std::string &name) const { return members.count(name) != 0; }
  const Value &operator[](const std::string &name) const {
    const auto member = members.find(name);
    if (member == members.end()) throw std::runtime_error("there is no \"" + name + "\"");
    return member->second;
  }
  double number() const { return std::strtod(text.c_str(), nullptr); }
  bool is(const char *word) const { return text == word; }
};

class Reader {
 public:
  explicit Reader(std::string text) : text_(std::move(text)) {}

  Value read() {
    Value value = read_value(0);
    skip_space();
    if (at_ != text_.size()) fail("something follows the value");
    return value;
  }

 private:
  [[noreturn]] void fail(const char *what) const { throw std::runtime_error("byte " + std::to_string(at_) + ": " + what); }
  char peek() const { return at_ < text_.size() ? text_[at_] : '\0'; }
  void skip_space() { at_ = std::min(text_.find_first_not_of(" \t\r\n", at_), text_.size()); }
  bool take(char wanted) {
    skip_space();
    if (peek() != wanted) return false;
    ++at_;
    return true;
  }
  void need(char wanted) {
    if (!take(wanted)) fail((std::string("expected '") + wanted + "'").c_str());
  }

  Value read_value(int depth) {
    if (depth > 64) fail("nested too deeply");
    Value value;
    if (take('{')) {
      if (take('}')) return value;
      do {
        skip_space();
        std::string name = read_string();
        need(':');
        value.members[std::move(name)] = read_value(depth + 1);
      } while (take(','));
      need('}');
    } else if (take('[')) {
      if (take(']')) return value;
      do value.items.push_back(read_value(depth + 1));
      while (take(','));
      need(']');
    } else if (peek() == '"') {
      value.text = read_string();
    } else {
      const size_t end = std::min(text_.find_first_of(",]} \t\r\n", at_), text_.size());
      if (end == at_) fail("expected a value");
      value.text = text_.substr(at_, end - at_);
      at_ = end;
    }
    return value;
  }

  std::string read_string() {
    need('"');
    std::string out;
    for (; peek() != '"'; ++at_) {
      if (at_ >= text_.size()) fail("a string without an end");
      if (text_[at_] == '\\') {
        read_escape(out);
      } else {
        out += text_[at_];
      }
    }
    ++at_;
    return out;
  }

  void read_escape(std::string &out) {
    static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
    const char kind = ++at_ < text_.size() ? text_[at_] : '\0';
    if (kind == 'u') {
      const unsigned long code = std::strtoul(text_.substr(at_ + 1, 4).c_str(), nullptr, 16);
      at_ += 4;
      append_utf8(out, code);
    } else if (const char *found = kind ? std::strchr(from, kind) : nullptr) {
      out += to[found - from];
    } else {
      fail("an unknown escape");
    }
  }

  static void append_utf8(std::string &out, unsigned long code) {
    if (code < 0x80) {
      out += static_cast<char>(code);
    } else if (code < 0x800) {
      out += static_cast<char>(0xC0 | (code >> 6));
      out += static_cast<char>(0x80 | (code & 0x3F));
    } else {
      out += static_cast<char>(0xE0 | (code >> 12));
      out += static_cast<char>(0x80 | ((code >> 6) & 0x3F));
      out += static_cast<char>(0x80 | (code & 0x3F));
    }
  }

  std::string text_;
  size_t at_ = 0;
};

}  // namespace json

#endif
