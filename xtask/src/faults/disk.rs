//! A full disk, and a disk that fails.

use std::error::Error;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use super::ledger::Ledger;
use super::platform::Platform;
use super::{fresh, privileged, program};
use crate::{Outcome, run as execute};

/// Size in MiB of the file system that is filled.
const MEBIBYTES: usize = 96;

/// A tmpfs; unmounted when dropped.
struct Mounted(PathBuf);

impl Mounted {
    fn new(folder: &Path) -> Result<Self, Box<dyn Error>> {
        let size = format!("size={MEBIBYTES}m,mode=0777");
        execute(privileged("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(folder))
            .map_err(|error| format!("a small file system takes root, or sudo without a password: {error}"))?;
        Ok(Self(folder.to_owned()))
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        // Lazily, as the platform may still be stopping.
        drop(execute(privileged("umount").arg("--lazy").arg(&self.0)));
    }
}

/// Fills the disk: writes must be refused with a clear error, and succeed again once there is space.
pub(super) fn full() -> Outcome {
    let folder = fresh("full-disk")?;
    let mounted = Mounted::new(&folder)?;
    let root = mounted.0.join("state");
    let mut platform = Platform::with_owner(&root)?;
    let mut ledger = Ledger::default();
    let refused = ledger.write(&platform)?;
    if !refused.is_empty() {
        return Err(format!("an empty disk refuses: {refused:?}").into());
    }
    let refusals = fill(&platform, &mut ledger)?;
    println!("  {} entries, then refused: {}", ledger.entries.len(), refusals.join("; "));
    // To the last byte, ignoring the platform's reserve.
    let ballast = mounted.0.join("ballast");
    let mut file = fs::File::create(&ballast)?;
    while file.write_all(&[0; 4096]).is_ok() {}
    drop(file);
    for _ in 0..10 {
        for (status, text) in ledger.write(&platform)? {
            if !matches!(status, 0 | 500..=599) {
                return Err(format!("a full disk is answered by {status}: {text}").into());
            }
        }
        let signed_in = platform.signs_in()?;
        if !matches!(signed_in.status, 200 | 500..=599) {
            return Err(format!("a sign-in on a full disk is answered by {}", signed_in.status).into());
        }
    }
    platform.becomes(503, "on a full disk")?;
    ledger.is_whole(&platform, "on a full disk")?;
    fs::remove_file(&ballast)?;
    free(&mounted.0)?;
    recovers(&mut platform, &mut ledger, "after the disk had room again")?;
    let cookie = platform.cookie.clone();
    drop(platform); // killed
    let platform = Platform::again(&root, &cookie)?;
    ledger.is_whole(&platform, "after a kill and a restart")
}

/// Uploads until the platform refuses. Returns its messages.
fn fill(platform: &Platform, ledger: &mut Ledger) -> Result<Vec<String>, Box<dyn Error>> {
    for _ in 0..MEBIBYTES * 4 {
        if let Err((status, text)) = ledger.image(platform, 1 << 20)? {
            if !matches!(status, 500..=599) {
                return Err(format!("a disk that fills is answered by {status}: {text}").into());
            }
            return Ok(vec![format!("{status} {}", text.chars().take(120).collect::<String>())]);
        }
    }
    Err("the disk never fills".into())
}

/// Enlarges the file system beyond the platform's reserve.
fn free(folder: &Path) -> Outcome {
    let size = format!("remount,size={}m", MEBIBYTES * 16);
    execute(privileged("mount").args(["-o", &size]).arg(folder))
}

/// Checks that every kind of write works again without a restart, and that the platform is ready.
fn recovers(platform: &mut Platform, ledger: &mut Ledger, when: &str) -> Outcome {
    platform.becomes(200, when)?;
    let refused = ledger.write(platform)?;
    if !refused.is_empty() {
        return Err(format!("{when} it refuses: {refused:?}\n{}", platform.log()).into());
    }
    let signed_in = platform.signs_in()?;
    if signed_in.status != 200 {
        return Err(format!("{when} a sign-in is answered by {}: {}", signed_in.status, signed_in.text()).into());
    }
    ledger.is_whole(platform, when)
}

/// Syncs and writes fail for some seconds; nothing is acknowledged that is not there after a restart, and readiness is true.
pub(super) fn failing() -> Outcome {
    program("strace", "strace")?;
    for (calls, error) in [("fsync,fdatasync,sync_file_range", "EIO"), ("pwrite64,pwritev", "ENOSPC")] {
        let folder = fresh("failing-sync")?;
        let root = folder.join("state");
        let platform = Platform::with_owner(&root)?;
        let mut ledger = Ledger::default();
        ledger.write(&platform)?;
        let before = ledger.entries.len();
        let fault = Traced::attach(platform.pid(), calls, error)?;
        let mut refused = Vec::new();
        for _ in 0..5 {
            refused.extend(ledger.write(&platform)?);
        }
        fault.detach()?;
        println!(
            "  {calls} fail with {error}: {} writes refused, {} acknowledged",
            refused.len(),
            ledger.entries.len() - before
        );
        if refused.is_empty() {
            return Err("no write noticed the fault".into());
        }
        // A store whose sync failed stays closed to writes until it is opened anew; whichever it is, readiness says it.
        std::thread::sleep(Duration::from_secs(2));
        let ready = platform.get("/readyz")?.status;
        let after = ledger.write(&platform)?;
        if (ready == 200) != after.is_empty() {
            return Err(
                format!("/readyz is {ready}, and the writes after the fault: {after:?}\n{}", platform.log()).into()
            );
        }
        ledger.is_whole(&platform, "after the fault")?;
        let cookie = platform.cookie.clone();
        drop(platform); // killed
        let mut platform = Platform::again(&root, &cookie)?;
        ledger.is_whole(&platform, "after a kill and a restart")?;
        recovers(&mut platform, &mut ledger, "after a restart")?;
    }
    Ok(())
}

/// A process in which some system calls on files of a folder fail.
struct Traced(Child);

impl Traced {
    fn attach(pid: u32, calls: &str, error: &str) -> Result<Self, Box<dyn Error>> {
        let mut command = Command::new("strace");
        command.args(["-f", "-qq", "-o", "/dev/null", "-p", &pid.to_string()]);
        command.args(["-e", &format!("trace={calls}"), "-e", &format!("inject={calls}:error={error}")]);
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
        // strace must attach to every thread.
        for _ in 0..100 {
            std::thread::sleep(Duration::from_millis(50));
            if is_traced(pid) {
                return Ok(Self(child));
            }
        }
        Err("strace has not attached: ptrace may be forbidden here".into())
    }

    fn detach(mut self) -> Outcome {
        execute(Command::new("kill").args(["-INT", &self.0.id().to_string()]))?;
        self.0.wait()?;
        Ok(())
    }
}

/// Whether every thread of a process has a tracer.
fn is_traced(pid: u32) -> bool {
    let Ok(threads) = fs::read_dir(format!("/proc/{pid}/task")) else { return false };
    threads.flatten().all(|thread| {
        fs::read_to_string(thread.path().join("status"))
            .is_ok_and(|status| status.lines().any(|line| line.starts_with("TracerPid:") && !line.ends_with("\t0")))
    })
}
