//! The tracefs root and the buffers in it, made sure of before anything is changed.

use std::fs::File;
use std::path::Path;

use nix::fcntl::Flock;

use super::error::Error;
use super::plan::BufferPlan;
use crate::tracefs::{self, Tracefs};

/// Opens the root and says what is wrong with it in one go.
pub fn open_root(dir: Option<&Path>) -> Result<Tracefs, Error> {
    let root = Tracefs::open(dir).map_err(Error::NoTracefs)?;
    tracefs::file::read(&root.top().path("tracing_on")).map_err(Error::NoTracefs)?;
    Ok(root)
}

/// Makes sure that nobody else takes events out of the buffers, as long as the locks live.
pub fn claim_buffers(plans: &[BufferPlan<'_>]) -> Result<Vec<Flock<File>>, Error> {
    let mut locks = Vec::new();
    for plan in plans.iter().filter(|plan| plan.instance.dir().is_dir()) {
        let lock = plan.instance.lock().map_err(Error::at("claiming the buffer"))?;
        let consumers = plan.instance.consumers();
        match lock {
            Some(lock) if consumers.is_empty() => locks.push(lock),
            _ => {
                let instance = plan.instance.name().map(str::to_owned);
                return Err(Error::BufferBusy { instance, consumers, source: None });
            }
        }
    }
    Ok(locks)
}
