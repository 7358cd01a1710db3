//! Guests shared by the tests of one process, and the shape of a lab test.
//!
//! A session holds its guest alone, since tracefs is one for the whole kernel. Before a session begins, the guest is
//! looked at: if the test before left a tracer, events, probes or instances behind, it is booted anew, so that no test
//! sees another's leftovers.

use std::collections::HashMap;
use std::io::Write;
use std::ops::{Deref, DerefMut};
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::{self, ThreadId};
use std::time::Instant;

use super::guest::Guest;
use super::machine::last_words;
use crate::error::{Error, Result};
use crate::kernels::Kernel;

/// Where the runner of the tests wants to hear of tests that could not run.
const NOT_RUN_FILE: &str = "RTREC_NOT_RUN";

/// Where it wants to read how long each took.
pub(crate) const TIMES_FILE: &str = "RTREC_TEST_TIMES";

static SLOTS: [Mutex<Slot>; 3] = [const { Mutex::new(Slot::Empty) }; 3];

/// Which thread holds which guest, to turn a deadlock into an error.
static HOLDERS: Mutex<Option<HashMap<Kernel, ThreadId>>> = Mutex::new(None);

#[derive(Debug)]
enum Slot {
    Empty,
    Booted(Box<Guest>),
    /// It could not be booted; asking again would only take time.
    Failed(String),
}

/// A guest held by one test. Dropping it hands the guest on.
#[derive(Debug)]
pub struct Session {
    kernel: Kernel,
    slot: MutexGuard<'static, Slot>,
}

/// The shared guest with this kernel, booted if need be; waits until no other test holds it.
pub fn guest(kernel: Kernel) -> Result<Session> {
    let me = thread::current().id();
    let holds = |holders: &Option<HashMap<_, _>>| holders.as_ref().is_some_and(|h| h.get(&kernel) == Some(&me));
    if holds(&lock(&HOLDERS)) {
        return Err(Error::new(format!("this test holds the guest with kernel {kernel} already")));
    }
    let mut slot = lock(&SLOTS[kernel as usize]);
    ready(&mut slot, kernel)?;
    lock(&HOLDERS).get_or_insert_default().insert(kernel, me);
    Ok(Session { kernel, slot })
}

/// A failed test poisons nothing: the guest is looked at before it is handed on.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Sees to it that the slot has a living guest that nobody has left tracing in.
fn ready(slot: &mut Slot, kernel: Kernel) -> Result<()> {
    match slot {
        Slot::Failed(why) => return Err(Error::new(why.clone())),
        Slot::Booted(guest) if guest.is_alive() => match leftovers(guest) {
            Ok(None) => return Ok(()),
            Ok(Some(what)) => {
                eprintln!("xtask: booting kernel {kernel} anew, the test before left: {what}")
            }
            Err(error) => eprintln!("xtask: booting kernel {kernel} anew: {error}"),
        },
        Slot::Booted(_) | Slot::Empty => {}
    }
    *slot = Slot::Empty;
    match Guest::boot(kernel) {
        Ok(guest) => {
            *slot = Slot::Booted(Box::new(guest));
            Ok(())
        }
        Err(error) => {
            *slot = Slot::Failed(error.to_string());
            Err(error)
        }
    }
}

