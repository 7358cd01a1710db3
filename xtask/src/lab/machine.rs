//! The machine of a guest: QEMU as a child process, the agent's line, the disk that carries files, the console's log.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;
use std::time::{Duration, Instant};

use super::frame::{self, Frame};
use super::initramfs;
use crate::cache;
use crate::error::{Error, Result};
use crate::host;
use crate::kernels::Kernel;
use crate::project;

/// How long a boot may take; on an idle machine it takes about five seconds.
const BOOT_TIMEOUT: Duration = Duration::from_secs(120);
/// The disk's size: the largest file that gets in or out. It takes no room on the host until it is used.
pub(super) const DISK_BYTES: u64 = 1 << 30;
/// The processor the guest sees. Without cmpxchg16b, whose emulation breaks the kernel's allocator now and then; and
/// without what only costs time here: on 6.12 function_graph goes on and off in 22 s instead of 32 s on a busy host.
const CPU: &str = "max,-cx16,-la57,-pku,-smap,-smep,-umip";
/// What the kernel is told. Without waiting for grace periods: `trace-cmd record` takes 1 s then, not 4 s.
const KERNEL_WORDS: &str = "console=ttyS0 quiet panic=-1 rdinit=/init rcupdate.rcu_expedited=1";
/// How long QEMU may take to end when its guest has gone down.
const EXIT_GRACE: Duration = Duration::from_millis(500);
/// How much of the console an error quotes.
const CONSOLE_LINES: usize = 40;
/// What the console holds at most when nothing happened: a greeting of the loader.
const IDLE_CONSOLE_BYTES: u64 = 100;
/// How long logs of earlier boots are kept.
const LOG_LIFETIME: Duration = Duration::from_secs(24 * 3600);
/// What a kernel in trouble says first.
const TROUBLE: [&str; 5] = ["Kernel panic", "BUG: ", "Oops: ", "PANIC: ", "general protection fault"];

/// QEMU and what connects us to it.
#[derive(Debug)]
pub(super) struct Machine {
    qemu: Child,
    pub(super) line: ChildStdin,
    pub(super) frames: Receiver<io::Result<Frame>>,
    pub(super) disk: File,
    console: PathBuf,
    /// QEMU dies with the thread that started it; that thread lives as long as this sender.
    _keeper: Sender<()>,
}

/// Why a boot did not succeed: for good, or in a way that is worth another try.
pub(super) enum Boot {
    Impossible(Error),
    Broken(Error),
}

impl Machine {
    pub(super) fn start(kernel: Kernel) -> std::result::Result<Self, Boot> {
        let (mut machine, line) = Self::spawn(kernel).map_err(Boot::Impossible)?;
        match machine.greet(line) {
            Ok(()) => Ok(machine),
            Err(why) => {
                machine.stop();
                Err(Boot::Broken(machine.describe(Error::new(format!("kernel {kernel} did not boot: {why}")))))
            }
        }
    }

