//! # Devices
//!
//! A GPU needs the NVIDIA driver and nothing else. A call that needs one and cannot have it returns INFER_ERROR_DEVICE;
//! infer_last_error() then says whether the driver is missing or too old, or what else it is.

use std::ffi::c_char;

use super::ffi;
use super::sized::{self, Versioned};
use super::status::infer_status;
use crate::error::{Error, Result};
use crate::session::{DeviceFacts, DeviceId};

/// Where memory or computation is, one of INFER_DEVICE_*.
pub type infer_device = u32;

/// The processor and its memory.
pub const INFER_DEVICE_CPU: infer_device = 0;
/// An NVIDIA GPU, numbered as the CUDA driver numbers them.
pub const INFER_DEVICE_CUDA: infer_device = 1;

/// What a device is; start with INFER_DEVICE_INFO_INIT.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct infer_device_info {
    /// sizeof(infer_device_info), as INFER_DEVICE_INFO_INIT sets it.
    pub struct_size: u32,
    /// Compute capability of a GPU, 1000 * major + 10 * minor; 0 for the processor.
    pub capability: u32,
    /// Multiprocessors of a GPU, or processors that this process may use.
    pub units: u32,
    /// Zero.
    pub reserved: u32,
    /// Bytes of a GPU's memory; 0 for the processor.
    pub memory: u64,
    /// Bytes of a GPU's memory that this library uses now.
    pub memory_used: u64,
    /// And those that it keeps for later as well; see infer_device_trim().
    pub memory_reserved: u64,
    /// Tells GPUs apart whatever their numbers; zeros for the processor.
    pub uuid: [u8; 16],
    /// Its name, NUL-terminated.
    pub name: [c_char; 128],
}

// SAFETY: repr(C), a u32 first, no padding (`layout`), integers only.
unsafe impl Versioned for infer_device_info {
    const NAME: &'static str = "infer_device_info";
    const SIZES: &'static [usize] = &[184];
}

/// The device that the caller names.
pub(super) fn device_id(device: infer_device, id: i32) -> Result<DeviceId> {
    match (device, id) {
        (INFER_DEVICE_CPU, 0) => Ok(DeviceId::Cpu),
        (INFER_DEVICE_CUDA, 0..) => Ok(DeviceId::Cuda(id)),
        (INFER_DEVICE_CPU | INFER_DEVICE_CUDA, _) => {
            Err(Error::invalid(format!("`id` is {id}: there is no such device")))
        }
        _ => Err(Error::invalid(format!("`device` is {device}, which is none of INFER_DEVICE_*"))),
    }
}

/// How many devices of a kind there are: 1 for the processor. INFER_ERROR_DEVICE if the driver of that kind is missing
/// or cannot be used.
/// Thread-safety: any thread. Lifetime: a number.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn infer_device_count(device: infer_device, out: *mut usize) -> infer_status {
    // SAFETY: `out` is checked before it is written.
    ffi::run(|| unsafe {
        ffi::check_out(out, "out")?;
        out.write(device_id(device, 0)?.count()?);
        Ok(())
    })
}

/// Describes device `id` of a kind.
/// Thread-safety: any thread. Lifetime: the text is copied.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn infer_device_describe(
    device: infer_device,
    id: i32,
    out: *mut infer_device_info,
) -> infer_status {
    // SAFETY: NULL or a struct of the caller's, which is checked before it is written.
    ffi::run(|| unsafe {
        sized::check(out, "out")?;
        let facts = device_id(device, id)?.describe()?;
        sized::write(out, &info(&facts));
        Ok(())
    })
}

/// Gives memory of a GPU that the library keeps for later back to it. Sessions keep what they use.
/// Thread-safety: any thread. Lifetime: nothing is kept.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn infer_device_trim(device: infer_device, id: i32) -> infer_status {
    ffi::run(|| device_id(device, id)?.trim())
}

fn info(facts: &DeviceFacts) -> infer_device_info {
    let mut name = [0; 128];
    // The last byte stays NUL.
    for (to, from) in name[..127].iter_mut().zip(facts.name.bytes()) {
        *to = from as c_char;
    }
    infer_device_info {
        struct_size: size_of::<infer_device_info>() as u32,
        capability: facts.capability,
        units: facts.units,
        reserved: 0,
        memory: facts.memory,
        memory_used: facts.memory_used,
        memory_reserved: facts.memory_reserved,
        uuid: facts.uuid.0,
        name,
    }
}
