//! A model's inputs and outputs as C callers see them.

use std::ffi::{CString, c_char};
use std::fmt::Display;
use std::ptr;

use super::ffi;
use super::sized;
use super::tensor::{INFER_MAX_RANK, infer_tensor_info};
use crate::error::{Error, Result};
use crate::session::{Port, PortDim};

/// Everything about an input or output, with the strings that C callers are shown.
pub(super) struct PortInfo {
    info: infer_tensor_info,
    name: CString,
    /// What `info` points to.
    _dim_names: Vec<CString>,
}

// SAFETY: the pointers lead to strings that this object owns and never changes.
unsafe impl Send for PortInfo {}
// SAFETY: as above.
unsafe impl Sync for PortInfo {}

impl PortInfo {
    pub(super) fn new(port: &Port) -> Self {
        let name = ffi::c_string(&port.name);
        let mut dim_names = Vec::new();
        let mut info = infer_tensor_info {
            struct_size: size_of::<infer_tensor_info>() as u32,
            dtype: port.dtype as u32,
            rank: port.dims.len() as u32,
            reserved: 0,
            name: name.as_ptr(),
            shape: [0; INFER_MAX_RANK],
            dim_names: [ptr::null(); INFER_MAX_RANK],
            dim_min: [0; INFER_MAX_RANK],
            dim_max: [0; INFER_MAX_RANK],
        };
        for (at, dim) in port.dims.iter().enumerate().take(INFER_MAX_RANK) {
            let (extent, name, min, max) = match dim {
                PortDim::Fixed(n) => (saturated(*n), None, *n, Some(*n)),
                PortDim::Named { name, min, max } => (-1, Some(name), *min, *max),
                PortDim::Expr(formula) => (-1, Some(formula), 0, None),
            };
            info.shape[at] = extent;
            info.dim_min[at] = saturated(min);
            info.dim_max[at] = max.map_or(i64::MAX, saturated);
            if let Some(name) = name {
                let name = ffi::c_string(name);
                info.dim_names[at] = name.as_ptr();
                dim_names.push(name);
            }
        }
        PortInfo { info, name, _dim_names: dim_names }
    }
}

fn saturated(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

/// Writes the description of port `index`; `kind` is "input" or "output".
///
/// # Safety
/// `out` is NULL or a struct as large as its first field says.
pub(super) unsafe fn describe(ports: &[PortInfo], kind: &str, index: usize, out: *mut infer_tensor_info) -> Result<()> {
    // SAFETY: as promised by the caller; written after it was checked.
    unsafe {
        sized::check(out, "out")?;
        let port = ports.get(index).ok_or_else(|| out_of_range(kind, index, ports.len()))?;
        sized::write(out, &port.info);
    }
    Ok(())
}

/// Writes the position of the port called `name`; `kind` is "input" or "output".
///
/// # Safety
/// `name` is NULL or a NUL-terminated string, `out` is NULL or memory for the result.
pub(super) unsafe fn find(ports: &[PortInfo], kind: &str, name: *const c_char, out: *mut usize) -> Result<()> {
    // SAFETY: as promised by the caller; written after it was checked.
    unsafe {
        let name = ffi::text(name, "name")?;
        ffi::check_out(out, "out")?;
        let index = ports.iter().position(|port| port.name.as_bytes() == name.as_bytes()).ok_or_else(|| {
            let names: Vec<_> = ports.iter().take(16).map(|port| port.name.to_string_lossy()).collect();
            Error::invalid(format!("the model has no {kind} called '{name}'; it has: {}", names.join(", ")))
        })?;
        out.write(index);
    }
    Ok(())
}

/// The error for an index that is too large.
pub(super) fn out_of_range(what: impl Display, index: usize, count: usize) -> Error {
    Error::invalid(format!("there is no {what} {index}: the model has {count}, numbered from 0"))
}