    /// Starts QEMU; the second value is the reading end of the agent's line.
    fn spawn(kernel: Kernel) -> Result<(Self, Unread)> {
        let image = kernel.image()?;
        let qemu = host::find_program("qemu-system-x86_64")
            .ok_or_else(|| Error::new("qemu-system-x86_64 is not installed").advice("cargo xtask setup"))?;
        let folder = project::target("lab/boots");
        cache::create_folder(&folder)?;
        sweep(&folder);
        let files = BootFiles::create(&folder, kernel)?;
        let errors =
            File::create(&files.errors).map_err(|e| Error::io("a log could not be created", &files.errors, e))?;
        // `setpriv` has the kernel end QEMU with the thread that started it, however this process ends.
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "--"]).arg(qemu).args(qemu_arguments(&image, &files));
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(errors);
        let (mut child, keeper) = spawn_kept(command)?;
        let line = child.stdin.take().expect("QEMU's standard input is a pipe");
        let out = child.stdout.take().expect("QEMU's standard output is a pipe");
        let (to, frames) = mpsc::channel();
        let disk = files.open_disk()?;
        let machine = Self { qemu: child, line, frames, disk, console: files.console.clone(), _keeper: keeper };
        // QEMU has to have opened its files before their names go; the greeting shows that it has.
        Ok((machine, Unread { out, frames: to }))
    }

    /// Waits for the agent's greeting, then leaves a thread behind that reads frames.
    fn greet(&mut self, line: Unread) -> std::result::Result<(), String> {
        let (greeted, greeting) = mpsc::channel();
        thread::spawn(move || line.read_on(&greeted));
        let outcome = greeting.recv_timeout(BOOT_TIMEOUT);
        for spent in ["initrd", "disk"] {
            let _ = fs::remove_file(self.console.with_extension(spent));
        }
        match outcome {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err("QEMU ended before the agent spoke".to_owned()),
            Err(_) => Err(format!("the agent was silent for {} s", BOOT_TIMEOUT.as_secs())),
        }
    }

    /// Ends QEMU, which may be about to end by itself: then its own status is kept.
    pub(super) fn stop(&mut self) {
        let grace = Instant::now() + EXIT_GRACE;
        while matches!(self.qemu.try_wait(), Ok(None)) && Instant::now() < grace {
            thread::sleep(Duration::from_millis(20));
        }
        self.kill();
    }

    fn kill(&mut self) {
        let _ = self.qemu.kill();
        let _ = self.qemu.wait();
    }

    pub(super) fn console_text(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.console).unwrap_or_default()).replace('\r', "")
    }

    /// Adds what is known of a dead machine to an error.
    pub(super) fn describe(&mut self, error: Error) -> Error {
        let said = fs::read_to_string(self.console.with_extension("qemu")).unwrap_or_default();
        let status = self.qemu.try_wait().ok().flatten().map_or("running".to_owned(), |s| s.to_string());
        let mut error = error.fact("qemu", format!("{status}\n{said}").trim_end());
        error = error.fact("log", self.console.display().to_string());
        error.fact("console", last_words(&self.console_text()))
    }
}

/// The reading end of the agent's line, before anything was read.
struct Unread {
    out: ChildStdout,
    frames: Sender<io::Result<Frame>>,
}

impl Unread {
    /// Waits for the greeting, then hands on frames until the line ends or nobody listens.
    fn read_on(self, greeted: &Sender<io::Result<()>>) {
        let mut out = BufReader::new(self.out);
        let outcome = frame::wait_for_greeting(&mut out);
        let mut usable = outcome.is_ok();
        let _ = greeted.send(outcome);
        while usable {
            let frame = Frame::read(&mut out);
            usable = frame.is_ok();
            usable &= self.frames.send(frame).is_ok();
        }
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        self.kill();
        for used in ["initrd", "disk", "qemu"] {
            let _ = fs::remove_file(self.console.with_extension(used));
        }
        if fs::metadata(&self.console).is_ok_and(|log| log.len() == 0) {
            let _ = fs::remove_file(&self.console);
        }
    }
}

/// What is worth quoting of a console: from the first sign of trouble on, or the end.
pub(super) fn last_words(console: &str) -> String {
    let lines: Vec<&str> = console.lines().collect();
    match lines.iter().position(|line| TROUBLE.iter().any(|sign| line.contains(sign))) {
        Some(first) => lines[first..].iter().take(CONSOLE_LINES).copied().collect::<Vec<_>>().join("\n"),
        None => host::last_lines(console, CONSOLE_LINES),
    }
}

/// The files of one boot, which differ in their extension.
struct BootFiles {
    initrd: PathBuf,
    disk: PathBuf,
    console: PathBuf,
    errors: PathBuf,
}

