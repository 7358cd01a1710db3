//! Names of tasks: the text of saved_cmdlines, and names that are learned while reading.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

/// Names of tasks by pid, as stored in the text of `saved_cmdlines`.
pub struct Cmdlines {
    text: Vec<u8>,
    index: OnceLock<PidTable>,
}

impl Cmdlines {
    /// A table over `text`; nothing is parsed yet.
    pub fn new(text: Vec<u8>) -> Cmdlines {
        Cmdlines { text, index: OnceLock::new() }
    }

    /// The text as stored.
    pub fn text(&self) -> &[u8] {
        &self.text
    }

    /// The name of `pid`.
    #[inline]
    pub fn get(&self, pid: i32) -> Option<&[u8]> {
        let index = self.index.get_or_init(|| PidTable::build(&self.text));
        let (at, len) = index.get(pid)?;
        self.text.get(at as usize..at as usize + len as usize)
    }

    /// All (pid, name) lines in their stored order.
    pub fn iter(&self) -> impl Iterator<Item = (i32, &[u8])> {
        self.text.split(|&byte| byte == b'\n').filter_map(|line| {
            let (pid, at) = parse_cmdline(line)?;
            Some((pid, line.get(at..)?))
        })
    }
}

/// `PID COMM`: the pid and where the name starts.
fn parse_cmdline(line: &[u8]) -> Option<(i32, usize)> {
    let space = line.iter().take(12).position(|&byte| byte == b' ')?;
    let pid = std::str::from_utf8(&line[..space]).ok()?.parse().ok()?;
    Some((pid, space + 1))
}

/// An open-addressed map from pid to a range of a text.
struct PidTable {
    slots: Vec<Option<(i32, u32, u32)>>,
}

impl PidTable {
    fn build(text: &[u8]) -> PidTable {
        let lines = text.iter().filter(|&&byte| byte == b'\n').count() + 1;
        let mut table = PidTable { slots: vec![None; (lines * 2).next_power_of_two()] };
        let mut at = 0;
        for line in text.split(|&byte| byte == b'\n') {
            if let Some((pid, name_at)) = parse_cmdline(line) {
                let (start, len) = (at + name_at, line.len() - name_at);
                if let (Ok(start), Ok(len)) = (u32::try_from(start), u32::try_from(len)) {
                    table.insert(pid, start, len);
                }
            }
            at += line.len() + 1;
        }
        table
    }

    fn insert(&mut self, pid: i32, at: u32, len: u32) {
        let mask = self.slots.len() - 1;
        let mut slot = hash_pid(pid) & mask;
        // The table has at least twice as many slots as lines, so an empty one exists.
        while let Some((other, ..)) = self.slots[slot] {
            if other == pid {
                return;
            }
            slot = (slot + 1) & mask;
        }
        self.slots[slot] = Some((pid, at, len));
    }

    #[inline]
    fn get(&self, pid: i32) -> Option<(u32, u32)> {
        let mask = self.slots.len() - 1;
        let mut slot = hash_pid(pid) & mask;
        while let Some((other, at, len)) = *self.slots.get(slot)? {
            if other == pid {
                return Some((at, len));
            }
            slot = (slot + 1) & mask;
        }
        None
    }
}

#[inline]
fn hash_pid(pid: i32) -> usize {
    ((pid as u32).wrapping_mul(0x9e37_79b9) >> 7) as usize
}

/// Buckets of learned names.
const BUCKETS: usize = 1024;

/// Names in one bucket; more pids than this times the buckets exist only in hostile files.
const MAX_CHAIN: usize = 1024;

/// Names of tasks as known at one record: the stored table plus what was learned while reading.
///
/// A name learned at record number `seq` is known to records after it. Learning only appends, so readers on
/// other threads that ask for earlier records are not disturbed.
pub struct Names {
    table: Arc<Cmdlines>,
    any_learned: AtomicBool,
    learned: OnceLock<Vec<OnceLock<Box<Learned>>>>,
}

struct Learned {
    pid: i32,
    seq: u64,
    name: Box<[u8]>,
    next: OnceLock<Box<Learned>>,
}

