//! A disk that can be full or read-only, without being anyone's real one: a small tmpfs in a mount
//! namespace of its own. Where the system does not allow that, a limit on the size of files stands in for a
//! full disk.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use tempfile::TempDir;

/// Enough for the database of the fixture, and soon full.
const SIZE: &str = "size=4m";

/// Mounts it, says so, and does what it is told until there is nobody left to tell it anything.
const HELPER: &str = r#"mount -t tmpfs -o "$2" none "$1" && echo ready && while read -r line; do eval "$line"; echo "$?"; done"#;

/// The disk.
pub struct SmallDisk {
    dir: TempDir,
    /// The process that holds the namespace; `None` where there is no such thing.
    helper: Option<Helper>,
}

struct Helper {
    child: Child,
    orders: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl SmallDisk {
    /// An empty disk; says on standard error which kind it is.
    pub fn new() -> Self {
        let dir = TempDir::new().unwrap();
        let mut command = Command::new("unshare");
        command.args(["--map-root-user", "--mount", "sh", "-c", HELPER, "sh"]).arg(dir.path()).arg(SIZE);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let helper = command.spawn().ok().and_then(|mut child| {
            let (orders, answers) = (child.stdin.take()?, child.stdout.take()?);
            let mut helper = Helper { child, orders, answers: BufReader::new(answers) };
            (helper.answer() == "ready").then_some(helper)
        });
        match helper {
            Some(_) => eprintln!("small disk: a tmpfs in a mount namespace"),
            None => eprintln!("small disk: no mount namespace here; a limit on the size of files instead"),
        }
        SmallDisk { dir, helper }
    }

    /// Whether it can be made read-only.
    pub fn is_mounted(&self) -> bool {
        self.helper.is_some()
    }

    /// A directory on it, as this process sees it.
    pub fn path(&self, name: &str) -> PathBuf {
        match &self.helper {
            Some(helper) => {
                let root = PathBuf::from(format!("/proc/{}/root", helper.child.id()));
                root.join(self.dir.path().strip_prefix("/").unwrap()).join(name)
            }
            None => self.dir.path().join(name),
        }
    }

    /// A command that is to meet the full disk: one that is full from the start, or will be.
    pub fn command(&self, command: Command, full: bool) -> Command {
        match (&self.helper, full) {
            (Some(_), _) => command,
            // Whoever ignores the signal is told by an error, as on a full disk.
            (None, true) => behind(&["sh", "-c", r#"trap "" XFSZ; ulimit -f 1; exec "$@""#, "sh"], &command),
            (None, false) => behind(&["sh", "-c", r#"trap "" XFSZ; exec "$@""#, "sh"], &command),
        }
    }

    /// Leaves no room, neither for new processes nor for the one with this id.
    pub fn fill(&self, pid: Option<u32>) {
        if self.helper.is_some() {
            let mut filler = std::fs::File::create(self.path("filler")).unwrap();
            while filler.write_all(&[1; 4096]).is_ok() {}
        } else if let Some(pid) = pid {
            let limit = Command::new("prlimit").args(["--pid", &pid.to_string(), "--fsize=1"]).status();
            assert!(limit.unwrap().success(), "prlimit is needed, of util-linux");
        }
    }

    /// Takes back what [`fill`](Self::fill) did.
    pub fn free(&self) {
        if self.helper.is_some() {
            std::fs::remove_file(self.path("filler")).unwrap();
        }
    }

    /// Makes it read-only, or writable again.
    pub fn read_only(&mut self, read_only: bool) {
        let how = if read_only { "ro" } else { "rw" };
        let order = format!("mount -o remount,{how} '{}'", self.dir.path().display());
        let helper = self.helper.as_mut().unwrap();
        writeln!(helper.orders, "{order}").unwrap();
        assert_eq!(helper.answer(), "0", "{order}");
    }
}

impl Helper {
    fn answer(&mut self) -> String {
        let mut line = String::new();
        let _ = self.answers.read_line(&mut line);
        line.trim().to_owned()
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A command behind another that runs it.
fn behind(first: &[&str], command: &Command) -> Command {
    let mut whole = Command::new(first[0]);
    whole.args(&first[1..]).arg(command.get_program()).args(command.get_args());
    if let Some(dir) = command.get_current_dir() {
        whole.current_dir(dir);
    }
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("BTKN_")) {
        whole.env_remove(name);
    }
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => whole.env(name, value),
            None => whole.env_remove(name),
        };
    }
    whole
}

/// A command for which permissions count, also where the tests run as root.
pub fn without_privileges(command: Command) -> Command {
    let is_root = std::fs::metadata("/proc/self").unwrap().uid() == 0;
    match is_root {
        true => behind(&["setpriv", "--bounding-set=-dac_override,-dac_read_search"], &command),
        false => command,
    }
}
