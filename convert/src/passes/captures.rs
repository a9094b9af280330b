//! Moves constants that control flow passes to its bodies into the bodies, where they can be folded and packed.

use infer::error::Result;
use infer::graph::{GraphId, NodeKind, Program};

/// Moves the constants of all graphs; from outer graphs to inner ones, so that they reach the innermost.
pub fn run(mut program: Program) -> Result<Program> {
    let mut uses = vec![0; program.graphs.len()];
    for body in program.graphs.iter().flat_map(|g| &g.nodes).flat_map(|n| n.kind.bodies()) {
        uses[body.0 as usize] += 1;
    }
    let mut todo = vec![GraphId(0)];
    while let Some(graph) = todo.pop() {
        for node in 0..program.graphs[graph.0 as usize].nodes.len() {
            let bodies = program.graphs[graph.0 as usize].nodes[node].kind.bodies();
            if bodies.iter().all(|b| uses[b.0 as usize] == 1) {
                move_constants(&mut program, graph, node, &bodies);
            }
            todo.extend(bodies);
        }
    }
    Ok(program)
}

fn move_constants(program: &mut Program, graph: GraphId, node: usize, bodies: &[GraphId]) {
    let g = &program.graphs[graph.0 as usize];
    // The node's inputs that reach the bodies unchanged, and how far behind the bodies' inputs stand.
    let (first, offset) = match g.nodes[node].kind {
        NodeKind::Op(_) => return,
        NodeKind::If { .. } => (1, 1),
        NodeKind::Loop { carried, .. } => (2 + carried, 0),
    };
    let constant = |i: usize| g.nodes[node].inputs[i].and_then(|v| g.value(v).constant.clone());
    let moved: Vec<_> = (first..g.nodes[node].inputs.len()).filter_map(|i| Some((i, constant(i)?))).collect();
    for (i, constant) in moved.into_iter().rev() {
        for body in bodies {
            let body = &mut program.graphs[body.0 as usize];
            let input = body.inputs.remove(i - offset);
            let value = body.value_mut(input);
            value.ty = constant.ty();
            value.constant = Some(constant.clone());
        }
        program.graphs[graph.0 as usize].nodes[node].inputs.remove(i);
    }
}
