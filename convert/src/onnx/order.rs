//! The order of nodes in which every value is defined before it is used.
//!
//! ONNX demands that nodes stand in such an order; some exporters do not care. Nodes that are in order keep it.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, HashSet};

use infer::error::{Error, Result};

use super::proto::{AttributeProto, GraphProto, NodeProto};

/// The nodes in an order in which each stands behind those that it depends on, the first possible one first (Kahn).
///
/// Errors: two nodes define the same name; nodes depend on each other in a circle.
pub fn sorted(nodes: &[NodeProto]) -> Result<Vec<&NodeProto>> {
    let definers = definers(nodes)?;
    let mut waits_for = vec![0usize; nodes.len()];
    let mut followers = vec![Vec::new(); nodes.len()];
    for (i, node) in nodes.iter().enumerate() {
        let sources: HashSet<usize> = uses(node).into_iter().filter_map(|name| definers.get(name).copied()).collect();
        waits_for[i] = sources.len();
        sources.into_iter().for_each(|source| followers[source].push(i));
    }
    let mut ready: BinaryHeap<Reverse<usize>> = (0..nodes.len()).filter(|&i| waits_for[i] == 0).map(Reverse).collect();
    let mut order = Vec::with_capacity(nodes.len());
    while let Some(Reverse(i)) = ready.pop() {
        order.push(&nodes[i]);
        for &follower in &followers[i] {
            waits_for[follower] -= 1;
            if waits_for[follower] == 0 {
                ready.push(Reverse(follower));
            }
        }
    }
    match waits_for.iter().position(|&n| n > 0) {
        None => Ok(order),
        Some(i) => {
            let error = Error::format("the node depends on its own output, directly or through others");
            Err(error.at_node(display_name(&nodes[i]), &nodes[i].op_type))
        }
    }
}

/// The name of a node for messages: its own, or that of its first output.
pub fn display_name(node: &NodeProto) -> &str {
    let output = node.output.iter().find(|o| !o.is_empty());
    if node.name.is_empty() { output.map_or("", String::as_str) } else { &node.name }
}

/// Index of the node that defines each name.
fn definers(nodes: &[NodeProto]) -> Result<HashMap<&str, usize>> {
    let mut definers = HashMap::new();
    for (i, node) in nodes.iter().enumerate() {
        for name in node.output.iter().filter(|o| !o.is_empty()) {
            if definers.insert(name.as_str(), i).is_some() {
                let error = Error::format(format!("value '{name}' is defined twice"));
                return Err(error.at_node(display_name(node), &node.op_type));
            }
        }
    }
    Ok(definers)
}

/// The names that a node uses, those from around its subgraphs included.
fn uses(node: &NodeProto) -> Vec<&str> {
    let mut names: Vec<&str> = node.input.iter().map(String::as_str).collect();
    node.attribute.iter().flat_map(graphs).for_each(|graph| names.extend(free_names(graph)));
    names
}

/// The graphs in an attribute.
fn graphs(attribute: &AttributeProto) -> impl Iterator<Item = &GraphProto> {
    attribute.g.as_deref().into_iter().chain(&attribute.graphs)
}

/// The names that a graph uses and does not define.
fn free_names(graph: &GraphProto) -> HashSet<&str> {
    let mut names: HashSet<&str> = graph.node.iter().flat_map(uses).collect();
    names.extend(graph.output.iter().map(|o| o.name.as_str()));
    let constants = graph.initializer.iter().map(|t| &t.name);
    let sparse = graph.sparse_initializer.iter().filter_map(|s| s.values.as_ref()).map(|t| &t.name);
    let outputs = graph.node.iter().flat_map(|n| &n.output);
    for name in graph.input.iter().map(|i| &i.name).chain(constants).chain(sparse).chain(outputs) {
        names.remove(name.as_str());
    }
    names
}
