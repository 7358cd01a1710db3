//! Set-up: what a fresh machine needs before the lab boots and the tests run.

use crate::error::{Error, Result};
use crate::host::{self, CC, LIBC_DEV, QEMU, TRACE_CMD};
use crate::kernels::Kernel;
use crate::peers::TraceCmd;
use crate::{busybox, project};

/// Installs what the host lacks to build the project and boot the lab.
pub fn host() -> Result<()> {
    host::need(&[CC, LIBC_DEV, QEMU])
}

/// Fetches what every guest contains.
pub fn guest_tools() -> Result<()> {
    busybox::fetch()?;
    TraceCmd::Unstable.fetch().map(drop)
}

/// Everything for one kernel: the host's tools, the guest's tools, the kernel itself.
pub fn lab(kernel: Kernel) -> Result<()> {
    host()?;
    guest_tools()?;
    kernel.fetch().map(drop)
}

/// Everything for all chores. A kernel or peer that cannot be had does not keep the others from being fetched.
pub fn everything() -> Result<()> {
    let mut outcomes = vec![host(), host::need(&[TRACE_CMD]), guest_tools()];
    outcomes.extend(TraceCmd::ALL.map(|peer| peer.fetch().map(drop)));
    outcomes.extend(Kernel::ALL.map(|kernel| kernel.fetch().map(drop)));
    outcomes.extend([project::agent().map(drop), project::test_programs().map(drop)]);
    let total = outcomes.len();
    let failures: Vec<Error> = outcomes.into_iter().filter_map(Result::err).collect();
    if failures.is_empty() {
        return Ok(());
    }
    let list = failures.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
    Err(Error::new(format!("{} of {total} parts of the set-up failed", failures.len())).fact("because", list))
}
