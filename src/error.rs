//! The one error type of the library. Each [`Status`] corresponds to one `infer_status` of the C header.

use std::fmt;

/// Result of everything in this library that can fail.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What kind of failure it is. The numbers are the C API's `infer_status` values: they are never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
#[repr(i32)]
pub enum Status {
    /// An argument is NULL, out of range, or names something that does not exist.
    InvalidArgument = 1,
    /// A file cannot be opened, read or written.
    Io = 2,
    /// A model file is damaged or not a model file.
    Format = 3,
    /// A model file needs a newer library.
    Version = 4,
    /// The model uses something this build or device does not support.
    Unsupported = 5,
    /// A tensor's rank or dimensions are not what the model accepts.
    Shape = 6,
    /// A tensor's element type is not what the model accepts.
    Dtype = 7,
    /// An output buffer is too small.
    BufferTooSmall = 8,
    /// Memory is exhausted, or a configured limit would be exceeded.
    NoMemory = 9,
    /// The device is missing or has failed.
    Device = 10,
    /// The caller cancelled the run, or its deadline passed.
    Cancelled = 11,
    /// The handle cannot be used in this state, e.g. in a forked child.
    State = 12,
    /// A bug in this library.
    Internal = 13,
    /// A number is NaN or infinite, and the session checks that.
    NotFinite = 14,
}

/// A failure: its kind, a message that says what, where and what to do, and the node concerned if there is one.
#[derive(Clone, Debug)]
pub struct Error {
    inner: Box<Inner>,
}

#[derive(Clone, Debug)]
struct Inner {
    status: Status,
    message: String,
    node: String,
    op: String,
    os_error: i32,
}

impl Error {
    /// An error of kind `status` with a message for people.
    pub fn new(status: Status, message: impl Into<String>) -> Self {
        let inner = Inner { status, message: message.into(), node: String::new(), op: String::new(), os_error: 0 };
        Error { inner: Box::new(inner) }
    }

    /// A failed system call on `what` (a file name, usually).
    pub fn io(what: impl fmt::Display, error: &std::io::Error) -> Self {
        let mut e = Error::new(Status::Io, format!("{what}: {error}"));
        e.inner.os_error = error.raw_os_error().unwrap_or(0);
        e
    }

    /// Names the graph node in which the error arose; the innermost node wins.
    pub fn at_node(mut self, node: &str, op: &str) -> Self {
        if self.inner.node.is_empty() && self.inner.op.is_empty() {
            self.inner.node = node.into();
            self.inner.op = op.into();
        }
        self
    }

    /// Puts `context` (a file name, usually) in front of the message.
    pub fn context(mut self, context: impl fmt::Display) -> Self {
        self.inner.message = format!("{context}: {}", self.inner.message);
        self
    }

    /// The kind of failure.
    pub fn status(&self) -> Status {
        self.inner.status
    }

    /// The message, without the node.
    pub fn message(&self) -> &str {
        &self.inner.message
    }

    /// Name of the node in which the error arose, or "".
    pub fn node(&self) -> &str {
        &self.inner.node
    }

    /// Operator of the node in which the error arose, or "".
    pub fn op(&self) -> &str {
        &self.inner.op
    }

    /// `errno` of the failed system call, or 0.
    pub fn os_error(&self) -> i32 {
        self.inner.os_error
    }
}

macro_rules! constructors {
    ($($(#[$doc:meta])* $name:ident => $status:ident;)*) => {
        impl Error {
            $($(#[$doc])* pub fn $name(message: impl Into<String>) -> Self { Error::new(Status::$status, message) })*
        }
    };
}

constructors! {
    /// An [`Status::InvalidArgument`] error.
    invalid => InvalidArgument;
    /// A [`Status::Format`] error.
    format => Format;
    /// A [`Status::Version`] error.
    version => Version;
    /// An [`Status::Unsupported`] error.
    unsupported => Unsupported;
    /// A [`Status::Shape`] error.
    shape => Shape;
    /// A [`Status::Dtype`] error.
    dtype => Dtype;
    /// A [`Status::NoMemory`] error.
    no_memory => NoMemory;
    /// A [`Status::Device`] error.
    device => Device;
    /// A [`Status::State`] error.
    state => State;
    /// A [`Status::Internal`] error.
    internal => Internal;
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Inner { message, node, op, .. } = &*self.inner;
        match (node.is_empty(), op.is_empty()) {
            (true, true) => f.write_str(message),
            (true, false) => write!(f, "{op}: {message}"),
            (false, true) => write!(f, "node '{node}': {message}"),
            (false, false) => write!(f, "node '{node}' ({op}): {message}"),
        }
    }
}

impl std::error::Error for Error {}
