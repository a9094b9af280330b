//! # Memory of a session
//!
//! What a session occupies; infer_device_describe() tells what the whole process does on a GPU.

use super::ffi;
use super::session::infer_session;
use super::sized::{self, Versioned};
use super::status::infer_status;
use crate::session::MemoryReport;

/// Bytes that a session occupies; start with INFER_MEMORY_INFO_INIT.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct infer_memory_info {
    /// sizeof(infer_memory_info), as INFER_MEMORY_INFO_INIT sets it.
    pub struct_size: u32,
    /// Runs for which there is memory: one for each context, and those of infer_session_run().
    pub contexts: u32,
    /// The model's weights as they are in the file; with INFER_OPEN_MAP processes share them.
    pub weights: u64,
    /// Weights in another order, made so far, for all sessions of the model.
    pub rearranged: u64,
    /// Of all contexts: activations and workspace.
    pub arenas: u64,
    /// Of all contexts: scratch memory of threads.
    pub scratch: u64,
    /// Of all contexts: what outlives a part of a run, and copies of inputs and outputs.
    pub copies: u64,
    /// Plans that are kept for shapes of inputs: a number, not bytes.
    pub plans: u64,
    /// Weights in the GPU's memory.
    pub device_weights: u64,
    /// Of all contexts: activations and workspace in the GPU's memory.
    pub device_arenas: u64,
    /// Of all contexts: memory of the host for copies to the GPU and from it.
    pub staging: u64,
}

// SAFETY: repr(C), a u32 first, no padding (`layout`), integers only.
unsafe impl Versioned for infer_memory_info {
    const NAME: &'static str = "infer_memory_info";
    const SIZES: &'static [usize] = &[80];
}

/// Tells what a session occupies; a context counts as it was after its last run.
/// Thread-safety: any thread, also while runs are under way. Lifetime: numbers.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn infer_session_memory(
    session: *const infer_session,
    out: *mut infer_memory_info,
) -> infer_status {
    // SAFETY: NULL or a live object of the caller's; `out` is checked before it is written.
    ffi::run(|| unsafe {
        let session = ffi::borrow(session, "session")?;
        sized::check(out, "out")?;
        sized::write(out, &info(&session.session.memory()));
        Ok(())
    })
}

fn info(report: &MemoryReport) -> infer_memory_info {
    let MemoryReport { weights, rearranged, contexts, occupied, plans, device_weights } = *report;
    infer_memory_info {
        struct_size: size_of::<infer_memory_info>() as u32,
        contexts,
        weights,
        rearranged,
        arenas: occupied.arenas,
        scratch: occupied.scratch,
        copies: occupied.copies,
        plans: plans.into(),
        device_weights,
        device_arenas: occupied.device_arenas,
        staging: occupied.staging,
    }
}
