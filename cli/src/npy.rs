//! NumPy's files: `.npy`, an array, and `.npz`, a zip archive of them.

use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;

use infer::error::{Error, Result};
use infer::ops::TensorInfo;
use infer::tensor::{DType, MAX_RANK};
use zip::write::SimpleFileOptions;
use zip::{ZipArchive, ZipWriter};

use crate::tensor::Tensor;

const MAGIC: &[u8] = b"\x93NUMPY";

/// Codes of element types; little-endian, as everything that we run on.
const CODES: [(&str, DType); 12] = [
    ("<f4", DType::F32),
    ("<f8", DType::F64),
    ("<f2", DType::F16),
    ("|i1", DType::I8),
    ("<i2", DType::I16),
    ("<i4", DType::I32),
    ("<i8", DType::I64),
    ("|u1", DType::U8),
    ("<u2", DType::U16),
    ("<u4", DType::U32),
    ("<u8", DType::U64),
    ("|b1", DType::Bool),
];

/// The array of an `.npy` file.
pub fn decode(file: &[u8]) -> Result<Tensor> {
    let damaged = || Error::format("not a .npy file, or a damaged one");
    let rest = file.strip_prefix(MAGIC).ok_or_else(damaged)?;
    let (&[major, _], rest) = rest.split_first_chunk::<2>().ok_or_else(damaged)?;
    let (length, rest) = if major == 1 {
        let (bytes, rest) = rest.split_first_chunk::<2>().ok_or_else(damaged)?;
        (u16::from_le_bytes(*bytes) as usize, rest)
    } else {
        let (bytes, rest) = rest.split_first_chunk::<4>().ok_or_else(damaged)?;
        (u32::from_le_bytes(*bytes) as usize, rest)
    };
    let (header, data) = rest.split_at_checked(length).ok_or_else(damaged)?;
    let header = std::str::from_utf8(header).map_err(|_| damaged())?;

    let code =
        field(header, "descr").and_then(|text| text.strip_prefix('\'')?.split('\'').next()).ok_or_else(damaged)?;
    let known = CODES.iter().find(|(known, _)| *known == code || known.replace('|', "<") == code);
    let dtype = known.ok_or_else(|| Error::dtype(format!("elements of type '{code}' are not supported")))?.1;
    let shape =
        field(header, "shape").and_then(|text| text.strip_prefix('(')?.split(')').next()).ok_or_else(damaged)?;
    let extents = shape.split(',').map(str::trim).filter(|extent| !extent.is_empty());
    let dims: Vec<usize> = extents.map(str::parse).collect::<Result<_, _>>().map_err(|_| damaged())?;
    if dims.len() > MAX_RANK {
        return Err(Error::shape(format!(
            "an array of {} dimensions; the most that there can be is {MAX_RANK}",
            dims.len()
        )));
    }
    let by_columns = field(header, "fortran_order").is_some_and(|text| text.starts_with("True"));
    if by_columns { by_rows(dtype, &dims, data) } else { Tensor::new(dtype, &dims, data) }
}

/// What follows a name in the header, which is the text of a Python dictionary.
fn field<'a>(header: &'a str, name: &str) -> Option<&'a str> {
    let at = header.find(&format!("'{name}'"))?;
    header[at..].split_once(':').map(|(_, rest)| rest.trim_start())
}

/// A tensor from elements of which the first index runs fastest.
fn by_rows(dtype: DType, dims: &[usize], data: &[u8]) -> Result<Tensor> {
    let mut tensor = Tensor::new(dtype, dims, data)?;
    let size = dtype.size();
    let mut index = vec![0; dims.len()];
    for to in 0..data.len() / size {
        let from = index.iter().zip(dims).rev().fold(0, |at, (&i, &extent)| at * extent + i);
        tensor.data[to * size..][..size].copy_from_slice(&data[from * size..][..size]);
        for axis in (0..dims.len()).rev() {
            index[axis] += 1;
            if index[axis] < dims[axis] {
                break;
            }
            index[axis] = 0;
        }
    }
    Ok(tensor)
}

