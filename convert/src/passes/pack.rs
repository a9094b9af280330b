//! Stores weights the way their operators' kernels read them. The last pass: later ones could not read the weights.

use infer::error::Result;
use infer::graph::{Constant, Graph, NodeKind, Program, ValueId};
use infer::ops::pack::pack;
use infer::tensor::Layout;
use std::collections::HashMap;

/// Packs the constants of all graphs.
pub fn run(mut program: Program) -> Result<Program> {
    program.graphs.iter_mut().try_for_each(pack_graph)?;
    super::dead_code::run(program)
}

fn pack_graph(g: &mut Graph) -> Result<()> {
    let mut packed: HashMap<(ValueId, Layout), ValueId> = HashMap::new();
    for i in 0..g.nodes.len() {
        let NodeKind::Op(op) = g.nodes[i].kind.clone() else { continue };
        for (slot, v) in g.nodes[i].inputs.clone().into_iter().enumerate() {
            let Some(v) = v else { continue };
            let Some(constant) = g.value(v).constant.clone() else { continue };
            let layout = op.constant_layout(slot, &constant.info);
            let Some(tensor) = constant.tensor().filter(|_| layout != Layout::RowMajor) else { continue };
            let new = match packed.get(&(v, layout)) {
                Some(&new) => new,
                None => {
                    let name = g.value(v).name.clone();
                    g.add_constant(name, Constant::new(tensor.info, layout, pack(&tensor, layout)?)?)
                }
            };
            packed.insert((v, layout), new);
            g.nodes[i].inputs[slot] = Some(new);
        }
    }
    Ok(())
}
