//! The memory of each sampled program, and stacks in it with names.

use std::cell::OnceCell;
use std::collections::{HashMap, HashSet};
use std::rc::Rc;

use byteorder::{ByteOrder, NativeEndian};
use framehop::{MayAllocateDuringUnwind, Module, Unwinder};

use super::event::{Map, Taken};
use super::symbols::{Image, Piece};
use super::tables::Tables;
use crate::windows::samples::{Name, ProgramFile, Sample};
use crate::wire::tables::Kallsyms;

#[cfg(target_arch = "aarch64")]
use framehop::aarch64::{CacheAarch64 as Cache, UnwindRegsAarch64 as Registers, UnwinderAarch64 as Unwinds};
#[cfg(target_arch = "x86_64")]
use framehop::x86_64::{CacheX86_64 as Cache, UnwindRegsX86_64 as Registers, UnwinderX86_64 as Unwinds};

/// Most frames of a stack.
const MAX_FRAMES: usize = 512;
/// Most addresses whose names are remembered.
const MAX_KNOWN: usize = 1 << 19;

/// A file in a program's memory.
#[derive(Clone)]
struct Area {
    map: Map,
    binary: Option<Rc<Image>>,
    bias: u64,
}

/// One program's memory.
#[derive(Clone)]
struct Space {
    areas: Vec<Area>,
    unwinder: Unwinds<Piece, MayAllocateDuringUnwind>,
    /// Which contents it has: spaces that were copied share names until they change.
    content: u64,
    /// The page of the kernel's that probed functions return to, once it was looked for.
    trampoline: OnceCell<u64>,
}

impl Space {
    /// Whether an address on the stack is the kernel's instead of the caller's.
    fn is_trampoline(&self, pid: i32, address: u64) -> bool {
        let read = || trampoline(&std::fs::read_to_string(format!("/proc/{pid}/maps")).ok()?);
        let page = *self.trampoline.get_or_init(|| read().unwrap_or(USUAL_TRAMPOLINE));
        address & !(PAGE - 1) == page
    }
}

const PAGE: u64 = 4096;
/// Where the kernel puts its page if that place is free: at the end of what programs can address. For programs that are
/// gone before anybody has looked.
const USUAL_TRAMPOLINE: u64 = 0x7fff_ffff_e000;

/// The page's address by the text of `/proc/PID/maps`.
fn trampoline(maps: &str) -> Option<u64> {
    let line = maps.lines().find(|line| line.ends_with(" [uprobes]"))?;
    u64::from_str_radix(line.split('-').next()?, 16).ok()
}

/// All programs that were sampled.
pub struct Spaces {
    spaces: HashMap<i32, Space>,
    binaries: HashMap<String, Option<Rc<Image>>>,
    cache: Cache<MayAllocateDuringUnwind>,
    kallsyms: Option<Kallsyms>,
    contents: u64,
    /// Names of addresses, by what memory they are in; the kernel's is 0.
    known: HashMap<(u64, u64), u32>,
    tables: Tables,
}

impl Spaces {
    /// No program yet.
    pub fn new() -> Spaces {
        Spaces {
            spaces: HashMap::new(),
            binaries: HashMap::new(),
            cache: Cache::new(),
            kallsyms: None,
            contents: 0,
            known: HashMap::new(),
            tables: Tables::default(),
        }
    }

    fn fresh(&mut self) -> Space {
        self.contents += 1;
        Space { areas: Vec::new(), unwinder: Unwinds::new(), content: self.contents, trampoline: OnceCell::new() }
    }

    /// Reads the memory of a process that was there before.
    pub fn read(&mut self, pid: i32) {
        let space = self.fresh();
        self.spaces.insert(pid, space);
        let maps = std::fs::read_to_string(format!("/proc/{pid}/maps")).unwrap_or_default();
        for map in parse_maps(&maps) {
            self.map(pid, map);
        }
    }