impl BootFiles {
    fn create(folder: &Path, kernel: Kernel) -> Result<Self> {
        // Not a dot before the extension: the kernels' names have dots of their own.
        let named = |extension: &str| folder.join(format!("{}-{kernel}.{extension}", std::process::id()));
        let files =
            Self { initrd: named("initrd"), disk: named("disk"), console: named("console"), errors: named("qemu") };
        initramfs::write(&files.initrd)?;
        let disk =
            File::create(&files.disk).map_err(|e| Error::io("the lab's disk could not be created", &files.disk, e))?;
        disk.set_len(DISK_BYTES).map_err(|e| Error::io("the lab's disk could not be sized", &files.disk, e))?;
        Ok(files)
    }

    fn open_disk(&self) -> Result<File> {
        let opened = OpenOptions::new().read(true).write(true).open(&self.disk);
        opened.map_err(|e| Error::io("the lab's disk could not be opened", &self.disk, e))
    }
}

fn qemu_arguments(image: &Path, files: &BootFiles) -> Vec<String> {
    let shown = |path: &Path| path.display().to_string().replace(',', ",,");
    let mut arguments: Vec<String> = [
        "-M",
        "q35",
        "-cpu",
        CPU,
        "-accel",
        "tcg,thread=single",
        "-smp",
        "2",
        "-m",
        "2048",
        "-display",
        "none",
        "-monitor",
        "none",
        "-nic",
        "none",
        "-no-reboot",
        "-nodefaults",
        "-append",
        KERNEL_WORDS,
        "-chardev",
        "stdio,id=agent,signal=off",
    ]
    .map(str::to_owned)
    .to_vec();
    arguments.extend(["-kernel".to_owned(), image.display().to_string()]);
    arguments.extend(["-initrd".to_owned(), files.initrd.display().to_string()]);
    arguments.extend(["-chardev".to_owned(), format!("file,id=console,path={}", shown(&files.console))]);
    arguments.extend(["-serial", "chardev:console", "-serial", "chardev:agent"].map(str::to_owned));
    arguments.extend(["-drive".to_owned(), format!("file={},if=none,id=d,format=raw", shown(&files.disk))]);
    arguments.extend(["-device".to_owned(), "nvme,drive=d,serial=lab".to_owned()]);
    arguments
}

/// Starts a child from a thread that lives until the returned sender is dropped. A test's own thread would not do:
/// the signal at the parent's death comes when the starting thread ends.
fn spawn_kept(mut command: Command) -> Result<(Child, Sender<()>)> {
    let (keeper, kept) = mpsc::channel::<()>();
    let (started, start) = mpsc::channel();
    thread::spawn(move || {
        let outcome = command.spawn().map_err(|e| host::cannot_start(&command, e));
        if started.send(outcome).is_ok() {
            let _ = kept.recv();
        }
    });
    let child = start.recv().expect("the starting thread answers")?;
    Ok((child, keeper))
}

/// Removes what processes that are gone left behind, except logs of the last day that say something.
fn sweep(folder: &Path) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        let name = entry.file_name().to_string_lossy().into_owned();
        let Some((process, _)) = name.split_once('-') else {
            continue;
        };
        if Path::new("/proc").join(process).exists() {
            continue;
        }
        let log = path.extension().is_some_and(|e| e == "console");
        let telling = entry.metadata().is_ok_and(|m| {
            let age = m.modified().ok().and_then(|time| time.elapsed().ok());
            m.len() > IDLE_CONSOLE_BYTES && age.is_none_or(|age| age < LOG_LIFETIME)
        });
        if !(log && telling) {
            let _ = fs::remove_file(path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_console_is_quoted_from_the_first_sign_of_trouble() {
        let calm = "booting\n".repeat(100);
        let trace = "  frame\n".repeat(100);
        let words = last_words(&format!("{calm}[ 1.0] Kernel panic - not syncing: why\n{trace}"));
        assert!(words.starts_with("[ 1.0] Kernel panic - not syncing: why\n  frame"), "{words}");
        assert_eq!(words.lines().count(), CONSOLE_LINES);
        assert_eq!(last_words(&calm).lines().count(), CONSOLE_LINES);
    }
}
