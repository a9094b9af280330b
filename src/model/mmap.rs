//! Bytes of a model file: mapped, or copied to memory.
#![allow(unsafe_code, reason = "mapping a file is a promise that nobody truncates it while it is mapped")]

use crate::error::{Error, Result};
use crate::tensor::{Blob, Buffer};
use memmap2::{Mmap, MmapOptions};
use std::fs::File;
use std::path::Path;

/// How the bytes of a model file get into memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// Mapped: opening costs next to nothing, and processes share the memory. The file must not be truncated or changed
    /// while the model is open (truncation raises SIGBUS); replace model files by renaming.
    #[default]
    Map,
    /// Copied: the file may change afterwards.
    Copy,
}

/// Opens a file. Weights stay in it in [`Mode::Map`].
pub fn open_path(path: &Path, mode: Mode) -> Result<Blob> {
    let io = |e: std::io::Error| Error::io(path.display(), &e);
    let irregular = || Error::new(crate::error::Status::Io, format!("{}: not a regular file", path.display()));
    // Asked before the file is opened, too: opening a pipe waits for a writer.
    if !path.metadata().map_err(io)?.is_file() {
        return Err(irregular());
    }
    let file = File::open(path).map_err(io)?;
    let meta = file.metadata().map_err(io)?;
    if !meta.is_file() {
        return Err(irregular());
    }
    open(file, 0, meta.len(), mode).map_err(|e| e.context(path.display()))
}

/// The `len` bytes of an open file from `offset` on. Falls back to copying where the offset cannot be mapped so that
/// the weights are aligned.
pub fn open_fd(file: File, offset: u64, len: u64, mode: Mode) -> Result<Blob> {
    let size = file.metadata().map_err(|e| Error::io("file descriptor", &e))?.len();
    if offset.checked_add(len).is_none_or(|end| end > size) {
        return Err(Error::invalid(format!("{len} bytes at offset {offset} of a file of {size} bytes")));
    }
    let mode = if offset.is_multiple_of(Buffer::ALIGN as u64) { mode } else { Mode::Copy };
    open(file, offset, len, mode)
}

fn open(file: File, offset: u64, len: u64, mode: Mode) -> Result<Blob> {
    let len = usize::try_from(len).map_err(|_| Error::no_memory("the file does not fit into the address space"))?;
    if mode == Mode::Copy || len == 0 {
        return copy(&file, offset, len);
    }
    // SAFETY: the map is private and read-only; that nobody truncates or rewrites the file meanwhile is the documented
    // condition of `Mode::Map`.
    let map = unsafe { MmapOptions::new().offset(offset).len(len).map(&file) };
    let map = map.map_err(|e| Error::io("mapping the file", &e))?;
    prefer_huge_pages(&map);
    Ok(Blob::new(Mapping(map)))
}

/// Asks the system to read the file in huge pages, where its file system can: weights that pass once take a translation
/// for each page. What is cached already stays as it is.
fn prefer_huge_pages(map: &Mmap) {
    // The advice changes nothing but speed, so that a refusal does not matter.
    #[cfg(target_os = "linux")]
    let _ = map.advise(memmap2::Advice::HugePage);
    #[cfg(not(target_os = "linux"))]
    let _ = map;
}

struct Mapping(Mmap);

impl AsRef<[u8]> for Mapping {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

fn copy(file: &File, offset: u64, len: usize) -> Result<Blob> {
    let mut buffer = Buffer::zeroed(len)?;
    read_at(file, offset, &mut buffer).map_err(|e| Error::io("reading the file", &e))?;
    Ok(Blob::new(buffer))
}

/// Reads without moving the position of the file, which descriptors of the caller may share.
#[cfg(unix)]
fn read_at(file: &File, offset: u64, buffer: &mut [u8]) -> std::io::Result<()> {
    std::os::unix::fs::FileExt::read_exact_at(file, buffer, offset)
}

#[cfg(not(unix))]
fn read_at(mut file: &File, offset: u64, buffer: &mut [u8]) -> std::io::Result<()> {
    use std::io::{Read, Seek, SeekFrom};
    file.seek(SeekFrom::Start(offset))?;
    file.read_exact(buffer)
}