    /// The process begins another program.
    pub fn exec(&mut self, pid: i32) {
        let space = self.fresh();
        self.spaces.insert(pid, space);
    }

    /// A process begins as a copy of another.
    pub fn fork(&mut self, parent: i32, child: i32) {
        if let Some(space) = self.spaces.get(&parent).cloned() {
            self.spaces.insert(child, space);
        }
    }

    /// A file is mapped.
    pub fn map(&mut self, pid: i32, map: Map) {
        if !(map.path.starts_with('/') || map.path == "[vdso]") {
            return;
        }
        let path = map.path.clone();
        // A program in a container sees its files elsewhere.
        let open = || Image::open(&path).or_else(|| Image::open(&format!("/proc/{pid}/root{path}")));
        let binary = self.binaries.entry(map.path.clone()).or_insert_with(|| open().map(Rc::new)).clone();
        if !self.spaces.contains_key(&pid) {
            let space = self.fresh();
            self.spaces.insert(pid, space);
        }
        self.contents += 1;
        let Some(space) = self.spaces.get_mut(&pid) else { return };
        space.content = self.contents;
        let bias = binary.as_ref().and_then(|binary| binary.bias(map.offset, map.start)).unwrap_or(0);
        let gone: Vec<u64> = space
            .areas
            .iter()
            .filter(|area| area.map.start < map.end && map.start < area.map.end)
            .map(|area| area.map.start)
            .collect();
        gone.iter().for_each(|start| space.unwinder.remove_module(*start));
        space.areas.retain(|area| !gone.contains(&area.map.start));
        if let Some(binary) = &binary {
            space.unwinder.add_module(Module::new(map.path.clone(), map.start..map.end, bias, binary.sections()));
        }
        space.areas.push(Area { map, binary, bias });
        space.areas.sort_by_key(|area| area.map.start);
    }

    /// The number of a sample's stack, and whether all of it is known; `hidden` says what stood at a place on it before the
    /// kernel put an address of its own there.
    pub fn stack(&mut self, pid: i32, taken: &Taken, hidden: impl Fn(u64) -> Option<u64>) -> (u32, bool) {
        if !self.spaces.contains_key(&pid) && (!taken.user.is_empty() || !taken.registers.is_empty()) {
            self.read(pid);
        }
        let (user, mut whole) = match taken.registers.as_slice() {
            [] => (taken.user.clone(), true),
            registers => self.unwind(pid, registers, &taken.stack, hidden),
        };
        let mut frames: Vec<u32> = Vec::with_capacity(user.len() + taken.kernel.len());
        for (depth, address) in user.iter().enumerate().rev() {
            // Callers are where they will go on; what they called is before that.
            let (name, found) = self.user_name(pid, address.saturating_sub(u64::from(depth > 0)));
            whole &= found;
            frames.push(name);
        }
        for address in taken.kernel.iter().rev() {
            frames.push(self.kernel_name(*address));
        }
        (self.tables.stack(frames), whole)
    }

    /// Addresses innermost first, and whether the end of the stack was reached.
    fn unwind(
        &mut self,
        pid: i32,
        registers: &[u64],
        stack: &[u8],
        hidden: impl Fn(u64) -> Option<u64>,
    ) -> (Vec<u64>, bool) {
        let Some(space) = self.spaces.get(&pid) else { return (Vec::new(), false) };
        let Some((pc, sp, registers)) = registers_of(registers) else { return (Vec::new(), false) };
        let mut read = |address: u64| {
            let at = usize::try_from(address.checked_sub(sp).ok_or(())?).map_err(|_| ())?;
            let value = stack.get(at..at.checked_add(8).ok_or(())?).map(NativeEndian::read_u64).ok_or(())?;
            match hidden(address) {
                Some(address) if space.is_trampoline(pid, value) => Ok(address),
                _ => Ok(value),
            }
        };
        let mut frames = Vec::new();
        let mut walk = space.unwinder.iter_frames(pc, registers, &mut self.cache, &mut read);
        loop {
            match walk.next() {
                Ok(Some(frame)) if frames.len() < MAX_FRAMES => frames.push(frame.address()),
                Ok(None) => return (frames, true),
                _ => return (frames, false),
            }
        }
    }

