//! Streams and events.

use super::{Device, Graph};
use crate::error::{Error, Result};
use cudarc::driver::sys::{CUevent, CUstream, CUstreamCaptureMode, CUstreamCaptureStatus};
use std::ffi::c_void;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

/// A queue of work for a GPU: what is put into it runs in that order, and beside what is in other streams.
pub struct Stream {
    device: Arc<Device>,
    pub(super) handle: CUstream,
    /// Whether it is the caller's.
    borrowed: bool,
}

// SAFETY: the driver's streams may be used from any thread.
unsafe impl Send for Stream {}
// SAFETY: as above.
unsafe impl Sync for Stream {}

/// CU_STREAM_NON_BLOCKING
const NON_BLOCKING: u32 = 1;

impl Stream {
    /// A new stream, which does not wait for the default stream.
    pub fn new(device: &Arc<Device>) -> Result<Stream> {
        let entered = device.enter()?;
        let mut handle = std::ptr::null_mut();
        // SAFETY: the context is current; `handle` is written if the call succeeds.
        let code = unsafe { (device.driver.cuStreamCreateWithPriority)(&mut handle, NON_BLOCKING, 0) };
        entered.check(code, "cuStreamCreateWithPriority")?;
        drop(entered);
        Ok(Stream { device: device.clone(), handle, borrowed: false })
    }

    /// A stream of the caller's, `cudaStream_t` or `CUstream`.
    ///
    /// # Safety
    /// It is a live stream of the device's primary context for as long as this is used.
    pub unsafe fn borrow(device: &Arc<Device>, handle: *mut c_void) -> Stream {
        Stream { device: device.clone(), handle: handle.cast(), borrowed: true }
    }

    /// Its address, for [`Stream::borrow`] and other users of the driver.
    pub fn as_raw(&self) -> usize {
        self.handle.expose_provenance()
    }

    /// Its device.
    pub fn device(&self) -> &Arc<Device> {
        &self.device
    }

    /// Waits until all that is in the stream is done.
    pub fn synchronize(&self) -> Result<()> {
        let entered = self.device.enter()?;
        // SAFETY: a live stream of this context.
        entered.check(unsafe { (entered.driver.cuStreamSynchronize)(self.handle) }, "cuStreamSynchronize")
    }

    /// Whether the stream's work is being captured rather than done.
    pub fn is_capturing(&self) -> Result<bool> {
        let entered = self.device.enter()?;
        let mut status = CUstreamCaptureStatus::CU_STREAM_CAPTURE_STATUS_NONE;
        // SAFETY: a live stream of this context; `status` is written with one of the three values.
        let code = unsafe { (entered.driver.cuStreamIsCapturing)(self.handle, &mut status) };
        entered.check(code, "cuStreamIsCapturing")?;
        Ok(status != CUstreamCaptureStatus::CU_STREAM_CAPTURE_STATUS_NONE)
    }

    /// Captures what `enqueue` puts into the stream, instead of doing it.
    pub fn capture(&self, enqueue: impl FnOnce() -> Result<()>) -> Result<Graph> {
        let entered = self.device.enter()?;
        let mode = CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL;
        // SAFETY: a live stream of this context.
        let code = unsafe { (entered.driver.cuStreamBeginCapture_v2)(self.handle, mode) };
        entered.check(code, "cuStreamBeginCapture")?;
        let enqueued = enqueue();
        let mut graph = std::ptr::null_mut();
        // SAFETY: the capture has begun above; `graph` is written if the call succeeds.
        let code = unsafe { (entered.driver.cuStreamEndCapture)(self.handle, &mut graph) };
        let ended = entered.check(code, "cuStreamEndCapture");
        // SAFETY: what has been captured, or null.
        let graph = unsafe { Graph::new(&self.device, graph) };
        enqueued.and(ended).and(graph)
    }

    /// What is put into this stream from now on waits for the event.
    pub fn wait(&self, event: &Event) -> Result<()> {
        let entered = self.device.enter()?;
        // SAFETY: live objects of this context.
        let code = unsafe { (entered.driver.cuStreamWaitEvent)(self.handle, event.handle, 0) };
        entered.check(code, "cuStreamWaitEvent")
    }
}

