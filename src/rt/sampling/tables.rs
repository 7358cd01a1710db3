//! Names and stacks of samples, each kept once, and what of them has been written.
//!
//! Only what a written sample needs is written, and each once. When the tables have become large they begin anew: a
//! recording may take days, and a program that makes code as it goes never runs out of new stacks.

use indexmap::IndexSet;

use crate::windows::samples::{Name, ProgramFile, Sample, SampleBlock};

/// Names and frames of stacks until the tables begin anew: some 20 MB.
const MOST: usize = 1 << 20;
/// What is not written yet.
const NOT_YET: u32 = u32::MAX;

/// The tables.
#[derive(Debug, Default)]
pub struct Tables {
    files: IndexSet<ProgramFile>,
    names: IndexSet<Name>,
    stacks: IndexSet<Vec<u32>>,
    frames: usize,
    written: Written,
}

/// Under which numbers things were written.
#[derive(Debug, Default)]
struct Written {
    begun: bool,
    files: Numbers,
    names: Numbers,
    stacks: Numbers,
}

#[derive(Debug, Default)]
struct Numbers {
    numbers: Vec<u32>,
    next: u32,
}

impl Numbers {
    /// The number of a thing, and whether it is new.
    fn of(&mut self, index: u32) -> (u32, bool) {
        let at = index as usize;
        if self.numbers.len() <= at {
            self.numbers.resize(at + 1, NOT_YET);
        }
        let known = self.numbers[at];
        if known != NOT_YET {
            return (known, false);
        }
        self.numbers[at] = self.next;
        self.next += 1;
        (self.numbers[at], true)
    }
}

impl Tables {
    /// The number of a file.
    pub fn file(&mut self, file: ProgramFile) -> u32 {
        self.files.insert_full(file).0 as u32
    }

    /// The number of a name.
    pub fn name(&mut self, name: Name) -> u32 {
        self.names.insert_full(name).0 as u32
    }

    /// The number of a stack.
    pub fn stack(&mut self, stack: Vec<u32>) -> u32 {
        let frames = stack.len();
        let (at, new) = self.stacks.insert_full(stack);
        self.frames += if new { frames + 1 } else { 0 };
        at as u32
    }

    /// A block of these samples, also of threads that left their CPU, with whatever of the tables was not written before.
    pub fn block(&mut self, samples: Vec<Sample>, outs: Vec<Sample>) -> SampleBlock {
        let mut block = SampleBlock { fresh: !self.written.begun, ..SampleBlock::default() };
        self.written.begun = true;
        for mut sample in samples {
            sample.stack = self.write_stack(sample.stack, &mut block);
            block.samples.push(sample);
        }
        for mut out in outs {
            out.stack = self.write_stack(out.stack, &mut block);
            block.outs.push(out);
        }
        block
    }

    fn write_stack(&mut self, stack: u32, block: &mut SampleBlock) -> u32 {
        let (number, new) = self.written.stacks.of(stack);
        if new {
            let names = self.stacks[stack as usize].clone();
            let names = names.into_iter().map(|name| self.write_name(name, block)).collect();
            block.stacks.push(names);
        }
        number
    }

    fn write_name(&mut self, name: u32, block: &mut SampleBlock) -> u32 {
        let (number, new) = self.written.names.of(name);
        if new {
            let name = match self.names[name as usize].clone() {
                Name::At { file, address } => Name::At { file: self.write_file(file, block), address },
                known => known,
            };
            block.names.push(name);
        }
        number
    }

    fn write_file(&mut self, file: u32, block: &mut SampleBlock) -> u32 {
        let (number, new) = self.written.files.of(file);
        if new {
            block.files.push(self.files[file as usize].clone());
        }
        number
    }

    /// Whether they have become large.
    pub fn are_large(&self) -> bool {
        self.frames + self.names.len() > MOST
    }

    /// Forgets all but what these samples need. Numbers that were given before are of no use any more.
    pub fn begin_anew(&mut self, waiting: &mut [&mut Vec<Sample>]) {
        let old = std::mem::take(self);
        for sample in waiting.iter_mut().flat_map(|waiting| waiting.iter_mut()) {
            let stack = &old.stacks[sample.stack as usize];
            let names = stack.iter().map(|name| {
                let name = match old.names[*name as usize].clone() {
                    Name::At { file, address } => {
                        Name::At { file: self.file(old.files[file as usize].clone()), address }
                    }
                    known => known,
                };
                self.name(name)
            });
            let names = names.collect();
            sample.stack = self.stack(names);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::windows::samples::Samples;

    fn sample(time: u64, stack: u32) -> Sample {
        Sample { time, stack, ..Sample::default() }
    }

    fn stacks(all: &Samples) -> Vec<String> {
        let names = |stack: u32| {
            all.stacks[stack as usize].iter().map(|name| all.names[*name as usize].clone()).collect::<Vec<_>>()
        };
        all.samples.iter().map(|sample| names(sample.stack).join(";")).collect()
    }

    #[test]
    fn each_name_is_written_once_and_only_if_a_sample_needs_it() {
        let mut tables = Tables::default();
        let file = tables.file(ProgramFile { path: "/bin/x".into(), build_id: String::new() });
        let [_, main, burn] = ["unused", "main", "burn"].map(|name| tables.name(Name::Known(name.into())));
        let place = tables.name(Name::At { file, address: 16 });
        let (_, first) = (tables.stack(vec![burn]), tables.stack(vec![main, place]));
        let second = tables.stack(vec![main, burn]);
        let blocks = [vec![sample(1, first), sample(2, first)], vec![sample(3, second), sample(4, first)]];
        let blocks = blocks.map(|samples| tables.block(samples, Vec::new()));
        assert_eq!((blocks[0].names.len(), blocks[0].stacks.len(), blocks[0].files.len()), (2, 1, 1));
        assert_eq!(blocks[1].names, [Name::Known("burn".into())]);
        assert_eq!((blocks[0].fresh, blocks[1].fresh, blocks[1].files.len()), (true, false, 0));
        let all = Samples::decode(&blocks.iter().flat_map(SampleBlock::encode).collect::<Vec<u8>>());
        assert_eq!(stacks(&all), ["main;[x+0x10]", "main;[x+0x10]", "main;burn", "main;[x+0x10]"]);
    }

    #[test]
    fn samples_that_wait_keep_their_stacks_when_the_tables_begin_anew() {
        let mut tables = Tables::default();
        let file = tables.file(ProgramFile { path: "/bin/x".into(), build_id: String::new() });
        let names = [tables.name(Name::Known("main".into())), tables.name(Name::At { file, address: 16 })];
        for depth in 0..=MOST as u32 / 1024 {
            tables.stack(vec![names[0]; 1024 + depth as usize]);
        }
        let last = tables.stack(names.to_vec());
        let first = tables.block(vec![sample(1, last)], Vec::new());
        assert!(tables.are_large());
        let mut waiting = vec![sample(2, last)];
        tables.begin_anew(&mut [&mut waiting]);
        assert!(!tables.are_large() && waiting[0].stack == 0);
        let second = tables.block(waiting, vec![sample(3, 0)]);
        assert!(second.fresh);
        let all = Samples::decode(&[first.encode(), second.encode()].concat());
        assert_eq!(stacks(&all), ["main;[x+0x10]", "main;[x+0x10]"]);
        assert_eq!((all.outs[0].time, all.outs[0].stack), (3, 1));
    }
}
