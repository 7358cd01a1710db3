//! Tests of selection: made records, of which some are wanted.

use std::sync::Arc;

use super::*;
use crate::decode::Registry;
use crate::report::reading::Reading;
use crate::report::reading::testing::*;
use crate::wire::tables::Cmdlines;

/// An exit, a wake-up of task 9, a switch to task 6, each with its stack, on CPU 0, and an exit on CPU 1.
fn input() -> Input {
    let cpu_0 = [
        (10, record(EXIT, 5, &[("pid", 5)])),
        (11, record(STACK, 5, &[])),
        (20, record(WAKING, 5, &[("pid", 9)])),
        (21, record(STACK, 5, &[])),
        (30, record(SWITCH, 7, &[("prev_pid", 7), ("next_pid", 6)])),
        (31, record(STACK, 7, &[])),
    ];
    let cpu_1 = [(25, record(EXIT, 6, &[("pid", 6)])), (26, record(STACK, 6, &[]))];
    let mut trace = trace();
    trace.cmdlines = Arc::new(Cmdlines::new(b"5 bash\n6 bats\n7 cat\n".to_vec()));
    file("made", trace, vec![buffer("", &[(0, &[page(&cpu_0)]), (1, &[page(&cpu_1)])])])
}

fn selected(selection: Selection) -> Vec<u64> {
    times_of(&lines(vec![input()], settings(), &selection))
}

fn with(change: impl FnOnce(&mut Selection)) -> Vec<u64> {
    let mut selection = Selection::default();
    change(&mut selection);
    selected(selection)
}

fn filter(text: &str, negative: bool) -> FilterArg {
    FilterArg { text: text.to_owned(), negative, file: None }
}

#[test]
fn without_a_selection_everything_is_read() {
    assert_eq!(selected(Selection::default()), [10, 11, 20, 21, 25, 26, 30, 31]);
}

#[test]
fn stacks_go_the_way_of_the_record_before_them_on_their_cpu() {
    // The exit on CPU 1 comes between the wake-up's stack and the switch.
    assert_eq!(with(|selection| selection.events = vec!["sched_waking".to_owned()]), [20, 21]);
    assert_eq!(with(|selection| selection.events = vec!["sched_process_exit".to_owned()]), [10, 11, 25, 26]);
}

#[test]
fn stacks_follow_whatever_chunk_the_record_before_is_in() {
    let pages =
        [page(&[(10, record(WAKING, 5, &[]))]), page(&[(11, record(STACK, 5, &[])), (12, record(EXIT, 5, &[]))])];
    let selection = |event: &str| Selection { events: vec![event.to_owned()], ..Selection::default() };
    let read = |event: &str| times_of(&lines(vec![made(&[(0, &pages)])], settings(), &selection(event)));
    assert_eq!(read("sched_waking"), [10, 11]);
    assert_eq!(read("sched_process_exit"), [12]);
}

#[test]
fn events_are_globs_of_names_or_of_systems_and_names() {
    assert_eq!(with(|selection| selection.events = vec!["*_switch".to_owned()]), [30, 31]);
    assert_eq!(with(|selection| selection.events = vec!["sched:*wak*".to_owned()]), [20, 21]);
    assert_eq!(with(|selection| selection.events = vec!["irq:*".to_owned()]), [0_u64; 0]);
}

#[test]
fn stacks_can_be_asked_for_by_name() {
    let stacks = with(|selection| selection.events = vec!["kernel_stack".to_owned()]);
    assert_eq!(stacks, [11, 21, 26, 31]);
}

#[test]
fn only_the_cpus_asked_for_are_read() {
    assert_eq!(with(|selection| selection.cpus = vec![1]), [25, 26]);
    assert_eq!(with(|selection| selection.cpus = vec![7]), [0_u64; 0]);
    assert_eq!(with(|selection| selection.cpus = vec![0, 1]).len(), 8);
}

#[test]
fn a_task_is_whom_a_record_is_of_or_about() {
    assert_eq!(with(|selection| selection.pids = vec![5]), [10, 11, 20, 21]);
    assert_eq!(with(|selection| selection.pids = vec![9]), [20, 21], "it is woken");
    assert_eq!(with(|selection| selection.pids = vec![6]), [25, 26, 30, 31], "it is switched to");
}

#[test]
fn tasks_are_globs_of_their_names_too() {
    assert_eq!(with(|selection| selection.comms = vec!["ba*".to_owned()]), [10, 11, 20, 21, 25, 26, 30, 31]);
    assert_eq!(with(|selection| selection.comms = vec!["cat".to_owned()]), [30, 31]);
}

#[test]
fn conditions_of_different_kinds_must_all_hold() {
    let both = with(|selection| {
        selection.pids = vec![5];
        selection.events = vec!["sched_waking".to_owned()];
    });
    assert_eq!(both, [20, 21]);
    let none = with(|selection| {
        selection.pids = vec![5];
        selection.cpus = vec![1];
    });
    assert_eq!(none, [0_u64; 0]);
}

