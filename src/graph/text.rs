//! Programs as text, for people: one line for each constant and node, graph by graph.
//!
//! ```text
//! graph 0 'main'
//!   input  %0 image: f32[batch, 8, 8, 1]
//!   const  %1 weight: f32[16, 3, 3, 1] as ConvPanels { groups: 1 }, 576 bytes
//!   %2: f32[batch, 8, 8, 16] = Conv(%0, %1) { window: .., groups: 1, .. }  # conv1
//!   output %2 logits
//! ```

use super::{Graph, GraphId, Node, NodeKind, Program, Value, ValueId};
use crate::tensor::{DType, Layout, TensorType};
use std::fmt::Write;

/// Elements of a constant that are written out.
const SHOWN: usize = 8;

impl Program {
    /// The text of the whole program.
    pub fn text(&self) -> String {
        let mut text = String::new();
        for (i, graph) in self.graphs.iter().enumerate() {
            // Writing to a String cannot fail.
            let _ = self.graph(&mut text, GraphId(i as u32), graph);
        }
        text
    }

    fn graph(&self, text: &mut String, id: GraphId, graph: &Graph) -> std::fmt::Result {
        writeln!(text, "graph {} '{}'", id.0, graph.name)?;
        let ports = |ids: &[ValueId], names: &[String]| -> Vec<(ValueId, String)> {
            let name = |(i, &v): (usize, &ValueId)| match (id.0, names.get(i)) {
                (0, Some(name)) => (v, name.clone()),
                _ => (v, graph.value(v).name.clone()),
            };
            ids.iter().enumerate().map(name).collect()
        };
        for (v, name) in ports(&graph.inputs, &self.input_names) {
            writeln!(text, "  input  %{} {name}: {}", v.0, self.ty(&graph.value(v).ty))?;
        }
        for (i, value) in graph.values.iter().enumerate().filter(|(_, v)| v.constant.is_some()) {
            writeln!(text, "  const  %{i} {}: {}{}", value.name, self.ty(&value.ty), constant(value))?;
        }
        for node in &graph.nodes {
            self.node(text, graph, node)?;
        }
        for (v, name) in ports(&graph.outputs, &self.output_names) {
            writeln!(text, "  output %{} {name}", v.0)?;
        }
        Ok(())
    }

    fn node(&self, text: &mut String, graph: &Graph, node: &Node) -> std::fmt::Result {
        let outputs: Vec<_> =
            node.outputs.iter().map(|&v| format!("%{}: {}", v.0, self.ty(&graph.value(v).ty))).collect();
        let input = |v: &Option<ValueId>| v.map_or("-".to_string(), |v| format!("%{}", v.0));
        let inputs: Vec<_> = node.inputs.iter().map(input).collect();
        let (outputs, inputs) = (outputs.join(", "), inputs.join(", "));
        write!(text, "  {outputs} = {}({inputs}){}", node.kind.name(), attributes(&node.kind))?;
        if !node.name.is_empty() {
            write!(text, "  # {}", node.name)?;
        }
        writeln!(text)
    }

    /// A type with the names of its dimensions.
    fn ty(&self, ty: &TensorType) -> String {
        let dims: Vec<_> = ty.shape.iter().map(|d| d.display(&|s| self.sym_name(s)).to_string()).collect();
        format!("{}[{}]", ty.dtype, dims.join(", "))
    }
}

fn attributes(kind: &NodeKind) -> String {
    match kind {
        NodeKind::If { then_branch, else_branch } => {
            format!(" {{ then: graph {}, else: graph {} }}", then_branch.0, else_branch.0)
        }
        NodeKind::Loop { body, carried } => format!(" {{ body: graph {}, carried: {carried} }}", body.0),
        // Variant and struct have the same name: what follows the first brace are the attributes.
        NodeKind::Op(op) => {
            let debug = format!("{op:?}");
            debug.find('{').map_or(String::new(), |at| format!(" {}", debug[at..].trim_end_matches(')')))
        }
    }
}

/// Elements of a small constant; layout and size of another.
fn constant(value: &Value) -> String {
    let Some(constant) = &value.constant else { return String::new() };
    let layout = match constant.layout {
        Layout::RowMajor => String::new(),
        layout => format!(" as {layout:?}"),
    };
    if constant.layout != Layout::RowMajor || constant.info.numel() > SHOWN {
        return format!("{layout}, {} bytes", constant.data.len());
    }
    let view = constant.view();
    match constant.info.dtype {
        DType::F32 => format!(" = {:?}", view.slice::<f32>()),
        DType::I64 => format!(" = {:?}", view.slice::<i64>()),
        DType::I32 => format!(" = {:?}", view.slice::<i32>()),
        DType::Bool => format!(" = {:?}", view.slice::<u8>().iter().map(|&b| b != 0).collect::<Vec<_>>()),
        _ => format!(", {} bytes", constant.data.len()),
    }
}
