//! Rewriting graphs: each node is emitted again, in order, and rules may put something better in its place.
//!
//! A rule sees an operator whose inputs are rewritten already. What it emits goes through the rules again, so rules stay
//! small and compose. Equal operators on equal inputs are emitted once, and the builder folds constants. What a rule
//! bypasses is dead afterwards and is removed by [`super::dead_code`].

use crate::builder::Builder;
use infer::error::{Error, Result};
use infer::graph::{Graph, GraphId, NodeKind, Program, ValueId};
use infer::ops::{Op, Transpose};
use infer::tensor::Dim;
use std::collections::HashMap;

/// Returns values to use in place of an operator's outputs, or None to leave it alone.
pub type Rule = fn(&mut Rewriter<'_>, &Op, &[Option<ValueId>]) -> Result<Option<Vec<ValueId>>>;

/// Deepest nesting of rules: each makes the graph simpler, so that a rewrite ends long before.
const MAX_DEPTH: usize = 100;

/// Most sweeps over a graph: one finds what the one before has made possible.
const MAX_SWEEPS: usize = 8;

/// Bytes of a constant that is compared with others by its elements.
const SMALL: usize = 256;

/// Rewrites one graph.
pub struct Rewriter<'p> {
    /// Receives the new graph.
    pub b: Builder<'p>,
    rules: &'static [&'static [Rule]],
    /// For each new value, the number of its uses, those behind a Transpose included.
    uses: Vec<usize>,
    /// For each new value, the new node that makes it.
    producers: Vec<Option<usize>>,
    /// Emitted operators by their text.
    emitted: HashMap<String, Vec<ValueId>>,
    depth: usize,
    changes: usize,
}

/// Applies rules to all graphs of a program until nothing changes.
pub fn rewrite(mut program: Program, rules: &'static [&'static [Rule]]) -> Result<Program> {
    for _ in 0..MAX_SWEEPS {
        let mut changes = 0;
        for i in 0..program.graphs.len() {
            changes += sweep(&mut program, GraphId(i as u32), rules)?;
        }
        program = super::dead_code::run(program)?;
        if changes == 0 {
            break;
        }
    }
    Ok(program)
}

/// Emits a graph anew and returns how often a rule changed something.
fn sweep(program: &mut Program, graph: GraphId, rules: &'static [&'static [Rule]]) -> Result<usize> {
    let slot = &mut program.graphs[graph.0 as usize];
    let name = slot.name.clone();
    let old = std::mem::replace(slot, Graph { name, ..Graph::default() });
    let old_uses = old.use_counts();
    let mut r = Rewriter {
        b: Builder::new(program, graph),
        rules,
        uses: vec![],
        producers: vec![],
        emitted: HashMap::new(),
        depth: 0,
        changes: 0,
    };
    let mut map: Vec<Option<ValueId>> = r.sources(&old, &old_uses);
    for node in &old.nodes {
        r.b.node = node.name.clone();
        let mapped = |v: &Option<ValueId>| v.map(|v| map[v.0 as usize].ok_or_else(lost)).transpose();
        let inputs = node.inputs.iter().map(mapped).collect::<Result<Vec<_>>>()?;
        let outputs = r.node(&node.kind, &inputs).map_err(|e| e.at_node(&node.name, node.kind.name()))?;
        for (o, &v) in node.outputs.iter().zip(&outputs) {
            map[o.0 as usize] = Some(v);
            r.add_uses(v, old_uses[o.0 as usize]);
        }
    }
    let outputs = old.outputs.iter().map(|v| map[v.0 as usize].ok_or_else(lost)).collect::<Result<Vec<_>>>()?;
    r.b.g_mut().outputs = outputs;
    Ok(r.changes)
}

fn lost() -> Error {
    Error::internal("a value is lost in a rewrite")
}

/// An operator, its inputs and its outputs.
type Made<'a> = (&'a Op, &'a [Option<ValueId>], &'a [ValueId]);

