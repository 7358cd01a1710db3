//! Samples of programs and kernel, and switches as perf saw them: what goes into the file.
//!
//! Owns: the blocks in which they are stored, each whole in itself or going on where those before it ended, so that
//! they can be written while they come. Does not own: who writes them, and when.
//! Units: nanoseconds of CLOCK_MONOTONIC; addresses are those of the file they are in.
//!
//! Stacks are names, the outermost first: whoever reads the file needs neither the programs nor their maps. Where no
//! name was found there is the program's file, its build and the address.
//!
//! ```text
//!   bytes that follow
//!   1 if the tables begin anew, else 0: indices go on from the blocks before
//!   period ns; lost, without a full stack, forgotten for want of room: in this block
//!   files: count, then each: path NUL, build id in hexadecimal NUL
//!   names: count, then each: 0 and the name with its NUL, or 1 + index of a file and the address
//!   stacks: count, then each: depth, indices of names
//!   samples: count, then each: time, tid, tgid, cpu, index of its stack
//!   outs: the same: a thread left its CPU there
//!   switches: count, then each: time, tid          a thread began to run
//! ```
//! Numbers are LEB128; times are distances from the time before.

/// A sample.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sample {
    /// When, by CLOCK_MONOTONIC.
    pub time: u64,
    /// The thread.
    pub tid: i32,
    /// Its process.
    pub tgid: i32,
    /// The CPU.
    pub cpu: u32,
    /// Index of its stack.
    pub stack: u32,
}

/// A program or library.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct ProgramFile {
    /// Its path.
    pub path: String,
    /// Its build id in hexadecimal; empty if it has none.
    pub build_id: String,
}

/// What an address is called.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Name {
    /// So.
    Known(String),
    /// Its file does not say.
    At {
        /// Index of the file.
        file: u32,
        /// The address in it.
        address: u64,
    },
}

/// What is stored at once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SampleBlock {
    /// Indices do not go on from the block before.
    pub fresh: bool,
    /// Distance of samples in CPU time.
    pub period_ns: u64,
    /// Records that the kernel could not keep.
    pub lost: u64,
    /// Samples without a full stack: the program or a library was not found.
    pub incomplete: u64,
    /// Samples and switches that did not fit while it was not known whether they are wanted.
    pub forgotten: u64,
    /// Files that are new.
    pub files: Vec<ProgramFile>,
    /// Names that are new.
    pub names: Vec<Name>,
    /// Stacks that are new.
    pub stacks: Vec<Vec<u32>>,
    /// The samples.
    pub samples: Vec<Sample>,
    /// Where threads left their CPU.
    pub outs: Vec<Sample>,
    /// When which thread began to run.
    pub switches: Vec<(u64, i32)>,
}

impl SampleBlock {
    /// Its bytes, their number in front.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        for number in [u64::from(self.fresh), self.period_ns, self.lost, self.incomplete, self.forgotten] {
            put(&mut out, number);
        }
        put_all(&mut out, &self.files, |out, file| {
            text(out, &file.path);
            text(out, &file.build_id);
        });
        put_all(&mut out, &self.names, |out, name| match name {
            Name::Known(name) => {
                put(out, 0);
                text(out, name);
            }
            Name::At { file, address } => {
                put(out, 1 + u64::from(*file));
                put(out, *address);
            }
        });
        put_all(&mut out, &self.stacks, |out, stack| put_all(out, stack, |out, name| put(out, u64::from(*name))));
        for samples in [&self.samples, &self.outs] {
            let mut before = 0;
            put_all(&mut out, samples, |out, sample| {
                put(out, sample.time.wrapping_sub(std::mem::replace(&mut before, sample.time)));
                for number in [sample.tid as u32, sample.tgid as u32, sample.cpu, sample.stack] {
                    put(out, u64::from(number));
                }
            });
        }
        let mut before = 0;
        put_all(&mut out, &self.switches, |out, (time, tid)| {
            put(out, time.wrapping_sub(std::mem::replace(&mut before, *time)));
            put(out, u64::from(*tid as u32));
        });
        let mut block = Vec::with_capacity(out.len() + 5);
        put(&mut block, out.len() as u64);
        block.append(&mut out);
        block
    }
}

/// All samples of a recording, in order of time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Samples {
    /// Their distance in CPU time.
    pub period_ns: u64,
    /// Records that the kernel could not keep.
    pub lost: u64,
    /// Samples without a full stack: the program or a library was not found.
    pub incomplete: u64,
    /// Samples and switches that did not fit.
    pub forgotten: u64,
    /// Programs and libraries without a name for some address.
    pub files: Vec<ProgramFile>,
    /// Names of functions.
    pub names: Vec<String>,
    /// Which of the names are only a place: index of the name, of the file, and the address there.
    pub unnamed: Vec<(u32, u32, u64)>,
    /// Stacks of names, the outermost first.
    pub stacks: Vec<Vec<u32>>,
    /// The samples.
    pub samples: Vec<Sample>,
    /// Where threads left their CPU.
    pub outs: Vec<Sample>,
    /// When which thread began to run.
    pub switches: Vec<(u64, i32)>,
    /// Bytes after the last block that is whole.
    pub torn: usize,
}

