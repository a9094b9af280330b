//! The engines of cuDNN for a graph: which ones it proposes, which of them may be used, and how each is set.

use super::descriptors::{Descriptor, Knob, Note};
use super::graph::{Convolution, Graph};
use super::library::Library;
use crate::cuda::tune::Engine;
use crate::error::{Error, Result};
use crate::tensor::DType;
use cudarc::cudnn::sys::{
    cudnnBackendAttributeName_t::*, cudnnBackendDescriptorType_t::*, cudnnBackendHeurMode_t as Heuristic,
    cudnnBackendNumericalNote_t as Numerical, cudnnHandle_t,
};

/// Most knobs, and most notes, of an engine that are looked at.
const MOST: usize = 64;

/// Most engines that one heuristic is asked for.
const PROPOSALS: usize = 32;

/// An engine with its knobs as they are set.
pub struct Config {
    descriptor: Descriptor,
    /// What it refers to.
    parts: Vec<Descriptor>,
    index: i64,
    knobs: Vec<(i32, i64)>,
    notes: Vec<Note>,
}

impl Config {
    /// What a heuristic has proposed.
    pub fn proposed(descriptor: Descriptor) -> Result<Config> {
        let mut engines = descriptor.parts(CUDNN_ATTR_ENGINECFG_ENGINE, CUDNN_BACKEND_ENGINE_DESCRIPTOR, 1)?;
        let engine = engines.pop().ok_or_else(|| Error::internal("a configuration of no engine"))?;
        let kind = CUDNN_BACKEND_KNOB_CHOICE_DESCRIPTOR;
        let mut knobs = vec![];
        for choice in descriptor.parts(CUDNN_ATTR_ENGINECFG_KNOB_CHOICES, kind, MOST)? {
            let Knob(knob) = choice.get(CUDNN_ATTR_KNOB_CHOICE_KNOB_TYPE)?;
            knobs.push((knob, choice.get(CUDNN_ATTR_KNOB_CHOICE_KNOB_VALUE)?));
        }
        let (index, notes) = (engine.get(CUDNN_ATTR_ENGINE_GLOBAL_INDEX)?, notes(&engine)?);
        Ok(Config { descriptor, parts: vec![engine], index, knobs, notes })
    }

    /// The engine of this number, set like this.
    pub fn of(library: &'static Library, graph: &Graph, Engine { index, knobs, .. }: &Engine) -> Result<Config> {
        let engine = Descriptor::new(library, CUDNN_BACKEND_ENGINE_DESCRIPTOR)?
            .with_part(CUDNN_ATTR_ENGINE_OPERATION_GRAPH, &graph.descriptor)?
            .with(CUDNN_ATTR_ENGINE_GLOBAL_INDEX, *index)?
            .finalize("describing an engine")?;
        let choice = |&(knob, value): &(i32, i64)| {
            Descriptor::new(library, CUDNN_BACKEND_KNOB_CHOICE_DESCRIPTOR)?
                .with(CUDNN_ATTR_KNOB_CHOICE_KNOB_TYPE, Knob(knob))?
                .with(CUDNN_ATTR_KNOB_CHOICE_KNOB_VALUE, value)?
                .finalize("setting a knob")
        };
        let mut parts = knobs.iter().map(choice).collect::<Result<Vec<_>>>()?;
        let mut config = Descriptor::new(library, CUDNN_BACKEND_ENGINECFG_DESCRIPTOR)?
            .with_part(CUDNN_ATTR_ENGINECFG_ENGINE, &engine)?;
        if !parts.is_empty() {
            config = config.with_parts(CUDNN_ATTR_ENGINECFG_KNOB_CHOICES, &parts)?;
        }
        let (descriptor, notes) = (config.finalize("setting an engine")?, notes(&engine)?);
        parts.push(engine);
        Ok(Config { descriptor, parts, index: *index, knobs: knobs.clone(), notes })
    }

    /// What tells it apart, among those for the whole convolution or for its sums.
    pub fn engine(&self, whole: bool) -> Engine {
        Engine { whole, index: self.index, knobs: self.knobs.clone() }
    }