/// Clears `/tmp` and says what is not as after a boot, if anything.
fn leftovers(guest: &mut Guest) -> Result<Option<String>> {
    let found = guest.text(
        r#"rm -rf /tmp/* /tmp/.[!.]*
        cd /sys/kernel/tracing || exit
        is() { [ "$(cat "$1")" = "$2" ] || echo "$1 is $(cat "$1")"; }
        is current_tracer nop; is tracing_on 1; is events/enable 0; is set_event_pid ""
        is dynamic_events ""
        for i in instances/*; do [ -d "$i" ] && echo "$i"; done
        true"#,
    )?;
    Ok(Some(found.trim_end().replace('\n', "; ")).filter(|found| !found.is_empty()))
}

impl Deref for Session {
    type Target = Guest;

    fn deref(&self) -> &Guest {
        match &*self.slot {
            Slot::Booted(guest) => guest,
            Slot::Empty | Slot::Failed(_) => unreachable!("a session begins with a booted guest"),
        }
    }
}

impl DerefMut for Session {
    fn deref_mut(&mut self) -> &mut Guest {
        match &mut *self.slot {
            Slot::Booted(guest) => guest,
            Slot::Empty | Slot::Failed(_) => unreachable!("a session begins with a booted guest"),
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        if let Some(holders) = lock(&HOLDERS).as_mut() {
            holders.remove(&self.kernel);
        }
    }
}

/// Runs one check on one kernel; what [`crate::lab_tests`] makes a test of.
///
/// # Panics
///
/// If the check fails, or if the kernel cannot be had: a check that did not run has not passed. `cargo xtask test`
/// leaves out what cannot run, and says so.
#[expect(clippy::panic, reason = "that is how a test fails")]
pub fn check(kernel: Kernel, name: &str, body: fn(&mut Guest) -> Result<()>) {
    let mut session = match guest(kernel) {
        Ok(session) => session,
        Err(error) => panic!("NOT RUN: {name} on kernel {kernel}, because {error}"),
    };
    // Dropped before the session, so that a failing check shows what the kernel had to say about it.
    let shown = ConsoleOnPanic(&mut session);
    let _clock = Clock { test: format!("lab {name}::{}", test_name(kernel)), begun: Instant::now() };
    if let Err(error) = body(shown.0) {
        panic!("{name} on kernel {kernel}: {error}");
    }
}

/// Writes down how long a check took, however it ended.
struct Clock {
    test: String,
    begun: Instant,
}

impl Drop for Clock {
    fn drop(&mut self) {
        if let Some(path) = std::env::var_os(TIMES_FILE) {
            append(Path::new(&path), &format!("{}\t{:.3}\n", self.test, self.begun.elapsed().as_secs_f64()));
        }
    }
}

/// Adds a line to a file in one write, since tests of several processes may share it.
fn append(path: &Path, line: &str) {
    let file = std::fs::OpenOptions::new().create(true).append(true).open(path);
    let written = file.and_then(|mut file| file.write_all(line.as_bytes()));
    written.unwrap_or_else(|e| eprintln!("{}: {e}", path.display()));
}

/// Prints the end of the guest's console if the check that uses it panics.
struct ConsoleOnPanic<'a>(&'a mut Session);

impl Drop for ConsoleOnPanic<'_> {
    fn drop(&mut self) {
        let console = self.0.console();
        if thread::panicking() && !console.trim().is_empty() {
            eprintln!("the guest's console:\n{}", last_words(&console));
        }
    }
}

/// States that a native test cannot run here, and why. The test returns afterwards; `cargo xtask test` counts it as
/// skipped, not as passed.
pub fn not_run(test: &str, why: &str) {
    eprintln!("NOT RUN: {test}: {why}");
    if let Some(path) = std::env::var_os(NOT_RUN_FILE) {
        append(Path::new(&path), &format!("{test}\t{}\n", why.replace('\n', " ")));
    }
}

/// The name `lab_tests!` gives to a check's test on this kernel.
#[must_use]
pub const fn test_name(kernel: Kernel) -> &'static str {
    match kernel {
        Kernel::V6_1 => "on_6_1",
        Kernel::V6_12 => "on_6_12",
        Kernel::Latest => "on_latest",
    }
}

/// Makes tests of checks, one for each kernel: `name::on_6_1`, `name::on_6_12`, `name::on_latest`.
///
/// A check is a function `fn name(guest: &mut Guest) -> xtask::Result<()>` in the same module. It may use `assert!`.
/// A check for some kernels only names them: `[V6_12, Latest] name`.
#[macro_export]
macro_rules! lab_tests {
    ($($([$($kernel:ident),+])? $name:ident),* $(,)?) => {
        $($crate::lab_tests!(@check $name $([$($kernel),+])?);)*
    };
    (@check $name:ident) => { $crate::lab_tests!(@check $name [V6_1, V6_12, Latest]); };
    (@check $name:ident [$($kernel:ident),+]) => {
        mod $name {
            $($crate::lab_tests!(@test $name $kernel);)+
        }
    };
    (@test $name:ident V6_1) => { $crate::lab_tests!(@body on_6_1, V6_1, $name); };
    (@test $name:ident V6_12) => { $crate::lab_tests!(@body on_6_12, V6_12, $name); };
    (@test $name:ident Latest) => { $crate::lab_tests!(@body on_latest, Latest, $name); };
    (@body $test:ident, $kernel:ident, $name:ident) => {
        #[test]
        fn $test() {
            $crate::lab::check($crate::lab::Kernel::$kernel, stringify!($name), super::$name);
        }
    };
}
