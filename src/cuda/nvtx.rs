//! Ranges with names for NVIDIA's profilers (NVTX).
//!
//! A profiler names a library of its own in `NVTX_INJECTION64_PATH`. It is handed tables of places for functions, as the headers of
//! NVTX 3 hand it theirs, and fills in those that it wants to be called. Without one nothing is loaded and nothing is called.
//! `INFER_NVTX=0` leaves a profiler without ranges.

use libloading::Library;
use std::ffi::{CString, c_char, c_int, c_uint, c_void};
use std::marker::PhantomData;
use std::ptr::null_mut;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicPtr, Ordering};

/// Until it is dropped, on the thread that made it, what this thread puts into streams belongs to the range.
pub struct Range {
    functions: Functions,
    thread: PhantomData<*const ()>,
}

/// Whether a profiler wants ranges.
pub fn wanted() -> bool {
    functions().is_some()
}

/// A range, if a profiler wants it; only then is its name made.
pub fn range(name: impl FnOnce() -> String) -> Option<Range> {
    let functions = functions()?;
    let name = CString::new(name()).unwrap_or_default();
    // SAFETY: the profiler's function, which takes a string.
    unsafe { (functions.push)(name.as_ptr()) };
    Some(Range { functions, thread: PhantomData })
}

impl Drop for Range {
    fn drop(&mut self) {
        // SAFETY: the profiler's function, on the thread of the range's beginning.
        unsafe { (self.functions.pop)() };
    }
}

type Push = unsafe extern "C" fn(*const c_char) -> c_int;
type Pop = unsafe extern "C" fn() -> c_int;

/// What the profiler has filled in: nvtxRangePushA and nvtxRangePop.
#[derive(Clone, Copy)]
struct Functions {
    push: Push,
    pop: Pop,
}

fn functions() -> Option<Functions> {
    static FUNCTIONS: OnceLock<Option<Functions>> = OnceLock::new();
    *FUNCTIONS.get_or_init(attach)
}

/// NVTX_CB_MODULE_CORE, and in its table NVTX_CBID_CORE_RangePushA and NVTX_CBID_CORE_RangePop.
const CORE: usize = 1;
const RANGE_PUSH_A: usize = 9;
const RANGE_POP: usize = 11;

/// Entries of the tables of all modules, by their numbers; those with the number 0 are empty.
const SIZES: [usize; 7] = [0, 16, 9, 15, 7, 16, 7];
const LARGEST: usize = 16;

type Place = AtomicPtr<c_void>;

/// Where the profiler puts its functions.
static PLACES: [[Place; LARGEST]; SIZES.len()] = [const { [const { Place::new(null_mut()) }; LARGEST] }; SIZES.len()];

/// The addresses of these places, behind which stands a null.
static TABLES: [[AtomicPtr<Place>; LARGEST + 1]; SIZES.len()] =
    [const { [const { AtomicPtr::new(null_mut()) }; LARGEST + 1] }; SIZES.len()];

/// Loads the profiler's library and lets it fill in the tables.
fn attach() -> Option<Functions> {
    if std::env::var_os("INFER_NVTX").is_some_and(|value| value == "0") {
        return None;
    }
    let path = std::env::var_os("NVTX_INJECTION64_PATH")?;
    for (module, size) in SIZES.into_iter().enumerate() {
        (1..size)
            .for_each(|id| TABLES[module][id].store((&raw const PLACES[module][id]).cast_mut(), Ordering::Relaxed));
    }
    // SAFETY: the user's own profiler.
    let library: &Library = Box::leak(Box::new(unsafe { Library::new(path) }.ok()?));
    type Initialize = unsafe extern "C" fn(unsafe extern "C" fn(u32) -> *const c_void) -> c_int;
    // SAFETY: the type is that of NVTX's headers; the library is never closed, as its functions are called until the process ends.
    let initialize = unsafe { library.get::<Initialize>(b"InitializeInjectionNvtx2") }.ok()?;
    // SAFETY: as above.
    if unsafe { initialize(export_table) } == 0 {
        return None;
    }
    let place = |id: usize| PLACES[CORE][id].load(Ordering::Acquire);
    let (push, pop) = (place(RANGE_PUSH_A), place(RANGE_POP));
    if push.is_null() || pop.is_null() {
        return None;
    }
    // SAFETY: what the profiler has put there are functions of these types.
    let functions = unsafe {
        let push = std::mem::transmute::<*mut c_void, Push>(push);
        Functions { push, pop: std::mem::transmute::<*mut c_void, Pop>(pop) }
    };
    Some(functions)
}

/// NvtxExportTableCallbacks
#[repr(C)]
struct Callbacks {
    struct_size: usize,
    table: unsafe extern "C" fn(c_int, *mut *const AtomicPtr<Place>, *mut c_uint) -> c_int,
}

/// NvtxExportTableVersionInfo
#[repr(C)]
struct VersionInfo {
    struct_size: usize,
    version: u32,
    reserved: u32,
    set_version: unsafe extern "C" fn(u32),
}

static CALLBACKS: Callbacks = Callbacks { struct_size: size_of::<Callbacks>(), table };

static VERSION: VersionInfo =
    VersionInfo { struct_size: size_of::<VersionInfo>(), version: 3, reserved: 0, set_version };

/// What the profiler asks for first: NVTX_ETID_CALLBACKS or NVTX_ETID_VERSIONINFO.
unsafe extern "C" fn export_table(id: u32) -> *const c_void {
    match id {
        1 => (&raw const CALLBACKS).cast(),
        3 => (&raw const VERSION).cast(),
        _ => std::ptr::null(),
    }
}

/// Gives the table of a module and its number of entries; 0 if there is none.
unsafe extern "C" fn table(module: c_int, out: *mut *const AtomicPtr<Place>, size: *mut c_uint) -> c_int {
    let known = usize::try_from(module).ok().filter(|&module| module > 0 && module < SIZES.len());
    let Some(module) = known else { return 0 };
    // SAFETY: the profiler's memory, or null.
    unsafe {
        if !out.is_null() {
            out.write(TABLES[module].as_ptr());
        }
        if !size.is_null() {
            size.write(SIZES[module] as c_uint);
        }
    }
    1
}

/// The profiler's version does not matter.
unsafe extern "C" fn set_version(_: u32) {}
