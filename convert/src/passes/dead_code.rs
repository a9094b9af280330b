//! Removes nodes and values that no output depends on, and trailing outputs of operators that nothing reads.

use infer::error::Result;
use infer::graph::{Graph, GraphId, NodeKind, Program, ValueId};

/// Removes what no output depends on, and graphs that no node runs.
pub fn run(mut program: Program) -> Result<Program> {
    program.graphs.iter_mut().for_each(sweep);
    remove_graphs(&mut program);
    Ok(program)
}

fn sweep(g: &mut Graph) {
    let mut live = vec![false; g.values.len()];
    g.outputs.iter().for_each(|v| live[v.0 as usize] = true);
    let mut keep: Vec<bool> = g.nodes.iter().map(|_| false).collect();
    for (node, keep) in g.nodes.iter().zip(&mut keep).rev() {
        *keep = node.outputs.iter().any(|v| live[v.0 as usize]);
        if *keep {
            node.inputs.iter().flatten().for_each(|v| live[v.0 as usize] = true);
        }
    }
    let mut keep = keep.into_iter();
    g.nodes.retain(|_| keep.next().unwrap_or(true));
    for node in &mut g.nodes {
        // Kernels leave out the work for trailing outputs that are absent.
        if let NodeKind::Op(_) = node.kind {
            let last = node.outputs.iter().rposition(|v| live[v.0 as usize]).unwrap_or(0);
            node.outputs.truncate(last + 1);
        }
        node.outputs.iter().for_each(|v| live[v.0 as usize] = true);
    }
    g.inputs.iter().for_each(|v| live[v.0 as usize] = true);
    renumber(g, &live);
}

/// Removes values that are not live.
fn renumber(g: &mut Graph, live: &[bool]) {
    let mut next = 0;
    let new: Vec<ValueId> = live
        .iter()
        .map(|&l| {
            let id = ValueId(next);
            next += u32::from(l);
            id
        })
        .collect();
    let mut live = live.iter();
    g.values.retain(|_| live.next().copied().unwrap_or(true));
    let map = |v: &mut ValueId| *v = new[v.0 as usize];
    g.inputs.iter_mut().chain(&mut g.outputs).for_each(map);
    for node in &mut g.nodes {
        node.inputs.iter_mut().flatten().chain(&mut node.outputs).for_each(map);
    }
}

fn remove_graphs(program: &mut Program) {
    let mut live = vec![false; program.graphs.len()];
    let mut todo = vec![GraphId(0)];
    while let Some(g) = todo.pop() {
        if !std::mem::replace(&mut live[g.0 as usize], true) {
            todo.extend(program.graphs[g.0 as usize].nodes.iter().flat_map(|n| n.kind.bodies()));
        }
    }
    let mut next = 0;
    let new: Vec<GraphId> = live
        .iter()
        .map(|&l| {
            next += u32::from(l);
            GraphId(next.max(1) - 1)
        })
        .collect();
    let mut keep = live.iter();
    program.graphs.retain(|_| keep.next().copied().unwrap_or(true));
    for node in program.graphs.iter_mut().flat_map(|g| &mut g.nodes) {
        node.kind.bodies_mut().into_iter().for_each(|g| *g = new[g.0 as usize]);
    }
}
