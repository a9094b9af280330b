//! A GPU: its context, its modules, its pool of memory.

use super::blas::Blas;
use super::dnn::Dnn;
use super::driver::{Driver, driver};
use super::memory::Pool;
use super::module::{self, Loaded};
use super::{LEAST_CAPABILITY, LibraryUnavailable, Unavailable};
use crate::error::{Error, Result, Status};
use cudarc::driver::sys::{CUcontext, CUdevice, CUdevice_attribute as Attribute, CUstreamCaptureMode, CUuuid};
use std::fmt;
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};

/// A GPU with its primary context, shared by everything in the process that uses it.
pub struct Device {
    pub(super) driver: &'static Driver,
    info: DeviceInfo,
    pub(super) pool: Pool,
    pub(super) modules: Mutex<Vec<Loaded>>,
    /// For products of matrices, once one has been prepared.
    blas: OnceLock<Result<Blas, LibraryUnavailable>>,
    /// For convolutions, once one has been prepared.
    dnn: OnceLock<Result<Dnn, LibraryUnavailable>>,
    /// The first error after which the context cannot be used.
    lost: OnceLock<Error>,
    /// Released last, as the others are in it.
    context: Context,
}

/// The GPUs that are open.
static OPEN: Mutex<Vec<Weak<Device>>> = Mutex::new(Vec::new());

fn find(open: &[Weak<Device>], ordinal: i32) -> Option<Arc<Device>> {
    open.iter().filter_map(Weak::upgrade).find(|device| device.info.ordinal == ordinal)
}

/// What a GPU is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceInfo {
    /// Its number, as the driver counts.
    pub ordinal: i32,
    /// Its name.
    pub name: String,
    /// Its UUID, which stays the same when other GPUs come and go.
    pub uuid: [u8; 16],
    /// Compute capability, major and minor.
    pub capability: (i32, i32),
    /// Multiprocessors.
    pub multiprocessors: i32,
    /// Bytes of memory.
    pub memory: usize,
}

/// The retained primary context.
struct Context {
    driver: &'static Driver,
    device: CUdevice,
    handle: CUcontext,
}

// SAFETY: the driver's contexts may be used from any thread.
unsafe impl Send for Context {}
// SAFETY: as above.
unsafe impl Sync for Context {}

impl Drop for Context {
    fn drop(&mut self) {
        // SAFETY: retained once, when it was made.
        unsafe { (self.driver.cuDevicePrimaryCtxRelease_v2)(self.device) };
    }
}

/// Until this is dropped, the thread may allocate memory and load modules while a stream is captured, by this thread or another.
/// It uses no results of work that is captured, and so does not disturb it.
struct Relaxed {
    driver: &'static Driver,
    before: CUstreamCaptureMode,
}

impl Relaxed {
    fn new(driver: &'static Driver) -> Relaxed {
        let mut mode = CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_RELAXED;
        // SAFETY: the driver is initialised; `mode` is read, and written with one of the three if the call succeeds.
        unsafe { (driver.cuThreadExchangeStreamCaptureMode)(&mut mode) };
        Relaxed { driver, before: mode }
    }
}

impl Drop for Relaxed {
    fn drop(&mut self) {
        // SAFETY: as above.
        unsafe { (self.driver.cuThreadExchangeStreamCaptureMode)(&mut self.before) };
    }
}

/// The device's context is current on this thread until this is dropped, and captures are no hindrance.
pub struct Entered<'a> {
    /// The driver's functions.
    pub(super) driver: &'static Driver,
    device: &'a Device,
    _relaxed: Relaxed,
}

impl Drop for Entered<'_> {
    fn drop(&mut self) {
        let mut popped = std::ptr::null_mut();
        // SAFETY: what `enter` has pushed.
        unsafe { (self.driver.cuCtxPopCurrent_v2)(&mut popped) };
    }
}

/// CUDA_ERROR_OUT_OF_MEMORY
const OUT_OF_MEMORY: u32 = 2;

impl Device {
    /// Number of GPUs that the process may use.
    pub fn count() -> Result<usize, Unavailable> {
        Ok(count(driver()?)?.max(0) as usize)
    }

    /// What GPU number `ordinal` is; it need not be one that can be opened.
    pub fn describe(ordinal: i32) -> Result<DeviceInfo, Unavailable> {
        let driver = driver()?;
        describe(driver, ordinal).map(|(_, info)| info)
    }

