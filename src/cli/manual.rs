//! What a man page says beyond `--help`: exit status, files, environment, related pages, examples.
//!
//! Plain data, a [`Page`] for each command. `tests/files/cli.rs` appends it to what clap knows and writes `man/`; a command
//! without a page, or a page without a command, fails there.

/// The further sections of one man page.
#[derive(Clone, Copy, Debug)]
pub struct Page {
    /// The command without `rtrec`, words separated by blanks: `record`, `rt start`; `rtrec` itself is `rtrec`.
    pub command: &'static str,
    /// Each exit status, and when it is returned.
    pub exit_status: &'static [(&'static str, &'static str)],
    /// Each file or folder that the command reads or writes, and what for.
    pub files: &'static [(&'static str, &'static str)],
    /// Each environment variable that the command reads, and what it changes.
    pub environment: &'static [(&'static str, &'static str)],
    /// Related pages, with their sections: `rtrec-report(1)`.
    pub see_also: &'static [&'static str],
    /// What an example does, and its command line.
    pub examples: &'static [(&'static str, &'static str)],
}

/// A sentence about a value: an exit status, a file, a variable.
type Row = (&'static str, &'static str);

const DONE: Row = ("0", "The command has done what was asked for.");
const REFUSED: Row = ("2", "Nothing was done: the command line is wrong, or what was asked for is impossible here.");
const NOT_RUN: Row = ("126, 127", "COMMAND cannot be executed (126), or was not found (127).");
const SIGNALLED: Row = (
    "128 + N",
    "Signal N ended rtrec before there was a trace, or a second signal N kept it from completing the trace.",
);
const OF_COMMAND: Row = ("other", "The exit status of COMMAND, or 128 + N if signal N ended it.");

const TRACEFS: Row = (
    "/sys/kernel/tracing",
    "The kernel's control files (tracefs). rtrec uses it where it is mounted, also below a debugfs, or mounts it here.",
);
const KALLSYMS: Row = ("/proc/kallsyms", "Addresses and names of kernel functions; traces store them.");
const FTRACE_ENABLED: Row =
    ("/proc/sys/kernel/ftrace_enabled", "Switches function tracing for the whole system; restored at the end.");
const TEMPORARY: Row = (
    ".NAME.rtrec-PID.*",
    "Temporary files beside the output file NAME, or in the folder of --temp: data of each CPU, and the journal of what \
     was changed. rtrec restore completes a trace from them, rtrec reset reads the journal.",
);
const JOURNALS: Row = (
    "/run/rtrec/PID",
    "A link to the journal of the recorder with process id PID; a recorder that is killed leaves it.",
);
const STREAM_JOURNAL: Row = ("/run/rtrec/.stream.rtrec-PID.journal", "The journal of a recorder that writes no file.");
const BTF: Row = ("/sys/kernel/btf", "Types of the kernel and its modules, for arguments by name.");
const DEBUG_FILES: Row =
    ("/usr/lib/debug", "Separate debug files, found by build id or by name, for programs without debug information.");
const LIBRARIES: Row = ("/etc/ld.so.conf", "Folders in which libraries that are given by name are looked up.");
const SESSIONS: Row = (
    "/run/rtrec/rt/NAME.pid, .json, .status",
    "A session: its process id, what it records, and its counts so far. The first is locked as long as the session runs.",
);

const PATH: Row = ("PATH", "Folders in which COMMAND and the programs of probes are looked up.");
const LIBRARY_PATH: Row = ("LD_LIBRARY_PATH", "Folders in which libraries of probes are looked up first.");
const SUDO: Row = ("SUDO_UID, SUDO_GID", "Owner of the output file if rtrec runs as root.");
const TMPDIR: Row = ("TMPDIR", "Folder of temporary traces.");
const PAGER: Row = (
    "RTREC_PAGER, PAGER",
    "The pager for output on a terminal, the first of them that is set; less if neither is. Empty or cat means no pager.",
);
const LESS: Row = ("LESS", "Options of less; rtrec sets FRX if it is not set.");
const NO_COLOR: Row = ("NO_COLOR", "No colours, if it is set and not empty; --color overrides it.");
const TERM: Row = ("TERM", "On a terminal that is called dumb there are no colours and no pager.");
const TZ: Row = ("TZ", "Time zone of the times of day after --from and --to.");

