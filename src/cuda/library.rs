//! NVIDIA's libraries beside the driver: where each is looked for, and why one cannot be used.

use super::Device;
use super::driver::{Driver, in_full};
use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};

/// Why a library cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LibraryUnavailable {
    /// It is not there.
    NotFound {
        /// Its name.
        library: &'static str,
        /// What the system says.
        reason: String,
    },
    /// It lacks a function.
    TooOld {
        /// Its name.
        library: &'static str,
        /// The function's name.
        missing: String,
    },
    /// It does not work with the device.
    Failed {
        /// Its name.
        library: &'static str,
        /// What it says.
        reason: String,
    },
}

impl fmt::Display for LibraryUnavailable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LibraryUnavailable::NotFound { library, reason } => write!(
                f,
                "{library} is not found, and our own kernels run in its place; put its folder into LD_LIBRARY_PATH or \
                 INFER_CUDA_LIBRARIES: {reason}"
            ),
            LibraryUnavailable::TooOld { library, missing } => {
                write!(f, "{library} is too old, it lacks {missing}; install a later one")
            }
            LibraryUnavailable::Failed { library, reason } => {
                write!(f, "{library} does not work with this device: {reason}")
            }
        }
    }
}

/// A library that may be installed.
pub(super) struct Source {
    pub name: &'static str,
    /// Its files, newest first, each with the oldest CUDA version of a driver for it.
    pub files: &'static [(i32, &'static str)],
    /// The function that tells its version.
    pub version: &'static str,
}

/// A library that is loaded, and its version. It is never closed: descriptors and captured work may outlive every device.
pub(super) type Loaded = (&'static libloading::Library, usize);

impl Source {
    /// Finds and loads it.
    pub fn open(&self, driver: &Driver) -> Result<Loaded, LibraryUnavailable> {
        let library: &'static libloading::Library = Box::leak(Box::new(self.find(cuda_version(driver))?));
        // SAFETY: the type is that of the library's documentation; the function needs no handle.
        let version =
            unsafe { library.get::<unsafe extern "C" fn() -> usize>(self.version.as_bytes()).map(|version| version()) };
        Ok((library, version.map_err(|_| self.lacks(self.version))?))
    }

    /// That it lacks a function.
    pub fn lacks(&self, function: &str) -> LibraryUnavailable {
        LibraryUnavailable::TooOld { library: self.name, missing: function.to_owned() }
    }

    /// The library's file: one that the process has loaded already, then the folders that the user names, where the system looks,
    /// and where CUDA is installed.
    fn find(&self, driver: i32) -> Result<libloading::Library, LibraryUnavailable> {
        let names = || self.names(driver);
        if let Some(loaded) = names().find_map(already_loaded) {
            return Ok(loaded);
        }
        let within = |folder: PathBuf| names().map(move |name| folder.join(name));
        let named = folders("INFER_CUDA_LIBRARIES").flat_map(within);
        let anywhere = names().map(PathBuf::from);
        let installed =
            ["CUDA_HOME", "CUDA_PATH"].into_iter().flat_map(folders).chain([PathBuf::from("/usr/local/cuda")]);
        let installed = installed.flat_map(|root| within(root.join(if cfg!(windows) { "bin" } else { "lib64" })));
        let mut reason = String::from("the driver is too old for it");
        for path in named.chain(anywhere).chain(installed) {
            // SAFETY: the library's initialisation does no harm.
            match unsafe { libloading::Library::new(&path) } {
                Ok(library) => return Ok(library),
                Err(e) => first_of(&mut reason, &path, &in_full(&e)),
            }
        }
        Err(LibraryUnavailable::NotFound { library: self.name, reason })
    }

    /// Names of the library for a driver of this version. A driver runs what was made for its CUDA or an earlier one.
    fn names(&self, driver: i32) -> impl Iterator<Item = &'static str> {
        self.files.iter().filter(move |&&(least, _)| driver >= least).map(|&(_, name)| name)
    }

    /// Loads it for others that look for it where the system does; that it is missing may not matter.
    pub fn preload(&self, driver: &Driver) {
        if let Ok(library) = self.find(cuda_version(driver)) {
            std::mem::forget(library);
        }
    }
}

/// The CUDA version that the driver knows.
fn cuda_version(driver: &Driver) -> i32 {
    let mut version = 0;
    // SAFETY: `version` is written, or stays 0.
    unsafe { (driver.cuDriverGetVersion)(&mut version) };
    version
}

/// Keeps the first reason that is about a file that is there, else the last.
fn first_of(reason: &mut String, path: &Path, found: &str) {
    if !reason.starts_with(THERE) {
        *reason = if path.exists() { format!("{THERE}{found}") } else { found.to_owned() };
    }
}

/// What begins a reason that is about a file that is there.
const THERE: &str = "it does not load: ";

/// The folders in a variable of the environment.
fn folders(variable: &str) -> impl Iterator<Item = PathBuf> {
    let value: OsString = std::env::var_os(variable).unwrap_or_default();
    let folders: Vec<PathBuf> = std::env::split_paths(&value).filter(|path| !path.as_os_str().is_empty()).collect();
    folders.into_iter()
}

/// The library of that name, if something else in the process has loaded it.
#[cfg(unix)]
fn already_loaded(name: &str) -> Option<libloading::Library> {
    use libloading::os::unix::{Library, RTLD_NOW};
    // SAFETY: nothing is initialised that is not already.
    unsafe { Library::open(Some(name), RTLD_NOW | libc::RTLD_NOLOAD) }.ok().map(Into::into)
}

/// The library of that name, if something else in the process has loaded it.
#[cfg(windows)]
fn already_loaded(name: &str) -> Option<libloading::Library> {
    libloading::os::windows::Library::open_already_loaded(name).ok().map(Into::into)
}

/// What makes the kernels of a library fast or slow: the device, and the library's version.
pub(super) fn place(device: &Device, library: &str, version: usize) -> String {
    let info = device.info();
    let (major, minor) = info.capability;
    let name = info.name.replace(|c: char| c.is_control(), " ");
    format!("{name}, {major}.{minor}, {} multiprocessors, {library} {version}", info.multiprocessors)
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    const SOURCE: Source =
        Source { name: "none", files: &[(13000, "libnone.so.13"), (12000, "libnone.so.12")], version: "noneVersion" };

    #[test]
    fn a_driver_runs_what_was_made_for_its_cuda_or_an_earlier_one() {
        let of = |driver| SOURCE.names(driver).collect::<Vec<_>>();
        assert_eq!(of(12040), ["libnone.so.12"]);
        assert_eq!(of(13000), ["libnone.so.13", "libnone.so.12"]);
        assert!(of(11080).is_empty());
        for driver in [11080, 13000] {
            assert!(matches!(SOURCE.find(driver), Err(LibraryUnavailable::NotFound { library: "none", .. })));
        }
    }

    #[test]
    fn a_reason_about_a_file_that_is_there_is_kept() {
        let (mut reason, here) = (String::new(), Path::new("/"));
        first_of(&mut reason, Path::new("/none"), "a");
        first_of(&mut reason, here, "b");
        first_of(&mut reason, Path::new("/none"), "c");
        assert_eq!(reason, "it does not load: b");
    }
}
