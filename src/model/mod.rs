//! Model files: `schema/FORMAT.md` describes them. Reading checks everything; what it returns is a verified program.

mod header;
mod mmap;
mod read;
#[cfg(feature = "write")]
mod write;

#[cfg(feature = "write")]
pub use header::seal;
pub use header::{FEATURES, Header, MAJOR, MINOR};
pub use mmap::{Mode, open_fd, open_path};
pub use read::{ReadOptions, read, verify_data};
#[cfg(feature = "write")]
pub use write::{WriteOptions, write, write_file};