    /// What has to live as long as a plan for it.
    pub fn into_descriptors(self) -> impl Iterator<Item = Descriptor> {
        [self.descriptor].into_iter().chain(self.parts)
    }

    /// Whether the engine gives the same bits each time, and computes as precisely as is asked for.
    pub fn is_allowed(&self, convolution: &Convolution) -> bool {
        allows(convolution.dtype, convolution.tf32, &self.notes)
    }

    /// A plan for it, and the bytes of workspace that it needs.
    pub fn plan(&self, library: &'static Library, handle: cudnnHandle_t) -> Result<(Descriptor, usize)> {
        let plan = Descriptor::new(library, CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR)?
            .with(CUDNN_ATTR_EXECUTION_PLAN_HANDLE, handle)?
            .with_part(CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG, &self.descriptor)?
            .finalize("preparing an engine")?;
        let bytes: i64 = plan.get(CUDNN_ATTR_EXECUTION_PLAN_WORKSPACE_SIZE)?;
        let bytes = usize::try_from(bytes).map_err(|_| Error::internal("cuDNN wants a negative workspace"))?;
        Ok((plan, bytes))
    }
}

/// What a heuristic proposes for a graph, best first.
pub fn proposals(library: &'static Library, graph: &Graph, heuristic: Heuristic) -> Result<Vec<Descriptor>> {
    let heuristic = Descriptor::new(library, CUDNN_BACKEND_ENGINEHEUR_DESCRIPTOR)?
        .with_part(CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH, &graph.descriptor)?
        .with(CUDNN_ATTR_ENGINEHEUR_MODE, heuristic)?
        .finalize("looking for engines")?;
    let most = heuristic.count(CUDNN_ATTR_ENGINEHEUR_RESULTS)?.min(PROPOSALS);
    heuristic.parts(CUDNN_ATTR_ENGINEHEUR_RESULTS, CUDNN_BACKEND_ENGINECFG_DESCRIPTOR, most)
}

fn notes(engine: &Descriptor) -> Result<Vec<Note>> {
    let mut notes = vec![Note::default(); MOST];
    let count = engine.read(CUDNN_ATTR_ENGINE_NUMERICAL_NOTE, &mut notes)?;
    notes.truncate(count);
    Ok(notes)
}

/// Whether an engine with these notes may be used: its sums are f32 in an order that is always the same, and factors are of their
/// own type, or TF32 where that is allowed. Winograd's algorithm rounds little more than the definition in f32 with the smallest
/// tiles; how much it rounds otherwise is not told. What a note of a newer library means is not known.
fn allows(dtype: DType, tf32: bool, notes: &[Note]) -> bool {
    const TENSOR_CORE: u32 = Numerical::CUDNN_NUMERICAL_NOTE_TENSOR_CORE as u32;
    const WINOGRAD: u32 = Numerical::CUDNN_NUMERICAL_NOTE_WINOGRAD as u32;
    const SMALL_TILES: u32 = Numerical::CUDNN_NUMERICAL_NOTE_WINOGRAD_TILE_4x4 as u32;
    const STRICT_NAN: u32 = 9;
    notes.iter().all(|&Note(note)| match note {
        TENSOR_CORE => dtype != DType::F32 || tf32,
        WINOGRAD => dtype == DType::F32 && notes.contains(&Note(SMALL_TILES)),
        note => note == SMALL_TILES || note == STRICT_NAN,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn engines_are_deterministic_and_as_precise_as_is_asked_for() {
        let allowed =
            |dtype, tf32| (0..12).filter(|&note| allows(dtype, tf32, &[Note(9), Note(note)])).collect::<Vec<_>>();
        assert_eq!(allowed(DType::F32, false), [6, 9]);
        assert_eq!(allowed(DType::F32, true), [0, 6, 9]);
        assert_eq!(allowed(DType::F16, false), [0, 6, 9]);
        let small = [Note(5), Note(6)];
        assert!(allows(DType::F32, false, &small) && !allows(DType::BF16, false, &small));
        assert!(!allows(DType::F32, false, &[Note(5), Note(7)]) && allows(DType::F32, false, &[]));
    }
}
