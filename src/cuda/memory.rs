//! Memory of a GPU, from a pool of the library's own, and memory of the host that a GPU reads and writes directly.

use super::device::succeed;
use super::driver::Driver;
use super::{Address, Device, Stream};
use crate::error::{Error, Result};
use cudarc::driver::sys::{
    CUmemAllocationHandleType, CUmemAllocationType, CUmemLocation, CUmemLocationType, CUmemPool_attribute as Attribute,
    CUmemPoolProps, CUmemoryPool,
};
use std::fmt;
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;
use std::sync::Arc;

/// Memory that a device keeps for the process instead of giving it back to the driver: an allocation of memory that was freed
/// before costs almost nothing.
pub(super) struct Pool {
    driver: &'static Driver,
    handle: CUmemoryPool,
}

// SAFETY: the driver's pools may be used from any thread.
unsafe impl Send for Pool {}
// SAFETY: as above.
unsafe impl Sync for Pool {}

/// Bytes of a device's pool.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PoolStatistics {
    /// In use.
    pub used: u64,
    /// Most that was in use at one time.
    pub used_high: u64,
    /// Taken from the GPU: in use, or kept for later.
    pub reserved: u64,
}

impl Pool {
    pub(super) fn new(driver: &'static Driver, ordinal: i32) -> Result<Pool> {
        let properties = CUmemPoolProps {
            allocType: CUmemAllocationType::CU_MEM_ALLOCATION_TYPE_PINNED,
            handleTypes: CUmemAllocationHandleType::CU_MEM_HANDLE_TYPE_NONE,
            location: CUmemLocation { type_: CUmemLocationType::CU_MEM_LOCATION_TYPE_DEVICE, id: ordinal },
            win32SecurityAttributes: std::ptr::null_mut(),
            maxSize: 0,
            reserved: [0; 56],
        };
        let mut handle = std::ptr::null_mut();
        // SAFETY: the properties are complete; `handle` is written if the call succeeds.
        succeed(driver, unsafe { (driver.cuMemPoolCreate)(&mut handle, &properties) }, "cuMemPoolCreate")?;
        let pool = Pool { driver, handle };
        let mut keep = u64::MAX;
        let attribute = Attribute::CU_MEMPOOL_ATTR_RELEASE_THRESHOLD;
        // SAFETY: a live pool; the attribute is a 64-bit number.
        let code = unsafe { (driver.cuMemPoolSetAttribute)(handle, attribute, (&raw mut keep).cast()) };
        succeed(driver, code, "cuMemPoolSetAttribute")?;
        Ok(pool)
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        // SAFETY: created by us; all memory of it keeps the device alive, so none is left.
        unsafe { (self.driver.cuMemPoolDestroy)(self.handle) };
    }
}

impl Device {
    /// What the pool holds.
    pub fn pool_statistics(&self) -> Result<PoolStatistics> {
        let read = |attribute| {
            let mut value = 0u64;
            // SAFETY: a live pool; the attribute is a 64-bit number.
            let code =
                unsafe { (self.driver.cuMemPoolGetAttribute)(self.pool.handle, attribute, (&raw mut value).cast()) };
            succeed(self.driver, code, "cuMemPoolGetAttribute").map(|()| value)
        };
        Ok(PoolStatistics {
            used: read(Attribute::CU_MEMPOOL_ATTR_USED_MEM_CURRENT)?,
            used_high: read(Attribute::CU_MEMPOOL_ATTR_USED_MEM_HIGH)?,
            reserved: read(Attribute::CU_MEMPOOL_ATTR_RESERVED_MEM_CURRENT)?,
        })
    }

    /// Gives memory that is kept for later back to the GPU.
    pub fn trim_pool(&self) -> Result<()> {
        // SAFETY: a live pool.
        succeed(self.driver, unsafe { (self.driver.cuMemPoolTrimTo)(self.pool.handle, 0) }, "cuMemPoolTrimTo")
    }
}

/// Memory of a GPU. It is there once its stream has come to the allocation, and freed when the stream has come to its end.
pub struct Memory {
    stream: Arc<Stream>,
    address: Address,
    len: usize,
}

impl Memory {
    /// Memory of `len` bytes, of any contents.
    pub fn new(stream: &Arc<Stream>, len: usize) -> Result<Memory> {
        let device = stream.device();
        let entered = device.enter()?;
        let mut address = 0;
        // SAFETY: a live pool and stream of this context; `address` is written if the call succeeds.
        let code = unsafe {
            (entered.driver.cuMemAllocFromPoolAsync)(&mut address, len.max(1), device.pool.handle, stream.handle)
        };
        let sized = |e: Error| e.context(format!("{len} bytes on {}", device.info().name));
        entered.check(code, "cuMemAllocFromPoolAsync").map_err(sized)?;
        Ok(Memory { stream: stream.clone(), address: Address(address), len })
    }

