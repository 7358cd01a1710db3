//! What a report can say about files without printing their records.

use std::io::{self, Write};

use crate::decode::EventText;
use crate::report::reading::clock::write_time;
use crate::report::reading::input::Input;
use crate::report::reading::pool::Pool;
use crate::report::reading::record::Opened;
use crate::wire::pattern::Pattern;

/// `--cpus`, `--first-event`, `--last-event`: the CPUs with data of each file's first buffer.
pub fn cpus(opened: Opened<'_>, (first, last): (bool, bool), full_time: bool, out: &mut dyn Write) -> io::Result<()> {
    let pool: Pool<()> = Pool::new(1);
    for (file, input) in opened.inputs.iter().enumerate() {
        writeln!(out, "List of CPUs in {} with data:", input.path)?;
        let Some(lane) = opened.lane_of(file) else { continue };
        for mut stream in lane.streams(opened.inputs) {
            let cpu = stream.cpu;
            let Some(begin) = stream.next(&pool) else { continue };
            write!(out, "  {cpu}")?;
            let mut show = |what: &str, ticks: u64| {
                let mut text = Vec::new();
                write_time(lane.unit, full_time, lane.correction.apply(ticks, cpu), &mut text);
                text.pop();
                write!(out, "\t{what} event:")?;
                out.write_all(text.strip_prefix(b" ").unwrap_or(&text))
            };
            if first {
                show("First", begin.ticks)?;
            }
            if last {
                show("Last", stream.last_ticks(&pool).unwrap_or(begin.ticks))?;
            }
            writeln!(out)?;
        }
    }
    Ok(())
}

/// `--stat`: the statistics stored by the recorder, and where the data are.
pub fn stat(inputs: &[Input], out: &mut dyn Write) -> io::Result<()> {
    for input in inputs {
        out.write_all(
            b"\nKernel buffer statistics:\n  Note: \"entries\" are the entries left in the kernel ring buffer and are \
            not\n        recorded in the trace data. They should all be zero.\n\n",
        )?;
        for text in &input.dat.options.cpustats {
            out.write_all(text)?;
            out.write_all(b"\n")?;
        }
        writeln!(out)?;
        for buffer in &input.dat.buffers {
            for data in &buffer.cpus {
                let name = if buffer.name.is_empty() { String::new() } else { format!("{}: ", buffer.name) };
                writeln!(out, "{name}CPU{} data recorded at offset={:#x}", data.cpu, data.offset)?;
                writeln!(out, "    {} bytes in size", data.bytes)?;
            }
        }
    }
    Ok(())
}

/// `-f`: the function map.
pub fn functions(input: &Input, out: &mut dyn Write) -> io::Result<()> {
    let mut text = Vec::new();
    for (address, name, module) in input.trace.kallsyms.iter() {
        write!(text, "{address:016x} ")?;
        text.extend_from_slice(name);
        if let Some(module) = module {
            text.extend_from_slice(b" [");
            text.extend_from_slice(module);
            text.push(b']');
        }
        text.push(b'\n');
        if text.len() > 1 << 16 {
            out.write_all(&text)?;
            text.clear();
        }
    }
    out.write_all(&text)
}

/// `-P`: the strings of trace_printk.
pub fn printk(input: &Input, out: &mut dyn Write) -> io::Result<()> {
    for (address, text) in input.trace.printk.iter() {
        write!(out, "{address:016x} ")?;
        out.write_all(text)?;
        out.write_all(b"\n")?;
    }
    Ok(())
}

/// `-E`: `system:event`, sorted.
pub fn events(input: &Input, out: &mut dyn Write) -> io::Result<()> {
    let mut list: Vec<(&str, &str)> = input.trace.formats.iter().map(|event| (event.system, event.name)).collect();
    list.sort_unstable();
    list.dedup();
    list.iter().try_for_each(|(system, name)| writeln!(out, "{system}:{name}"))
}

/// `--events` and `--event`: the stored formats.
pub fn formats(input: &Input, which: Option<&(Option<Pattern>, Pattern)>, out: &mut dyn Write) -> io::Result<()> {
    let mut list: Vec<_> = input.trace.formats.iter().collect();
    list.sort_by_key(|event| (event.system, event.id));
    for event in list {
        let wanted = which.is_none_or(|(system, name)| match system {
            Some(system) => system.matches(event.system.as_bytes()) && name.matches(event.name.as_bytes()),
            None => name.matches(event.name.as_bytes()) || name.matches(event.system.as_bytes()),
        });
        if wanted {
            writeln!(out, "\nsystem: {}", event.system)?;
            out.write_all(event.text)?;
        }
    }
    Ok(())
}

/// `--check-events`: the formats that cannot be read, with the reason.
pub fn bad_events(input: &Input) -> Vec<String> {
    let bad = |event: EventText<'_>| match input.trace.formats.try_get(event.id) {
        Some(Err(error)) => Some(format!("{}:{}: {error}", event.system, event.name)),
        _ => None,
    };
    input.trace.formats.iter().filter_map(bad).collect()
}
