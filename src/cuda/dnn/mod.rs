//! Convolutions by NVIDIA's cuDNN 9, where it is installed, through its graphs.
//!
//! The library is looked for when the first convolution is prepared for a device ([`Device::dnn`]), and nothing but convolutions
//! depends on it. A convolution with all that is added to it and its activation is one graph; where no engine takes that, the
//! convolution alone is, and our own kernel does the rest. What the library proposes is timed beside the kernel that would run
//! without it, and the fastest is taken ([`faster`]); what it refuses, and why, is kept ([`Dnn::refusals`]).

mod descriptors;
mod engines;
mod graph;
mod library;
mod plan;

pub use graph::{Convolution, Function};

use super::driver::Driver;
use super::library::{LibraryUnavailable, place};
use super::tune::{self, Candidate, Choice, Engine, Offers, Scratch};
use super::{Address, Device, Kernel, Stream, finished};
use crate::error::{Error, Result};
use cudarc::cudnn::sys::{
    cudnnBackendAttributeName_t::*, cudnnBackendDescriptorType_t::*, cudnnBackendHeurMode_t as Heuristic, cudnnHandle_t,
};
use descriptors::Descriptor;
use engines::{Config, proposals};
use graph::Graph;
use library::{Library, library};
use plan::{Convolver, Plan};
use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError, Weak};

const NAME: &str = "cuDNN";

/// The heuristics in the order in which they are asked, and how many engines there are at most after each. Engines that are
/// compiled when they are prepared take a tenth of a second and more.
const HEURISTICS: [(Heuristic, usize); 3] =
    [(Heuristic::CUDNN_HEUR_MODE_A, 3), (Heuristic::CUDNN_HEUR_MODE_B, 4), (Heuristic::CUDNN_HEUR_MODE_FALLBACK, 1)];

/// Most bytes of workspace.
const MAX_WORKSPACE: usize = 64 << 20;

/// Most convolutions of which is kept why they were refused.
const REFUSALS: usize = 500;

/// cuDNN for one device.
pub struct Dnn {
    library: &'static Library,
    /// Made when it is first needed. Used by one thread at a time, as it has a stream.
    handle: Mutex<Option<Handle>>,
    /// What its choices depend on: the device and the version of the library.
    place: String,
    /// Those that are in use, by convolution: the same one elsewhere shares it.
    plans: Mutex<HashMap<(String, Engine), Weak<Plan>>>,
    /// Convolutions that no engine does, and why.
    refusals: Mutex<Vec<(String, String)>>,
}

struct Handle {
    library: &'static Library,
    handle: cudnnHandle_t,
}

// SAFETY: handles of cuDNN may be used from any thread, by one at a time.
unsafe impl Send for Handle {}

impl Handle {
    /// A handle in the context that is current.
    fn new(library: &'static Library) -> Result<Handle> {
        let mut handle = std::ptr::null_mut();
        // SAFETY: `handle` is written if the call succeeds.
        let code = unsafe { (library.functions.cudnnCreate)(&mut handle) };
        library.check(code, "cudnnCreate")?;
        Ok(Handle { library, handle })
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        // SAFETY: created by us, and not used again; the device has made its context current.
        unsafe { (self.library.functions.cudnnDestroy)(self.handle) };
    }
}

impl Dnn {
    /// The library, for this device.
    pub(super) fn new(driver: &Driver, device: &Device) -> Result<Dnn, LibraryUnavailable> {
        // Some of its engines call cuBLASLt, which they look for by name where the system does: it is loaded then.
        let _ = device.blas();
        let library = library(driver)?;
        let place = place(device, NAME, library.version);
        let (handle, plans, refusals) = (Mutex::default(), Mutex::default(), Mutex::default());
        Ok(Dnn { library, handle, place, plans, refusals })
    }

    /// The version of the library, as it counts: 91002 is 9.10.2.
    pub fn version(&self) -> usize {
        self.library.version
    }

    /// Convolutions that are left to other kernels, each with the reason, as far as they were looked at.
    pub fn refusals(&self) -> Vec<(String, String)> {
        self.refusals.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn refuse(&self, key: &str, reason: &Error) {
        let mut refusals = self.refusals.lock().unwrap_or_else(PoisonError::into_inner);
        if refusals.len() < REFUSALS && refusals.iter().all(|(known, _)| known != key) {
            refusals.push((key.to_owned(), reason.to_string()));
        }
    }

    /// Does something with the handle, while no other thread does. The device's context is current.
    fn with_handle<R>(&self, body: impl FnOnce(cudnnHandle_t) -> Result<R>) -> Result<R> {
        let mut handle = self.handle.lock().unwrap_or_else(PoisonError::into_inner);
        let handle = match &mut *handle {
            Some(handle) => handle,
            none => none.insert(Handle::new(self.library)?),
        };
        body(handle.handle)
    }

    /// Puts the work of a plan into the stream. The device's context is current; the numbers are all that its graph refers to, and
    /// the operands are where the addresses say until the stream has come past the work.
    fn execute(
        &self,
        plan: &Plan,
        stream: &Stream,
        (numbers, addresses): (&[i64], &[Address]),
        workspace: Address,
    ) -> Result<()> {
        let operands = Descriptor::new(self.library, CUDNN_BACKEND_VARIANT_PACK_DESCRIPTOR)?
            .with_all(CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS, numbers)?
            .with_all(CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS, addresses)?
            .with(CUDNN_ATTR_VARIANT_PACK_WORKSPACE, workspace)?
            .finalize("describing the operands")?;
        let (plan, operands) = (plan.descriptor().handle(), operands.handle());
        self.with_handle(|handle| {
            // SAFETY: a live handle, and a stream of its context.
            let code = unsafe { (self.library.functions.cudnnSetStream)(handle, stream.handle.cast()) };
            self.library.check(code, "cudnnSetStream")?;
            // SAFETY: live descriptors; the plan gives each operand memory of its shape's size, and the workspace asked for.
            let code = unsafe { (self.library.functions.cudnnBackendExecute)(handle, plan, operands) };
            self.library.check(code, "cudnnBackendExecute")
        })
    }
}

impl fmt::Debug for Dnn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Dnn({})", self.place)
    }
}