impl Stream {
    /// Puts a call of `done` behind what is in the stream: once, on a thread of the driver, with an error if the device has failed
    /// by then. It must not use the driver. What comes into the stream later waits for it; it cannot be captured.
    pub fn notify(&self, done: impl FnOnce(Result<()>) + Send + 'static) -> Result<()> {
        let entered = self.device.enter()?;
        let data: *mut Notice = Box::into_raw(Box::new(Box::new(done)));
        // SAFETY: a live stream of this context; if the call succeeds, the driver gives `data` to the function once.
        let code = unsafe { (entered.driver.cuStreamAddCallback)(self.handle, notice, data.cast(), 0) };
        let added = entered.check(code, "cuStreamAddCallback");
        if added.is_err() {
            // SAFETY: made above, and given to nobody.
            drop(unsafe { Box::from_raw(data) });
        }
        added
    }

    /// Puts an event of the caller's, `cudaEvent_t` or `CUevent`, behind what is in the stream.
    ///
    /// # Safety
    /// It is a live event of the device's primary context.
    pub unsafe fn record(&self, event: *mut c_void) -> Result<()> {
        let entered = self.device.enter()?;
        // SAFETY: as promised, and a live stream of this context.
        entered.check(unsafe { (entered.driver.cuEventRecord)(event.cast(), self.handle) }, "cuEventRecord")
    }
}

/// Who is told that work is done.
type Notice = Box<dyn FnOnce(Result<()>) + Send>;

/// Called by the driver with what [`Stream::notify`] has given it.
unsafe extern "C" fn notice(_: CUstream, code: u32, data: *mut c_void) {
    // SAFETY: made by `notify` for this one call.
    let done = *unsafe { Box::from_raw(data.cast::<Notice>()) };
    // What the code means would be the driver's to tell, which must not be asked here.
    let failed = || Error::device(format!("the GPU has failed with CUDA error {code}"));
    let result = if code == 0 { Ok(()) } else { Err(failed()) };
    // There is nobody to whom a panic could be told.
    drop(catch_unwind(AssertUnwindSafe(|| done(result))));
}

impl Drop for Stream {
    fn drop(&mut self) {
        if let (false, Ok(entered)) = (self.borrowed, self.device.enter()) {
            // SAFETY: created by us, and not used again; what is still in it runs to its end.
            unsafe { (entered.driver.cuStreamDestroy_v2)(self.handle) };
        }
    }
}

/// A point in a stream, with its time.
pub struct Event {
    device: Arc<Device>,
    handle: CUevent,
}

// SAFETY: the driver's events may be used from any thread.
unsafe impl Send for Event {}
// SAFETY: as above.
unsafe impl Sync for Event {}

impl Event {
    /// An event that is nowhere yet.
    pub fn new(device: &Arc<Device>) -> Result<Event> {
        let entered = device.enter()?;
        let mut handle = std::ptr::null_mut();
        // SAFETY: the context is current; `handle` is written if the call succeeds.
        entered.check(unsafe { (device.driver.cuEventCreate)(&mut handle, 0) }, "cuEventCreate")?;
        drop(entered);
        Ok(Event { device: device.clone(), handle })
    }

    /// Its address, for other users of the driver.
    pub fn as_raw(&self) -> usize {
        self.handle.expose_provenance()
    }

    /// Puts the event behind what is in the stream.
    pub fn record(&self, stream: &Stream) -> Result<()> {
        let entered = self.device.enter()?;
        // SAFETY: live objects of this context.
        entered.check(unsafe { (entered.driver.cuEventRecord)(self.handle, stream.handle) }, "cuEventRecord")
    }

    /// Waits until the stream has come to it.
    pub fn synchronize(&self) -> Result<()> {
        let entered = self.device.enter()?;
        // SAFETY: a live event of this context.
        entered.check(unsafe { (entered.driver.cuEventSynchronize)(self.handle) }, "cuEventSynchronize")
    }

    /// From an earlier event to this one; both must have been reached.
    pub fn since(&self, earlier: &Event) -> Result<Duration> {
        let entered = self.device.enter()?;
        let mut milliseconds = 0.0;
        // SAFETY: live events of this context; `milliseconds` is written.
        let code = unsafe { (entered.driver.cuEventElapsedTime)(&mut milliseconds, earlier.handle, self.handle) };
        entered.check(code, "cuEventElapsedTime")?;
        Ok(Duration::from_secs_f64(f64::from(milliseconds.max(0.0)) / 1e3))
    }
}

impl Drop for Event {
    fn drop(&mut self) {
        if let Ok(entered) = self.device.enter() {
            // SAFETY: created by us, and not used again.
            unsafe { (entered.driver.cuEventDestroy_v2)(self.handle) };
        }
    }
}
