//! What names mean while a graph or a function's body is read.

use std::collections::HashMap;

use infer::error::{Error, Result};

use super::model::Value;
use super::proto::{AttributeProto, FunctionProto, NodeProto, OperatorSetIdProto};

/// The values that names stand for in one graph or function body, and around it.
///
/// An inner name hides an outer one. A function's body sees nothing around it.
pub struct Scope<'s, 'a> {
    around: Option<&'s Scope<'s, 'a>>,
    /// None for a function's input that the call leaves out.
    names: HashMap<&'a str, Option<Value>>,
}

impl<'s, 'a> Scope<'s, 'a> {
    pub fn new(around: Option<&'s Scope<'s, 'a>>) -> Self {
        Scope { around, names: HashMap::new() }
    }

    /// Gives `name` its meaning here; an error if it has one already.
    pub fn define(&mut self, name: &'a str, value: Option<Value>) -> Result<()> {
        match self.names.insert(name, value) {
            None => Ok(()),
            Some(_) => Err(Error::format(format!("value '{name}' is defined twice"))),
        }
    }

    /// What `name` stands for; an error if nothing.
    pub fn lookup(&self, name: &str) -> Result<Option<Value>> {
        match (self.names.get(name), self.around) {
            (Some(&value), _) => Ok(value),
            (None, Some(around)) => around.lookup(name),
            (None, None) => Err(Error::format(format!("nothing defines the value '{name}'"))),
        }
    }
}

/// The versions of operator sets that a graph or function is written in.
#[derive(Clone)]
pub struct Opsets<'a>(HashMap<&'a str, i64>);

/// Versions of the standard operators that this importer knows.
pub const STANDARD_OPSETS: std::ops::RangeInclusive<i64> = 6..=28;

impl<'a> Opsets<'a> {
    /// Reads a list of imports. Where a domain stands twice, the newer version counts.
    ///
    /// Errors: the standard operators are of a version outside of [`STANDARD_OPSETS`].
    pub fn new(imports: &'a [OperatorSetIdProto]) -> Result<Self> {
        let mut opsets = HashMap::new();
        for import in imports {
            let version = opsets.entry(domain(&import.domain)).or_insert(import.version);
            *version = import.version.max(*version);
        }
        let (oldest, newest) = (STANDARD_OPSETS.start(), STANDARD_OPSETS.end());
        match opsets.get("") {
            Some(version) if version < oldest => Err(Error::unsupported(format!(
                "opset {version} is not supported; update the model to opset {oldest} or newer"
            ))),
            Some(version) if version > newest => Err(Error::version(format!(
                "opset {version} is newer than the supported {newest}; export the model for an older one"
            ))),
            _ => Ok(Opsets(opsets)),
        }
    }

    /// The version of a domain; an error if it is not imported.
    pub fn version(&self, domain: &str) -> Result<i64> {
        let shown = if domain.is_empty() { "ai.onnx" } else { domain };
        let missing = || Error::format(format!("the operator set '{shown}' is used but not imported"));
        self.0.get(domain).copied().ok_or_else(missing)
    }
}

/// The domain in its usual spelling: the standard operators have two.
pub fn domain(name: &str) -> &str {
    if name == "ai.onnx" { "" } else { name }
}

/// What the nodes of a graph, or of one call of a function, have in common.
pub struct Frame<'a> {
    /// Versions of the operators.
    pub opsets: Opsets<'a>,
    /// What stands before names in messages: the calls that led here.
    pub prefix: String,
    /// The call that is being inlined; None in the main graph.
    pub call: Option<Call<'a>>,
}

/// A function and the attributes that one call of it has, defaults included.
pub struct Call<'a> {
    pub function: &'a FunctionProto,
    attributes: HashMap<&'a str, &'a AttributeProto>,
}

impl<'a> Call<'a> {
    /// A call of `function` with the attributes of a node, which refer to nothing.
    ///
    /// Errors: the function does not declare an attribute, or it is a graph, whose names would lose their meaning.
    pub fn new(function: &'a FunctionProto, given: &[(&'a str, &'a AttributeProto)]) -> Result<Self> {
        let defaults = function.attribute_proto.iter();
        let mut attributes: HashMap<&str, &AttributeProto> = defaults.map(|a| (a.name.as_str(), a)).collect();
        for &(name, attribute) in given {
            let problem = if attribute.g.is_some() || !attribute.graphs.is_empty() {
                "is a graph, which is not supported for a function's attribute"
            } else if attributes.insert(name, attribute).is_none() && !function.attribute.iter().any(|a| a == name) {
                "is not one that the function has"
            } else {
                continue;
            };
            return Err(Error::unsupported(format!("attribute '{name}' {problem}")));
        }
        Ok(Call { function, attributes })
    }
}

impl<'a> Frame<'a> {
    /// The attributes of a node in this frame by name, references replaced by what they refer to; those that refer to
    /// an attribute that the call leaves out are absent.
    pub fn attributes(&self, node: &'a NodeProto) -> Result<Vec<(&'a str, &'a AttributeProto)>> {
        let mut attributes: Vec<(&str, &AttributeProto)> = Vec::with_capacity(node.attribute.len());
        for attribute in &node.attribute {
            let name = attribute.name.as_str();
            if attributes.iter().any(|&(other, _)| other == name) {
                return Err(Error::format(format!("attribute '{name}' stands twice")));
            }
            let value = if attribute.ref_attr_name.is_empty() { Some(attribute) } else { self.referenced(attribute)? };
            attributes.extend(value.map(|value| (name, value)));
        }
        Ok(attributes)
    }

    fn referenced(&self, reference: &AttributeProto) -> Result<Option<&'a AttributeProto>> {
        let (name, target) = (&reference.name, &reference.ref_attr_name);
        let call = self.call.as_ref().ok_or_else(|| {
            Error::format(format!("attribute '{name}' refers to a function's '{target}' outside of a function"))
        })?;
        match call.attributes.get(target.as_str()) {
            Some(value) if reference.r#type != 0 && value.r#type != 0 && value.r#type != reference.r#type => {
                Err(Error::format(format!("attribute '{name}' is of another type than the function's '{target}'")))
            }
            value => Ok(value.copied()),
        }
    }
}
