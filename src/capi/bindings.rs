//! What a context has bound, in the caller's own terms: a run of a context is a run of a session with these tensors.

use std::ptr;
use std::sync::Arc;

use super::arguments;
use super::ports::out_of_range;
use super::sized::Array;
use super::tensor::infer_tensor;
use crate::error::{Error, Result, Status};
use crate::exec::Control;
use crate::session::{Context, Session};

pub(super) struct Bindings {
    context: Context,
    /// With `dtype` 0 where nothing is bound.
    inputs: Vec<infer_tensor>,
    /// Without memory of the caller's where nothing is bound: each run then uses the memory of the one before again.
    outputs: Vec<infer_tensor>,
    /// Whether `outputs` describe results.
    has_run: bool,
}

impl Bindings {
    pub(super) fn new(session: &Arc<Session>) -> Self {
        let tensors = |n: usize| vec![infer_tensor::EMPTY; n];
        let (inputs, outputs) = (session.model().inputs().len(), session.model().outputs().len());
        Bindings { context: Context::new(session), inputs: tensors(inputs), outputs: tensors(outputs), has_run: false }
    }

    /// # Safety
    /// The tensor's data is as the header demands until something else is bound.
    pub(super) unsafe fn set_input(&mut self, index: usize, tensor: Option<&infer_tensor>) -> Result<()> {
        let count = self.inputs.len();
        let bound = self.inputs.get_mut(index).ok_or_else(|| out_of_range("input", index, count))?;
        if let Some(tensor) = tensor {
            // SAFETY: as promised by the caller.
            unsafe { arguments::input(tensor)? };
        }
        *bound = tensor.copied().unwrap_or(infer_tensor::EMPTY);
        Ok(())
    }

    /// # Safety
    /// As for [`Bindings::set_input`].
    pub(super) unsafe fn set_output(&mut self, index: usize, tensor: Option<&infer_tensor>) -> Result<()> {
        let count = self.outputs.len();
        let bound = self.outputs.get_mut(index).ok_or_else(|| out_of_range("output", index, count))?;
        if tensor.is_some_and(|tensor| tensor.data.is_null()) {
            return Err(Error::invalid("`tensor.data` is NULL; to unbind an output, pass NULL as `tensor`"));
        }
        // SAFETY: only a run of ours sets `owner` here.
        drop(unsafe { bound.take_owner() });
        *bound = infer_tensor { owner: ptr::null_mut(), ..tensor.copied().unwrap_or(infer_tensor::EMPTY) };
        Ok(())
    }

    /// # Safety
    /// What is bound is still as the header demands.
    pub(super) unsafe fn run(&mut self, control: Control<'_>) -> Result<()> {
        let session = self.context.session().clone();
        let model = session.model();
        if let Some(index) = self.inputs.iter().position(|input| input.dtype == 0) {
            let name = &model.inputs()[index].name;
            return Err(Error::invalid(format!("input {index} '{name}' is not bound: call infer_context_set_input()")));
        }
        // SAFETY: our own tensors; their data is as promised by the caller.
        unsafe {
            let inputs = Array::new(self.inputs.as_mut_ptr(), self.inputs.len(), "inputs")?;
            let outputs = Array::new(self.outputs.as_mut_ptr(), self.outputs.len(), "outputs")?;
            let context = &mut self.context;
            let result =
                arguments::run(model, &inputs, &outputs, |inputs, outputs| context.run(inputs, outputs, control));
            self.has_run |= result.as_ref().map_or_else(|e| e.status() == Status::BufferTooSmall, |()| true);
            result
        }
    }

    pub(super) fn output(&self, index: usize) -> Result<infer_tensor> {
        let output = self.outputs.get(index).ok_or_else(|| out_of_range("output", index, self.outputs.len()))?;
        if !self.has_run {
            return Err(Error::state("there is no result yet: call infer_context_run() first"));
        }
        Ok(infer_tensor { owner: ptr::null_mut(), ..*output })
    }

    pub(super) fn copies(&self) -> u64 {
        self.context.copies()
    }
}

impl Drop for Bindings {
    fn drop(&mut self) {
        for output in &mut self.outputs {
            // SAFETY: only a run of ours sets `owner` here.
            drop(unsafe { output.take_owner() });
        }
    }
}
