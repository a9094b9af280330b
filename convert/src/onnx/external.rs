//! Tensor data that lies in other files, beside the model.
//!
//! The model names those files, and the model may be hostile: it must not make the converter read anything outside of
//! the model's folder. So a path is walked from the folder one name at a time, each name opened relative to the folder
//! before it and without following symbolic links; `..` and absolute paths are refused before, and hard links, which
//! may lead anywhere, after opening. Nothing is checked by path and opened later, so there is no gap for a race.
//! See ONNX's "External Data" and the advisories CVE-2022-25882, CVE-2024-27318 and CVE-2026-27489.

use std::fs::File;
use std::path::{Component, Path, PathBuf};

use infer::error::{Error, Result};
use infer::tensor::Buffer;

use super::proto::StringStringEntryProto;

/// Reads pieces of the files in a model's folder.
#[derive(Debug)]
pub struct Externals {
    folder: Option<PathBuf>,
    /// The file that was used last; models keep all tensors in one file, or each in its own.
    current: Option<(String, File)>,
}

/// A piece of a file, as the `external_data` entries of a tensor tell it.
#[derive(Debug, PartialEq)]
struct Piece<'a> {
    location: &'a str,
    offset: u64,
    len: Option<u64>,
}

impl<'a> Piece<'a> {
    fn parse(entries: &'a [StringStringEntryProto]) -> Result<Self> {
        let number = |entry: &StringStringEntryProto| {
            let wrong = || Error::format(format!("external data with {} '{}'", entry.key, entry.value));
            entry.value.parse::<u64>().map_err(|_| wrong())
        };
        let mut piece = Piece { location: "", offset: 0, len: None };
        for entry in entries {
            match entry.key.as_str() {
                "location" => piece.location = &entry.value,
                "offset" => piece.offset = number(entry)?,
                "length" => piece.len = Some(number(entry)?),
                // A checksum, or notes of the exporter.
                _ => {}
            }
        }
        if piece.location.is_empty() {
            return Err(Error::format("external data without a location"));
        }
        Ok(piece)
    }
}

impl Externals {
    /// Reads from `folder`; None if the model was not read from a file and so has no folder.
    pub fn new(folder: Option<PathBuf>) -> Self {
        Externals { folder, current: None }
    }

    /// The `len` bytes that `entries` describe.
    pub fn read(&mut self, entries: &[StringStringEntryProto], len: usize) -> Result<Buffer> {
        let piece = Piece::parse(entries)?;
        if piece.len.is_some_and(|n| n != len as u64) {
            let given = piece.len.unwrap_or_default();
            return Err(Error::format(format!("external data of {given} bytes where the shape needs {len}")));
        }
        let in_file = |e: Error| e.context(format!("external data in '{}'", piece.location.escape_default()));
        let file = self.open(piece.location).map_err(in_file)?;
        read_at(file, piece.offset, len).map_err(in_file)
    }

    fn open(&mut self, location: &str) -> Result<&File> {
        if self.current.as_ref().is_none_or(|(name, _)| name != location) {
            let folder = self.folder.as_deref().ok_or_else(|| {
                Error::unsupported("the model was not read from a file, so there is no folder to look in")
            })?;
            self.current = Some((location.to_owned(), open_beneath(folder, location)?));
        }
        self.current.as_ref().map(|(_, file)| file).ok_or_else(|| Error::internal("no external file is open"))
    }
}

/// The names of a relative path that cannot lead upwards.
fn plain_names(location: &str) -> Result<Vec<&std::ffi::OsStr>> {
    let names: Option<Vec<_>> = Path::new(location)
        .components()
        .filter(|c| !matches!(c, Component::CurDir))
        .map(|c| if let Component::Normal(name) = c { Some(name) } else { None })
        .collect();
    match names {
        Some(names) if !names.is_empty() => Ok(names),
        _ => Err(Error::invalid("the path is absolute or leads out of the model's folder, which is not allowed")),
    }
}

/// Opens a regular file below `folder` for reading.
#[cfg(unix)]
fn open_beneath(folder: &Path, location: &str) -> Result<File> {
    use rustix::fs::{Mode, OFlags, open, openat};
    use std::os::unix::fs::MetadataExt;

    let names = plain_names(location)?;
    let failed = |e: rustix::io::Errno| match e {
        rustix::io::Errno::LOOP | rustix::io::Errno::NOTDIR => {
            Error::invalid("a symbolic link or a file stands where a folder or file should; copy the data there")
        }
        e => Error::io("cannot open it", &e.into()),
    };
    // Not blocking, or a named pipe would hold us here.
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let start = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    let mut place = open(start, flags | OFlags::DIRECTORY, Mode::empty()).map_err(failed)?;
    for (i, name) in names.iter().enumerate() {
        let kind = if i + 1 < names.len() { OFlags::DIRECTORY } else { OFlags::empty() };
        place = openat(&place, *name, flags | OFlags::NOFOLLOW | kind, Mode::empty()).map_err(failed)?;
    }
    let file = File::from(place);
    let metadata = file.metadata().map_err(|e| Error::io("cannot inspect it", &e))?;
    if !metadata.is_file() {
        return Err(Error::invalid("not a regular file"));
    }
    if metadata.nlink() > 1 {
        return Err(Error::invalid("the file has several hard links and may belong elsewhere; use a copy of it"));
    }
    Ok(file)
}

/// Opens a regular file below `folder` for reading.
#[cfg(not(unix))]
fn open_beneath(_folder: &Path, location: &str) -> Result<File> {
    plain_names(location)?;
    Err(Error::unsupported("external data is not supported on this platform; save the model as one file"))
}

