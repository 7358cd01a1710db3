//! What stands above a report: how many CPUs each file has, and on request its version.

use std::io::{self, Write};

use super::input::Input;
use super::lane::{prefix, prefix_width};
use crate::dat::Dat;

/// Prints the first lines: how many CPUs each file has.
pub fn cpu_counts(inputs: &[Input], out: &mut dyn Write) -> io::Result<()> {
    let width = prefix_width(inputs);
    for input in inputs {
        let prefix = if inputs.len() > 1 { prefix(&input.name, width) } else { Vec::new() };
        out.write_all(&prefix)?;
        writeln!(out, "cpus={}", input.dat.cpu_count())?;
    }
    Ok(())
}

/// Prints which version each file has and which of its CPUs hold nothing.
pub fn versions(inputs: &[Input], out: &mut dyn Write) -> io::Result<()> {
    for input in inputs {
        writeln!(out, "version = {}", input.dat.version)?;
        for cpu in empty_cpus(&input.dat) {
            writeln!(out, "CPU {cpu} is empty")?;
        }
    }
    Ok(())
}

fn empty_cpus(dat: &Dat) -> Vec<u32> {
    let Some(buffer) = dat.buffers.first() else { return Vec::new() };
    let filled = |cpu: &u32| buffer.cpus.iter().any(|data| data.cpu == *cpu);
    (0..dat.cpu_count().min(1 << 14)).filter(|cpu| !filled(cpu)).collect()
}
