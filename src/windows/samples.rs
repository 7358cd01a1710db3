//! Samples of programs and kernel, and switches as perf saw them: what goes into the file.
//!
//! Stacks are names, the outermost first: whoever reads the file needs neither the programs nor their maps.
//!
//! ```text
//!   period ns, lost, lost for want of room       u64 each
//!   names: count, then each with its NUL
//!   stacks: count, then each: depth, indices of names
//!   samples: count, then each: time, tid, tgid, cpu, index of its stack
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

/// All samples of a recording, in order of time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Samples {
    /// Their distance in CPU time.
    pub period_ns: u64,
    /// Records that the kernel could not keep.
    pub lost: u64,
    /// Samples without a full stack: the program or a library was not found.
    pub incomplete: u64,
    /// Names of functions.
    pub names: Vec<String>,
    /// Stacks of names, the outermost first.
    pub stacks: Vec<Vec<u32>>,
    /// The samples.
    pub samples: Vec<Sample>,
    /// When which thread began to run.
    pub switches: Vec<(u64, i32)>,
}

impl Samples {
    /// The section's payload.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        for number in [self.period_ns, self.lost, self.incomplete, self.names.len() as u64] {
            put(&mut out, number);
        }
        for name in &self.names {
            out.extend(name.bytes().filter(|byte| *byte != 0));
            out.push(0);
        }
        put(&mut out, self.stacks.len() as u64);
        for stack in &self.stacks {
            put(&mut out, stack.len() as u64);
            stack.iter().for_each(|name| put(&mut out, u64::from(*name)));
        }
        put(&mut out, self.samples.len() as u64);
        let mut before = 0;
        for sample in &self.samples {
            put(&mut out, sample.time.wrapping_sub(before));
            before = sample.time;
            for number in [sample.tid as u32, sample.tgid as u32, sample.cpu, sample.stack] {
                put(&mut out, u64::from(number));
            }
        }
        put(&mut out, self.switches.len() as u64);
        before = 0;
        for (time, tid) in &self.switches {
            put(&mut out, time.wrapping_sub(before));
            before = *time;
            put(&mut out, u64::from(*tid as u32));
        }
        out
    }

    /// What was stored; `None` if it is damaged.
    pub fn decode(bytes: &[u8]) -> Option<Samples> {
        let mut take = Take(bytes);
        let (period_ns, lost, incomplete) = (take.number()?, take.number()?, take.number()?);
        let names = take.many(|take| take.text())?;
        let stacks = take.many(|take| take.many(|take| take.word().filter(|name| (*name as usize) < names.len())))?;
        let mut before = 0_u64;
        let samples = take.many(|take| {
            before = before.wrapping_add(take.number()?);
            let [tid, tgid, cpu, stack] = [take.word()?, take.word()?, take.word()?, take.word()?];
            ((stack as usize) < stacks.len()).then_some(Sample {
                time: before,
                tid: tid as i32,
                tgid: tgid as i32,
                cpu,
                stack,
            })
        })?;
        before = 0;
        let switches = take.many(|take| {
            before = before.wrapping_add(take.number()?);
            Some((before, take.word()? as i32))
        })?;
        Some(Samples { period_ns, lost, incomplete, names, stacks, samples, switches })
    }
}

fn put(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

struct Take<'a>(&'a [u8]);

impl Take<'_> {
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

    #[test]
    fn samples_come_back_as_they_were_and_cuts_are_noticed() {
        let all = Samples {
            period_ns: 1_000_000,
            lost: 3,
            incomplete: 1,
            names: vec!["main".into(), "burn".into()],
            stacks: vec![vec![0, 1], vec![]],
            samples: vec![
                Sample { time: 1 << 50, tid: 7, tgid: 6, cpu: 1, stack: 0 },
                Sample { time: (1 << 50) + 300, tid: -1, tgid: 6, cpu: 0, stack: 1 },
            ],
            switches: vec![(5, 7), (9, 8)],
        };
        let bytes = all.encode();
        assert_eq!(Samples::decode(&bytes), Some(all));
        for cut in 0..bytes.len() {
            assert_eq!(Samples::decode(&bytes[..cut]), None, "{cut}");
        }
    }
}