/// The bytes of an `.npy` file. NumPy has no bfloat16: its values are written as float32.
pub fn encode(tensor: &Tensor) -> Vec<u8> {
    let TensorInfo { dtype, dims } = tensor.info;
    let wide: Vec<u8>;
    let (dtype, data) = if dtype == DType::BF16 {
        wide = tensor.data.chunks_exact(2).flat_map(|half| [0, 0, half[0], half[1]]).collect();
        (DType::F32, &wide[..])
    } else {
        (dtype, &tensor.data[..])
    };
    let code = CODES.iter().find(|(_, known)| *known == dtype).map_or("|u1", |(code, _)| code);
    let shape: String = dims.iter().map(|extent| format!("{extent},")).collect();
    let mut header = format!("{{'descr': '{code}', 'fortran_order': False, 'shape': ({shape}), }}");
    // The elements begin on a multiple of 64 bytes.
    let used = MAGIC.len() + 4 + header.len() + 1;
    header.push_str(&" ".repeat(used.next_multiple_of(64) - used));
    header.push('\n');
    let mut file = MAGIC.to_vec();
    file.extend([1, 0]);
    file.extend((header.len() as u16).to_le_bytes());
    file.extend(header.as_bytes());
    file.extend(data);
    file
}

/// The arrays of an `.npz` file with their names.
pub fn decode_archive(path: &Path) -> Result<Vec<(String, Tensor)>> {
    let damaged = |e: zip::result::ZipError| Error::format(format!("{}: {e}", path.display()));
    let file = File::open(path).map_err(|e| Error::io(path.display(), &e))?;
    let mut archive = ZipArchive::new(file).map_err(damaged)?;
    let mut tensors = Vec::new();
    for i in 0..archive.len() {
        let mut entry = archive.by_index(i).map_err(damaged)?;
        let name = entry.name().trim_end_matches(".npy").to_owned();
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).map_err(|e| Error::io(path.display(), &e))?;
        tensors.push((name.clone(), decode(&bytes).map_err(|e| e.context(format!("{}: {name}", path.display())))?));
    }
    Ok(tensors)
}

/// Writes an `.npz` file.
pub fn write_archive(path: &Path, tensors: &[(String, Tensor)]) -> Result<()> {
    let failed = |e: std::io::Error| Error::io(path.display(), &e);
    let mut archive = ZipWriter::new(File::create(path).map_err(failed)?);
    for (name, tensor) in tensors {
        let options = SimpleFileOptions::default().large_file(tensor.data.len() > u32::MAX as usize / 2);
        archive.start_file(format!("{name}.npy"), options).map_err(|e| failed(e.into()))?;
        archive.write_all(&encode(tensor)).map_err(failed)?;
    }
    archive.finish().map(drop).map_err(|e| failed(e.into()))
}

#[cfg(test)]
mod tests {
    use infer::tensor::{Buffer, Dims};

    use super::*;

    fn tensor(dtype: DType, dims: &[usize]) -> Tensor {
        let info = TensorInfo { dtype, dims: Dims::new(dims) };
        let bytes: Vec<u8> = (0..info.byte_len().unwrap()).map(|i| i as u8).collect();
        Tensor { info, data: Buffer::copy_of(&bytes).unwrap() }
    }

    #[test]
    fn what_is_written_is_read() {
        for (_, dtype) in CODES {
            for dims in [&[][..], &[0], &[3], &[2, 3, 5]] {
                let tensor = tensor(dtype, dims);
                let file = encode(&tensor);
                assert_eq!((file.len() - tensor.data.len()) % 64, 0);
                let back = decode(&file).unwrap();
                assert_eq!((back.info, &back.data[..]), (tensor.info, &tensor.data[..]));
            }
        }
    }

    #[test]
    fn columns_first_is_turned() {
        let text = String::from_utf8_lossy(&encode(&tensor(DType::U8, &[2, 3]))[10..128]).replace("False", "True ");
        let mut file = MAGIC.to_vec();
        file.extend([1, 0]);
        file.extend((text.len() as u16).to_le_bytes());
        file.extend(text.as_bytes());
        file.extend([0, 3, 1, 4, 2, 5]);
        assert_eq!(decode(&file).unwrap().data[..], [0, 1, 2, 3, 4, 5]);
    }

    #[test]
    fn damaged_files_are_errors() {
        let file = encode(&tensor(DType::F32, &[2, 2]));
        for length in 0..file.len() {
            assert!(decode(&file[..length]).is_err(), "{length}");
        }
    }
}
