//! Opened model files.

use crate::error::{Error, Result};
use crate::graph::{Constant, NodeKind, Program, State, ValueId};
use crate::model::{self, Mode, ReadOptions};
use crate::ops::{Derived, Inputs};
use crate::tensor::{Blob, DType, Dim};
use std::fs::File;
use std::path::Path;
use std::sync::Arc;

/// How a model is opened.
#[derive(Clone, Copy, Debug, Default)]
pub struct OpenOptions {
    /// Mapped or copied.
    pub mode: Mode,
    /// Also check the hashes of the weights, which reads the whole file.
    pub verify_data: bool,
    /// Most bytes of rearranged weights that kernels keep because they make runs faster; None for as much as the
    /// model's weights and 16 MiB.
    pub weight_memory: Option<usize>,
}

/// An opened model file: immutable, shared by any number of sessions.
pub struct Model {
    pub(super) program: Arc<Program>,
    pub(super) derived: Arc<Derived>,
    inputs: Vec<Port>,
    outputs: Vec<Port>,
}

/// An input or output of a model.
#[derive(Clone, Debug, PartialEq)]
pub struct Port {
    /// Name.
    pub name: String,
    /// Element type.
    pub dtype: DType,
    /// Dimensions.
    pub dims: Vec<PortDim>,
}

/// A dimension of an input or output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PortDim {
    /// Always this extent.
    Fixed(u64),
    /// An extent that the caller chooses (inputs) or that follows from the inputs (outputs).
    Named {
        /// Name; equal names have equal extents.
        name: String,
        /// Smallest extent.
        min: u64,
        /// Largest extent, if there is one.
        max: Option<u64>,
    },
    /// An extent computed from named ones, as text.
    Expr(String),
}

impl Model {
    /// Opens a file.
    pub fn open(path: &Path, options: &OpenOptions) -> Result<Arc<Model>> {
        let file = model::open_path(path, options.mode)?;
        Model::open_bytes(&file, options).map_err(|e| e.context(path.display()))
    }

    /// Opens `len` bytes from `offset` of an open file, e.g. an asset inside an application package.
    pub fn open_fd(file: File, offset: u64, len: u64, options: &OpenOptions) -> Result<Arc<Model>> {
        Model::open_bytes(&model::open_fd(file, offset, len, options.mode)?, options)
    }

    /// Opens a model file that is in memory. Weights are used in place if the bytes start on a cache line.
    pub fn open_bytes(file: &Blob, options: &OpenOptions) -> Result<Arc<Model>> {
        let program = model::read(file, &ReadOptions { verify_data: options.verify_data })?;
        Ok(Model::of(program, options.weight_memory))
    }

    /// A model from a program that the verifier has accepted.
    pub fn from_program(program: Program) -> Arc<Model> {
        Model::of(program, None)
    }

    fn of(program: Program, weight_memory: Option<usize>) -> Arc<Model> {
        let entry = program.entry();
        let ports = |ids: &[ValueId], names: &[String]| {
            ids.iter().zip(names).map(|(&v, name)| port(&program, v, name)).collect()
        };
        let inputs = ports(&entry.inputs, &program.input_names);
        let outputs = ports(&entry.outputs, &program.output_names);
        let derived = Arc::new(derived(&program, weight_memory));
        Arc::new(Model { inputs, outputs, program: Arc::new(program), derived })
    }

    /// The model's inputs, in the order in which runs take them.
    pub fn inputs(&self) -> &[Port] {
        &self.inputs
    }

    /// The model's outputs, in the order in which runs give them.
    pub fn outputs(&self) -> &[Port] {
        &self.outputs
    }

    /// Key-value pairs stored with the model.
    pub fn metadata(&self) -> &[(String, String)] {
        &self.program.metadata
    }

    /// Outputs that feed inputs of the next run.
    pub fn states(&self) -> &[State] {
        &self.program.states
    }

    /// Most bytes of weights that kernels will keep rearranged; see [`OpenOptions::weight_memory`].
    pub fn rearranged_bytes(&self) -> usize {
        self.derived.bytes()
    }

    /// Bytes of the constants as they are in the file.
    pub fn weight_bytes(&self) -> u64 {
        constants(&self.program).map(|constant| constant.data.len() as u64).sum()
    }

    /// An error unless a node is called so.
    pub(super) fn check_node(&self, name: &str) -> Result<()> {
        let mut nodes = self.program.graphs.iter().flat_map(|graph| &graph.nodes);
        let missing = || Error::invalid(format!("no node of the model is called '{name}'"));
        if nodes.any(|node| node.name == name) { Ok(()) } else { Err(missing()) }
    }

    /// The graph.
    pub fn program(&self) -> &Program {
        &self.program
    }
}

fn constants(program: &Program) -> impl Iterator<Item = &Constant> {
    program.graphs.iter().flat_map(|g| &g.values).filter_map(|v| v.constant.as_ref())
}

/// What kernels may keep of the weights of a program.
fn derived(program: &Program, budget: Option<usize>) -> Derived {
    let budget = budget.unwrap_or_else(|| (16 << 20) + constants(program).map(|c| c.data.len()).sum::<usize>());
    let wanted = program.graphs.iter().flat_map(|graph| {
        graph.nodes.iter().filter_map(move |node| {
            let NodeKind::Op(op) = &node.kind else { return None };
            let types: Vec<_> = node.inputs.iter().map(|v| v.map(|v| &graph.value(v).ty)).collect();
            let (input, bytes) = op.derives(&Inputs::new(&types))?;
            let weights = graph.value((*node.inputs.get(input)?)?).constant.as_ref()?;
            Some((&weights.data, bytes))
        })
    });
    Derived::new(wanted, budget)
}

fn port(program: &Program, id: ValueId, name: &str) -> Port {
    let value = program.entry().value(id);
    let dim = |d: &Dim| match (d.fixed(), d.as_sym()) {
        (Some(n), _) => PortDim::Fixed(n.max(0) as u64),
        (_, Some(sym)) => {
            let s = &program.sym_dims[sym.0 as usize];
            PortDim::Named { name: s.name.clone(), min: s.min.max(0) as u64, max: s.max.map(|m| m.max(0) as u64) }
        }
        _ => PortDim::Expr(d.display(&|s| program.sym_name(s)).to_string()),
    };
    Port { name: name.into(), dtype: value.ty.dtype, dims: value.ty.shape.iter().map(dim).collect() }
}
