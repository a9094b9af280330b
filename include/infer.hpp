/*
 * SPDX-License-Identifier: MIT OR Apache-2.0
 *
 * C++ over infer.h: owners that clean up, tensors that know their types, results that cannot be overlooked. C++11 to C++20, header
 * only, nothing of the standard library crosses into the C library. Works with -fno-exceptions and -fno-rtti.
 *
 *   infer::Model model = infer::Model::open("digits.infer").value();       // value() throws infer::Error
 *   infer::Session session = infer::Session::create(model).value();
 *   std::vector<infer::Tensor> out = session.run({infer::Tensor(pixels, {1, 1, 8, 8})}).value();
 *   for (float logit : out[0].as<float>()) { ... }
 *
 * Without exceptions: `infer::Result<infer::Model> model = infer::Model::open(path); if (!model) puts(model.status().message());`
 */
#ifndef INFER_HPP
#define INFER_HPP

#include "infer.h"

#include <initializer_list>
#include <memory>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#if __cplusplus >= 202002L
#  include <span>
#endif
#if defined(__cpp_exceptions) || defined(__EXCEPTIONS) || defined(_CPPUNWIND)
#  define INFER_EXCEPTIONS 1
#  include <stdexcept>
#endif
#if __cplusplus >= 201703L
#  define INFER_NODISCARD [[nodiscard]]
#else
#  define INFER_NODISCARD
#endif

namespace infer {

#ifdef INFER_EXCEPTIONS
/// What value() and check() throw.
class Error : public std::runtime_error {
 public:
  Error(infer_status code, const std::string &message) : std::runtime_error(message), code_(code) {}
  infer_status code() const noexcept { return code_; }

 private:
  infer_status code_;
};
#endif

/// Outcome of a call.
class INFER_NODISCARD Status {
 public:
  Status() = default;
  /// The outcome `code`; for a failure, with the message of this thread's last one.
  explicit Status(infer_status code) : code_(code) {
    if (code == INFER_OK) return;
    infer_error error = INFER_ERROR_INIT;
    infer_last_error(&error);
    message_ = error.message;
  }
  bool ok() const noexcept { return code_ == INFER_OK; }
  infer_status code() const noexcept { return code_; }
  /// What failed, where and what to do, or "".
  const char *message() const noexcept { return message_.c_str(); }
#ifdef INFER_EXCEPTIONS
  /// Throws unless ok().
  void check() const {
    if (!ok()) throw Error(code_, message_);
  }
#endif

 private:
  infer_status code_ = INFER_OK;
  std::string message_;
};

/// A value, or why there is none.
template <class T>
class INFER_NODISCARD Result {
 public:
  Result(T value) : value_(std::move(value)) {}
  Result(Status status) : status_(std::move(status)) {}
  explicit operator bool() const noexcept { return status_.ok(); }
  const Status &status() const noexcept { return status_; }
  /// The value; an empty one after a failure.
  T &operator*() noexcept { return value_; }
  T *operator->() noexcept { return &value_; }
#ifdef INFER_EXCEPTIONS
  /// The value; throws after a failure.
  T value() && {
    status_.check();
    return std::move(value_);
  }
#endif

 private:
  Status status_;
  T value_{};
};

namespace detail {
template <class T>
Result<T> result(infer_status code, T value) {
  return code == INFER_OK ? Result<T>(std::move(value)) : Result<T>(Status(code));
}
}  // namespace detail

/// Elements in a row, owned by somebody else. It converts to std::span.
template <class T>
class Span {
 public:
  Span() = default;
  Span(T *data, size_t size) : data_(data), size_(size) {}
  T *data() const noexcept { return data_; }
  size_t size() const noexcept { return size_; }
  T *begin() const noexcept { return data_; }
  T *end() const noexcept { return data_ + size_; }
  T &operator[](size_t index) const { return data_[index]; }
#ifdef __cpp_lib_span
  operator std::span<T>() const noexcept { return {data_, size_}; }
#endif

