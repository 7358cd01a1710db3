//! Completing the trace of a recorder that is no more.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use super::metadata::{self, KernelSymbols, Metadata};
use crate::control::Leftover;
use crate::dat::ids;
use crate::dat::unsealed::{Family, Restored};
use crate::dat::writer::{self, Section};
use crate::tracefs::Tracefs;
use crate::tracefs::events::EventName;

/// Completes a trace in the empty file `into`; what is there stays as it is.
///
/// Formats and names that the recorder had not come to write are asked of the running kernel, if it is still the one that
/// was recorded.
pub fn complete(leftover: &Leftover, tracefs: Option<&Path>, into: File) -> io::Result<Restored> {
    leftover.data.put_together(into, |there| {
        let mut sections = Vec::new();
        let of_this_boot = leftover.data.is_of_this_boot();
        if of_this_boot && !there.contains(&ids::EVENT_FORMATS) {
            sections.extend(kernel_texts(leftover, tracefs).unwrap_or_default());
            sections.retain(|section| !there.contains(&section.id));
        }
        let names = fs::read(leftover.data.family.file("names")).unwrap_or_default();
        let root = Tracefs::open(tracefs);
        let names = match root {
            Ok(root) if of_this_boot => {
                metadata::merge_names(&metadata::saved_names(&root.top()), &parse_names(&names))
            }
            _ => names,
        };
        sections.push(Section { id: ids::CMDLINES, payload: writer::long_text(&names).into() });
        sections
    })
}

fn kernel_texts(leftover: &Leftover, tracefs: Option<&Path>) -> Option<Vec<Section<'static>>> {
    let root = Tracefs::open(tracefs).ok()?;
    let names = leftover.data.begin.events.iter().filter_map(|name| {
        let (system, event) = name.split_once(':')?;
        Some(EventName { system: system.to_owned(), event: event.to_owned() })
    });
    let top = root.top();
    let mut texts = Metadata::read(&top, &names.collect()).ok()?;
    texts.symbols = KernelSymbols::read(&top);
    Some(texts.sections())
}

fn parse_names(text: &[u8]) -> BTreeMap<i32, Vec<u8>> {
    text.split(|&b| b == b'\n').filter_map(metadata::pid_and_comm).map(|(pid, comm)| (pid, comm.to_vec())).collect()
}

/// Completes a trace under the name it was to have, or another, and removes the temporary files.
pub fn restore(leftover: &Leftover, tracefs: Option<&Path>, output: Option<&Path>) -> io::Result<(PathBuf, Restored)> {
    let family = &leftover.data.family;
    let path = output.map_or_else(|| leftover.data.output(), Path::to_owned);
    // On the disk of the file that was asked for: that of the recording may be full.
    let beside = |path: &Path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        Family::new(path.parent().unwrap_or(Path::new("")), &name, std::process::id()).file("restored")
    };
    let temporary = output.map_or_else(|| family.file("restored"), beside);
    let _ = fs::remove_file(&temporary);
    let restored = complete(leftover, tracefs, crate::record::file::output::create(&temporary)?);
    let restored = restored.inspect_err(|_| drop(fs::remove_file(&temporary)))?;
    crate::record::file::output::give_name(&temporary, &path)?;
    // The control files may still have to be put back: then the journal stays.
    if leftover.steps.is_empty() || !leftover.data.is_of_this_boot() {
        family.remove()?;
    } else {
        family.remove_data()?;
    }
    Ok((path, restored))
}
