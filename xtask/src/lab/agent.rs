//! The agent in the lab's guest: runs commands for the host and hands it their output, status and files.
//!
//! It speaks frames (see `frame`) over its standard input and output, which `/init` connects to the second serial line.
//! File contents do not go over that slow line but over a disk without any structure: the file begins at byte 0, its
//! length goes over the line. Built alone with the standard library only, so that it starts without libraries.
//!
//! As `agent contents FILE…` it prints what files hold, a line each, and ends: a shell would start two programs a file,
//! which takes an emulated processor seconds for the hundreds of control files that a test compares.

mod frame;

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use frame::{Frame, GREETING, kind};

const DISK: &str = "/dev/nvme0n1";

/// How long a silence ends the wait for output once the command itself has ended.
const SILENCE: Duration = Duration::from_secs(1);

/// The line to the host, written by the threads that carry a command's output.
type Line = Arc<Mutex<io::Stdout>>;

fn main() -> ExitCode {
    let mut words = std::env::args_os().skip(1);
    let outcome = match words.next() {
        None => serve(),
        Some(word) if word == "contents" => contents(words),
        Some(word) => Err(io::Error::other(format!("no such work: {}", word.display()))),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("lab agent: {error}");
            ExitCode::FAILURE
        }
    }
}

fn serve() -> io::Result<()> {
    let line: Line = Arc::new(Mutex::new(io::stdout()));
    let mut requests = io::stdin().lock();
    send_bytes(&line, GREETING)?;
    let mut running = 0;
    loop {
        let request = Frame::read(&mut requests)?;
        match request.kind {
            kind::RUN => match start(&request.payload) {
                Ok(child) => {
                    running = child.id();
                    let line = Arc::clone(&line);
                    thread::spawn(move || attend(child, request.request, &line));
                }
                Err(error) => refuse(&line, request.request, &error)?,
            },
            kind::KILL => kill_group(running)?,
            kind::GET => answer(&line, request.request, file_to_disk(&request.payload))?,
            kind::PUT => answer(&line, request.request, disk_to_file(&request.payload))?,
            other => refuse(&line, request.request, &io::Error::other(format!("unknown request {other}")))?,
        }
    }
}

fn send(line: &Line, frame: &Frame) -> io::Result<()> {
    frame.write(&mut *line.lock().unwrap_or_else(PoisonError::into_inner))
}

fn send_bytes(line: &Line, bytes: &[u8]) -> io::Result<()> {
    let mut line = line.lock().unwrap_or_else(PoisonError::into_inner);
    line.write_all(bytes)?;
    line.flush()
}

fn refuse(line: &Line, request: u32, error: &io::Error) -> io::Result<()> {
    send(line, &Frame::new(kind::REFUSED, request, error.to_string()))
}

fn answer(line: &Line, request: u32, outcome: io::Result<u64>) -> io::Result<()> {
    match outcome {
        Ok(length) => send(line, &Frame::new(kind::DONE, request, length.to_le_bytes())),
        Err(error) => refuse(line, request, &error),
    }
}

/// Prints `name: contents` of each file, with `;` for the end of a line. A file that is not there is left out.
fn contents(names: impl Iterator<Item = OsString>) -> io::Result<()> {
    let mut lines = Vec::new();
    for name in names {
        let mut text = match fs::read(&name) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            Err(error) => error.to_string().into_bytes(),
        };
        text.iter_mut().filter(|byte| **byte == b'\n').for_each(|byte| *byte = b';');
        lines.extend(name.as_encoded_bytes());
        lines.extend(b": ");
        lines.extend(text);
        lines.push(b'\n');
    }
    io::stdout().write_all(&lines)
}

/// Starts a command in a process group of its own, with nothing on its standard input.
fn start(words: &[u8]) -> io::Result<Child> {
    let words = String::from_utf8(words.to_vec()).map_err(io::Error::other)?;
    let mut words = words.split_terminator('\0');
    let program = words.next().ok_or_else(|| io::Error::other("no command"))?;
    Command::new(program)
        .args(words)
        .current_dir("/tmp")
        .process_group(0)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|e| io::Error::new(e.kind(), format!("{program}: {e}")))
}

