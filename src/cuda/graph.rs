//! Work that has been captured from a stream, to be started again with one call.

use super::{Device, Stream};
use crate::error::Result;
use cudarc::driver::sys::{CUgraph, CUgraphExec};
use std::sync::Arc;

/// Captured work, ready to run. It keeps the addresses it was captured with.
pub struct Graph {
    device: Arc<Device>,
    handle: CUgraphExec,
}

// SAFETY: the driver's executable graphs may be used from any thread; launches go through a stream one after another.
unsafe impl Send for Graph {}
// SAFETY: as above.
unsafe impl Sync for Graph {}

impl Graph {
    /// Makes captured work ready to run.
    ///
    /// # Safety
    /// `graph` is a graph of the device's context that nobody else uses, or null; it is destroyed.
    pub(super) unsafe fn new(device: &Arc<Device>, graph: CUgraph) -> Result<Graph> {
        let entered = device.enter()?;
        let mut handle = std::ptr::null_mut();
        // SAFETY: as promised; `handle` is written if the call succeeds.
        let code = unsafe {
            let code = (device.driver.cuGraphInstantiateWithFlags)(&mut handle, graph, 0);
            (device.driver.cuGraphDestroy)(graph);
            code
        };
        entered.check(code, "cuGraphInstantiate")?;
        drop(entered);
        Ok(Graph { device: device.clone(), handle })
    }

    /// Puts the work into a stream.
    pub fn launch(&self, stream: &Stream) -> Result<()> {
        let entered = self.device.enter()?;
        // SAFETY: live objects of this context.
        entered.check(unsafe { (entered.driver.cuGraphLaunch)(self.handle, stream.handle) }, "cuGraphLaunch")
    }
}

impl Drop for Graph {
    fn drop(&mut self) {
        if let Ok(entered) = self.device.enter() {
            // SAFETY: created by us, and not used again.
            unsafe { (entered.driver.cuGraphExecDestroy)(self.handle) };
        }
    }
}
