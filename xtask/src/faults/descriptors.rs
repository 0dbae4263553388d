//! A process with a limit of 256 open files, and more connections and session objects than that.
//!
//! A quarter of the usual 1,024, because one user may be in 64 rooms at a time.

use std::net::{SocketAddr, TcpStream};
use std::process::Command;

use super::fresh;
use super::ledger::Ledger;
use super::platform::{Platform, binary};
use crate::Outcome;

/// Limit of the platform's open files.
const LIMIT: usize = 256;
/// Number of idle connections.
const SILENT: usize = 400;
/// Number of session objects.
const ROOMS: usize = 60;

/// Silent connections beyond the limit, then session objects beyond it: everything else is answered.
pub(super) fn run() -> Outcome {
    let root = fresh("descriptors")?.join("state");
    let mut command = Command::new("prlimit");
    command.arg(format!("--nofile={LIMIT}:{LIMIT}")).arg(binary()?);
    let platform = Platform::owned(&root, command)?;
    let mut ledger = Ledger::default();
    ledger.write(&platform)?;
    let address: SocketAddr = platform.address().parse()?;
    let mut silent = Vec::new();
    for _ in 0..SILENT {
        silent.push(TcpStream::connect_timeout(&address, std::time::Duration::from_secs(10)));
    }
    std::thread::sleep(std::time::Duration::from_secs(2));
    println!(
        "  beside {} connections: {} descriptors",
        silent.iter().filter(|it| it.is_ok()).count(),
        open(platform.pid())?
    );
    // The server may refuse further connections for a while, with an answer or without; what it accepts works.
    let mut answered = 0;
    for _ in 0..20 {
        match ledger.ticket(&platform) {
            Ok(Ok(())) => answered += 1,
            Ok(Err((503, _))) | Err(_) => {}
            Ok(Err((status, text))) => return Err(format!("beside silent connections: {status}: {text}").into()),
        }
    }
    println!("  {answered} of 20 writes answered meanwhile, the others told to come again");
    drop(silent);
    std::thread::sleep(std::time::Duration::from_secs(2));
    let refused = ledger.write(&platform)?;
    if !refused.is_empty() {
        return Err(format!("after they have gone: {refused:?}\n{}", platform.log()).into());
    }
    for room in 0..ROOMS {
        if let Err((_, error)) = ledger.say(&platform, &format!("room{room}")) {
            return Err(format!(
                "with {room} rooms, {} descriptors: {error}\n{}",
                open(platform.pid())?,
                platform.log()
            )
            .into());
        }
        if room % 20 == 0 {
            let refused = ledger.write(&platform)?;
            if !refused.is_empty() {
                return Err(format!("with {room} rooms: {refused:?}").into());
            }
        }
    }
    println!("  with {ROOMS} rooms: {} descriptors", open(platform.pid())?);
    platform.becomes(200, "with many rooms")?;
    ledger.is_whole(&platform, "with many rooms")
}

/// Returns the number of open files of a process.
fn open(pid: u32) -> std::io::Result<usize> {
    Ok(std::fs::read_dir(format!("/proc/{pid}/fd"))?.count())
}