    /// GPU number `ordinal`; all who have it open share it.
    pub fn open(ordinal: i32) -> Result<Arc<Device>> {
        let mut open = OPEN.lock().unwrap_or_else(PoisonError::into_inner);
        open.retain(|device| device.strong_count() > 0);
        if let Some(found) = find(&open, ordinal) {
            return Ok(found);
        }
        let device = Arc::new(Device::new(ordinal)?);
        open.push(Arc::downgrade(&device));
        Ok(device)
    }

    /// GPU number `ordinal`, if somebody has it open.
    pub fn opened(ordinal: i32) -> Option<Arc<Device>> {
        find(&OPEN.lock().unwrap_or_else(PoisonError::into_inner), ordinal)
    }

    fn new(ordinal: i32) -> Result<Device> {
        let (driver, device, info) = usable(ordinal).map_err(|reason| reason.error())?;
        let _relaxed = Relaxed::new(driver);
        let mut handle = std::ptr::null_mut();
        // SAFETY: the driver is initialised; `handle` is written if the call succeeds.
        let code = unsafe { (driver.cuDevicePrimaryCtxRetain)(&mut handle, device) };
        succeed(driver, code, "cuDevicePrimaryCtxRetain")?;
        let context = Context { driver, device, handle };
        // SAFETY: retained above, and made current for the call between these two.
        succeed(driver, unsafe { (driver.cuCtxPushCurrent_v2)(handle) }, "cuCtxPushCurrent")?;
        let pool = Pool::new(driver, ordinal);
        // SAFETY: as above.
        unsafe { (driver.cuCtxPopCurrent_v2)(&mut handle) };
        let pool = pool?;
        Ok(Device {
            driver,
            context,
            info,
            pool,
            modules: Mutex::default(),
            blas: OnceLock::new(),
            dnn: OnceLock::new(),
            lost: OnceLock::new(),
        })
    }

    /// What it is.
    pub fn info(&self) -> &DeviceInfo {
        &self.info
    }

    /// Whether this device can read the other's memory directly.
    pub fn can_access(&self, other: &Device) -> bool {
        let mut can = 0;
        // SAFETY: both devices exist; `can` is written.
        let code = unsafe { (self.driver.cuDeviceCanAccessPeer)(&mut can, self.context.device, other.context.device) };
        code == 0 && can != 0
    }

    /// Waits for all work of the process on the device.
    pub fn synchronize(&self) -> Result<()> {
        let entered = self.enter()?;
        // SAFETY: the context is current.
        entered.check(unsafe { (self.driver.cuCtxSynchronize)() }, "cuCtxSynchronize")
    }

    /// cuBLASLt for this device, looked for by the first call; later calls have the same result.
    pub fn blas(&self) -> Result<&Blas, &LibraryUnavailable> {
        self.blas.get_or_init(|| Blas::new(self.driver, self)).as_ref()
    }

    /// cuDNN for this device, looked for by the first call; later calls have the same result.
    pub fn dnn(&self) -> Result<&Dnn, &LibraryUnavailable> {
        self.dnn.get_or_init(|| Dnn::new(self.driver, self)).as_ref()
    }

    /// Bytes of the GPU's memory that are free, whoever uses the rest.
    pub fn free_memory(&self) -> Result<usize> {
        let entered = self.enter()?;
        let (mut free, mut total) = (0, 0);
        // SAFETY: the context is current; both are written.
        let code = unsafe { (self.driver.cuMemGetInfo_v2)(&mut free, &mut total) };
        entered.check(code, "cuMemGetInfo")?;
        Ok(free)
    }

    /// Makes the context current on this thread until the result is dropped.
    ///
    /// # Errors
    /// The error after which the context could not be used any more.
    pub fn enter(&self) -> Result<Entered<'_>> {
        if let Some(e) = self.lost.get() {
            return Err(e.clone());
        }
        // SAFETY: the context is retained.
        let code = unsafe { (self.driver.cuCtxPushCurrent_v2)(self.context.handle) };
        self.check(code, "cuCtxPushCurrent")?;
        Ok(Entered { driver: self.driver, device: self, _relaxed: Relaxed::new(self.driver) })
    }

    fn check(&self, code: u32, what: &'static str) -> Result<()> {
        let result = succeed(self.driver, code, what);
        if let Err(e) = &result
            && is_sticky(code)
        {
            return Err(self.lost.get_or_init(|| e.clone()).clone());
        }
        result
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        let modules = std::mem::take(self.modules.get_mut().unwrap_or_else(PoisonError::into_inner));
        let libraries = (self.blas.take(), self.dnn.take());
        // What is in the context goes while it is current.
        if let Ok(entered) = self.enter() {
            module::unload(&entered, modules);
            drop(libraries);
        }
    }
}

