//! What files hold besides records: formats, functions, counters, options.

use std::io::{self, Write};
use std::process::ExitCode;

use super::super::common::explain::{Explained, report as explain};
use super::super::common::say::say;
use super::Stdout;
use super::args::Options;
use crate::dat::ids;
use crate::report::Input;
use crate::report::reading::heading::cpu_counts;
use crate::report::text::lists;
use crate::wire::abi::Endian;
use crate::wire::pattern::Pattern;

/// The options that say something about files and need no records.
pub(super) fn file_lists(options: &Options, inputs: &[Input], out: &mut Stdout) -> Result<Option<ExitCode>, Explained> {
    let event = match &options.lists.event {
        Some(text) => Some(event_pattern(text)?),
        None => None,
    };
    let asked = options.lists.endian
        || options.lists.page_size
        || options.lists.functions
        || options.lists.printk
        || options.lists.list_events
        || options.lists.events
        || options.lists.check_events
        || options.lists.stat
        || options.lists.uname
        || options.lists.version
        || event.is_some();
    if !asked {
        return Ok(None);
    }
    let (mut bad, mut headed) = (Vec::new(), false);
    for input in inputs {
        let dat = &input.dat;
        let order = |endian: Endian| if endian == Endian::Little { "little" } else { "big" };
        let host = crate::wire::abi::Abi::HOST.endian;
        let mut print = |out: &mut Stdout| -> io::Result<()> {
            if options.lists.endian {
                return writeln!(out, "file is {} endian and host is {} endian", order(dat.abi.endian), order(host));
            }
            if options.lists.page_size {
                let page = nix::unistd::sysconf(nix::unistd::SysconfVar::PAGE_SIZE).ok().flatten().unwrap_or(4096);
                return writeln!(out, "file page size is {}, and host page size is {page}", dat.layout.subbuf_bytes);
            }
            if options.lists.functions {
                return lists::functions(input, out);
            }
            if options.lists.printk {
                return lists::printk(input, out);
            }
            if options.lists.list_events {
                return lists::events(input, out);
            }
            if options.lists.events || event.is_some() {
                return lists::formats(input, event.as_ref(), out);
            }
            if options.lists.check_events {
                bad.extend(lists::bad_events(input));
                return Ok(());
            }
            if !headed {
                cpu_counts(inputs, out)?;
                headed = true;
            }
            let text = |id: u16| if id == ids::UNAME { &dat.options.uname } else { &dat.options.version };
            for (wanted, id) in [(options.lists.uname, ids::UNAME), (options.lists.version, ids::VERSION)] {
                if let Some(text) = text(id).as_ref().filter(|_| wanted) {
                    out.write_all(text)?;
                    out.write_all(b"\n")?;
                }
            }
            Ok(())
        };
        let _ = print(out);
    }
    if options.lists.stat {
        if !headed {
            let _ = cpu_counts(inputs, out);
        }
        let _ = lists::stat(inputs, out);
    }
    for line in &bad {
        say!("rtrec report: {line}");
    }
    Ok(Some(if bad.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(1) }))
}

fn event_pattern(text: &str) -> Result<(Option<Pattern>, Pattern), Explained> {
    let compile = |text: &str| Pattern::anywhere(text).map_err(explain::pattern);
    match text.split_once(':') {
        Some((system, event)) => Ok((Some(compile(system)?), compile(event)?)),
        None => Ok((None, compile(text)?)),
    }
}
