//! A program marks its own response-time windows: copy the module into yours.
//!
//! ```text
//! rustc -O window.rs && rtrec rt --window-magic ./window && rtrec report --windows
//! ```
//!
//! SPDX-License-Identifier: MIT OR Apache-2.0

use std::time::Duration;

/// Response-time windows of the calling thread, told to whoever records with `rtrec rt --window-magic`.
pub mod rtrec_window {
    use std::ffi::c_long;

    const START: c_long = 761_203_101;
    const STOP: c_long = 761_203_102;

    unsafe extern "C" {
        safe fn syscall(number: c_long, first: c_long, second: c_long) -> c_long;
    }

    /// A window; it ends when this is dropped. One that is open in the thread begins anew.
    #[must_use]
    pub struct Window(());

    impl Window {
        /// Begins one that is slow from so many milliseconds on.
        pub fn start(threshold_ms: u32) -> Window {
            // The kernel implements no such call and answers with an error; the tracer sees it.
            syscall(START, threshold_ms.into(), threshold_ms.into());
            Window(())
        }
    }

    impl Drop for Window {
        fn drop(&mut self) {
            syscall(STOP, 0, 0);
        }
    }
}

fn main() {
    for number in 0..9 {
        let _window = rtrec_window::Window::start(20);
        std::thread::sleep(Duration::from_millis(if number % 3 == 2 { 30 } else { 2 }));
    }
}
