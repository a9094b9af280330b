/*
 * SPDX-License-Identifier: MIT OR Apache-2.0
 *
 * libinfer: runs neural networks that `infer convert` has made ready. Generated from src/capi by `cargo xtask header`.
 *
 *   infer_model *model = NULL;
 *   infer_session *session = NULL;
 *   float pixels[1 * 1 * 8 * 8] = {0}, logits[1 * 10];
 *   infer_tensor in = INFER_TENSOR_INIT, out = INFER_TENSOR_INIT;
 *   in.dtype = INFER_DTYPE_F32, in.data = pixels, in.byte_len = sizeof pixels;
 *   in.rank = 4, in.shape[0] = in.shape[1] = 1, in.shape[2] = in.shape[3] = 8;
 *   out.dtype = INFER_DTYPE_F32, out.data = logits, out.capacity = sizeof logits;
 *   if (infer_model_open("digits.infer", NULL, &model) || infer_session_create(model, NULL, &session) ||
 *       infer_session_run(session, NULL, &in, 1, &out, 1)) {
 *     infer_error error = INFER_ERROR_INIT;
 *     infer_last_error(&error);
 *     fprintf(stderr, "%s\n", error.message);
 *   }
 *   infer_session_destroy(session);
 *   infer_model_destroy(model);
 *
 * What holds everywhere:
 * - Results come through pointers, the last parameters, that are written only when the status is INFER_OK, unless a
 *   function says otherwise. No call ends the process, writes to a stream, or lets an exception out.
 * - An object passed as `const` may be used by any number of threads at once, any other by one thread at a time.
 * - Objects keep alive what they were made from: destroy them in any order. Destroying NULL does nothing.
 * - A struct that starts with `struct_size` may grow at its end. Start with its _INIT macro: zero means the default.
 * - Strings are UTF-8 and end with NUL. Callbacks must not throw, and must return.
 */
#ifndef INFER_H
#define INFER_H

#include <stddef.h>
#include <stdint.h>

/* Redefine it to hide the functions in, or export them again from, a library of your own. */
#ifndef INFER_API
#  if defined(__GNUC__)
#    define INFER_API __attribute__((visibility("default")))
#  else
#    define INFER_API
#  endif
#endif

#define INFER_DEVICE_INFO_INIT {sizeof(infer_device_info), 0, 0, 0, 0, 0, 0, {0}, {0}}
#define INFER_ERROR_INIT {sizeof(infer_error), 0, 0, 0, {0}, {0}, {0}}
#define INFER_TENSOR_INIT {sizeof(infer_tensor), 0, 0, 0, 0, 0, NULL, 0, 0, {0}, {0}, NULL}
#define INFER_TENSOR_INFO_INIT {sizeof(infer_tensor_info), 0, 0, 0, NULL, {0}, {NULL}, {0}, {0}}
#define INFER_MEMORY_INFO_INIT {sizeof(infer_memory_info), 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}
#define INFER_RUN_OPTIONS_INIT {sizeof(infer_run_options), 0, 0, NULL, NULL, NULL, NULL, NULL}

