//! An engine that is ready to run, and a convolution by it as a kernel.

use super::descriptors::Descriptor;
use super::graph::{BIAS, Convolution, Graph, RESIDUAL, W, X, Y};
use crate::cuda::{APART, Address, Args, Device, Kernel, Stream};
use crate::error::{Error, Result};
use std::sync::Arc;

/// An engine for a graph. Several kernels may share it.
pub struct Plan {
    device: Arc<Device>,
    pub(super) workspace: usize,
    /// The plan and what it refers to, in the order in which they go.
    descriptors: Vec<Descriptor>,
    _graph: Arc<Graph>,
}

impl Plan {
    /// The plan with the configuration that it was made for.
    pub fn new(
        device: &Arc<Device>,
        graph: &Arc<Graph>,
        (plan, workspace): (Descriptor, usize),
        config: impl Iterator<Item = Descriptor>,
    ) -> Plan {
        let descriptors = [plan].into_iter().chain(config).collect();
        Plan { device: device.clone(), workspace, descriptors, _graph: graph.clone() }
    }

    /// The plan itself.
    pub fn descriptor(&self) -> &Descriptor {
        &self.descriptors[0]
    }
}

impl Drop for Plan {
    fn drop(&mut self) {
        // Kernels that were compiled for it are in the context.
        let _entered = self.device.enter();
        self.descriptors.clear();
    }
}

/// A convolution by one engine, or its sums, which are left at the beginning of the workspace.
pub struct Convolver {
    plan: Arc<Plan>,
    /// What the graph refers to, and which input that is.
    inputs: Vec<(i64, usize)>,
    whole: bool,
    /// Bytes of the sums in front of the library's workspace.
    sums: usize,
}

impl Convolver {
    /// By this plan, which was made for the convolution, or its sums.
    pub fn new(plan: Arc<Plan>, convolution: &Convolution, whole: bool) -> Convolver {
        let mut inputs = vec![(X, 0), (W, 1)];
        inputs.extend((whole && convolution.bias).then_some((BIAS, 2)));
        inputs.extend((whole && convolution.residual).then_some((RESIDUAL, 3)));
        let sums = if whole { 0 } else { convolution.bytes_of_sums().next_multiple_of(APART) };
        Convolver { plan, inputs, whole, sums }
    }
}

impl Kernel for Convolver {
    fn workspace_bytes(&self) -> usize {
        self.sums + self.plan.workspace
    }

    fn enqueue(&self, stream: &Stream, args: &Args<'_>) -> Result<()> {
        let y = if self.whole { args.outputs[0] } else { args.workspace };
        let (mut numbers, mut addresses): (Vec<i64>, Vec<Address>) =
            self.inputs.iter().map(|&(number, input)| (number, args.inputs[input])).unzip();
        numbers.push(Y);
        addresses.push(y);
        let workspace = if self.plan.workspace > 0 { args.workspace.offset(self.sums) } else { Address::default() };
        let dnn = self.plan.device.dnn().map_err(|reason| Error::internal(reason.to_string()))?;
        let _entered = self.plan.device.enter()?;
        dnn.execute(&self.plan, stream, (&numbers, &addresses), workspace)
    }
}