/// Carries the command's output to the host while it runs, and its status when it has ended.
fn attend(mut child: Child, request: u32, line: &Line) {
    let (spoke, speech) = mpsc::channel();
    let out = child.stdout.take().expect("standard output is a pipe");
    let err = child.stderr.take().expect("standard error is a pipe");
    carry(out, Frame::new(kind::OUT, request, []), line, spoke.clone());
    carry(err, Frame::new(kind::ERR, request, []), line, spoke);
    let status = child.wait().map_or(-1, ExitStatusExt::into_raw);
    // Something in the background may hold the pipes open for ever; what it says later is not the command's output.
    while speech.recv_timeout(SILENCE).is_ok() {}
    if let Err(error) = send(line, &Frame::new(kind::EXIT, request, status.to_le_bytes())) {
        eprintln!("lab agent: the host is gone: {error}");
    }
}

/// Reads a pipe to its end in a thread, sending what comes as frames; tells `spoke` of each, and drops it at the end.
fn carry(mut from: impl Read + Send + 'static, mut frame: Frame, line: &Line, spoke: Sender<()>) {
    let line = Arc::clone(line);
    thread::spawn(move || {
        let mut buffer = vec![0; 4096];
        while let Ok(length @ 1..) = from.read(&mut buffer) {
            frame.payload.clear();
            frame.payload.extend(&buffer[..length]);
            if send(&line, &frame).is_err() || spoke.send(()).is_err() {
                break;
            }
        }
    });
}

fn kill_group(leader: u32) -> io::Result<()> {
    if leader != 0 {
        Command::new("kill").args(["-KILL", "--", &format!("-{leader}")]).stdin(Stdio::null()).status()?;
    }
    Ok(())
}

/// Copies a file onto the disk, and waits until the disk has it.
fn file_to_disk(name: &[u8]) -> io::Result<u64> {
    let name = String::from_utf8(name.to_vec()).map_err(io::Error::other)?;
    let named = |e: io::Error| io::Error::new(e.kind(), format!("{name}: {e}"));
    let mut file = File::open(&name).map_err(named)?;
    let mut disk = OpenOptions::new().write(true).open(DISK)?;
    // Not `io::copy`: files of tracefs and proc do not say how long they are and do not splice.
    let mut buffer = vec![0; 256 * 1024];
    let mut total = 0;
    loop {
        let length = file.read(&mut buffer).map_err(named)?;
        if length == 0 {
            break;
        }
        disk.write_all(&buffer[..length])?;
        total += length as u64;
    }
    disk.sync_all()?;
    Ok(total)
}

/// Copies from the disk to a file.
fn disk_to_file(request: &[u8]) -> io::Result<u64> {
    let short = || io::Error::other("a request cut short");
    let (length, rest) = request.split_first_chunk().ok_or_else(short)?;
    let (mode, name) = rest.split_first_chunk().ok_or_else(short)?;
    let (length, mode) = (u64::from_le_bytes(*length), u32::from_le_bytes(*mode));
    let name = String::from_utf8(name.to_vec()).map_err(io::Error::other)?;
    let named = |e: io::Error| io::Error::new(e.kind(), format!("{name}: {e}"));
    // The host wrote behind this kernel's back: forget what is cached of the disk.
    let flushed = Command::new("blockdev").args(["--flushbufs", DISK]).stdin(Stdio::null()).status()?;
    if !flushed.success() {
        return Err(io::Error::other(format!("blockdev --flushbufs {DISK}: {flushed}")));
    }
    if let Some(folder) = Path::new(&name).parent() {
        fs::create_dir_all(folder).map_err(named)?;
    }
    // A running program's file cannot be written, but it can be replaced.
    let _ = fs::remove_file(&name);
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&name).map_err(named)?;
    io::copy(&mut File::open(DISK)?.take(length), &mut file).map_err(named)
}