    fn user_name(&mut self, pid: i32, address: u64) -> (u32, bool) {
        let Some(space) = self.spaces.get(&pid) else { return (self.tables.name(nowhere(address)), false) };
        let key = (space.content, address);
        if let Some(name) = self.known.get(&key) {
            return (*name, true);
        }
        let area = space.areas.iter().find(|area| (area.map.start..area.map.end).contains(&address));
        let Some(area) = area else {
            // On the way back from a probed function, or its caller where nobody knows better.
            let is_known = space.is_trampoline(pid, address.saturating_add(1));
            let name = if is_known { Name::Known("[uprobes]".to_owned()) } else { nowhere(address) };
            return (self.tables.name(name), false);
        };
        let file_address = address.wrapping_sub(area.bias);
        let name = match area.binary.as_ref().and_then(|binary| binary.name(file_address)) {
            Some(name) => Name::Known(name),
            None => {
                let build_id = area.binary.as_ref().map(|binary| binary.build_id()).unwrap_or_default();
                let file = self.tables.file(ProgramFile { path: area.map.path.clone(), build_id });
                Name::At { file, address: file_address }
            }
        };
        let name = self.tables.name(name);
        self.remember(key, name);
        (name, true)
    }

    fn kernel_name(&mut self, address: u64) -> u32 {
        if let Some(name) = self.known.get(&(0, address)) {
            return *name;
        }
        let table =
            self.kallsyms.get_or_insert_with(|| Kallsyms::new(std::fs::read("/proc/kallsyms").unwrap_or_default()));
        let name = match table.lookup(address) {
            Some(symbol) => Name::Known(String::from_utf8_lossy(symbol.name).into_owned()),
            None => nowhere(address),
        };
        let name = self.tables.name(name);
        self.remember((0, address), name);
        name
    }

    fn remember(&mut self, key: (u64, u64), name: u32) {
        if self.known.len() >= MAX_KNOWN {
            self.known.clear();
        }
        self.known.insert(key, name);
    }

    /// Forgets the memory of processes that are no more.
    pub fn forget_ended(&mut self, ended: &HashSet<i32>) {
        for pid in ended.iter().filter(|pid| !is_alive(**pid)) {
            self.spaces.remove(pid);
        }
    }

    /// The tables of names and stacks. When they have become large they begin anew; these samples are to be written yet.
    pub fn tables(&mut self, waiting: &mut [&mut Vec<Sample>]) -> &mut Tables {
        if self.tables.are_large() {
            self.begin_anew(waiting);
        }
        &mut self.tables
    }

    /// Forgets all names and stacks but those of these samples.
    pub fn begin_anew(&mut self, waiting: &mut [&mut Vec<Sample>]) {
        self.tables.begin_anew(waiting);
        self.known.clear();
    }
}

/// An address that no file is mapped at.
fn nowhere(address: u64) -> Name {
    Name::Known(format!("{address:#x}"))
}

/// Whether a process has memory yet.
fn is_alive(pid: i32) -> bool {
    procfs::process::Process::new(pid).and_then(|process| process.stat()).is_ok_and(|stat| stat.vsize > 0)
}

/// Program counter, stack pointer, and what the unwinder takes.
#[cfg(target_arch = "x86_64")]
fn registers_of(registers: &[u64]) -> Option<(u64, u64, Registers)> {
    let &[bp, sp, ip] = registers else { return None };
    Some((ip, sp, Registers::new(ip, sp, bp)))
}