/// `own`, or cuDNN's kernel for the convolution; `finish` is what makes the result of the sums that it leaves in the workspace, if
/// it computes only these. Where cuDNN is not there, or does not do the convolution, that is `own`.
pub fn faster(
    device: &Arc<Device>,
    convolution: Convolution,
    own: Box<dyn Kernel>,
    finish: Box<dyn Kernel>,
    scratch: &Scratch,
) -> Box<dyn Kernel> {
    let Ok(dnn) = device.dnn() else { return own };
    let key = convolution.key();
    let offers = Engines { device, dnn, convolution, key: &key, finish: Some(Arc::from(finish)) };
    tune::faster(device, (dnn.place.clone(), key.clone()), own, &offers, scratch)
}

/// The engines for a convolution.
struct Engines<'a> {
    device: &'a Arc<Device>,
    dnn: &'a Dnn,
    convolution: Convolution,
    key: &'a str,
    finish: Option<Arc<dyn Kernel>>,
}

impl Offers for Engines<'_> {
    fn all(&self) -> Vec<Candidate> {
        let whole = match self.proposed(true) {
            Ok(candidates) => return candidates,
            Err(reason) => reason,
        };
        self.proposed(false).unwrap_or_else(|sums| {
            self.dnn.refuse(self.key, &sums.context(format!("whole: {whole}; its sums")));
            vec![]
        })
    }

    fn again(&self, choice: &Choice) -> Option<Box<dyn Kernel>> {
        let Choice::Engine(engine) = choice else { return None };
        self.prepared(engine).inspect_err(|reason| self.dnn.refuse(self.key, reason)).ok()
    }

    fn fails(&self, choice: &Choice, error: &Error) {
        self.dnn.refuse(self.key, &error.clone().context(choice.to_string()));
    }
}

impl Engines<'_> {
    /// What the heuristics propose for the whole convolution or its sums; an error if that is nothing.
    fn proposed(&self, whole: bool) -> Result<Vec<Candidate>> {
        let _entered = self.device.enter()?;
        self.dnn.with_handle(|handle| {
            let graph = Arc::new(self.convolution.graph(self.dnn.library, handle, whole)?);
            let mut candidates: Vec<Candidate> = vec![];
            let mut reason = Error::unsupported("cuDNN has no engine for it");
            for (heuristic, most) in HEURISTICS {
                // A heuristic that is not there for this graph is no reason not to ask the next.
                let configs = proposals(self.dnn.library, &graph, heuristic);
                for config in configs.map_err(|e| reason = e).unwrap_or_default() {
                    if candidates.len() >= most {
                        break;
                    }
                    match self.candidate(handle, &graph, config, whole) {
                        Ok((choice, _)) if candidates.iter().any(|(known, _)| *known == choice) => (),
                        Ok(candidate) => candidates.push(candidate),
                        Err(e) => reason = e,
                    }
                }
            }
            if candidates.is_empty() { Err(reason) } else { Ok(candidates) }
        })
    }

    /// What a heuristic proposes, as a kernel.
    fn candidate(
        &self,
        handle: cudnnHandle_t,
        graph: &Arc<Graph>,
        config: Descriptor,
        whole: bool,
    ) -> Result<Candidate> {
        let config = Config::proposed(config)?;
        let choice = Choice::Engine(config.engine(whole));
        Ok((choice, self.kernel(handle, graph, config, whole)?))
    }

    /// The kernel of this engine.
    fn prepared(&self, engine: &Engine) -> Result<Box<dyn Kernel>> {
        let _entered = self.device.enter()?;
        self.dnn.with_handle(|handle| {
            let graph = Arc::new(self.convolution.graph(self.dnn.library, handle, engine.whole)?);
            let config = Config::of(self.dnn.library, &graph, engine)?;
            self.kernel(handle, &graph, config, engine.whole)
        })
    }

    fn kernel(
        &self,
        handle: cudnnHandle_t,
        graph: &Arc<Graph>,
        config: Config,
        whole: bool,
    ) -> Result<Box<dyn Kernel>> {
        if !config.is_allowed(&self.convolution) {
            return Err(Error::unsupported("cuDNN's engines for it round more, or are not deterministic"));
        }
        let mut plans = self.dnn.plans.lock().unwrap_or_else(PoisonError::into_inner);
        plans.retain(|_, plan| plan.strong_count() > 0);
        let key = (self.key.to_owned(), config.engine(whole));
        let plan = match plans.get(&key).and_then(Weak::upgrade) {
            Some(plan) => plan,
            None => {
                let made = config.plan(self.dnn.library, handle)?;
                if made.1 > MAX_WORKSPACE {
                    return Err(Error::unsupported(format!("cuDNN's engine needs {} bytes of workspace", made.1)));
                }
                let plan = Arc::new(Plan::new(self.device, graph, made, config.into_descriptors()));
                plans.insert(key, Arc::downgrade(&plan));
                plan
            }
        };
        let kernel = Box::new(Convolver::new(plan, &self.convolution, whole));
        Ok(if whole { kernel } else { finished(kernel, &self.finish) })
    }
}
