//! Extents on the command line, and what they are where none are given.

use infer::error::{Error, Result};
use infer::ops::TensorInfo;
use infer::session::{Model, Port, PortDim};
use infer::tensor::{Dims, MAX_RANK};

/// The extents of one input, `image=1x3x224x224`; without a name, those of the only input.
#[derive(Clone, Debug, PartialEq)]
pub struct ShapeArgument {
    name: Option<String>,
    dims: Vec<usize>,
}

/// Reads [`ShapeArgument`]; a scalar is an empty list.
pub fn shape(text: &str) -> Result<ShapeArgument, String> {
    let (name, extents) = text.rsplit_once('=').map_or((None, text), |(name, extents)| (Some(name), extents));
    let extents = extents.split(['x', ',']).filter(|extent| !extent.is_empty());
    let dims = extents.map(str::parse).collect::<Result<Vec<usize>, _>>();
    let dims = dims.map_err(|_| "it is not written like image=1x3x224x224".to_owned())?;
    if dims.len() > MAX_RANK {
        return Err(format!("it has more than {MAX_RANK} dimensions"));
    }
    Ok(ShapeArgument { name: name.map(str::to_owned), dims })
}

/// Types and extents of all inputs: the given ones, else the fixed ones, with 1 for each that varies.
pub fn inputs(model: &Model, given: &[ShapeArgument]) -> Result<Vec<TensorInfo>> {
    for shape in given {
        find(model.inputs(), shape.name.as_deref(), "--shape")?;
    }
    model.inputs().iter().map(|port| info(model, port, given)).collect()
}

fn info(model: &Model, port: &Port, given: &[ShapeArgument]) -> Result<TensorInfo> {
    let own = |shape: &&ShapeArgument| shape.name.as_ref().map_or(model.inputs().len() == 1, |name| *name == port.name);
    let dims = match given.iter().find(own) {
        Some(shape) => shape.dims.clone(),
        None => port.dims.iter().map(|dim| least(port, dim)).collect::<Result<_>>()?,
    };
    Ok(TensorInfo { dtype: port.dtype, dims: Dims::new(&dims) })
}

/// Makes `batch` the first extent of the inputs.
///
/// # Errors
/// `Shape` if an input has another first extent in every run.
pub fn set_batch(model: &Model, infos: &mut [TensorInfo], batch: usize) -> Result<()> {
    for (port, info) in model.inputs().iter().zip(infos) {
        let name = &port.name;
        match port.dims.first() {
            Some(PortDim::Named { .. }) => {
                let mut dims = info.dims.to_vec();
                dims[0] = batch;
                info.dims = Dims::new(&dims);
            }
            Some(PortDim::Fixed(n)) if *n == batch as u64 => {}
            Some(PortDim::Fixed(n)) => {
                let message = format!(
                    "--batch {batch}: input '{name}' always has {n}; export the model with a batch that varies"
                );
                return Err(Error::shape(message));
            }
            _ => return Err(Error::shape(format!("--batch: input '{name}' has no batch; use --shape"))),
        }
    }
    Ok(())
}

fn least(port: &Port, dim: &PortDim) -> Result<usize> {
    match dim {
        PortDim::Fixed(n) => Ok(*n as usize),
        PortDim::Named { min, .. } => Ok((*min).max(1) as usize),
        PortDim::Expr(formula) => {
            let name = &port.name;
            Err(Error::invalid(format!(
                "input '{name}' has an extent of {formula}: give its shape with --shape {name}=…"
            )))
        }
    }
}

/// The position of the input or output called `name`, or of the only one; `option` is where the name stands.
pub fn find(ports: &[Port], name: Option<&str>, option: &str) -> Result<usize> {
    let names = || ports.iter().map(|port| port.name.as_str()).collect::<Vec<_>>().join(", ");
    match name {
        Some(name) => ports.iter().position(|port| port.name == name).ok_or_else(|| {
            Error::invalid(format!("{option}: the model has nothing called '{name}' there; it has {}", names()))
        }),
        None if ports.len() == 1 => Ok(0),
        None => Err(Error::invalid(format!("{option} needs a name and '=' in front, one of {}", names()))),
    }
}

/// Extents as they are written here.
pub fn text(dims: &[usize]) -> String {
    if dims.is_empty() {
        return "scalar".into();
    }
    dims.iter().map(usize::to_string).collect::<Vec<_>>().join("x")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes_are_read() {
        let named =
            |name: Option<&str>, dims: &[usize]| ShapeArgument { name: name.map(str::to_owned), dims: dims.into() };
        assert_eq!(shape("x=1x3x2"), Ok(named(Some("x"), &[1, 3, 2])));
        assert_eq!(shape("4,5"), Ok(named(None, &[4, 5])));
        assert_eq!(shape("x="), Ok(named(Some("x"), &[])));
        assert!(shape("x=1xb").is_err() && shape("x=-1").is_err() && shape("1x1x1x1x1x1x1x1x1").is_err());
    }
}