/// All man pages.
pub const PAGES: &[Page] = &[
    Page {
        command: "rtrec",
        exit_status: &[
            DONE,
            ("1", "It was done, but not wholly: part of a file is damaged, a setting could not be restored."),
            REFUSED,
            ("other", "Commands that run another command return the exit status of that one."),
        ],
        files: &[TRACEFS, ("trace.dat", "The trace that rtrec record writes and rtrec report reads.")],
        environment: &[],
        see_also: &["rtrec-record(1)", "rtrec-report(1)", "rtrec-rt(1)", "trace-cmd(1)", "trace-cmd.dat(5)"],
        examples: &[
            ("Record all that do_sys_open calls while ls runs:", "rtrec record -p function_graph -g do_sys_open ls"),
            ("Print that trace:", "rtrec report"),
        ],
    },
    Page {
        command: "record",
        exit_status: &[
            (
                "0",
                "The trace is complete, and COMMAND, if there is one, returned 0; without COMMAND also after Ctrl-C. \
                 With --daemonize: recording runs.",
            ),
            ("1", "An error ended the recording early; the file holds what was recorded up to then."),
            REFUSED,
            NOT_RUN,
            SIGNALLED,
            OF_COMMAND,
        ],
        files: &[
            ("trace.dat", "The output file, unless -o names another; with --rotate trace.dat.0001 and so on."),
            TEMPORARY,
            JOURNALS,
            ("/var/run/rtrec-record.pid", "The process id of a recording with --daemonize; locked as long as it runs."),
            TRACEFS,
            FTRACE_ENABLED,
            KALLSYMS,
            BTF,
            DEBUG_FILES,
            LIBRARIES,
        ],
        environment: &[
            PATH,
            LIBRARY_PATH,
            SUDO,
            ("HOME, USER, LOGNAME", "Set for COMMAND to those of the user of --user."),
        ],
        see_also: &[
            "rtrec-report(1)",
            "rtrec-stream(1)",
            "rtrec-rt(1)",
            "rtrec-restore(1)",
            "rtrec-reset(1)",
            "trace-cmd-record(1)",
        ],
        examples: &[
            ("Record all that do_sys_open calls while ls runs:", "rtrec record -p function_graph -g do_sys_open ls"),
            (
                "Record the events of the scheduler and of interrupts for a second:",
                "rtrec record -e sched -e 'irq:*' -f 'irq != 0' -o irq.dat sleep 1",
            ),
            ("Record the system calls of make and of all that it starts:", "rtrec record -e syscalls -F -c make"),
            (
                "Record locks in an instance with large buffers of its own, for ten seconds:",
                "rtrec record -e sched -B locks -e lock -b 16M --duration 10s",
            ),
            (
                "Keep the last 30 seconds before the kernel kills a task for want of memory:",
                "rtrec record -e sched --tail 30s --until oom:mark_victim",
            ),
        ],
    },
    Page {
        command: "stream",
        exit_status: &[
            ("0", "COMMAND, if there is one, returned 0; or the reader of stdout closed it."),
            ("1", "An error ended the recording early."),
            REFUSED,
            NOT_RUN,
            SIGNALLED,
            OF_COMMAND,
        ],
        files: &[STREAM_JOURNAL, JOURNALS, TRACEFS, FTRACE_ENABLED, KALLSYMS, BTF, DEBUG_FILES, LIBRARIES],
        environment: &[PATH, LIBRARY_PATH],
        see_also: &["rtrec-record(1)", "rtrec-report(1)", "rtrec-reset(1)", "trace-cmd-stream(1)"],
        examples: &[
            ("Print the task switches of make:", "rtrec stream -e sched:sched_switch -F make"),
            ("Print the first hundred interrupts as JSON:", "rtrec stream -e 'irq:*' --format json | head -100"),
            (
                "Print the file system calls of a process with little delay:",
                "rtrec stream -p function -l 'vfs_*' -P 4711 --delay 100ms",
            ),
        ],
    },
    Page {
        command: "uprobe",
        exit_status: &[
            ("0", "COMMAND, if there is one, returned 0; or the reader of stdout closed it."),
            ("1", "An error ended the trace early; or nothing matches the glob of --list."),
            REFUSED,
            NOT_RUN,
            SIGNALLED,
            OF_COMMAND,
        ],
        files: &[
            ("/sys/kernel/tracing/uprobe_events", "The probes, removed when the trace ends."),
            STREAM_JOURNAL,
            JOURNALS,
            DEBUG_FILES,
            LIBRARIES,
        ],
        environment: &[PATH, LIBRARY_PATH, SUDO, TMPDIR],
        see_also: &["rtrec-kprobe(1)", "rtrec-probe(1)", "rtrec-record(1)", "rtrec-debuginfo(1)", "rtrec-symbolize(1)"],
        examples: &[
            ("Print every line that is typed into a bash:", "rtrec uprobe bash:readline%return '+0($retval):string'"),
            (
                "Print two variables of a program at a line of its source:",
                "rtrec uprobe ./prog:main.c:120 count t->name -- ./prog",
            ),
            ("Count the allocations of ls:", "rtrec uprobe 'libc:*alloc' --count -- ls"),
            ("List the functions of a program that can be probed:", "rtrec uprobe --list '*req*' ./server"),
        ],
    },
    Page {
        command: "kprobe",
        exit_status: &[
            ("0", "COMMAND, if there is one, returned 0; or the reader of stdout closed it."),
            ("1", "An error ended the trace early; or no function matches the glob of --list."),
            REFUSED,
            NOT_RUN,
            SIGNALLED,
            OF_COMMAND,
        ],
        files: &[
            ("/sys/kernel/tracing/kprobe_events", "The probes, removed when the trace ends."),
            ("/sys/kernel/debug/kprobes/blacklist", "Functions that the kernel does not let anybody probe."),
            STREAM_JOURNAL,
            JOURNALS,
            KALLSYMS,
            BTF,
        ],
        environment: &[PATH, SUDO, TMPDIR],
        see_also: &["rtrec-uprobe(1)", "rtrec-probe(1)", "rtrec-record(1)"],
        examples: &[
            ("Print the files that ls opens:", "rtrec kprobe do_sys_openat2 filename:ustring -- ls"),
            (
                "Print what vfs_read returns, for five seconds:",
                "rtrec kprobe vfs_read%return '$retval:s64' --duration 5s",
            ),
            (
                "Print the name of each file that is written, and the number of bytes:",
                "rtrec kprobe vfs_write file->f_path.dentry->d_name.name:string count",
            ),
            ("List the functions of TCP that can be probed:", "rtrec kprobe --list 'tcp_*'"),
        ],
    },
    Page {
        command: "probe",
        exit_status: &[DONE, ("1", "A probe that a killed recorder left could not be removed."), REFUSED],
        files: &[
            (
                "/sys/kernel/tracing/kprobe_events, uprobe_events, dynamic_events",
                "The definitions of all probes; they stay until somebody removes them or the machine is restarted.",
            ),
            DEBUG_FILES,
            LIBRARIES,
            BTF,
        ],
        environment: &[PATH, LIBRARY_PATH],
        see_also: &[
            "rtrec-probe-add(1)",
            "rtrec-probe-del(1)",
            "rtrec-uprobe(1)",
            "rtrec-kprobe(1)",
            "rtrec-record(1)",
        ],
        examples: &[
            ("Define a probe that stays:", "rtrec probe add --uprobe libc:malloc 'size=$arg1'"),
            ("Record it:", "rtrec record -e rtrec:malloc -- ls"),
            ("Remove it:", "rtrec probe del malloc"),
        ],
    },
    Page {
        command: "probe add",
        exit_status: &[DONE, REFUSED],
        files: &[(
            "/sys/kernel/tracing/kprobe_events, uprobe_events, dynamic_events",
            "The definitions of all probes.",
        )],
        environment: &[PATH, LIBRARY_PATH],
        see_also: &["rtrec-probe(1)", "rtrec-probe-del(1)", "rtrec-uprobe(1)", "rtrec-kprobe(1)"],
        examples: &[
            ("Define a probe in a library:", "rtrec probe add --uprobe libc:malloc 'size=$arg1'"),
            (
                "Print the line that would define a probe in the kernel:",
                "rtrec probe add --kprobe --dry-run vfs_read count",
            ),
        ],
    },
    Page {
        command: "probe del",
        exit_status: &[
            DONE,
            ("1", "A probe that a killed recorder left could not be removed."),
            ("2", "There is no probe of that name, or the kernel did not remove it."),
        ],
        files: &[(
            "/sys/kernel/tracing/kprobe_events, uprobe_events, dynamic_events",
            "The definitions of all probes.",
        )],
        environment: &[],
        see_also: &["rtrec-probe(1)", "rtrec-probe-list(1)", "rtrec-reset(1)"],
        examples: &[
            ("Remove a probe:", "rtrec probe del malloc"),
            ("Remove the probes of recorders that were killed:", "rtrec probe del --stale"),
        ],
    },
    Page {
        command: "probe list",
        exit_status: &[DONE, REFUSED],
        files: &[(
            "/sys/kernel/tracing/kprobe_events, uprobe_events, dynamic_events",
            "The definitions of all probes.",
        )],
        environment: &[],
        see_also: &["rtrec-probe(1)", "rtrec-probe-show(1)"],
        examples: &[("List all probes, whoever made them:", "rtrec probe list --all")],
    },
    Page {
        command: "probe show",
        exit_status: &[DONE, ("2", "There is no probe of that name.")],
        files: &[(
            "/sys/kernel/tracing/kprobe_profile, uprobe_profile",
            "How often each probe was hit, and how often it was missed.",
        )],
        environment: &[],
        see_also: &["rtrec-probe(1)", "rtrec-probe-list(1)"],
        examples: &[("Show the fields and the hits of a probe:", "rtrec probe show malloc")],
    },
    Page {
        command: "symbolize",
        exit_status: &[
            DONE,
            ("1", "A file that addresses belong to could not be read; the others have their names."),
            REFUSED,
        ],
        files: &[
            ("/proc/PID/maps, /proc/PID/root", "The files that a process has mapped, in its own mount namespace."),
            DEBUG_FILES,
            LIBRARIES,
        ],
        environment: &[PATH, LIBRARY_PATH],
        see_also: &["rtrec-debuginfo(1)", "rtrec-report(1)", "addr2line(1)"],
        examples: &[
            ("Find the function at an address of a program:", "echo 0x401136 | rtrec symbolize ./prog"),
            (
                "Give names to the addresses in the folded stacks of a process:",
                "rtrec symbolize -p 4711 --lines < stacks.folded > named.folded",
            ),
        ],
    },
    Page {
        command: "debuginfo",
        exit_status: &[DONE, ("1", "One of the files could not be read; the others are shown."), REFUSED],
        files: &[
            ("/proc/PID/maps, /proc/PID/root", "The files that a process has mapped, in its own mount namespace."),
            DEBUG_FILES,
            LIBRARIES,
        ],
        environment: &[PATH, LIBRARY_PATH],
        see_also: &["rtrec-symbolize(1)", "rtrec-uprobe(1)"],
        examples: &[
            ("Show what a process has mapped:", "rtrec debuginfo -p 4711"),
            ("Show a program and a library:", "rtrec debuginfo bash libc"),
        ],
    },
    Page {
        command: "report",
        exit_status: &[
            ("0", "The report is complete; or the reader of stdout closed it, or the pager was left."),
            (
                "1",
                "The report is complete as far as the file is: part of it is damaged or missing, and the notes on stderr say \
                 which; or --check-events found a format that cannot be parsed. With -q the notes are left out, and the \
                 status is 0.",
            ),
            ("2", "There is no report: a file cannot be read, or an option or filter is wrong."),
        ],
        files: &[
            (
                "trace.dat",
                "The file to read, if none is named. One that is still being recorded is read as far as it is.",
            ),
            TEMPORARY,
            DEBUG_FILES,
        ],
        environment: &[PAGER, LESS, NO_COLOR, TERM, TZ],
        see_also: &[
            "rtrec-record(1)",
            "rtrec-stream(1)",
            "rtrec-rt(1)",
            "rtrec-symbolize(1)",
            "trace-cmd-report(1)",
            "trace-cmd.dat(5)",
        ],
        examples: &[
            ("Print trace.dat of this folder:", "rtrec report"),
            ("Merge two files by time, with all nine decimals:", "rtrec report -i host.dat -i guest.dat -t"),
            (
                "Print the first switches to real-time tasks:",
                "rtrec report -F 'sched_switch: next_prio < 100' --head 20",
            ),
            (
                "Print half a second of some tasks as JSON:",
                "rtrec report --from 12.5 --to 13 --comm 'kworker/*' --format json",
            ),
            ("Print the last two seconds:", "rtrec report --from -2s"),
            (
                "Make a flame graph of where slow windows spent their time:",
                "rtrec report --windows --format flamegraph > slow.svg",
            ),
        ],
    },
    Page {
        command: "rt",
        exit_status: &[
            (
                "0",
                "The trace is complete, and COMMAND, if there is one, returned 0; without COMMAND also after Ctrl-C.",
            ),
            ("1", "An error ended the recording early; the file holds what was recorded up to then."),
            REFUSED,
            NOT_RUN,
            SIGNALLED,
            OF_COMMAND,
        ],
        files: &[
            ("trace.dat", "The output file, unless -o names another; NAME.dat for a session."),
            TEMPORARY,
            JOURNALS,
            SESSIONS,
            TRACEFS,
            KALLSYMS,
            DEBUG_FILES,
        ],
        environment: &[
            PATH,
            LIBRARY_PATH,
            SUDO,
            ("HOME, USER, LOGNAME", "Set for COMMAND to those of the user of --user."),
        ],
        see_also: &[
            "rtrec-rt-start(1)",
            "rtrec-rt-report(1)",
            "rtrec-rt-selftest(1)",
            "rtrec-report(1)",
            "rtrec-record(1)",
        ],
        examples: &[
            ("Record a server that marks its own windows:", "rtrec rt --window-magic --threshold 20ms ./server"),
            (
                "Record every fsync, with samples, and call those of 10 ms slow:",
                "rtrec rt --window-syscall 0:fsync:10ms --sample 1ms -- postgres -D data",
            ),
            ("Record a process that writes to trace_marker:", "rtrec rt --window-marker -p 4711 --duration 30s"),
            (
                "Let the kernel judge the calls of a function:",
                "rtrec rt --in-kernel --window vfs_write:100ms --duration 1min",
            ),
            ("Show where the slow windows spent their time:", "rtrec report --windows"),
        ],
    },
    Page {
        command: "rt start",
        exit_status: &[
            ("0", "The session records; rtrec rt stop ends it."),
            ("2", "It does not: the command line is wrong, the name is taken, or tracing is impossible here."),
        ],
        files: &[
            ("NAME.dat", "The output file in this folder, unless -o names another."),
            SESSIONS,
            TEMPORARY,
            JOURNALS,
            TRACEFS,
        ],
        environment: &[PATH, LIBRARY_PATH, SUDO],
        see_also: &["rtrec-rt(1)", "rtrec-rt-status(1)", "rtrec-rt-stop(1)", "rtrec-rt-report(1)"],
        examples: &[(
            "Keep the slow windows of a process for days:",
            "rtrec rt start web --only-slow --window-magic -p 4711",
        )],
    },
    Page {
        command: "rt status",
        exit_status: &[DONE, ("2", "There is no session of that name.")],
        files: &[SESSIONS],
        environment: &[],
        see_also: &["rtrec-rt(1)", "rtrec-rt-start(1)"],
        examples: &[
            ("Show all sessions that run:", "rtrec rt status"),
            ("Show one of them as JSON:", "rtrec rt status web --json"),
        ],
    },
    Page {
        command: "rt stop",
        exit_status: &[
            ("0", "The session has ended; its file is printed."),
            ("1", "The session is ending, but has not completed its file within two minutes."),
            ("2", "No session of that name is being recorded."),
        ],
        files: &[SESSIONS],
        environment: &[],
        see_also: &["rtrec-rt(1)", "rtrec-rt-start(1)", "rtrec-restore(1)"],
        examples: &[("End a session:", "rtrec rt stop web")],
    },
    Page {
        command: "rt report",
        exit_status: &[
            ("0", "The report is complete; or the reader of stdout closed it, or the pager was left."),
            ("1", "The report is complete as far as the file is; the notes on stderr say what is missing."),
            ("2", "There is no report: there is no such session or file, or an option is wrong."),
        ],
        files: &[SESSIONS, ("trace.dat", "The file to read, if neither a session nor a file is named.")],
        environment: &[PAGER, LESS, NO_COLOR, TERM, TZ],
        see_also: &["rtrec-report(1)", "rtrec-rt(1)"],
        examples: &[
            ("Show the slow windows of a session so far:", "rtrec rt report web"),
            ("Show its ten longest windows:", "rtrec rt report web --top 10"),
        ],
    },
    Page {
        command: "rt selftest",
        exit_status: &[
            ("0", "Every source that this kernel supports found the right windows."),
            ("1", "A source found other windows than there were."),
            ("2", "The test could not be run."),
        ],
        files: &[TRACEFS],
        environment: &[TMPDIR],
        see_also: &["rtrec-rt(1)"],
        examples: &[("Check this machine and keep the traces:", "rtrec rt selftest --keep traces")],
    },
    Page {
        command: "restore",
        exit_status: &[
            ("0", "Every trace that was found is complete now, or its recorder had recorded nothing."),
            ("2", "There is nothing to restore, or a trace could not be completed; its temporary files stay."),
        ],
        files: &[("trace.dat", "The file that was being recorded, if none is named."), TEMPORARY, TRACEFS, KALLSYMS],
        environment: &[],
        see_also: &["rtrec-record(1)", "rtrec-reset(1)", "rtrec-report(1)"],
        examples: &[
            ("Complete trace.dat of this folder:", "rtrec restore"),
            ("Complete a trace into another file:", "rtrec restore -o saved.dat /var/tmp/trace.dat"),
        ],
    },
    Page {
        command: "reset",
        exit_status: &[
            ("0", "Everything that killed recorders had changed is as it was, or there was nothing."),
            ("1", "Something could not be restored; stderr says what."),
            ("2", "A PATH cannot be read."),
        ],
        files: &[JOURNALS, STREAM_JOURNAL, TEMPORARY, TRACEFS],
        environment: &[],
        see_also: &["rtrec-restore(1)", "rtrec-record(1)", "rtrec-probe-del(1)", "trace-cmd-reset(1)"],
        examples: &[
            ("Show what would be restored:", "rtrec reset --stale --dry-run"),
            ("Restore it:", "rtrec reset --stale"),
        ],
    },
];
