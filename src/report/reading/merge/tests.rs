//! Tests of the merge: order, ties, limits, leaves.

use crate::decode::{Compat, Registry, Style};
use crate::plugins::REGISTRY;
use crate::report::reading::Reading;
use crate::report::reading::select::Selection;
use crate::report::reading::settings::ReadSettings;
use crate::report::reading::testing::*;
use crate::wire::subbuf::Lost;

fn all(inputs: Vec<crate::report::Input>, settings: ReadSettings) -> Vec<String> {
    lines(inputs, settings, &Selection::default())
}

#[test]
fn records_of_all_cpus_come_in_order_of_time() {
    let input = made(&[(0, &[exits(&[10, 40]), exits(&[50])]), (3, &[exits(&[20, 30, 60])])]);
    assert_eq!(times_of(&all(vec![input], settings())), [10, 20, 30, 40, 50, 60]);
}

#[test]
fn of_equal_times_the_first_file_its_first_buffer_and_its_lowest_cpu_come_first() {
    let at = |pid: i32| page(&[(10, record(EXIT, pid, &[]))]);
    let first = vec![buffer("", &[(0, &[at(1)]), (2, &[at(2)])]), buffer("second", &[(0, &[at(3)]), (1, &[at(4)])])];
    let second = vec![buffer("", &[(0, &[at(5)])])];
    let inputs = vec![file("a", trace(), first), file("b", trace(), second)];
    let tasks: Vec<String> =
        all(inputs, settings()).iter().map(|line| line.split(' ').nth(2).unwrap().to_owned()).collect();
    assert_eq!(tasks, ["1", "2", "3", "4", "5"]);
}

#[test]
fn a_cpu_whose_time_goes_back_keeps_its_own_order() {
    let input = || made(&[(0, &[exits(&[100]), exits(&[50, 120])]), (1, &[exits(&[70, 110])])]);
    let mut reading = Reading::new(
        vec![input()],
        Registry::EMPTY,
        ReadSettings { check_order: true, ..settings() },
        &Selection::default(),
    )
    .unwrap();
    let (lines, outcome) = read(&mut reading);
    assert_eq!(times_of(&lines), [70, 100, 50, 110, 120]);
    let notes: Vec<String> = outcome.notes.iter().map(|(_, note)| note.to_string()).collect();
    assert!(notes[0].contains("1 records are older than the record before them"), "{notes:?}");
}

#[test]
fn what_comes_after_the_last_time_wanted_is_left_out() {
    let input = made(&[(0, &[exits(&[10, 20]), exits(&[30])]), (1, &[exits(&[20, 25])])]);
    assert_eq!(times_of(&all(vec![input], ReadSettings { to: Some(20), ..settings() })), [10, 20, 20]);
}

#[test]
fn earlier_records_behind_one_that_is_too_late_are_still_wanted() {
    let input = made(&[(0, &[exits(&[100]), exits(&[50]), exits(&[120])])]);
    assert_eq!(times_of(&all(vec![input], ReadSettings { to: Some(60), ..settings() })), [50]);
}

#[test]
fn no_more_than_so_many_records_are_given() {
    let input = || made(&[(0, &[exits(&[10, 30])]), (1, &[exits(&[20, 40])])]);
    assert_eq!(times_of(&all(vec![input()], ReadSettings { head: Some(3), ..settings() })), [10, 20, 30]);
    assert!(all(vec![input()], ReadSettings { head: Some(0), ..settings() }).is_empty());
}

#[test]
fn records_are_numbered_from_batch_to_batch_whatever_the_threads() {
    for threads in [1, 3] {
        let settings = ReadSettings { threads, ..settings() };
        let inputs = vec![fixture("v7-zstd-events")];
        let mut reading = Reading::new(inputs, REGISTRY, settings, &Selection::default()).unwrap();
        let (mut next, mut last) = (0, 0);
        let outcome = reading.each(|record| {
            assert_eq!(record.seq, next);
            assert!(record.time() >= last);
            (next, last) = (next + 1, record.time());
        });
        // As many lines as trace-cmd's report of the file has records.
        assert_eq!((next, outcome.records), (1516, 1516));
    }
}

const FUNC: i64 = 0x1000;

fn entry() -> Vec<u8> {
    record(ENTRY, 7, &[("func", FUNC)])
}

fn exit() -> Vec<u8> {
    record(RETURN, 7, &[("func", FUNC)])
}

fn folded(compat: Compat, cpus: &[(u32, &[Vec<u8>])]) -> Vec<String> {
    let style = Style { compat, ..Style::default() };
    let settings = ReadSettings { fold_leaves: true, style, ..settings() };
    read(&mut Reading::new(vec![made(cpus)], REGISTRY, settings, &Selection::default()).unwrap()).0
}

#[test]
fn an_exit_that_comes_next_becomes_part_of_its_entry() {
    let lines = folded(Compat::Rtrec, &[(0, &[page(&[(10, entry()), (20, exit())])])]);
    assert_eq!(lines, ["10 0 7 funcgraph_entry and its exit"]);
}

#[test]
fn an_exit_at_the_start_of_the_next_chunk_comes_next_too() {
    let lines = folded(Compat::Rtrec, &[(0, &[page(&[(10, entry())]), page(&[(20, exit()), (30, exit())])])]);
    assert_eq!(lines, ["10 0 7 funcgraph_entry and its exit", "30 0 7 funcgraph_exit"]);
}

#[test]
fn an_exit_of_another_function_or_task_does_not() {
    let function = record(RETURN, 7, &[("func", FUNC + 8)]);
    assert_eq!(folded(Compat::Rtrec, &[(0, &[page(&[(10, entry()), (20, function)])])]).len(), 2);
    let task = record(RETURN, 8, &[("func", FUNC)]);
    assert_eq!(folded(Compat::Rtrec, &[(0, &[page(&[(10, entry()), (20, task)])])]).len(), 2);
    assert_eq!(folded(Compat::Rtrec, &[(0, &[page(&[(10, entry())])]), (1, &[page(&[(20, exit())])])]).len(), 2);
}

#[test]
fn another_record_of_the_same_cpu_keeps_entry_and_exit_apart() {
    let lines = folded(Compat::Rtrec, &[(0, &[page(&[(10, entry()), (15, record(EXIT, 7, &[])), (20, exit())])])]);
    assert_eq!(lines.len(), 3);
}

#[test]
fn a_record_of_another_cpu_keeps_them_apart_in_trace_cmd_alone() {
    let cpus: &[(u32, &[Vec<u8>])] = &[(0, &[page(&[(10, entry()), (20, exit())])]), (1, &[exits(&[15])])];
    assert_eq!(folded(Compat::Rtrec, cpus), ["10 0 7 funcgraph_entry and its exit", "15 1 7 sched_process_exit"]);
    assert_eq!(folded(Compat::V34, cpus).len(), 3);
}

#[test]
fn a_loss_keeps_them_apart() {
    let pages = [page(&[(10, entry())]), lossy(Lost::Unknown, &[(20, exit())])];
    let lines = folded(Compat::Rtrec, &[(0, &pages)]);
    assert_eq!(lines, ["10 0 7 funcgraph_entry", "lost some before 20", "20 0 7 funcgraph_exit"]);
}

#[test]
fn without_folding_every_exit_is_a_record() {
    let input = made(&[(0, &[page(&[(10, entry()), (20, exit())])])]);
    let mut reading = Reading::new(vec![input], REGISTRY, settings(), &Selection::default()).unwrap();
    assert_eq!(read(&mut reading).0, ["10 0 7 funcgraph_entry", "20 0 7 funcgraph_exit"]);
}
