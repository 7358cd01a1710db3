//! One running guest, seen from outside: commands, files, and what is said when it is lost.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::FileExt;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::ExitStatus;
use std::sync::mpsc::RecvTimeoutError;
use std::time::{Duration, Instant};

use super::frame::{Frame, MAX_PAYLOAD, kind};
use super::machine::{Boot, DISK_BYTES, Machine};
use crate::error::{Error, Result};
use crate::host;
use crate::kernels::Kernel;

/// Boots tried before a kernel is given up: the emulator breaks one now and then.
const BOOT_ATTEMPTS: u32 = 3;
/// How long a command may run if the caller does not say.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(60);
/// How long the agent may take to report a command that was killed.
const KILL_TIMEOUT: Duration = Duration::from_secs(15);
/// How long a file may take to get in or out.
const COPY_TIMEOUT: Duration = Duration::from_secs(120);
/// How much of a failed command's output an error quotes.
const QUOTED_LINES: usize = 40;

/// A booted kernel, ready for commands. Dropping it ends it.
#[derive(Debug)]
pub struct Guest {
    kernel: Kernel,
    machine: Machine,
    last_request: u32,
    dead: bool,
}

/// A command to run in a guest.
#[derive(Debug, Clone)]
pub struct Request {
    words: Vec<String>,
    timeout: Duration,
}

impl Request {
    /// A command by its words, started without a shell.
    pub fn new(words: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self { words: words.into_iter().map(Into::into).collect(), timeout: COMMAND_TIMEOUT }
    }

    /// A script for the guest's shell.
    #[must_use]
    pub fn sh(script: &str) -> Self {
        Self::new(["sh", "-c", script])
    }

    /// Ends the command with `SIGKILL` if it takes longer. Without this call it may take a minute.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    fn shown(&self) -> String {
        self.words.iter().map(host::quoted).collect::<Vec<_>>().join(" ")
    }
}

/// What a command in a guest did.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// How it ended: exit code or signal.
    pub status: ExitStatus,
    /// Its standard output.
    pub stdout: Vec<u8>,
    /// Its standard error.
    pub stderr: Vec<u8>,
    /// The command line, for messages.
    pub command: String,
    /// The kernel it ran on.
    pub kernel: Kernel,
    /// True if it was killed because its time was up.
    pub timed_out: bool,
}

impl Outcome {
    /// True for exit code 0.
    #[must_use]
    pub fn success(&self) -> bool {
        self.status.success()
    }

    /// The exit code; `None` if a signal ended it.
    #[must_use]
    pub fn code(&self) -> Option<i32> {
        self.status.code()
    }

    /// Standard output as text.
    #[must_use]
    pub fn stdout_text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    /// Standard error as text.
    #[must_use]
    pub fn stderr_text(&self) -> String {
        String::from_utf8_lossy(&self.stderr).into_owned()
    }

    /// The outcome itself if the exit code was 0, else an error that quotes what was said.
    pub fn check(self) -> Result<Self> {
        if self.success() {
            return Ok(self);
        }
        let ended = if self.timed_out { "killed: its time was up".to_owned() } else { self.status.to_string() };
        let said = |bytes: &[u8]| host::last_lines(&String::from_utf8_lossy(bytes), QUOTED_LINES);
        Err(Error::new("a command in the lab failed")
            .fact("kernel", self.kernel.name())
            .fact("ran", self.command.as_str())
            .fact("ended", ended)
            .fact("stdout", said(&self.stdout))
            .fact("stderr", said(&self.stderr)))
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "on {}: {} ({})", self.kernel, self.command, self.status)?;
        write!(f, "stdout:\n{}\nstderr:\n{}", self.stdout_text(), self.stderr_text())
    }
}

impl Guest {
    /// Boots a kernel. Tests share guests instead: see [`super::guest`].
    pub fn boot(kernel: Kernel) -> Result<Self> {
        let mut last = None;
        for _ in 0..BOOT_ATTEMPTS {
            match Machine::start(kernel) {
                Ok(machine) => {
                    return Ok(Self { kernel, machine, last_request: 0, dead: false });
                }
                Err(Boot::Impossible(error)) => return Err(error),
                Err(Boot::Broken(error)) => {
                    eprintln!("xtask: {error}");
                    last = Some(error);
                }
            }
        }
        Err(last.expect("at least one boot was tried").fact("tried", format!("{BOOT_ATTEMPTS} boots")))
    }