impl Samples {
    /// What was stored, up to the first block that is cut or damaged.
    pub fn decode(bytes: &[u8]) -> Samples {
        let mut all = Samples::default();
        let mut bases = DeltaBases::default();
        let mut cursor = SampleCursor(bytes);
        while !cursor.0.is_empty() {
            all.torn = cursor.0.len();
            let Some(mut block) = cursor.block() else { break };
            if all.add(&mut bases, &mut block).is_none() {
                break;
            }
            all.torn = 0;
        }
        all.samples.sort_by_key(|sample| sample.time);
        all.outs.sort_by_key(|sample| sample.time);
        all.switches.sort_unstable();
        all
    }

    fn add(&mut self, bases: &mut DeltaBases, cursor: &mut SampleCursor<'_>) -> Option<()> {
        let fresh = cursor.number()? != 0;
        let numbers = [cursor.number()?, cursor.number()?, cursor.number()?, cursor.number()?];
        if fresh {
            *bases = DeltaBases { files: self.files.len(), names: self.names.len(), stacks: self.stacks.len() };
        }
        // A block that is damaged leaves nothing of itself.
        let files = cursor.many(|cursor| Some(ProgramFile { path: cursor.text()?, build_id: cursor.text()? }))?;
        let max = within(self.files.len() + files.len() - bases.files);
        let names = cursor.many(|cursor| match cursor.number()? {
            0 => cursor.text().map(Name::Known),
            file => {
                let file = u32::try_from(file - 1).ok().filter(|file| max(file))?;
                Some(Name::At { file, address: cursor.number()? })
            }
        })?;
        let max = within(self.names.len() + names.len() - bases.names);
        let name = |cursor: &mut SampleCursor<'_>| Some(cursor.word().filter(&max)? + bases.names as u32);
        let stacks = cursor.many(|cursor| cursor.many(name))?;
        let max = within(self.stacks.len() + stacks.len() - bases.stacks);
        let samples_of = |cursor: &mut SampleCursor<'_>| {
            let mut before = 0_u64;
            cursor.many(|cursor| {
                before = before.wrapping_add(cursor.number()?);
                let [tid, tgid, cpu, stack] = [cursor.word()?, cursor.word()?, cursor.word()?, cursor.word()?];
                let stack = Some(stack).filter(&max)? + bases.stacks as u32;
                Some(Sample { time: before, tid: tid as i32, tgid: tgid as i32, cpu, stack })
            })
        };
        let (samples, outs) = (samples_of(cursor)?, samples_of(cursor)?);
        let mut before = 0_u64;
        let switches = cursor.many(|cursor| {
            before = before.wrapping_add(cursor.number()?);
            Some((before, cursor.word()? as i32))
        })?;
        let [period_ns, lost, incomplete, forgotten] = numbers;
        self.period_ns = period_ns;
        self.lost = self.lost.saturating_add(lost);
        self.incomplete = self.incomplete.saturating_add(incomplete);
        self.forgotten = self.forgotten.saturating_add(forgotten);
        self.files.extend(files);
        for name in names {
            self.name(name, bases);
        }
        self.stacks.extend(stacks);
        self.samples.extend(samples);
        self.outs.extend(outs);
        self.switches.extend(switches);
        Some(())
    }

    fn name(&mut self, name: Name, bases: &DeltaBases) {
        let text = match name {
            Name::Known(name) => name,
            Name::At { file, address } => {
                let file = file + bases.files as u32;
                self.unnamed.push((self.names.len() as u32, file, address));
                place(&self.files[file as usize].path, address)
            }
        };
        self.names.push(text);
    }
}

/// A place without a name: `[postgres+0x1234]`.
fn place(path: &str, address: u64) -> String {
    format!("[{}+{address:#x}]", path.rsplit('/').next().unwrap_or("?"))
}

fn within(count: usize) -> impl Fn(&u32) -> bool {
    move |index| (*index as usize) < count
}

/// Where the tables of the last fresh block begin.
#[derive(Default)]
struct DeltaBases {
    files: usize,
    names: usize,
    stacks: usize,
}

fn put(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn put_all<T>(out: &mut Vec<u8>, all: &[T], mut one: impl FnMut(&mut Vec<u8>, &T)) {
    put(out, all.len() as u64);
    all.iter().for_each(|item| one(out, item));
}

fn text(out: &mut Vec<u8>, text: &str) {
    out.extend(text.bytes().filter(|byte| *byte != 0));
    out.push(0);
}

struct SampleCursor<'a>(&'a [u8]);

impl<'a> SampleCursor<'a> {
    fn block(&mut self) -> Option<SampleCursor<'a>> {
        let length = usize::try_from(self.number()?).ok()?;
        let (block, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(SampleCursor(block))
    }