    /// Memory with a copy of these bytes, which is complete when the call returns.
    pub fn copy_of(stream: &Arc<Stream>, bytes: &[u8]) -> Result<Memory> {
        let memory = Memory::new(stream, bytes.len())?;
        // SAFETY: the bytes stay where they are until the stream has come past the copy.
        unsafe { stream.write(memory.address, bytes.as_ptr(), bytes.len())? };
        stream.synchronize()?;
        Ok(memory)
    }

    /// Waits for what is in its stream, and copies the first bytes to the host.
    pub fn read(&self, bytes: &mut [u8]) -> Result<()> {
        assert!(bytes.len() <= self.len, "more bytes than there are");
        // SAFETY: both are long enough, and stay until the stream has come past the copy.
        unsafe { self.stream.read(bytes.as_mut_ptr(), self.address, bytes.len())? };
        self.stream.synchronize()
    }

    /// Where it is.
    pub fn address(&self) -> Address {
        self.address
    }

    /// Length in bytes.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether it has no bytes.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
}

impl PartialEq for Memory {
    /// Whether they are the same memory.
    fn eq(&self, other: &Memory) -> bool {
        self.address == other.address
    }
}

impl fmt::Debug for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Memory({} bytes)", self.len)
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        if let Ok(entered) = self.stream.device().enter() {
            // SAFETY: allocated by us, and not used by what comes into the stream from now on.
            unsafe { (entered.driver.cuMemFreeAsync)(self.address.0, self.stream.handle) };
        }
    }
}

impl Stream {
    /// Puts a copy from the host into the stream.
    ///
    /// # Safety
    /// Both are `len` bytes long, and stay valid and the source unchanged until the stream has come past the copy.
    pub unsafe fn write(&self, to: Address, from: *const u8, len: usize) -> Result<()> {
        let entered = self.device().enter()?;
        // SAFETY: as promised by the caller.
        let code = unsafe { (entered.driver.cuMemcpyHtoDAsync_v2)(to.0, from.cast(), len, self.handle) };
        entered.check(code, "cuMemcpyHtoDAsync")
    }

    /// Puts a copy to the host into the stream.
    ///
    /// # Safety
    /// Both are `len` bytes long and stay valid until the stream has come past the copy; nothing else uses the target until
    /// then.
    pub unsafe fn read(&self, to: *mut u8, from: Address, len: usize) -> Result<()> {
        let entered = self.device().enter()?;
        // SAFETY: as promised by the caller.
        let code = unsafe { (entered.driver.cuMemcpyDtoHAsync_v2)(to.cast(), from.0, len, self.handle) };
        entered.check(code, "cuMemcpyDtoHAsync")
    }

    /// Puts a copy within the device into the stream.
    ///
    /// # Safety
    /// Both are `len` bytes of live memory of the device that do not overlap.
    pub unsafe fn copy(&self, to: Address, from: Address, len: usize) -> Result<()> {
        let entered = self.device().enter()?;
        // SAFETY: as promised by the caller.
        let code = unsafe { (entered.driver.cuMemcpyDtoDAsync_v2)(to.0, from.0, len, self.handle) };
        entered.check(code, "cuMemcpyDtoDAsync")
    }
}

/// Host memory at which a GPU reads and writes without the driver copying it first.
pub struct Pinned {
    device: Arc<Device>,
    ptr: NonNull<u8>,
    len: usize,
}

// SAFETY: plain memory with one owner.
unsafe impl Send for Pinned {}
// SAFETY: as above.
unsafe impl Sync for Pinned {}

impl Pinned {
    /// `len` zero bytes.
    pub fn zeroed(device: &Arc<Device>, len: usize) -> Result<Pinned> {
        let entered = device.enter()?;
        let mut ptr = std::ptr::null_mut();
        // SAFETY: the context is current; `ptr` is written if the call succeeds.
        let code = unsafe { (entered.driver.cuMemHostAlloc)(&mut ptr, len.max(1), 0) };
        entered.check(code, "cuMemHostAlloc")?;
        drop(entered);
        let ptr = NonNull::new(ptr.cast::<u8>()).ok_or_else(|| Error::no_memory("no pinned memory"))?;
        // SAFETY: `len` bytes of ours.
        unsafe { ptr.as_ptr().write_bytes(0, len) };
        Ok(Pinned { device: device.clone(), ptr, len })
    }
}

impl Deref for Pinned {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: `len` initialised bytes that this owns.
        unsafe { std::slice::from_raw_parts(self.ptr.as_ptr(), self.len) }
    }
}

impl DerefMut for Pinned {
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: as for `deref`, and the borrow is exclusive.
        unsafe { std::slice::from_raw_parts_mut(self.ptr.as_ptr(), self.len) }
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        if let Ok(entered) = self.device.enter() {
            // SAFETY: allocated by us, and not used again.
            unsafe { (entered.driver.cuMemFreeHost)(self.ptr.as_ptr().cast()) };
        }
    }
}