    /// The kernel that runs here.
    #[must_use]
    pub fn kernel(&self) -> Kernel {
        self.kernel
    }

    /// False once the guest has crashed or no longer answers.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        !self.dead
    }

    /// Runs a script in the guest's shell, in `/tmp`; any exit status is an outcome.
    pub fn sh(&mut self, script: &str) -> Result<Outcome> {
        self.run(&Request::sh(script))
    }

    /// Runs a script that must succeed, and returns its standard output.
    pub fn text(&mut self, script: &str) -> Result<String> {
        Ok(self.sh(script)?.check()?.stdout_text())
    }

    /// Runs a command; any exit status is an outcome.
    pub fn run(&mut self, request: &Request) -> Result<Outcome> {
        let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
        let (status, timed_out) = self.stream(request, &mut stdout, &mut stderr)?;
        let command = request.shown();
        Ok(Outcome { status, stdout, stderr, command, kernel: self.kernel, timed_out })
    }

    /// Runs a command whose output is written out as it comes; returns its status, and whether its time was up.
    pub fn stream(
        &mut self,
        request: &Request,
        stdout: &mut dyn Write,
        stderr: &mut dyn Write,
    ) -> Result<(ExitStatus, bool)> {
        let mut words = request.words.join("\0").into_bytes();
        words.push(0);
        let number = self.send(kind::RUN, words)?;
        let mut deadline = Instant::now() + request.timeout;
        let mut timed_out = false;
        loop {
            let frame = match self.receive(number, deadline)? {
                Some(frame) => frame,
                None if timed_out => {
                    return Err(self.lost(&format!("{} could not be killed", request.shown())));
                }
                None => {
                    timed_out = true;
                    deadline = Instant::now() + KILL_TIMEOUT;
                    self.send_numbered(Frame::new(kind::KILL, number, []))?;
                    continue;
                }
            };
            let written = match frame.kind {
                kind::OUT => stdout.write_all(&frame.payload),
                kind::ERR => stderr.write_all(&frame.payload),
                kind::EXIT => return Ok((exit_status(&frame.payload)?, timed_out)),
                kind::REFUSED => return Err(self.refused(&request.shown(), &frame.payload)),
                _ => Ok(()),
            };
            written
                .map_err(|e| Error::new("the guest's output could not be passed on").fact("system", e.to_string()))?;
        }
    }

    /// The contents of a file in the guest.
    pub fn read(&mut self, path: &str) -> Result<Vec<u8>> {
        let length = self.file_to_disk(path)?;
        let mut bytes = vec![0; usize::try_from(length).expect("the disk fits into memory")];
        self.machine.disk.read_exact_at(&mut bytes, 0).map_err(|e| self.disk_error(e))?;
        Ok(bytes)
    }

    /// Copies a file out of the guest.
    pub fn get(&mut self, path: &str, to: &Path) -> Result<()> {
        let length = self.file_to_disk(path)?;
        let disk = self.machine.disk.try_clone().map_err(|e| self.disk_error(e))?;
        let mut file = File::create(to).map_err(|e| Error::io("a file could not be created", to, e))?;
        io::copy(&mut At { file: &disk, offset: 0 }.take(length), &mut file)
            .map_err(|e| Error::io("a file from the lab could not be written", to, e))
            .map(drop)
    }

    /// Writes a file in the guest, with the folders above it.
    pub fn write(&mut self, path: &str, mode: u32, content: &[u8]) -> Result<()> {
        if content.len() as u64 > DISK_BYTES {
            return Err(Error::new(format!("{path} is too large for the lab's disk")));
        }
        self.machine.disk.write_all_at(content, 0).map_err(|e| self.disk_error(e))?;
        let mut request = (content.len() as u64).to_le_bytes().to_vec();
        request.extend(mode.to_le_bytes());
        request.extend(path.as_bytes());
        self.copy_request(kind::PUT, request, path).map(drop)
    }

    /// Copies a file of the host into the guest, with its permissions.
    pub fn put(&mut self, from: &Path, path: &str) -> Result<()> {
        use std::os::unix::fs::PermissionsExt;
        let refused = |e| Error::io("a file for the lab could not be read", from, e);
        let mode = fs::metadata(from).map_err(refused)?.permissions().mode() & 0o7777;
        let content = fs::read(from).map_err(refused)?;
        self.write(path, mode, &content)
    }

    /// What the kernel has written to its console.
    #[must_use]
    pub fn console(&self) -> String {
        self.machine.console_text()
    }

    fn file_to_disk(&mut self, path: &str) -> Result<u64> {
        let answer = self.copy_request(kind::GET, path.as_bytes().to_vec(), path)?;
        let length = answer.try_into().map(u64::from_le_bytes);
        length.map_err(|_| self.lost("the agent's answer makes no sense"))
    }

    /// Asks for a copy between disk and file, and returns the answer's payload.
    fn copy_request(&mut self, what: u8, payload: Vec<u8>, path: &str) -> Result<Vec<u8>> {
        let number = self.send(what, payload)?;
        match self.receive(number, Instant::now() + COPY_TIMEOUT)? {
            Some(frame) if frame.kind == kind::DONE => Ok(frame.payload),
            Some(frame) => Err(self.refused(&format!("copy {path}"), &frame.payload)),
            None => Err(self.lost(&format!("copying {path} took too long"))),
        }
    }

    fn send(&mut self, what: u8, payload: Vec<u8>) -> Result<u32> {
        if payload.len() > MAX_PAYLOAD {
            return Err(Error::new(format!("a command of {} bytes is too long for the lab", payload.len()))
                .advice("put it into a file with Guest::write"));
        }
        self.last_request += 1;
        self.send_numbered(Frame::new(what, self.last_request, payload))?;
        Ok(self.last_request)
    }

    fn send_numbered(&mut self, frame: Frame) -> Result<()> {
        if self.dead {
            return Err(self.lost("it is gone since an earlier command"));
        }
        frame.write(&mut self.machine.line).map_err(|e| self.lost(&format!("its line is closed: {e}")))
    }

    /// The next frame of a request, `None` when the deadline has passed. Frames of earlier requests are dropped.
    fn receive(&mut self, request: u32, deadline: Instant) -> Result<Option<Frame>> {
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.machine.frames.recv_timeout(left) {
                Ok(Ok(frame)) if frame.request == request => return Ok(Some(frame)),
                Ok(Ok(_)) => {}
                Ok(Err(e)) if e.kind() == io::ErrorKind::UnexpectedEof => return Err(self.lost("QEMU has ended")),
                Ok(Err(e)) => return Err(self.lost(&format!("its line broke: {e}"))),
                Err(RecvTimeoutError::Timeout) => return Ok(None),
                Err(RecvTimeoutError::Disconnected) => return Err(self.lost("its line is closed")),
            }
        }
    }

    /// Declares the guest dead and says why, with the end of its console.
    fn lost(&mut self, why: &str) -> Error {
        self.dead = true;
        self.machine.stop();
        self.machine.describe(Error::new(format!("the lab's guest with kernel {} is gone: {why}", self.kernel)))
    }

    fn refused(&self, what: &str, why: &[u8]) -> Error {
        Error::new("the lab's guest refused a request")
            .fact("kernel", self.kernel.name())
            .fact("asked", what)
            .fact("said", String::from_utf8_lossy(why))
    }

    fn disk_error(&self, error: io::Error) -> Error {
        Error::new("the lab's disk could not be used").fact("system", error.to_string())
    }
}

fn exit_status(payload: &[u8]) -> Result<ExitStatus> {
    let raw = payload.try_into().map(i32::from_le_bytes);
    raw.map(ExitStatus::from_raw).map_err(|_| Error::new("the lab's agent sent a status that makes no sense"))
}

/// A file read from an offset of our own: QEMU shares nothing with it but the bytes.
struct At<'a> {
    file: &'a File,
    offset: u64,
}

impl Read for At<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.file.read_at(buffer, self.offset)?;
        self.offset += length as u64;
        Ok(length)
    }
}