impl Rewriter<'_> {
    /// Copies inputs and constants and returns the new values by the old ones' indices.
    fn sources(&mut self, old: &Graph, uses: &[usize]) -> Vec<Option<ValueId>> {
        let mut map = vec![None; old.values.len()];
        for &v in &old.inputs {
            let value = old.value(v);
            let g = self.b.g_mut();
            let new = g.add_value(value.name.clone(), value.ty.clone());
            g.inputs.push(new);
            map[v.0 as usize] = Some(new);
        }
        for (value, slot) in old.values.iter().zip(&mut map) {
            if let Some(constant) = &value.constant {
                *slot = Some(self.b.g_mut().add_constant(value.name.clone(), constant.clone()));
            }
        }
        for (slot, &n) in map.iter().zip(uses) {
            slot.iter().for_each(|&v| self.add_uses(v, n));
        }
        map
    }

    fn node(&mut self, kind: &NodeKind, inputs: &[Option<ValueId>]) -> Result<Vec<ValueId>> {
        let node = self.b.node.clone();
        let present = |inputs: &[Option<ValueId>]| -> Vec<ValueId> { inputs.iter().flatten().copied().collect() };
        match kind {
            // Rules look at the first input.
            NodeKind::Op(op) if inputs.is_empty() => self.push(op.clone(), inputs),
            NodeKind::Op(op) => self.emit(op.clone(), inputs),
            NodeKind::If { then_branch, else_branch } => {
                let condition = inputs[0].ok_or_else(lost)?;
                let passed = present(&inputs[1..]);
                self.b.program.add_if(self.b.graph, &node, (*then_branch, *else_branch), condition, &passed)
            }
            NodeKind::Loop { body, carried } => self.b.program.add_loop(self.b.graph, &node, (*body, *carried), inputs),
        }
    }

    /// Emits an operator, or what the rules put in its place.
    pub fn emit(&mut self, op: impl Into<Op>, inputs: &[Option<ValueId>]) -> Result<Vec<ValueId>> {
        let op = op.into();
        if self.depth > MAX_DEPTH {
            return Err(Error::internal(format!("rewriting {} does not end", op.name())));
        }
        self.depth += 1;
        for rule in self.rules.iter().copied().flatten() {
            if let Some(outputs) = rule(self, &op, inputs)? {
                debug_assert!(self.fits(&op, inputs, &outputs)?, "{op:?} of {inputs:?} became something else");
                self.depth -= 1;
                self.changes += 1;
                return Ok(outputs);
            }
        }
        self.depth -= 1;
        self.push(op, inputs)
    }

    /// Whether values have the element types and the shapes of an operator's outputs, as far as these are numbers.
    fn fits(&self, op: &Op, inputs: &[Option<ValueId>], outputs: &[ValueId]) -> Result<bool> {
        let types = self.b.program.infer_node(self.b.graph, &NodeKind::Op(op.clone()), inputs)?;
        let same = |(a, b): (&Dim, &Dim)| a.fixed().zip(b.fixed()).is_none_or(|(a, b)| a == b);
        Ok(outputs.iter().zip(&types).all(|(&v, want)| {
            let ty = self.b.ty(v);
            ty.dtype == want.dtype
                && ty.shape.rank() == want.shape.rank()
                && ty.shape.iter().zip(want.shape.iter()).all(same)
        }))
    }

    /// Emits an operator with one output, all of whose inputs are present.
    pub fn emit1(&mut self, op: impl Into<Op>, inputs: &[ValueId]) -> Result<ValueId> {
        let inputs: Vec<Option<ValueId>> = inputs.iter().map(|&v| Some(v)).collect();
        Ok(self.emit(op, &inputs)?[0])
    }

    /// Emits a Transpose; output axis i is input axis `perm[i]`.
    pub fn transpose(&mut self, x: ValueId, perm: &[usize]) -> Result<ValueId> {
        self.emit1(Transpose { perm: perm.to_vec() }, &[x])
    }

    fn push(&mut self, op: Op, inputs: &[Option<ValueId>]) -> Result<Vec<ValueId>> {
        let key = self.key(&op, inputs);
        if let Some(outputs) = self.emitted.get(&key) {
            return Ok(outputs.clone());
        }
        let outputs = self.b.emit(op, inputs)?;
        let nodes = self.b.g().nodes.len();
        self.producers.resize(self.b.g().values.len(), None);
        if let Some(node) = self.b.g().nodes.last() {
            for v in node.outputs.clone() {
                self.producers[v.0 as usize] = Some(nodes - 1);
            }
        }
        self.emitted.insert(key, outputs.clone());
        Ok(outputs)
    }

    /// What tells an operator on its inputs from others; small constants count by their elements.
    fn key(&self, op: &Op, inputs: &[Option<ValueId>]) -> String {
        let mut key = format!("{op:?}");
        for input in inputs {
            let constant = input.and_then(|v| self.b.constant(v)).filter(|c| c.data.len() <= SMALL);
            key += &match constant {
                Some(c) => format!("{:?}{:?}", c.info, &c.data[..]),
                None => format!("{input:?}"),
            };
        }
        key
    }

    /// The operator, the inputs and the outputs of the node that makes a value.
    pub fn made_by(&self, value: ValueId) -> Option<Made<'_>> {
        let node = &self.b.g().nodes[self.producers.get(value.0 as usize).copied().flatten()?];
        match &node.kind {
            NodeKind::Op(op) => Some((op, &node.inputs, &node.outputs)),
            _ => None,
        }
    }

    /// The operator and the inputs of the node that makes a value as its first output.
    pub fn producer(&self, value: ValueId) -> Option<(&Op, &[Option<ValueId>])> {
        let (op, inputs, outputs) = self.made_by(value)?;
        (outputs[0] == value).then_some((op, inputs))
    }

    /// The input and permutation of the Transpose that makes a value.
    pub fn transposed(&self, value: ValueId) -> Option<(ValueId, Vec<usize>)> {
        match self.producer(value)? {
            (Op::Transpose(t), inputs) => Some((inputs[0]?, t.perm.clone())),
            _ => None,
        }
    }

    /// How often operators and the graph's outputs read a value; 0 if a rule has just emitted it.
    pub fn uses(&self, value: ValueId) -> usize {
        self.uses.get(value.0 as usize).copied().unwrap_or(0)
    }

    /// Whether the operator that reads `value` is the only one that does.
    pub fn only_use(&self, value: ValueId) -> bool {
        self.uses(value) <= 1
    }

    /// Counts uses of a value; those of a Transpose are uses of what it reads, since rules look through it.
    fn add_uses(&mut self, value: ValueId, uses: usize) {
        let index = value.0 as usize;
        if self.uses.len() <= index {
            self.uses.resize(index + 1, 0);
        }
        let first = self.uses[index] == 0;
        self.uses[index] += uses;
        if let Some((x, _)) = self.transposed(value) {
            // The Transpose's own use of `x` is counted once already if `x` stands for a value of the old graph.
            let counted = self.uses.get(x.0 as usize).is_some_and(|&n| n > 0);
            self.add_uses(x, uses - usize::from(first && counted && uses > 0));
        }
    }
}