impl Names {
    /// Only what is stored.
    pub fn new(table: Arc<Cmdlines>) -> Names {
        Names { table, any_learned: AtomicBool::new(false), learned: OnceLock::new() }
    }

    /// The name of `pid` for the record numbered `seq`: `<idle>` for 0, `<...>` if unknown.
    #[inline]
    pub fn at(&self, pid: i32, seq: u64) -> &[u8] {
        self.known(pid, seq).unwrap_or(if pid == 0 { b"<idle>" } else { b"<...>" })
    }

    /// The name of `pid` for the record numbered `seq`, if it has one.
    #[inline]
    pub fn known(&self, pid: i32, seq: u64) -> Option<&[u8]> {
        if pid == 0 {
            return Some(b"<idle>");
        }
        if let Some(name) = self.table.get(pid) {
            return Some(name);
        }
        if self.any_learned.load(Ordering::Acquire) {
            return self.find(pid).filter(|learned| learned.seq < seq).map(|learned| &*learned.name);
        }
        None
    }

    /// True if `pid` has a name that does not have to be learned.
    #[inline]
    pub fn is_stored(&self, pid: i32) -> bool {
        pid == 0 || self.table.get(pid).is_some()
    }

    /// True if `pid` has a name, stored or learned at any time.
    #[inline]
    pub fn is_known(&self, pid: i32) -> bool {
        self.known(pid, u64::MAX).is_some()
    }

    /// Notes a name seen in the record numbered `seq`; the first name of a pid stays.
    pub fn learn(&self, pid: i32, name: &[u8], seq: u64) {
        if pid == 0 || self.table.get(pid).is_some() {
            return;
        }
        let buckets = self.learned.get_or_init(|| (0..BUCKETS).map(|_| OnceLock::new()).collect());
        let Some(mut cell) = buckets.get(hash_pid(pid) % BUCKETS) else {
            return;
        };
        let mut new = Box::new(Learned { pid, seq, name: name.into(), next: OnceLock::new() });
        for _ in 0..MAX_CHAIN {
            match cell.get() {
                Some(learned) if learned.pid == pid => return,
                Some(learned) => cell = &learned.next,
                None => match cell.set(new) {
                    Ok(()) => return self.any_learned.store(true, Ordering::Release),
                    // Another thread was faster with this bucket; look at what it put there.
                    Err(back) => new = back,
                },
            }
        }
    }

    /// The same with another stored table: what was learned stays known.
    pub fn renewed(&self, table: Arc<Cmdlines>) -> Names {
        let names = Names::new(table);
        for mut cell in self.learned.get().into_iter().flatten() {
            while let Some(learned) = cell.get() {
                names.learn(learned.pid, &learned.name, learned.seq);
                cell = &learned.next;
            }
        }
        names
    }

    fn find(&self, pid: i32) -> Option<&Learned> {
        let mut cell = self.learned.get()?.get(hash_pid(pid) % BUCKETS)?;
        while let Some(learned) = cell.get() {
            if learned.pid == pid {
                return Some(learned);
            }
            cell = &learned.next;
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comms_may_contain_and_start_with_blanks() {
        let table = Cmdlines::new(b"12 kworker/0:1 x\n-1 odd\n77  lead\njunk\n".to_vec());
        assert_eq!(table.get(12), Some(&b"kworker/0:1 x"[..]));
        assert_eq!(table.get(-1), Some(&b"odd"[..]));
        assert_eq!(table.get(77), Some(&b" lead"[..]));
        assert_eq!(table.get(1), None);
    }

    #[test]
    fn a_learned_name_holds_for_later_records_only_and_the_first_stays() {
        let table = Cmdlines::new(b"12 init\n".to_vec());
        let names = Names::new(Arc::new(table));
        names.learn(40, b"forty", 5);
        names.learn(40, b"other", 2);
        names.learn(12, b"not me", 1);
        assert_eq!(names.at(40, 5), b"<...>");
        assert_eq!(names.at(40, 6), b"forty");
        assert_eq!(names.at(12, 9), b"init");
        assert_eq!(names.at(0, 9), b"<idle>");
    }
}
