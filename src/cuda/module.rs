//! Modules: PTX that the driver compiles for its GPU when the first kernel of it is needed.

use super::{Device, Entered};
use crate::error::{Error, Result};
use cudarc::driver::sys::{CUfunction, CUmodule};
use std::ffi::CString;
use std::sync::{Arc, PoisonError};

/// The PTX of a `.cu` file; see [`module!`](crate::cuda_module).
pub struct Module {
    /// Name of the file.
    pub name: &'static str,
    /// The text, deflated by `build.rs`.
    pub packed: &'static [u8],
}

/// The PTX that is committed beside the calling source file: `cuda_module!("softmax")` is `softmax.ptx`.
#[macro_export]
#[doc(hidden)]
macro_rules! cuda_module {
    ($name:literal) => {
        $crate::cuda::Module { name: $name, packed: include_bytes!(concat!(env!("OUT_DIR"), "/", $name, ".ptx.z")) }
    };
}

impl Module {
    /// The text, with a NUL behind it.
    fn text(&self) -> Result<CString> {
        let damaged = || Error::internal(format!("{}.ptx is damaged", self.name));
        let text = miniz_oxide::inflate::decompress_to_vec(self.packed).map_err(|_| damaged())?;
        CString::new(text).map_err(|_| damaged())
    }
}

/// A module in a device's context.
pub(super) struct Loaded {
    module: *const Module,
    handle: CUmodule,
    /// Names of its kernels, and the sizes of their parameters in bytes.
    kernels: Vec<(String, Vec<usize>)>,
}

// SAFETY: the driver's modules may be used from any thread; `module` is only compared.
unsafe impl Send for Loaded {}

/// A kernel in a device's context.
#[derive(Clone)]
pub struct Function {
    pub(super) device: Arc<Device>,
    pub(super) handle: CUfunction,
    pub(super) name: String,
    /// Sizes of its parameters in bytes.
    pub(super) parameters: Vec<usize>,
}

// SAFETY: the driver's functions may be used from any thread.
unsafe impl Send for Function {}
// SAFETY: as above.
unsafe impl Sync for Function {}

impl Function {
    /// The kernel `name` of a module, which is compiled now if it is the first one of it.
    pub fn new(device: &Arc<Device>, module: &'static Module, name: &str) -> Result<Function> {
        let mut modules = device.modules.lock().unwrap_or_else(PoisonError::into_inner);
        let at = match modules.iter().position(|loaded| std::ptr::eq(loaded.module, module)) {
            Some(at) => at,
            None => {
                modules.push(load(device, module)?);
                modules.len() - 1
            }
        };
        let Loaded { handle: loaded, kernels, .. } = &modules[at];
        let missing = || Error::internal(format!("there is no kernel '{name}' in {}.ptx", module.name));
        let (_, parameters) = kernels.iter().find(|(kernel, _)| kernel == name).ok_or_else(missing)?;
        let symbol = CString::new(name).map_err(|_| missing())?;
        let entered = device.enter()?;
        let mut handle = std::ptr::null_mut();
        // SAFETY: a live module of this context; `handle` is written if the call succeeds.
        let code = unsafe { (entered.driver.cuModuleGetFunction)(&mut handle, *loaded, symbol.as_ptr()) };
        entered.check(code, "cuModuleGetFunction").map_err(|e| e.context(name))?;
        Ok(Function { device: device.clone(), handle, name: name.into(), parameters: parameters.clone() })
    }
}

fn load(device: &Device, module: &'static Module) -> Result<Loaded> {
    let text = module.text()?;
    let entered = device.enter()?;
    let (mut handle, none) = (std::ptr::null_mut(), std::ptr::null_mut());
    let image = text.as_ptr().cast();
    // SAFETY: the text ends with NUL; there are no options; `handle` is written if the call succeeds.
    let code = unsafe { (entered.driver.cuModuleLoadDataEx)(&mut handle, image, 0, none, std::ptr::null_mut()) };
    entered.check(code, "cuModuleLoadData").map_err(|e| e.context(format!("{}.ptx", module.name)))?;
    Ok(Loaded { module, handle, kernels: kernels(&text.to_string_lossy()) })
}

/// Unloads modules, of which no function is used any more.
pub(super) fn unload(entered: &Entered<'_>, modules: Vec<Loaded>) {
    for loaded in modules {
        // SAFETY: loaded by us; functions of it keep the device alive, so none is left.
        unsafe { (entered.driver.cuModuleUnload)(loaded.handle) };
    }
}

/// The kernels that PTX declares, with the sizes of their parameters in bytes.
fn kernels(ptx: &str) -> Vec<(String, Vec<usize>)> {
    let kernel = |declaration: &str| {
        let (name, rest) = declaration.split_once('(')?;
        let parameters = rest.split_once(')')?.0.split(',').map(str::trim).filter(|p| !p.is_empty());
        Some((name.to_owned(), parameters.map(size).collect::<Option<_>>()?))
    };
    ptx.split(".entry ").skip(1).filter_map(kernel).collect()
}

/// The size of one parameter: `.param .u32 name` or `.param .align 4 .b8 name[32]`.
fn size(parameter: &str) -> Option<usize> {
    let array = || parameter.split_once('[')?.1.strip_suffix(']')?.parse().ok();
    let scalar = || {
        let ty = parameter.split_whitespace().nth(1)?;
        ty.trim_start_matches(|c: char| !c.is_ascii_digit()).parse::<usize>().ok().map(|bits| bits / 8)
    };
    if parameter.contains('[') { array() } else { scalar() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_read_from_the_declaration() {
        let ptx = ".visible .entry a(\n.param .u64 a_param_0,\n.param .align 4 .b8 a_param_1[32],\n.param .f32 a_param_2\n)\n{}\n.visible .entry ab(\n\n)\n{}";
        assert_eq!(kernels(ptx), [("a".to_owned(), vec![8, 32, 4]), ("ab".to_owned(), vec![])]);
    }
}
