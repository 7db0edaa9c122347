//! What a process uses, and what machine it runs on. Linux only: read from /proc.

use std::fs::read_to_string;
use std::process::Child;
use std::time::{Duration, Instant};

/// How often a process is looked at.
const LOOK: Duration = Duration::from_millis(5);

/// What a process used until it ended.
#[derive(Clone, Copy, Debug, Default)]
pub struct Use {
    /// From when it was waited for to its end, in seconds.
    pub wall: f64,
    /// Processor time of all threads, in seconds.
    pub cpu: f64,
    /// The most memory that it had, in KiB.
    pub peak: u64,
    /// Bytes that it read from a disk; what came from the page cache does not count.
    pub read: u64,
    /// Bytes that it had written to a disk, or to pages that will be.
    pub written: u64,
    /// The most connections that it had to one port, where that was asked for.
    pub connections: usize,
}

/// Waits for the end of a process, which must be a good one, and looks at it until then.
pub fn wait(child: &mut Child, port: Option<u16>) -> Use {
    let started = Instant::now();
    let mut seen = Use::default();
    loop {
        let connections = seen.connections.max(port.map_or(0, connections_to));
        seen = look(child.id()).unwrap_or(seen);
        seen.connections = connections;
        if let Some(ended) = child.try_wait().expect("the child can be waited for") {
            assert!(ended.success(), "{ended}");
            seen.wall = started.elapsed().as_secs_f64();
            return seen;
        }
        std::thread::sleep(LOOK);
    }
}

/// What a process has used so far; `None` once it has ended.
fn look(pid: u32) -> Option<Use> {
    /// Of the clock in /proc; the same on every Linux that Rust runs on.
    const TICKS_PER_SECOND: f64 = 100.0;
    let read = |name: &str| read_to_string(format!("/proc/{pid}/{name}")).ok();
    let status = read("status")?;
    let peak = field(&status, "VmHWM:")?;
    let io = read("io")?;
    // Behind the name, which stands in parentheses, user and system time are the 12th and 13th field.
    let stat = read("stat")?;
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks = |index: usize| fields.get(index)?.parse::<f64>().ok();
    Some(Use {
        cpu: (ticks(11)? + ticks(12)?) / TICKS_PER_SECOND,
        peak,
        read: field(&io, "read_bytes:")?,
        written: field(&io, "write_bytes:")?,
        ..Use::default()
    })
}

/// The number behind a name at the start of a line.
fn field(text: &str, name: &str) -> Option<u64> {
    let rest = text.lines().find_map(|line| line.strip_prefix(name))?;
    rest.split_whitespace().next()?.parse().ok()
}

/// Established connections of this machine to a port on it.
fn connections_to(port: u16) -> usize {
    const ESTABLISHED: &str = "01";
    let remote = format!(":{port:04X}");
    let table = read_to_string("/proc/net/tcp").unwrap_or_default();
    let is_one = |line: &&str| {
        let fields: Vec<&str> = line.split_whitespace().take(4).collect();
        fields.get(2).is_some_and(|address| address.ends_with(&remote)) && fields.get(3) == Some(&ESTABLISHED)
    };
    table.lines().filter(is_one).count()
}

/// Processor, memory and kernel of this machine, and the date.
pub fn machine() -> String {
    let read = |path: &str| read_to_string(path).unwrap_or_default();
    let cpu = read("/proc/cpuinfo");
    let name = cpu.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or("");
    let name = name.trim_start_matches([' ', '\t', ':']).trim();
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let memory = field(&read("/proc/meminfo"), "MemTotal:").unwrap_or(0) as f64 / f64::from(1 << 20);
    let kernel = read("/proc/sys/kernel/osrelease");
    let date = std::process::Command::new("date").args(["-u", "+%Y-%m-%d"]).output();
    let date = date.map(|out| String::from_utf8_lossy(&out.stdout).trim().to_owned()).unwrap_or_default();
    format!("{name}, {cores} cores, {memory:.0} GiB of memory, Linux {}, {date}", kernel.trim())
}