#[test]
fn children_are_followed_from_their_fork_on() {
    let records = [
        (10, record(EXIT, 8, &[])),
        (20, record(FORK, 5, &[("parent_pid", 5), ("child_pid", 8)])),
        (30, record(EXIT, 8, &[])),
        (40, record(FORK, 8, &[("parent_pid", 8), ("child_pid", 11)])),
        (50, record(EXIT, 11, &[])),
        (60, record(EXIT, 12, &[])),
    ];
    let read = |follow_children: bool, events: &[&str], from: u64| {
        let events = events.iter().map(|event| (*event).to_owned()).collect();
        let selection = Selection { pids: vec![5], follow_children, events, from, ..Selection::default() };
        times_of(&lines(vec![made(&[(0, &[page(&records)])])], settings(), &selection))
    };
    assert_eq!(read(false, &[], 0), [20]);
    assert_eq!(read(true, &[], 0), [20, 30, 40, 50]);
    assert_eq!(read(true, &["sched_process_exit"], 0), [30, 50], "forks that are not shown count as well");
    assert_eq!(read(true, &[], 35), [40, 50], "so do those before the time asked for");
}

#[test]
fn a_fork_on_a_cpu_that_is_not_asked_for_counts() {
    let fork = page(&[(20, record(FORK, 5, &[("parent_pid", 5), ("child_pid", 8)]))]);
    let exit = page(&[(30, record(EXIT, 8, &[]))]);
    let selection = Selection { pids: vec![5], follow_children: true, cpus: vec![1], ..Selection::default() };
    let input = made(&[(0, &[fork]), (1, &[exit])]);
    assert_eq!(times_of(&lines(vec![input], settings(), &selection)), [30]);
}

#[test]
fn what_ran_in_interrupts_can_be_left_out() {
    let flagged = |flags: u8| {
        let mut data = record(EXIT, 5, &[]);
        data[2] = flags;
        data
    };
    // TRACE_FLAG_HARDIRQ 0x08, TRACE_FLAG_SOFTIRQ 0x10, TRACE_FLAG_NMI 0x40
    let records =
        [(10, flagged(0)), (20, flagged(0x08)), (30, flagged(0x10)), (40, flagged(0x18)), (50, flagged(0x40))];
    let read = |without_hardirq: bool, without_softirq: bool| {
        let selection = Selection { without_hardirq, without_softirq, ..Selection::default() };
        times_of(&lines(vec![made(&[(0, &[page(&records)])])], settings(), &selection))
    };
    assert_eq!(read(true, false), [10, 30]);
    assert_eq!(read(false, true), [10, 20, 50]);
    assert_eq!(read(true, true), [10]);
}

#[test]
fn one_of_the_filters_must_hold_and_none_of_the_negative_ones() {
    let read = |filters: &[FilterArg]| with(|selection| selection.filters = filters.to_vec());
    assert_eq!(read(&[filter("sched_waking: pid == 9", false)]), [20, 21]);
    assert_eq!(read(&[filter("sched_waking: pid == 1", false)]), [0_u64; 0]);
    let two = [filter("sched_waking: pid == 9", false), filter("sched_switch", false)];
    assert_eq!(read(&two), [20, 21, 30, 31]);
    assert_eq!(read(&[filter("sched_process_exit: pid == 5", true)]), [11, 20, 21, 25, 26, 30, 31]);
    let both = [filter("sched_process_exit", false), filter("sched_process_exit: pid == 5", true)];
    assert_eq!(read(&both), [25, 26]);
}

#[test]
fn what_is_before_the_first_time_wanted_is_left_out() {
    assert_eq!(with(|selection| selection.from = 21), [21, 25, 26, 30, 31]);
}

fn refused(change: impl FnOnce(&mut Selection)) -> SelectError {
    let mut selection = Selection::default();
    change(&mut selection);
    match Reading::new(vec![input()], Registry::EMPTY, settings(), &selection) {
        Err(crate::report::ReadError::Select(error)) => error,
        _ => panic!("it was not refused"),
    }
}

#[test]
fn a_filter_about_events_that_no_file_has_is_refused() {
    let error = refused(|selection| selection.filters = vec![filter("nothing: pid == 1", false)]);
    assert_eq!(error, SelectError::NoEvent("nothing: pid == 1".to_owned()));
    let error = refused(|selection| selection.filters = vec![filter("sched_waking: pid ==", false)]);
    assert!(matches!(error, SelectError::Filter(..)), "{error:?}");
}

#[test]
fn a_filter_can_be_for_one_of_several_files() {
    let only = |file: usize| FilterArg { file: Some(file), ..filter("sched_switch", false) };
    let selection = Selection { filters: vec![only(1)], ..Selection::default() };
    let found = times_of(&lines(vec![input(), input()], settings(), &selection));
    // The first file is read whole; of the second the switch and its stack.
    assert_eq!(found.len(), 8 + 2);
}

#[test]
fn events_that_nobody_wants_are_left_out_where_they_are_found() {
    let gate = |selection: &Selection| Gate::new(&[input()], selection, Compat::Rtrec).unwrap();
    assert!(gate(&Selection::default()).is_open());
    let gate = gate(&Selection { events: vec!["sched_waking".to_owned()], ..Selection::default() });
    assert!(!gate.is_open());
    let wants = gate.wants(0);
    let want = |event: &str| {
        let (system, name) = event.split_once(':').unwrap();
        wants[usize::from(input().trace.formats.find(system, name).unwrap())]
    };
    assert_eq!((want(WAKING), want(EXIT), want(STACK)), (Wanted::Yes, Wanted::No, Wanted::AsBefore));
}

#[test]
fn a_real_file_has_as_many_switches_as_its_report_has_lines() {
    let report = include_str!("../../../../tests/fixtures/v7-zstd-events/trace.report");
    let count = report.lines().filter(|line| line.contains(" sched_switch: ")).count();
    let selection = Selection { events: vec!["sched_switch".to_owned()], ..Selection::default() };
    let found = lines(vec![fixture("v7-zstd-events")], settings(), &selection);
    assert_eq!((found.len(), count), (117, 117));
}