impl Entered<'_> {
    /// The result of a call of the driver.
    pub(super) fn check(&self, code: u32, what: &'static str) -> Result<()> {
        self.device.check(code, what)
    }
}

/// Whether an error leaves the context unusable: faults of a kernel, of the memory, of the device.
fn is_sticky(code: u32) -> bool {
    matches!(code, 214 | 220 | 700 | 702 | 710 | 714..=720 | 721 | 999)
}

/// A result of the driver as ours.
pub(super) fn succeed(driver: &Driver, code: u32, what: &str) -> Result<()> {
    match code {
        0 => Ok(()),
        OUT_OF_MEMORY => Err(Error::no_memory(format!("the GPU's memory is exhausted ({what})"))),
        _ => Err(Error::new(Status::Device, format!("{what} failed: {}", driver.error_name(code)))),
    }
}

/// The driver, and a device that can run the kernels.
fn usable(ordinal: i32) -> Result<(&'static Driver, CUdevice, DeviceInfo), Unavailable> {
    let driver = driver()?;
    let (device, info) = describe(driver, ordinal)?;
    if info.capability < LEAST_CAPABILITY {
        return Err(Unavailable::Architecture { name: info.name, found: info.capability });
    }
    Ok((driver, device, info))
}

fn count(driver: &Driver) -> Result<i32, Unavailable> {
    let mut count = 0;
    // SAFETY: the driver is initialised; `count` is written.
    let code = unsafe { (driver.cuDeviceGetCount)(&mut count) };
    probe(driver, code, "cuDeviceGetCount").map(|()| count)
}

fn probe(driver: &Driver, code: u32, what: &'static str) -> Result<(), Unavailable> {
    if code == 0 { Ok(()) } else { Err(Unavailable::Failed { what, code, name: driver.error_name(code) }) }
}

fn describe(driver: &Driver, ordinal: i32) -> Result<(CUdevice, DeviceInfo), Unavailable> {
    let count = count(driver)?;
    if count == 0 {
        return Err(Unavailable::NoDevice);
    }
    if !(0..count).contains(&ordinal) {
        return Err(Unavailable::NoSuchDevice { ordinal, count });
    }
    let (mut device, mut name, mut uuid, mut memory) = (0, [0; 256], CUuuid { bytes: [0; 16] }, 0);
    // SAFETY: the driver is initialised, the ordinal in range; the results have room.
    unsafe {
        probe(driver, (driver.cuDeviceGet)(&mut device, ordinal), "cuDeviceGet")?;
        let length = name.len() as i32;
        probe(driver, (driver.cuDeviceGetName)(name.as_mut_ptr(), length, device), "cuDeviceGetName")?;
        probe(driver, (driver.cuDeviceGetUuid_v2)(&mut uuid, device), "cuDeviceGetUuid")?;
        probe(driver, (driver.cuDeviceTotalMem_v2)(&mut memory, device), "cuDeviceTotalMem")?;
    }
    let attribute = |which| {
        let mut value = 0;
        // SAFETY: as above.
        let code = unsafe { (driver.cuDeviceGetAttribute)(&mut value, which, device) };
        probe(driver, code, "cuDeviceGetAttribute").map(|()| value)
    };
    // Characters of C have a sign on some targets, and none on others.
    let name = name.iter().take_while(|&&c| c != 0).flat_map(|c| c.to_ne_bytes()).collect::<Vec<_>>();
    let info = DeviceInfo {
        ordinal,
        name: String::from_utf8_lossy(&name).into_owned(),
        uuid: uuid.bytes.map(|b| b.to_ne_bytes()[0]),
        capability: (
            attribute(Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR)?,
            attribute(Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR)?,
        ),
        multiprocessors: attribute(Attribute::CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT)?,
        memory,
    };
    Ok((device, info))
}

impl fmt::Debug for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Device({} {})", self.info.ordinal, self.info.name)
    }
}
