//! Checking what steps on a GPU compute; see `check.rs`.

use super::cuda::{DeviceSpace, Nodes};
use super::{Executor, Workspace};
use crate::cuda::{Address, Counter};
use crate::error::{Error, Result};
use crate::graph::GraphId;
use crate::ops::TensorInfo;
use crate::plan::{Location, Segment, Work};
use crate::tensor::Census;
use std::ops::Range;
use std::time::Instant;

impl DeviceSpace {
    fn count(&mut self, address: Address, info: &TensorInfo) -> Result<Census> {
        let mut counter = match self.counter.take() {
            Some(counter) => counter,
            None => Counter::new(&self.stream)?,
        };
        let census = counter.count(self.stream(), address, (info.dtype, info.numel()));
        self.counter = Some(counter);
        census
    }
}

impl Executor<'_> {
    /// Counts an input of the run that is in the GPU's memory.
    pub(super) fn count_on_device(&self, workspace: &mut Workspace, address: u64, info: &TensorInfo) -> Result<Census> {
        self.on_device(workspace, |space| {
            space.choose_stream(self.control.stream)?;
            refuse_capture(space)?;
            space.count(Address(address), info)
        })
    }

    /// Puts steps into the stream, waits for each and checks it.
    pub(super) fn start_checked(
        &self,
        space: &mut DeviceSpace,
        graph: GraphId,
        (segment, range): (&Segment, Range<usize>),
        nodes: Nodes<'_>,
    ) -> Result<()> {
        refuse_capture(space)?;
        for index in range {
            let (step, begun) = (&segment.steps[index], Instant::now());
            space.enqueue(step, nodes)?;
            space.stream().synchronize().map_err(|e| nodes.about(step, e))?;
            if let Some(profile) = self.control.profile {
                profile.step(index, begun.elapsed());
            }
            if matches!(step.work, Work::Cuda(_)) {
                let mut count = |at: &Location| space.count(space.address(at)?, &at.info);
                self.check((graph, step.node), &step.inputs, &step.outputs, &mut count)?;
            }
        }
        Ok(())
    }
}

fn refuse_capture(space: &DeviceSpace) -> Result<()> {
    if space.is_captured_by_caller()? {
        return Err(Error::state("a session that checks its steps waits for each: its runs cannot be captured"));
    }
    Ok(())
}