/// Program counter, stack pointer, and what the unwinder takes.
#[cfg(target_arch = "aarch64")]
fn registers_of(registers: &[u64]) -> Option<(u64, u64, Registers)> {
    let &[fp, lr, sp, pc] = registers else { return None };
    Some((pc, sp, Registers::new(lr, sp, fp)))
}

/// The executable files in the text of `/proc/PID/maps`.
pub fn parse_maps(text: &str) -> Vec<Map> {
    let line = |line: &str| {
        let (range, rest) = line.split_once(' ')?;
        let (start, end) = range.split_once('-')?;
        let mut words = rest.splitn(5, ' ');
        let (rights, offset) = (words.next()?, words.next()?);
        let path = words.nth(2)?.trim_start();
        let hex = |word: &str| u64::from_str_radix(word, 16).ok();
        let map = Map { start: hex(start)?, end: hex(end)?, offset: hex(offset)?, path: path.to_owned() };
        (rights.contains('x') && !path.is_empty()).then_some(map)
    };
    text.lines().filter_map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::windows::samples::Samples;

    #[test]
    fn maps_are_those_of_executable_files() {
        let text = "00400000-00401000 r-xp 00001000 08:01 1234                       /bin/busy box\n\
                    00401000-00402000 rw-p 00002000 08:01 1234                       /bin/busy box\n\
                    7ffd0000-7ffd1000 r-xp 00000000 00:00 0                          [vdso]\n\
                    7ffe0000-7ffe1000 rwxp 00000000 00:00 0 \n";
        let maps = parse_maps(text);
        let parsed: Vec<_> = maps.iter().map(|map| (map.start, map.end, map.offset, map.path.as_str())).collect();
        assert_eq!(parsed, [(0x40_0000, 0x40_1000, 0x1000, "/bin/busy box"), (0x7ffd_0000, 0x7ffd_1000, 0, "[vdso]")]);
    }

    #[test]
    fn the_page_that_probed_functions_return_to_is_found() {
        let line = "7fffffffe000-7ffffffff000 --xp 00000000 00:00 0                          [uprobes]\n";
        assert_eq!(trampoline(&format!("1000-2000 r-xp 0 0:0 0 /bin/a\n{line}")), Some(USUAL_TRAMPOLINE));
        assert_eq!(trampoline("1000-2000 r-xp 0 0:0 0 /bin/a\n"), None);
    }

    #[test]
    fn stacks_and_names_are_kept_once() {
        let mut spaces = Spaces::new();
        let this_process = std::process::id() as i32;
        spaces.read(this_process);
        let here = stacks_and_names_are_kept_once as *const () as u64;
        let taken = Taken { user: vec![here, here + 1], ..Taken::default() };
        let (stack, whole) = spaces.stack(this_process, &taken, |_| None);
        assert_eq!((stack, whole), (0, true));
        assert_eq!(spaces.stack(this_process, &taken, |_| None).0, 0);
        assert_eq!(spaces.stack(this_process, &Taken { user: vec![8], ..Taken::default() }, |_| None), (1, false));
        let mut samples = vec![Sample { stack: 0, ..Sample::default() }, Sample { stack: 1, ..Sample::default() }];
        let tables = spaces.tables(&mut [&mut samples]);
        let all = Samples::decode(&tables.block(samples, Vec::new()).encode());
        assert!(all.names[all.stacks[0][0] as usize].ends_with("stacks_and_names_are_kept_once"));
        assert_eq!(all.names[all.stacks[1][0] as usize], "0x8");
    }

    #[test]
    fn memory_of_processes_that_are_gone_is_forgotten() {
        let mut spaces = Spaces::new();
        let this_process = std::process::id() as i32;
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let gone = child.id() as i32;
        child.wait().unwrap();
        spaces.read(this_process);
        spaces.fork(this_process, gone);
        spaces.forget_ended(&HashSet::from([this_process, gone]));
        assert!(spaces.spaces.contains_key(&this_process) && !spaces.spaces.contains_key(&gone));
    }
}
