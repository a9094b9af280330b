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
    /// The text, which ends with NUL.
    pub ptx: &'static str,
}

/// The PTX that is committed beside the calling source file: `cuda_module!("softmax")` is `softmax.ptx`.
#[macro_export]
#[doc(hidden)]
macro_rules! cuda_module {
    ($name:literal) => {
        $crate::cuda::Module { name: $name, ptx: concat!(include_str!(concat!($name, ".ptx")), "\0") }
    };
}

/// A module in a device's context.
pub(super) struct Loaded {
    module: *const Module,
    handle: CUmodule,
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
        let parameters = parameters(module.ptx, name)
            .ok_or_else(|| Error::internal(format!("there is no kernel '{name}' in {}.ptx", module.name)))?;
        let loaded = load(device, module)?;
        let symbol = CString::new(name).map_err(|_| Error::internal("the name of a kernel contains NUL"))?;
        let entered = device.enter()?;
        let mut handle = std::ptr::null_mut();
        // SAFETY: a live module of this context; `handle` is written if the call succeeds.
        let code = unsafe { (entered.driver.cuModuleGetFunction)(&mut handle, loaded, symbol.as_ptr()) };
        entered.check(code, "cuModuleGetFunction").map_err(|e| e.context(name))?;
        drop(entered);
        Ok(Function { device: device.clone(), handle, name: name.into(), parameters })
    }
}

fn load(device: &Device, module: &'static Module) -> Result<CUmodule> {
    let mut modules = device.modules.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(found) = modules.iter().find(|loaded| std::ptr::eq(loaded.module, module)) {
        return Ok(found.handle);
    }
    let entered = device.enter()?;
    let (mut handle, none) = (std::ptr::null_mut(), std::ptr::null_mut());
    let image = module.ptx.as_ptr().cast();
    // SAFETY: the text ends with NUL; there are no options; `handle` is written if the call succeeds.
    let code = unsafe { (entered.driver.cuModuleLoadDataEx)(&mut handle, image, 0, none, std::ptr::null_mut()) };
    entered.check(code, "cuModuleLoadData").map_err(|e| e.context(format!("{}.ptx", module.name)))?;
    modules.push(Loaded { module, handle });
    Ok(handle)
}

/// Unloads modules, of which no function is used any more.
pub(super) fn unload(entered: &Entered<'_>, modules: Vec<Loaded>) {
    for loaded in modules {
        // SAFETY: loaded by us; functions of it keep the device alive, so none is left.
        unsafe { (entered.driver.cuModuleUnload)(loaded.handle) };
    }
}

/// Sizes in bytes of the parameters that the PTX declares for a kernel; None if there is no such kernel.
fn parameters(ptx: &str, name: &str) -> Option<Vec<usize>> {
    let entry = format!(".entry {name}(");
    let declared = &ptx[ptx.find(&entry)? + entry.len()..];
    declared[..declared.find(')')?].split(',').map(str::trim).filter(|p| !p.is_empty()).map(size).collect()
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
        assert_eq!(parameters(ptx, "a"), Some(vec![8, 32, 4]));
        assert_eq!(parameters(ptx, "ab"), Some(vec![]));
        assert_eq!(parameters(ptx, "b"), None);
    }
}