    fn number(&mut self) -> Option<u64> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let (first, rest) = self.0.split_first()?;
            self.0 = rest;
            value |= u64::from(first & 0x7f) << shift;
            if first & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }

    fn word(&mut self) -> Option<u32> {
        self.number()?.try_into().ok()
    }

    fn text(&mut self) -> Option<String> {
        let end = self.0.iter().position(|byte| *byte == 0)?;
        let text = String::from_utf8_lossy(&self.0[..end]).into_owned();
        self.0 = &self.0[end + 1..];
        Some(text)
    }

    fn many<T>(&mut self, mut one: impl FnMut(&mut Self) -> Option<T>) -> Option<Vec<T>> {
        // Each takes a byte at least, so a count that cannot be true is known before anything is made room for.
        let count = self.number().filter(|count| *count <= self.0.len() as u64)?;
        (0..count).map(|_| one(self)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blocks() -> [SampleBlock; 3] {
        let known = |name: &str| Name::Known(name.into());
        let first = SampleBlock {
            fresh: true,
            period_ns: 1_000_000,
            lost: 3,
            incomplete: 1,
            names: vec![known("main"), known("burn")],
            stacks: vec![vec![0, 1], vec![]],
            samples: vec![
                Sample { time: 1 << 50, tid: 7, tgid: 6, cpu: 1, stack: 0 },
                Sample { time: (1 << 50) + 300, tid: -1, tgid: 6, cpu: 0, stack: 1 },
            ],
            switches: vec![(5, 7), (9, 8)],
            ..SampleBlock::default()
        };
        let second = SampleBlock {
            period_ns: 1_000_000,
            lost: 1,
            files: vec![ProgramFile { path: "/bin/x".into(), build_id: "ab12".into() }],
            names: vec![Name::At { file: 0, address: 0x1234 }],
            stacks: vec![vec![0, 2]],
            outs: vec![Sample { time: 71, tid: 7, tgid: 6, cpu: 1, stack: 0 }],
            samples: vec![Sample { time: 70, tid: 7, tgid: 6, cpu: 1, stack: 2 }],
            ..SampleBlock::default()
        };
        let third = SampleBlock { stacks: Vec::new(), names: Vec::new(), samples: Vec::new(), ..first.clone() };
        let names = vec![known("other")];
        let samples = vec![Sample { time: 80, stack: 0, ..Sample::default() }];
        [first, second, SampleBlock { names, samples, stacks: vec![vec![0]], ..third }]
    }

    #[test]
    fn blocks_go_on_where_those_before_ended_unless_they_begin_anew() {
        let bytes: Vec<u8> = blocks().iter().flat_map(SampleBlock::encode).collect();
        let all = Samples::decode(&bytes);
        assert_eq!(all.names, ["main", "burn", "[x+0x1234]", "other"]);
        assert_eq!(all.unnamed, [(2, 0, 0x1234)]);
        assert_eq!(all.stacks, [vec![0, 1], vec![], vec![0, 2], vec![3]]);
        let seen: Vec<(u64, u32)> = all.samples.iter().map(|sample| (sample.time, sample.stack)).collect();
        assert_eq!(seen, [(70, 2), (80, 3), (1 << 50, 0), ((1 << 50) + 300, 1)]);
        assert_eq!(all.outs, [Sample { time: 71, tid: 7, tgid: 6, cpu: 1, stack: 0 }]);
        assert_eq!((all.lost, all.incomplete, all.torn), (7, 2, 0));
        assert_eq!(all.switches, [(5, 7), (5, 7), (9, 8), (9, 8)]);
    }

    #[test]
    fn a_cut_costs_the_last_block_only() {
        let [first, second, _] = blocks().map(|block| block.encode());
        let (whole, alone) = ([first.clone(), second.clone()].concat(), Samples::decode(&first));
        for cut in first.len() + 1..whole.len() {
            let torn = Samples { torn: cut - first.len(), ..alone.clone() };
            assert_eq!(Samples::decode(&whole[..cut]), torn, "{cut}");
        }
        for cut in 1..first.len() {
            assert_eq!(Samples::decode(&first[..cut]).torn, cut);
        }
    }

    #[test]
    fn indices_that_point_nowhere_end_the_reading() {
        let [first, second, third] = blocks();
        let bad = [
            SampleBlock { stacks: vec![vec![2]], ..first.clone() },
            SampleBlock { samples: vec![Sample { stack: 2, ..Sample::default() }], ..first.clone() },
            SampleBlock { names: vec![Name::At { file: 0, address: 1 }], ..third },
        ];
        for bad in bad {
            let bytes = [first.encode(), bad.encode(), second.encode()].concat();
            let all = Samples::decode(&bytes);
            assert_eq!((all.samples.len(), all.torn), (2, bytes.len() - first.encode().len()), "{bad:?}");
        }
    }
}