 private:
  T *data_ = nullptr;
  size_t size_ = 0;
};

/// The element type of a C++ type. A bool tensor is read and written as bool, the 16-bit floats as infer_tensor alone.
template <class T> struct dtype_of;
#define INFER_DTYPE_OF(type, name) \
  template <> struct dtype_of<type> { static constexpr infer_dtype value = INFER_DTYPE_##name; }
INFER_DTYPE_OF(float, F32);
INFER_DTYPE_OF(double, F64);
INFER_DTYPE_OF(int8_t, I8);
INFER_DTYPE_OF(int16_t, I16);
INFER_DTYPE_OF(int32_t, I32);
INFER_DTYPE_OF(int64_t, I64);
INFER_DTYPE_OF(uint8_t, U8);
INFER_DTYPE_OF(uint16_t, U16);
INFER_DTYPE_OF(uint32_t, U32);
INFER_DTYPE_OF(uint64_t, U64);
INFER_DTYPE_OF(bool, BOOL);
#undef INFER_DTYPE_OF
template <class T> struct dtype_of<const T> : dtype_of<T> {};

/// A tensor: memory of the caller's, or memory that the library allocates when an empty one is used as an output.
class Tensor {
 public:
  Tensor() noexcept = default;
  /// Elements at `data`, which must outlive this object, contiguous in row-major order. If they are const it can be an input only.
  template <class T>
  Tensor(T *data, std::initializer_list<int64_t> shape) : Tensor(data, shape.begin(), shape.size()) {}
  template <class T>
  Tensor(T *data, const std::vector<int64_t> &shape) : Tensor(data, shape.data(), shape.size()) {}
  template <class T>
  Tensor(T *data, const int64_t *shape, size_t rank) {
    raw_.dtype = dtype_of<T>::value;
    raw_.rank = static_cast<uint32_t>(rank);
    raw_.data = const_cast<typename std::remove_const<T>::type *>(data);
    for (size_t i = 0; i < rank && i < INFER_MAX_RANK; ++i) raw_.shape[i] = shape[i];
    raw_.byte_len = size() * sizeof(T);
    raw_.capacity = std::is_const<T>::value ? 0 : raw_.byte_len;
  }
  Tensor(Tensor &&other) noexcept : raw_(other.raw_) { other.raw_ = INFER_TENSOR_INIT; }
  Tensor &operator=(Tensor &&other) noexcept {
    std::swap(raw_, other.raw_);
    return *this;
  }
  ~Tensor() { infer_tensor_release(&raw_); }

  infer_dtype dtype() const noexcept { return raw_.dtype; }
  Span<const int64_t> shape() const noexcept { return {raw_.shape, raw_.rank < INFER_MAX_RANK ? raw_.rank : INFER_MAX_RANK}; }
  /// Number of elements.
  size_t size() const noexcept {
    uint64_t n = 1;
    for (int64_t extent : shape()) n *= static_cast<uint64_t>(extent);
    return static_cast<size_t>(n);
  }
  /// The elements if they are of type T, else nothing.
  template <class T>
  Span<T> as() const noexcept {
    return raw_.dtype == dtype_of<T>::value && raw_.data ? Span<T>(static_cast<T *>(raw_.data), size()) : Span<T>();
  }
  infer_tensor &raw() noexcept { return raw_; }
  const infer_tensor &raw() const noexcept { return raw_; }

 private:
  infer_tensor raw_ = INFER_TENSOR_INIT;
};
static_assert(sizeof(Tensor) == sizeof(infer_tensor), "arrays of one are arrays of the other");

namespace detail {
inline const infer_tensor *raw(const Tensor *tensors) noexcept { return reinterpret_cast<const infer_tensor *>(tensors); }
inline infer_tensor *raw(Tensor *tensors) noexcept { return reinterpret_cast<infer_tensor *>(tensors); }
}  // namespace detail

/// Owner of an object of the C library; get() is what infer.h takes.
template <class T, void (*Destroy)(T *)>
class Handle {
 public:
  Handle() noexcept = default;
  explicit Handle(T *object) noexcept : object_(object) {}
  T *get() const noexcept { return object_.get(); }
  explicit operator bool() const noexcept { return object_ != nullptr; }

 private:
  struct Deleter {
    void operator()(T *object) const noexcept { Destroy(object); }
  };
  std::unique_ptr<T, Deleter> object_;
};

/// Settings whose setters chain. The first failure is reported by what the settings are given to.
template <class T, infer_status (*Create)(T **), void (*Destroy)(T *)>
class Settings {
 public:
  T *get() const noexcept { return handle_.get(); }
  const Status &status() const noexcept { return status_; }

 protected:
  Settings() {
    T *object = nullptr;
    note(Create(&object));
    handle_ = Handle<T, Destroy>(object);
  }
  void note(infer_status code) {
    if (status_.ok()) status_ = Status(code);
  }

 private:
  Handle<T, Destroy> handle_;
  Status status_;
};

namespace detail {
/// What `create` makes, unless the settings are wrong; `more` goes to the owner's constructor.
template <class Owner, class S, class Create, class... More>
Result<Owner> make(const S &settings, Create create, More... more) {
  if (!settings.status().ok()) return settings.status();
  decltype(Owner().get()) object = nullptr;
  const infer_status code = create(&object);
  return result(code, Owner(object, more...));
}
}  // namespace detail

/// Threads and a logger for several models.
class Runtime : public Handle<infer_runtime, infer_runtime_destroy> {
 public:
  using Handle::Handle;
  struct Options : Settings<infer_runtime_options, infer_runtime_options_create, infer_runtime_options_destroy> {
    Options &threads(uint32_t count) { return note(infer_runtime_options_set_threads(get(), count)), *this; }
    Options &log(infer_log_level level, infer_log_callback callback, void *user_data) {
      return note(infer_runtime_options_set_log(get(), level, callback, user_data)), *this;
    }
  };

  static Result<Runtime> create(const Options &options = Options()) {
    return detail::make<Runtime>(options, [&](infer_runtime **out) { return infer_runtime_create(options.get(), out); });
  }
};

/// An opened model file.
class Model : public Handle<infer_model, infer_model_destroy> {
 public:
  using Handle::Handle;
  struct Options : Settings<infer_model_options, infer_model_options_create, infer_model_options_destroy> {
    Options &runtime(const Runtime &runtime) { return note(infer_model_options_set_runtime(get(), runtime.get())), *this; }
    Options &mode(infer_open_mode mode) { return note(infer_model_options_set_mode(get(), mode)), *this; }
    Options &verify(bool verify) { return note(infer_model_options_set_verify(get(), verify)), *this; }
    Options &weight_memory(std::uint64_t bytes) { return note(infer_model_options_set_weight_memory(get(), bytes)), *this; }
  };

  static Result<Model> open(const char *path, const Options &options = Options()) {
    return detail::make<Model>(options, [&](infer_model **out) { return infer_model_open(path, options.get(), out); });
  }
  static Result<Model> open_fd(int fd, uint64_t offset, uint64_t len, const Options &options = Options()) {
    return detail::make<Model>(
        options, [&](infer_model **out) { return infer_model_open_fd(fd, offset, len, options.get(), out); });
  }
  /// The bytes must outlive the model and its sessions.
  static Result<Model> open_memory(const void *data, size_t len, const Options &options = Options()) {
    return detail::make<Model>(options, [&](infer_model **out) {
      return infer_model_open_memory(data, len, nullptr, nullptr, options.get(), out);
    });
  }

  size_t input_count() const noexcept { return infer_model_input_count(get()); }
  size_t output_count() const noexcept { return infer_model_output_count(get()); }
  Result<infer_tensor_info> input(size_t index) const { return info(infer_model_input_info, index); }
  Result<infer_tensor_info> output(size_t index) const { return info(infer_model_output_info, index); }
  /// The value of a metadata entry, or NULL.
  const char *metadata(const char *key) const noexcept {
    const char *value = nullptr;
    return infer_model_metadata_get(get(), key, &value) == INFER_OK ? value : nullptr;
  }

 private:
  Result<infer_tensor_info> info(decltype(&infer_model_input_info) describe, size_t index) const {
    infer_tensor_info info = INFER_TENSOR_INFO_INIT;
    const infer_status code = describe(get(), index, &info);
    return detail::result(code, info);
  }
};

/// A model prepared for a device. Threads may share it.
class Session : public Handle<infer_session, infer_session_destroy> {
 public:
  Session() noexcept = default;
  Session(infer_session *session, size_t outputs) noexcept : Handle(session), outputs_(outputs) {}
  struct Options : Settings<infer_session_options, infer_session_options_create, infer_session_options_destroy> {
    Options &threads(uint32_t count) { return note(infer_session_options_set_threads(get(), count)), *this; }
    Options &device(infer_device device, int32_t id = 0, bool fallback = false) {
      return note(infer_session_options_set_device(get(), device, id, fallback)), *this;
    }
    Options &device_name(const char *name, bool fallback = false) {
      return note(infer_session_options_set_device_name(get(), name, fallback)), *this;
    }
    Options &precision(infer_precision precision) {
      return note(infer_session_options_set_precision(get(), precision)), *this;
    }
    Options &keep_f32(const char *node) { return note(infer_session_options_keep_f32(get(), node)), *this; }
    Options &check(bool check) { return note(infer_session_options_set_check(get(), check)), *this; }
    Options &max_memory(uint64_t bytes) { return note(infer_session_options_set_max_memory(get(), bytes)), *this; }
  };

  static Result<Session> create(const Model &model, const Options &options = Options()) {
    return detail::make<Session>(
        options, [&](infer_session **out) { return infer_session_create(model.get(), options.get(), out); },
        model.output_count());
  }

  Status prepare(std::initializer_list<Tensor> inputs) const {
    return Status(infer_session_prepare(get(), detail::raw(inputs.begin()), inputs.size()));
  }
  /// What the session occupies.
  Result<infer_memory_info> memory() const {
    infer_memory_info info = INFER_MEMORY_INFO_INIT;
    const infer_status code = infer_session_memory(get(), &info);
    return detail::result(code, info);
  }
  /// Runs on `n` inputs; an output without memory is allocated.
  Status run(const Tensor *inputs, size_t n, Tensor *outputs, size_t m, const infer_run_options *options = nullptr) const {
    return Status(infer_session_run(get(), options, detail::raw(inputs), n, detail::raw(outputs), m));
  }
  /// Runs and returns new outputs.
  Result<std::vector<Tensor>> run(std::initializer_list<Tensor> inputs, const infer_run_options *options = nullptr) const {
    std::vector<Tensor> outputs(outputs_);
    Status status = run(inputs.begin(), inputs.size(), outputs.data(), outputs.size(), options);
    if (!status.ok()) return status;
    return outputs;
  }

 private:
  size_t outputs_ = 0;
};

/// Memory for one run at a time, with inputs and outputs that stay bound.
class Context : public Handle<infer_context, infer_context_destroy> {
 public:
  using Handle::Handle;
  static Result<Context> create(const Session &session) {
    infer_context *context = nullptr;
    const infer_status code = infer_context_create(session.get(), &context);
    return detail::result(code, Context(context));
  }

  Status set_input(size_t index, const Tensor &tensor) { return Status(infer_context_set_input(get(), index, &tensor.raw())); }
  Status set_output(size_t index, const Tensor &tensor) { return Status(infer_context_set_output(get(), index, &tensor.raw())); }
  Status run(const infer_run_options *options = nullptr) { return Status(infer_context_run(get(), options)); }
  /// An output of the last run, until the next one.
  Result<Tensor> output(size_t index) const {
    Tensor tensor;
    const infer_status code = infer_context_get_output(get(), index, &tensor.raw());
    return detail::result(code, std::move(tensor));
  }
  uint64_t copies() const noexcept { return infer_context_copies(get()); }
};

}  // namespace infer

#endif /* INFER_HPP */