/// The `len` bytes at `offset` of a file.
fn read_at(mut file: &File, offset: u64, len: usize) -> Result<Buffer> {
    use std::io::{Read, Seek, SeekFrom};

    let failed = |e: std::io::Error| Error::io("cannot read it", &e);
    let size = file.metadata().map_err(failed)?.len();
    if offset.checked_add(len as u64).is_none_or(|end| end > size) {
        return Err(Error::format(format!("{len} bytes at {offset} reach beyond the file's {size} bytes")));
    }
    let mut buffer = Buffer::zeroed(len)?;
    file.seek(SeekFrom::Start(offset)).map_err(failed)?;
    file.read_exact(&mut buffer).map_err(failed)?;
    Ok(buffer)
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    fn entries(pairs: &[(&str, &str)]) -> Vec<StringStringEntryProto> {
        pairs.iter().map(|&(k, v)| StringStringEntryProto { key: k.into(), value: v.into() }).collect()
    }

    /// A folder `model` with good and bad files, and a secret beside it.
    fn folder() -> (tempfile::TempDir, PathBuf) {
        let root = tempfile::tempdir().unwrap();
        let model = root.path().join("model");
        fs::create_dir_all(model.join("parts/deep")).unwrap();
        fs::write(root.path().join("secret"), b"secret!!").unwrap();
        fs::write(model.join("weights"), b"0123456789").unwrap();
        fs::write(model.join("parts/deep/weights"), b"abcdefgh").unwrap();
        (root, model)
    }

    fn read(model: &Path, pairs: &[(&str, &str)], len: usize) -> Result<Vec<u8>> {
        Externals::new(Some(model.to_owned())).read(&entries(pairs), len).map(|b| b.to_vec())
    }

    fn refused(model: &Path, location: &str) -> String {
        read(model, &[("location", location)], 4).expect_err(location).to_string()
    }

    #[test]
    fn pieces_of_files_are_read() {
        let (_root, model) = folder();
        assert_eq!(read(&model, &[("location", "weights")], 10).unwrap(), b"0123456789");
        assert_eq!(read(&model, &[("location", "./weights"), ("offset", "2"), ("length", "3")], 3).unwrap(), b"234");
        assert_eq!(read(&model, &[("location", "parts/deep/weights"), ("offset", "7")], 1).unwrap(), b"h");
        assert_eq!(read(&model, &[("location", "weights"), ("offset", "10")], 0).unwrap(), b"");
        assert_eq!(read(&model, &[("location", "weights"), ("checksum", "?"), ("shape", "x")], 1).unwrap(), b"0");
    }

    #[test]
    fn several_files_take_turns() {
        let (_root, model) = folder();
        let mut externals = Externals::new(Some(model));
        for (location, want) in [("weights", b'0'), ("parts/deep/weights", b'a'), ("weights", b'0')] {
            assert_eq!(externals.read(&entries(&[("location", location)]), 1).unwrap()[..], [want]);
        }
    }

    #[test]
    fn paths_that_leave_the_folder_are_refused() {
        let (root, model) = folder();
        let absolute = root.path().join("secret");
        for path in ["../secret", "parts/../../secret", "..", "/", ".", "parts/..", absolute.to_str().unwrap()] {
            assert!(refused(&model, path).contains("not allowed"), "{path}");
        }
    }

    #[test]
    fn links_are_refused() {
        let (root, model) = folder();
        symlink("../secret", model.join("link")).unwrap();
        symlink("weights", model.join("inner_link")).unwrap();
        symlink(root.path(), model.join("up")).unwrap();
        fs::hard_link(root.path().join("secret"), model.join("hard")).unwrap();
        for path in ["link", "inner_link", "up/secret"] {
            assert!(refused(&model, path).contains("symbolic link"), "{path}");
        }
        assert!(refused(&model, "hard").contains("hard link"));
    }

    #[test]
    fn only_regular_files_are_read() {
        let (_root, model) = folder();
        rustix::fs::mkfifoat(rustix::fs::CWD, model.join("pipe"), rustix::fs::Mode::from_raw_mode(0o600)).unwrap();
        assert!(refused(&model, "pipe").contains("regular"));
        assert!(refused(&model, "parts").contains("regular"));
        assert!(refused(&model, "weights/x").contains("symbolic link or a file"));
        assert!(refused(&model, "absent").contains("absent"));
        assert!(refused(&model, "nul\0l").contains("nul"));
    }

    #[test]
    fn the_piece_must_lie_in_the_file_and_fit_the_tensor() {
        let (_root, model) = folder();
        let at = |offset: &str, length: &str, len| {
            read(&model, &[("location", "weights"), ("offset", offset), ("length", length)], len).unwrap_err()
        };
        assert!(at("7", "4", 4).to_string().contains("beyond"));
        assert!(at("18446744073709551615", "4", 4).to_string().contains("beyond"));
        assert!(at("0", "4", 8).to_string().contains("needs 8"));
        assert!(at("-1", "4", 4).to_string().contains("offset '-1'"));
        assert!(at("0", "4k", 4).to_string().contains("length '4k'"));
        assert!(read(&model, &[("offset", "0")], 4).unwrap_err().to_string().contains("location"));
    }

    #[test]
    fn without_a_folder_there_is_no_external_data() {
        let error = Externals::new(None).read(&entries(&[("location", "weights")]), 4).unwrap_err();
        assert!(error.to_string().contains("folder"));
    }
}