#ifdef __cplusplus
extern "C" {
#endif

/* Version
 *
 * A program built with this header runs with every later library of the same soname. What a newer header adds, an older
 * library lacks: compare the two numbers before you use it.
 */

#define INFER_VERSION 1000 ///< Release of this header: major * 1000000 + minor * 1000 + patch.

/// Release of the library, encoded as INFER_VERSION.
/// Thread-safety: any thread. Lifetime: a number.
INFER_API uint32_t infer_version(void);

/* Status
 *
 * Every function that can fail returns a status. What it says in numbers, infer_last_error() says in words.
 */

/// Outcome of a call: INFER_OK or one of INFER_ERROR_*. Later releases may add numbers, and never reuse one.
typedef int32_t infer_status;

#define INFER_OK 0                     ///< Done.
#define INFER_ERROR_INVALID_ARGUMENT 1 ///< An argument is NULL, out of range, or names something that does not exist.
#define INFER_ERROR_IO 2               ///< A file cannot be opened or read; infer_error.os_error is errno.
#define INFER_ERROR_FORMAT 3           ///< The file is damaged, or not a model.
#define INFER_ERROR_VERSION 4          ///< The model needs a newer library.
#define INFER_ERROR_UNSUPPORTED 5      ///< The model uses something that this build or device does not have.
#define INFER_ERROR_SHAPE 6            ///< A tensor's rank or extents are not what the model accepts.
#define INFER_ERROR_DTYPE 7            ///< A tensor's element type is not what the model accepts.
#define INFER_ERROR_BUFFER_TOO_SMALL 8 ///< An output buffer is too small; its infer_tensor now says what is needed.
#define INFER_ERROR_NO_MEMORY 9        ///< Memory is exhausted, or a limit set by the caller would be exceeded.
#define INFER_ERROR_DEVICE 10          ///< The device is missing or has failed.
#define INFER_ERROR_CANCELLED 11       ///< The run was cancelled, or its deadline has passed.
#define INFER_ERROR_STATE 12           ///< The object cannot be used now, for example in a forked child.
#define INFER_ERROR_INTERNAL 13        ///< A bug in this library. What took no part in the call is unharmed.
#define INFER_ERROR_NOT_FINITE 14      ///< A number is NaN or infinite; see infer_session_options_set_check().

/// Name of a status, "INFER_ERROR_IO"; "unknown" for numbers that this library does not know.
/// Thread-safety: any thread. Lifetime: static.
INFER_API const char *infer_status_name(infer_status status);

/* Last error */

/// Details of a failure. Text is UTF-8, NUL-terminated, and cut where it does not fit.
typedef struct infer_error {
  uint32_t struct_size; ///< sizeof(infer_error), as INFER_ERROR_INIT sets it.
  infer_status status;  ///< What the call returned.
  int32_t os_error;     ///< errno of the failed system call, or 0.
  uint32_t reserved;    ///< Zero.
  char message[512];    ///< What failed, where, and what to do about it.
  char node[128];       ///< Name of the model's node in which it failed, or "".
  char op[64];          ///< Operator of that node, or "".
} infer_error;

/// Tells how the last failed call of this thread failed; successful calls leave that as it was. Before the first
/// failure, `out->status` is INFER_OK. Allocates nothing.
/// Thread-safety: any thread; each has its own. Lifetime: the text is copied.
INFER_API infer_status infer_last_error(infer_error *out);

/* Element types */

/// Element type, one of INFER_DTYPE_*.
typedef uint32_t infer_dtype;

#define INFER_DTYPE_F32 1   ///< IEEE 754 binary32.
#define INFER_DTYPE_F64 2   ///< IEEE 754 binary64.
#define INFER_DTYPE_F16 3   ///< IEEE 754 binary16.
#define INFER_DTYPE_BF16 4  ///< The upper half of a binary32.
#define INFER_DTYPE_I8 5    ///< int8_t
#define INFER_DTYPE_I16 6   ///< int16_t
#define INFER_DTYPE_I32 7   ///< int32_t
#define INFER_DTYPE_I64 8   ///< int64_t
#define INFER_DTYPE_U8 9    ///< uint8_t
#define INFER_DTYPE_U16 10  ///< uint16_t
#define INFER_DTYPE_U32 11  ///< uint32_t
#define INFER_DTYPE_U64 12  ///< uint64_t
#define INFER_DTYPE_BOOL 13 ///< One byte, 0 or 1.

/// Size of an element in bytes; 0 for an unknown type.
/// Thread-safety: any thread. Lifetime: a number.
INFER_API size_t infer_dtype_size(infer_dtype dtype);

/// Name of an element type, "f32"; "unknown" for numbers that this library does not know.
/// Thread-safety: any thread. Lifetime: static.
INFER_API const char *infer_dtype_name(infer_dtype dtype);

/* Devices
 *
 * A GPU needs the NVIDIA driver and nothing else. A call that needs one and cannot have it returns INFER_ERROR_DEVICE;
 * infer_last_error() then says whether the driver is missing or too old, or what else it is.
 */

/// Where memory or computation is, one of INFER_DEVICE_*.
typedef uint32_t infer_device;

/// What a device is; start with INFER_DEVICE_INFO_INIT.
typedef struct infer_device_info {
  uint32_t struct_size;     ///< sizeof(infer_device_info), as INFER_DEVICE_INFO_INIT sets it.
  uint32_t capability;      ///< Compute capability of a GPU, 1000 * major + 10 * minor; 0 for the processor.
  uint32_t units;           ///< Multiprocessors of a GPU, or processors that this process may use.
  uint32_t reserved;        ///< Zero.
  uint64_t memory;          ///< Bytes of a GPU's memory; 0 for the processor.
  uint64_t memory_used;     ///< Bytes of a GPU's memory that this library uses now.
  uint64_t memory_reserved; ///< And those that it keeps for later as well; see infer_device_trim().
  uint8_t uuid[16];         ///< Tells GPUs apart whatever their numbers; zeros for the processor.
  char name[128];           ///< Its name, NUL-terminated.
} infer_device_info;

#define INFER_DEVICE_CPU 0  ///< The processor and its memory.
#define INFER_DEVICE_CUDA 1 ///< An NVIDIA GPU, numbered as the CUDA driver numbers them.

/// How many devices of a kind there are: 1 for the processor. INFER_ERROR_DEVICE if the driver of that kind is missing
/// or cannot be used.
/// Thread-safety: any thread. Lifetime: a number.
INFER_API infer_status infer_device_count(infer_device device, size_t *out);

/// Describes device `id` of a kind.
/// Thread-safety: any thread. Lifetime: the text is copied.
INFER_API infer_status infer_device_describe(infer_device device, int32_t id, infer_device_info *out);

/// Gives memory of a GPU that the library keeps for later back to it. Sessions keep what they use.
/// Thread-safety: any thread. Lifetime: nothing is kept.
INFER_API infer_status infer_device_trim(infer_device device, int32_t id);

/* Tuning
 *
 * Where a library for GPUs offers several ways to compute the same, the fastest is measured when a shape is first
 * prepared. Another way may round otherwise: with what was measured saved and loaded, results have the same bits in
 * every process.
 */

/// Writes what this process has measured, or was given, to `data`; NULL and `capacity` 0 ask for the size. `len` gets
/// the size also with INFER_ERROR_BUFFER_TOO_SMALL.
/// Thread-safety: any thread. Lifetime: the bytes are a copy, for a file or another process.
INFER_API infer_status infer_tuning_save(void *data, size_t capacity, size_t *len);

/// Adds what infer_tuning_save() has written, in the place of what is known already. It counts for shapes that are
/// prepared from now on, on GPUs of the same kind with the same versions of their libraries.
/// Thread-safety: any thread. Lifetime: copied.
INFER_API infer_status infer_tuning_load(const void *data, size_t len);

/* Tensors
 *
 * Extents and strides count elements, lengths count bytes, the outermost dimension comes first. Any alignment will do.
 */

#define INFER_MAX_RANK 8       ///< Largest rank of a tensor.
#define INFER_TENSOR_STRIDED 1 ///< Flag: `strides` are set. Without it the elements are contiguous, row-major.

/// Description of a tensor's memory; start with INFER_TENSOR_INIT. It owns nothing unless `owner` is set.
///
/// An input is only read; `capacity` and `owner` do not matter.
/// An output with `data` has room for `capacity` bytes. `dtype` is checked unless 0. The library writes `rank`, `shape`
/// and `byte_len`; with INFER_TENSOR_STRIDED, `rank` and `shape` must be given, and be those of the result.
/// An output without `data` is allocated by the library. infer_tensor_release() frees it; the next run that is given
/// the tensor writes to the same memory again, or to a larger piece in its place.
typedef struct infer_tensor {
  uint32_t struct_size;            ///< sizeof(infer_tensor), as INFER_TENSOR_INIT sets it.
  infer_dtype dtype;               ///< Type of the elements.
  uint32_t rank;                   ///< Number of dimensions, 0 to INFER_MAX_RANK.
  uint32_t flags;                  ///< INFER_TENSOR_STRIDED, or 0.
  infer_device device;             ///< Where `data` is.
  int32_t device_id;               ///< Which one of those devices.
  void *data;                      ///< First element.
  uint64_t byte_len;               ///< Bytes of the elements; with strides, at least up to the end of the last one.
  uint64_t capacity;               ///< Outputs: bytes that may be written at `data`.
  int64_t shape[INFER_MAX_RANK];   ///< Extents of the first `rank` dimensions.
  int64_t strides[INFER_MAX_RANK]; ///< With INFER_TENSOR_STRIDED: elements from one index to the next, at least 0.
  void *owner;                     ///< The library's, when it has allocated `data`. Leave it alone.
} infer_tensor;

/// What a model expects as an input or delivers as an output; start with INFER_TENSOR_INFO_INIT. Extents of the same
/// name are equal.
typedef struct infer_tensor_info {
  uint32_t struct_size;                  ///< sizeof(infer_tensor_info), as INFER_TENSOR_INFO_INIT sets it.
  infer_dtype dtype;                     ///< Type of the elements.
  uint32_t rank;                         ///< Number of dimensions.
  uint32_t reserved;                     ///< Zero.
  const char *name;                      ///< Its name.
  int64_t shape[INFER_MAX_RANK];         ///< Extents; -1 where they vary from run to run.
  const char *dim_names[INFER_MAX_RANK]; ///< Of an extent that varies: its name, or a formula of names; else NULL.
  int64_t dim_min[INFER_MAX_RANK];       ///< Least extents.
  int64_t dim_max[INFER_MAX_RANK];       ///< Greatest extents; INT64_MAX where there is no limit.
} infer_tensor_info;

/// Frees what the library has allocated for a tensor, and clears the members that tell of it. A tensor that the library
/// has not allocated, and NULL, are left alone.
/// Thread-safety: one thread at a time per tensor. Lifetime: `data` is gone; the struct is the caller's.
INFER_API void infer_tensor_release(infer_tensor *tensor);

/* Runtime
 *
 * Optional: threads and a logger that several models share. Sessions of models opened without one start their own
 * threads.
 */

typedef struct infer_runtime infer_runtime;                 ///< Threads and a logger.
typedef struct infer_runtime_options infer_runtime_options; ///< Settings of a runtime.

/// Weight of a log message, one of INFER_LOG_*.
typedef uint32_t infer_log_level;

/// Receives a message, which lasts until the function returns. It may be called on any thread that calls the library,
/// and must not call the library.
typedef void (*infer_log_callback)(void *user_data, infer_log_level level, const char *message);

#define INFER_LOG_ERROR 1   ///< What fails and is returned as a status as well.
#define INFER_LOG_WARNING 2 ///< What works, but not as asked for.
#define INFER_LOG_INFO 3    ///< What is opened, prepared and closed.

/// Settings: automatic number of threads, no log.
/// Thread-safety: any thread. Lifetime: until infer_runtime_options_destroy().
INFER_API infer_status infer_runtime_options_create(infer_runtime_options **out);

/// Destroys settings. What was created with them keeps them.
/// Thread-safety: one thread at a time. Lifetime: ends here; NULL is fine.
INFER_API void infer_runtime_options_destroy(infer_runtime_options *options);

/// Number of threads that work on a run, the calling one among them: at most 1024; 0 = as many as this process may use.
/// The results are the same bits for any number.
/// Thread-safety: one thread at a time. Lifetime: copied.
INFER_API infer_status infer_runtime_options_set_threads(infer_runtime_options *options, uint32_t threads);

/// Sends messages up to `level` to `callback`; NULL sends none.
/// Thread-safety: one thread at a time. Lifetime: both must last until the runtime and what uses it are gone.
INFER_API infer_status infer_runtime_options_set_log(infer_runtime_options *options, infer_log_level level,
                                                     infer_log_callback callback, void *user_data);

/// Starts a runtime; NULL options are the defaults.
/// Thread-safety: any thread. Lifetime: until infer_runtime_destroy(); its threads, until nobody uses them.
INFER_API infer_status infer_runtime_create(const infer_runtime_options *options, infer_runtime **out);

/// Destroys a runtime.
/// Thread-safety: one thread at a time. Lifetime: ends here; NULL is fine.
INFER_API void infer_runtime_destroy(infer_runtime *runtime);

/* Model
 *
 * A model file, opened: checked, mapped, and never changed. Any number of sessions share its weights.
 */

typedef struct infer_model infer_model;                 ///< A model.
typedef struct infer_model_options infer_model_options; ///< Settings of opening a model.

/// How a model's bytes are held, one of INFER_OPEN_*.
typedef uint32_t infer_open_mode;

#define INFER_OPEN_MAP 0  ///< Mapped, and shared with other processes. Truncating the file crashes them all.
#define INFER_OPEN_COPY 1 ///< Read into memory. The file may change afterwards.

/// Settings: no runtime, INFER_OPEN_MAP, weights not verified, the library's own limits.
/// Thread-safety: any thread. Lifetime: until infer_model_options_destroy().
INFER_API infer_status infer_model_options_create(infer_model_options **out);

/// Destroys settings. What was opened with them keeps them.
/// Thread-safety: one thread at a time. Lifetime: ends here; NULL is fine.
INFER_API void infer_model_options_destroy(infer_model_options *options);

/// Runtime that the model's sessions use; NULL is none.
/// Thread-safety: one thread at a time. Lifetime: the runtime is kept alive.
INFER_API infer_status infer_model_options_set_runtime(infer_model_options *options, const infer_runtime *runtime);

/// How the file is held.
/// Thread-safety: one thread at a time. Lifetime: copied.
INFER_API infer_status infer_model_options_set_mode(infer_model_options *options, infer_open_mode mode);

/// Whether opening also compares the weights with their checksums (1), which reads the whole file, or not (0). All else
/// in the file is always checked.
/// Thread-safety: one thread at a time. Lifetime: copied.
INFER_API infer_status infer_model_options_set_verify(infer_model_options *options, uint32_t verify);

/// Most bytes of weights that the library may keep in another order, which makes runs faster; 0 for none. The default
/// is the size of the model's weights and 16 MiB. They are made when a run first needs them, for all sessions.
/// Thread-safety: one thread at a time. Lifetime: copied.
INFER_API infer_status infer_model_options_set_weight_memory(infer_model_options *options, uint64_t bytes);

/// Opens a model file; NULL options are the defaults. `path` is UTF-8 (on Unix, any bytes that name a file).
/// Thread-safety: any thread. Lifetime: until infer_model_destroy(); sessions keep what they need of it alive.
INFER_API infer_status infer_model_open(const char *path, const infer_model_options *options, infer_model **out);

/// Opens the model in `len` bytes at `offset` of an open file, for example an asset inside a package. If `offset` is no
/// multiple of 64, the bytes are held as with INFER_OPEN_COPY.
/// Thread-safety: any thread. Lifetime: as infer_model_open(); `fd` is the caller's and may be closed on return.
INFER_API infer_status infer_model_open_fd(int fd, uint64_t offset, uint64_t len, const infer_model_options *options,
                                           infer_model **out);

/// Opens the model in `len` bytes of the caller's memory. `release` (NULL: none) is called with `user_data` once the
/// bytes are not needed any more, on whatever thread destroys their last user; if opening fails, it is not called.
/// Weights are used in place if `data` is 64-byte aligned, unless INFER_OPEN_COPY is set.
/// Thread-safety: any thread. Lifetime: as infer_model_open(); `data` must stay unchanged until `release`.
INFER_API infer_status infer_model_open_memory(const void *data, size_t len, void (*release)(void *user_data),
                                               void *user_data, const infer_model_options *options, infer_model **out);

/// Destroys a model; its names and metadata are gone.
/// Thread-safety: one thread at a time. Lifetime: ends here; NULL is fine.
INFER_API void infer_model_destroy(infer_model *model);

/// Number of inputs; 0 for NULL.
/// Thread-safety: any thread. Lifetime: a number.
INFER_API size_t infer_model_input_count(const infer_model *model);

/// Number of outputs; 0 for NULL.
/// Thread-safety: any thread. Lifetime: a number.
INFER_API size_t infer_model_output_count(const infer_model *model);

/// Describes input `index`.
/// Thread-safety: any thread. Lifetime: names belong to the model.
INFER_API infer_status infer_model_input_info(const infer_model *model, size_t index, infer_tensor_info *out);

/// Describes output `index`.
/// Thread-safety: any thread. Lifetime: names belong to the model.
INFER_API infer_status infer_model_output_info(const infer_model *model, size_t index, infer_tensor_info *out);

/// Position of the input called `name`.
/// Thread-safety: any thread. Lifetime: a number.
INFER_API infer_status infer_model_input_index(const infer_model *model, const char *name, size_t *out);

/// Position of the output called `name`.
/// Thread-safety: any thread. Lifetime: a number.
INFER_API infer_status infer_model_output_index(const infer_model *model, const char *name, size_t *out);

/// Number of metadata entries; 0 for NULL.
/// Thread-safety: any thread. Lifetime: a number.
INFER_API size_t infer_model_metadata_count(const infer_model *model);

/// Metadata entry `index`.
/// Thread-safety: any thread. Lifetime: both strings belong to the model.
INFER_API infer_status infer_model_metadata_at(const infer_model *model, size_t index, const char **key,
                                               const char **value);

/// Value of the metadata entry called `key`.
/// Thread-safety: any thread. Lifetime: the string belongs to the model.
INFER_API infer_status infer_model_metadata_get(const infer_model *model, const char *key, const char **value);

/* Settings of a run */

#define INFER_RUN_ASYNC 1 ///< Flag: return when the GPU's work is in the stream.

typedef struct infer_cancel infer_cancel; ///< Stops runs that are under way.

/// Called once if the run returns INFER_OK, and never otherwise: with INFER_OK, or INFER_ERROR_DEVICE if the GPU has
/// failed since. With INFER_RUN_ASYNC on a GPU that is on a thread of the driver, when the stream has come past the
/// run's work, and what comes later into the stream waits for it; else before the run returns, on its thread. It must
/// not call the library or CUDA. A run with it cannot be captured: put a host function into the graph behind the run
/// instead.
typedef void (*infer_done_callback)(void *user_data, infer_status status);

/// Settings of one run; start with INFER_RUN_OPTIONS_INIT.
///
/// `stream` is one of the device's primary context, and there until the run's work is done. With INFER_RUN_ASYNC the
/// run returns when its work is in there; inputs and outputs in the GPU's memory must stay until the stream has come
/// past it. Outputs in the host's memory are waited for nevertheless. Somebody must be able to wait for the rest: by
/// `stream`, `event` or `done`.
///
/// On the processor all is done when the run returns, also with INFER_RUN_ASYNC; `stream` and `event` are left alone.
typedef struct infer_run_options {
  uint32_t struct_size;       ///< sizeof(infer_run_options), as INFER_RUN_OPTIONS_INIT sets it.
  uint32_t flags;             ///< INFER_RUN_ASYNC, or 0.
  uint64_t timeout_ns;        ///< Nanoseconds after which the run ends with INFER_ERROR_CANCELLED; 0 = never.
  const infer_cancel *cancel; ///< Ends the run with INFER_ERROR_CANCELLED when it is set; NULL = none.
  void *stream;               ///< cudaStream_t or CUstream for the work of a session on a GPU; NULL = its own.
  void *event;                ///< cudaEvent_t or CUevent to record behind the work of a session on a GPU; NULL = none.
  infer_done_callback done;   ///< Called when the work is done; NULL = nobody.
  void *user_data;            ///< For `done`.
} infer_run_options;

/// Makes a token that is not set. Any number of runs may watch it.
/// Thread-safety: any thread. Lifetime: until infer_cancel_destroy(), which must wait for the runs that watch it.
INFER_API infer_status infer_cancel_create(infer_cancel **out);

/// Sets the token (1), so that the runs that watch it end soon, or clears it (0) for the next ones.
/// Thread-safety: any thread, also while runs watch it. Lifetime: nothing is kept.
INFER_API infer_status infer_cancel_set(const infer_cancel *cancel, uint32_t requested);

/// Destroys a token.
/// Thread-safety: one thread at a time. Lifetime: ends here; NULL is fine.
INFER_API void infer_cancel_destroy(infer_cancel *cancel);

/* Session
 *
 * A model prepared for a device: kernels chosen, threads started. Any number of threads may run it at once; one that
 * finds the session's threads busy works alone, with the same results.
 */

typedef struct infer_session infer_session;                 ///< A prepared model.
typedef struct infer_session_options infer_session_options; ///< Settings of a session.

/// How a GPU computes what the model has in f32, one of INFER_PRECISION_*.
typedef uint32_t infer_precision;

#define INFER_PRECISION_F32 0  ///< In f32.
#define INFER_PRECISION_TF32 1 ///< As F32, but factors of products may be rounded to 11 bits.
#define INFER_PRECISION_F16 2  ///< In f16, with sums in f32, where that is safe.
#define INFER_PRECISION_BF16 3 ///< In bf16, likewise.

/// Settings: the processor, the threads of the model's runtime or, if it has none, as many as this process may use.
/// Thread-safety: any thread. Lifetime: until infer_session_options_destroy().
INFER_API infer_status infer_session_options_create(infer_session_options **out);

/// Destroys settings. What was created with them keeps them.
/// Thread-safety: one thread at a time. Lifetime: ends here; NULL is fine.
INFER_API void infer_session_options_destroy(infer_session_options *options);

/// Number of threads, as infer_runtime_options_set_threads(), of this session alone; 0 = those of the model's runtime.
/// Thread-safety: one thread at a time. Lifetime: copied.
INFER_API infer_status infer_session_options_set_threads(infer_session_options *options, uint32_t threads);

/// Where the model runs; `id` tells one of several such devices. If that device cannot be had, infer_session_create()
/// fails (`fallback` 0), or logs why and takes the processor (1).
/// Thread-safety: one thread at a time. Lifetime: copied.
INFER_API infer_status infer_session_options_set_device(infer_session_options *options, infer_device device, int32_t id,
                                                        uint32_t fallback);

/// As infer_session_options_set_device(), for the device called `name`: "cpu", "cuda", "cuda:1", or as
/// "cuda:GPU-8f6d3c1e-..." the GPU with a UUID, as NVIDIA's tools write it, also without "cuda:".
/// Thread-safety: one thread at a time. Lifetime: copied.
INFER_API infer_status infer_session_options_set_device_name(infer_session_options *options, const char *name,
                                                             uint32_t fallback);

/// How a GPU computes; a session on the processor computes in f32 whatever is set. Inputs and outputs keep their types.
/// Thread-safety: one thread at a time. Lifetime: copied.
INFER_API infer_status infer_session_options_set_precision(infer_session_options *options, infer_precision precision);

/// Computes the nodes called `node` in f32 whatever the precision is; infer_session_create() refuses a name that the
/// model does not have. Each call adds one.
/// Thread-safety: one thread at a time. Lifetime: copied.
INFER_API infer_status infer_session_options_keep_f32(infer_session_options *options, const char *node);

/// Whether each run checks its inputs and what each step computes (1), which is slow, or not (0). The first number
/// that is NaN or infinite then ends it with INFER_ERROR_NOT_FINITE: infer_error names the node, or the message the
/// input, and tells how many there are, where, and how large what the step has read is. Infinities that the model
/// itself has, as masks do, may be passed on. Such a run waits for each step, and cannot be captured.
/// Thread-safety: one thread at a time. Lifetime: copied.
INFER_API infer_status infer_session_options_set_check(infer_session_options *options, uint32_t check);

/// Most bytes of activations and workspace for one run; a run that needs more ends with INFER_ERROR_NO_MEMORY.
/// Thread-safety: one thread at a time. Lifetime: copied.
INFER_API infer_status infer_session_options_set_max_memory(infer_session_options *options, uint64_t bytes);

/// How many runs at a time infer_session_run() keeps memory for; what further ones need is freed after them.
/// Thread-safety: one thread at a time. Lifetime: copied.
INFER_API infer_status infer_session_options_set_max_contexts(infer_session_options *options, uint32_t count);

/// Prepares a model; NULL options are the defaults.
/// Thread-safety: any thread. Lifetime: until infer_session_destroy(); it keeps what it needs of the model and runtime.
INFER_API infer_status infer_session_create(const infer_model *model, const infer_session_options *options,
                                            infer_session **out);

/// Destroys a session.
/// Thread-safety: one thread at a time. Lifetime: ends here, or with its last context; NULL is fine.
INFER_API void infer_session_destroy(infer_session *session);

/// Works out now what the first run with inputs of these types and shapes would have to. Only `dtype`, `rank` and
/// `shape` of the `n` inputs, in the model's order, are read.
/// Thread-safety: any thread. Lifetime: nothing is kept.
INFER_API infer_status infer_session_prepare(const infer_session *session, const infer_tensor *inputs, size_t n);

/// Runs the model: reads `n` inputs, writes `m` outputs, both in the model's order. The memory of an output must not
/// overlap any other. After the first run with inputs of some shapes, runs into the caller's memory allocate nothing.
/// INFER_ERROR_BUFFER_TOO_SMALL also writes `rank`, `shape` and `byte_len` of the outputs that have too little room.
/// Thread-safety: any thread, also at the same time. Lifetime: tensors are used during the call only.
INFER_API infer_status infer_session_run(const infer_session *session, const infer_run_options *options,
                                         const infer_tensor *inputs, size_t n, infer_tensor *outputs, size_t m);

/* Memory of a session
 *
 * What a session occupies; infer_device_describe() tells what the whole process does on a GPU.
 */

/// Bytes that a session occupies; start with INFER_MEMORY_INFO_INIT.
typedef struct infer_memory_info {
  uint32_t struct_size;    ///< sizeof(infer_memory_info), as INFER_MEMORY_INFO_INIT sets it.
  uint32_t contexts;       ///< Runs for which there is memory: one for each context, and those of infer_session_run().
  uint64_t weights;        ///< The model's weights as they are in the file; with INFER_OPEN_MAP processes share them.
  uint64_t rearranged;     ///< Weights in another order, made so far, for all sessions of the model.
  uint64_t arenas;         ///< Of all contexts: activations and workspace.
  uint64_t scratch;        ///< Of all contexts: scratch memory of threads.
  uint64_t copies;         ///< Of all contexts: what outlives a part of a run, and copies of inputs and outputs.
  uint64_t plans;          ///< Plans that are kept for shapes of inputs: a number, not bytes.
  uint64_t device_weights; ///< Weights in the GPU's memory.
  uint64_t device_arenas;  ///< Of all contexts: activations and workspace in the GPU's memory.
  uint64_t staging;        ///< Of all contexts: memory of the host for copies to the GPU and from it.
} infer_memory_info;

/// Tells what a session occupies; a context counts as it was after its last run.
/// Thread-safety: any thread, also while runs are under way. Lifetime: numbers.
INFER_API infer_status infer_session_memory(const infer_session *session, infer_memory_info *out);

/* Context
 *
 * Memory for one run at a time, with inputs and outputs that stay bound from run to run. On a GPU one context's copies
 * overlap with another's work: give each a stream, and use them in turn with INFER_RUN_ASYNC.
 */

typedef struct infer_context infer_context; ///< One thread's way to run a session.

/// Makes a context; nothing is bound.
/// Thread-safety: any thread. Lifetime: until infer_context_destroy(); it keeps the session alive.
INFER_API infer_status infer_context_create(const infer_session *session, infer_context **out);

/// Destroys a context.
/// Thread-safety: one thread at a time. Lifetime: ends here, with the outputs in its memory; NULL is fine.
INFER_API void infer_context_destroy(infer_context *context);

/// Binds input `index`; its data may change between runs. NULL unbinds it.
/// Thread-safety: one thread at a time. Lifetime: the struct is copied; runs read `data` until it is bound anew.
INFER_API infer_status infer_context_set_input(infer_context *context, size_t index, const infer_tensor *tensor);

/// Binds output `index` to memory of the caller's, described as for infer_session_run(). NULL unbinds it: the context
/// then has memory of its own for it.
/// Thread-safety: one thread at a time. Lifetime: the struct is copied; runs write `data` until it is bound anew.
INFER_API infer_status infer_context_set_output(infer_context *context, size_t index, const infer_tensor *tensor);

/// Runs the model with what is bound; every input must be.
/// Thread-safety: one thread at a time. Lifetime: outputs without memory of the caller's last until the next run.
INFER_API infer_status infer_context_run(infer_context *context, const infer_run_options *options);

/// Describes output `index` of the last run: its type, shape and where it is. After INFER_ERROR_BUFFER_TOO_SMALL it
/// tells how large that output would have been. Before the first run it is INFER_ERROR_STATE.
/// Thread-safety: any thread. Lifetime: `data` lasts until the context's next run; release nothing.
INFER_API infer_status infer_context_get_output(const infer_context *context, size_t index, infer_tensor *out);

/// How many inputs and outputs this context had to copy so far, because of their strides or alignment; 0 for NULL.
/// Thread-safety: any thread. Lifetime: a number.
INFER_API uint64_t infer_context_copies(const infer_context *context);

#ifdef __cplusplus
}
#endif

#endif /* INFER_H */
