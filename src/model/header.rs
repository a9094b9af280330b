//! The fixed header at the start of a model file.

use crate::error::{Error, Result};
use std::ops::Range;
use xxhash_rust::xxh3::Xxh3;

/// First bytes of every model file: not text, and damaged by anything that converts line ends.
pub const MAGIC: [u8; 8] = *b"\x89INFER\r\n";
/// A file of another major version is not readable.
pub const MAJOR: u16 = 1;
/// A file of a later minor version is readable if it requires no feature that is unknown here.
pub const MINOR: u16 = 0;
/// Bits of the features that this library knows; none exist yet.
pub const FEATURES: u64 = 0;
/// Size of the header.
pub const HEADER_LEN: usize = 128;
/// Where the checksum stands in the header.
const CHECKSUM: Range<usize> = 0x48..0x50;
/// The largest graph section; those of real models are a few hundred KiB.
const MAX_GRAPH: u64 = 256 << 20;

/// What the header says. All numbers in the file are little-endian.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// Minor version.
    pub minor: u16,
    /// Where the graph section is.
    pub graph: Range<usize>,
    /// Where the data segments are.
    pub data: Range<usize>,
    /// Length of the file.
    pub file_len: usize,
    /// Features without which the file must not be used.
    pub required_features: u64,
}

impl Header {
    /// Reads and checks the header of a file with these bytes, and the checksum of header and graph.
    pub fn read(file: &[u8]) -> Result<Header> {
        if file.len() >= MAGIC.len() && file[..MAGIC.len()] != MAGIC || file.is_empty() {
            let what = if file.is_empty() { "the file is empty" } else { "not a libinfer model file" };
            return Err(Error::format(format!("{what}; `infer convert` makes model files")));
        }
        let Some(head) = file.get(..HEADER_LEN) else {
            return Err(Error::format(format!("the file ends after {} bytes, inside its header", file.len())));
        };
        let u16_at = |at: usize| u16::from_le_bytes([head[at], head[at + 1]]);
        let u64_at = |at: usize| u64::from_le_bytes(std::array::from_fn(|i| head[at + i]));
        if u16_at(0x08) != MAJOR {
            let major = u16_at(0x08);
            return Err(Error::version(format!("format version {major}; this library reads version {MAJOR}")));
        }
        let required_features = u64_at(0x38);
        if required_features & !FEATURES != 0 {
            let unknown = required_features & !FEATURES;
            return Err(Error::version(format!("the file needs features {unknown:#x} of a newer library")));
        }
        let header = Header {
            minor: u16_at(0x0a),
            graph: section(u64_at(0x10), u64_at(0x18), file.len(), "graph")?,
            data: section(u64_at(0x20), u64_at(0x28), file.len(), "data")?,
            file_len: usize::try_from(u64_at(0x30)).unwrap_or(usize::MAX),
            required_features,
        };
        header.check(file, u64_at(CHECKSUM.start))?;
        Ok(header)
    }

    fn check(&self, file: &[u8], stored: u64) -> Result<()> {
        if self.file_len != file.len() {
            let (want, got) = (self.file_len, file.len());
            return Err(Error::format(format!("the file has {got} bytes instead of {want}: it is cut off or damaged")));
        }
        let apart = self.graph.end <= self.data.start && self.graph.start >= HEADER_LEN;
        if !apart
            || !self.graph.start.is_multiple_of(64)
            || !self.data.start.is_multiple_of(64)
            || self.graph.len() as u64 > MAX_GRAPH
        {
            return Err(Error::format("the header's sections overlap or are misaligned"));
        }
        if checksum(&file[..HEADER_LEN], &file[self.graph.clone()]) != stored {
            return Err(Error::format("the checksum of header and graph is wrong: the file is damaged"));
        }
        Ok(())
    }

    /// The header's bytes, with the checksum of header and graph.
    #[cfg(feature = "write")]
    pub fn write(&self, graph: &[u8]) -> [u8; HEADER_LEN] {
        let mut head = [0u8; HEADER_LEN];
        let mut put = |at: usize, bytes: &[u8]| head[at..at + bytes.len()].copy_from_slice(bytes);
        put(0, &MAGIC);
        put(0x08, &MAJOR.to_le_bytes());
        put(0x0a, &self.minor.to_le_bytes());
        put(0x0c, &(HEADER_LEN as u32).to_le_bytes());
        let numbers = [self.graph.start, self.graph.len(), self.data.start, self.data.len(), self.file_len];
        numbers.iter().enumerate().for_each(|(i, &n)| put(0x10 + 8 * i, &(n as u64).to_le_bytes()));
        put(0x38, &self.required_features.to_le_bytes());
        let sum = checksum(&head, graph);
        head[CHECKSUM].copy_from_slice(&sum.to_le_bytes());
        head
    }
}

/// Gives a file that was changed the checksum that its header and graph now have, as far as they lie inside of it: a test
/// of what is behind the checksum.
#[cfg(feature = "write")]
pub fn seal(file: &mut [u8]) {
    let u64_at = |at: usize| u64::from_le_bytes(std::array::from_fn(|i| file.get(at + i).copied().unwrap_or(0)));
    let graph = section(u64_at(0x10), u64_at(0x18), file.len(), "graph");
    if let (Ok(graph), Some(head)) = (graph, file.get(..HEADER_LEN)) {
        let sum = checksum(head, &file[graph]);
        file[CHECKSUM].copy_from_slice(&sum.to_le_bytes());
    }
}

fn section(offset: u64, len: u64, file_len: usize, name: &str) -> Result<Range<usize>> {
    let end = offset.checked_add(len).filter(|&end| end <= file_len as u64);
    match end {
        Some(end) => Ok(offset as usize..end as usize),
        None => Err(Error::format(format!("the {name} section reaches beyond the end of the file: it is cut off"))),
    }
}

/// XXH3-64 of the header without its checksum, then the graph.
fn checksum(head: &[u8], graph: &[u8]) -> u64 {
    let mut hash = Xxh3::new();
    hash.update(&head[..CHECKSUM.start]);
    hash.update(&head[CHECKSUM.end..]);
    hash.update(graph);
    hash.digest()
}
