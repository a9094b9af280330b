//! # Last error

use std::cell::UnsafeCell;
use std::ffi::c_char;
use std::fmt::{self, Write};

use super::ffi;
use super::sized::{self, Versioned};
use super::status::{INFER_OK, infer_status};
use crate::error::Error;

/// Details of a failure. Text is UTF-8, NUL-terminated, and cut where it does not fit.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct infer_error {
    /// sizeof(infer_error), as INFER_ERROR_INIT sets it.
    pub struct_size: u32,
    /// What the call returned.
    pub status: infer_status,
    /// errno of the failed system call, or 0.
    pub os_error: i32,
    /// Zero.
    pub reserved: u32,
    /// What failed, where, and what to do about it.
    pub message: [c_char; 512],
    /// Name of the model's node in which it failed, or "".
    pub node: [c_char; 128],
    /// Operator of that node, or "".
    pub op: [c_char; 64],
}

// SAFETY: repr(C), a u32 first, no padding (`layout`), integers only.
unsafe impl Versioned for infer_error {
    const NAME: &'static str = "infer_error";
    const SIZES: &'static [usize] = &[720];
}

/// Tells how the last failed call of this thread failed; successful calls leave that as it was. Before the first
/// failure, `out->status` is INFER_OK. Allocates nothing.
/// Thread-safety: any thread; each has its own. Lifetime: the text is copied.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn infer_last_error(out: *mut infer_error) -> infer_status {
    // SAFETY: the struct is what its size says; this thread's error is borrowed by nobody else.
    ffi::run(|| unsafe {
        sized::check(out, "out")?;
        LAST.with(|last| sized::write(out, &*last.get()));
        Ok(())
    })
}

thread_local! {
    /// Plain data without a destructor: glibc keeps a library loaded as long as a thread has one of its destructors
    /// to run.
    static LAST: UnsafeCell<infer_error> = const { UnsafeCell::new(infer_error::NONE) };
}

/// Makes `error` this thread's last one.
pub(super) fn record(error: &Error) -> infer_status {
    let status = error.status() as infer_status;
    LAST.with(|last| {
        // SAFETY: this thread's own, and nothing below comes back here.
        let last = unsafe { &mut *last.get() };
        *last = infer_error { status, os_error: error.os_error(), ..infer_error::NONE };
        fill(&mut last.message, format_args!("{error}"));
        fill(&mut last.node, format_args!("{}", error.node()));
        fill(&mut last.op, format_args!("{}", error.op()));
    });
    status
}

impl infer_error {
    const NONE: infer_error = infer_error {
        struct_size: size_of::<infer_error>() as u32,
        status: INFER_OK,
        os_error: 0,
        reserved: 0,
        message: [0; 512],
        node: [0; 128],
        op: [0; 64],
    };
}

/// Writes text into zeroed characters, without its end where that does not fit.
fn fill(target: &mut [c_char], text: fmt::Arguments<'_>) {
    // An error means that the text was cut.
    let _ = Cursor { target, at: 0 }.write_fmt(text);
}

struct Cursor<'a> {
    target: &'a mut [c_char],
    at: usize,
}

impl Write for Cursor<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let room = self.target.len() - 1 - self.at;
        let len = (0..=room.min(text.len())).rev().find(|&len| text.is_char_boundary(len)).unwrap_or(0);
        for (to, from) in self.target[self.at..].iter_mut().zip(&text.as_bytes()[..len]) {
            *to = *from as c_char;
        }
        self.at += len;
        if len < text.len() { Err(fmt::Error) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::super::status::{INFER_ERROR_INTERNAL, INFER_ERROR_IO};
    use super::*;

    fn last() -> infer_error {
        let mut error = infer_error::NONE;
        // SAFETY: the struct is what its size says.
        assert_eq!(unsafe { infer_last_error(&mut error) }, INFER_OK);
        error
    }

    fn text(chars: &[c_char]) -> String {
        chars.iter().take_while(|&&c| c != 0).flat_map(|c| c.to_ne_bytes()).map(char::from).collect()
    }

    #[test]
    fn long_text_is_cut_between_characters() {
        let error = Error::io("x".repeat(510) + "ü", &std::io::Error::from_raw_os_error(2)).at_node("n", "Conv");
        assert_eq!(record(&error), INFER_ERROR_IO);
        let last = last();
        assert_eq!((last.status, last.os_error), (INFER_ERROR_IO, 2));
        assert_eq!(text(&last.message).len(), 511);
        assert_eq!((text(&last.node), text(&last.op)), ("n".into(), "Conv".into()));
    }

    #[test]
    fn a_panic_is_an_internal_error_of_its_thread() {
        assert_eq!(ffi::run(|| panic!("boom {}", 1)), INFER_ERROR_INTERNAL);
        assert!(text(&last().message).contains("boom 1"));
        let other = std::thread::spawn(|| last().status).join().unwrap();
        assert_eq!(other, INFER_OK);
    }
}
