//! Runs the real binary in directories of its own.

use std::io::{BufRead, BufReader, Read};
use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bitcoin::Block;
use bitcoin::consensus::deserialize;
use btkn_indexer::chain::{BlockFiles, BlockId, Source};
use btkn_indexer::protocol::{Height, Network, PubKey};
use serde_json::Value;
use tempfile::TempDir;

/// How long a test waits for something that should happen at once.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// `btkn` with these arguments, and nothing in its environment that could change what it does.
pub fn btkn<S: AsRef<std::ffi::OsStr>>(args: &[S]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_btkn"));
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("BTKN_")) {
        command.env_remove(name);
    }
    command.args(args).stdin(Stdio::null());
    command
}

/// Runs a command that must succeed; returns its standard output.
pub fn output(command: &mut Command) -> String {
    let Output { status, stdout, stderr } = command.output().unwrap();
    assert!(status.success(), "{command:?}: {status}\n{}", String::from_utf8_lossy(&stderr));
    String::from_utf8(stdout).unwrap()
}

/// What indexers must agree on, and a place for their databases.
pub struct Bench {
    pub dir: TempDir,
    args: Vec<String>,
}

impl Bench {
    /// Regtest from `start_height`, following one entity.
    pub fn new(start_height: u32, entity: PubKey) -> Self {
        Bench::with(start_height, &[format!("spark={entity}")])
    }

    pub fn with(start_height: u32, entities: &[String]) -> Self {
        let mut args = vec!["--network".into(), "regtest".into(), "--start-height".into()];
        args.push(start_height.to_string());
        for entity in entities {
            args.extend(["--entity".into(), entity.clone()]);
        }
        Bench { dir: TempDir::new().unwrap(), args }
    }

    /// The directory of the database called `name`.
    pub fn data_dir(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// `btkn <command>` on the database called `name`, with further arguments.
    pub fn command(&self, command: &str, name: &str, source: &[String]) -> Command {
        let mut args = vec![command.to_owned()];
        args.extend(self.args.iter().cloned());
        args.extend(["--data-dir".into(), self.data_dir(name).display().to_string()]);
        args.extend(source.iter().cloned());
        btkn(&args)
    }

    /// Brings a database up to date and returns the summary.
    pub fn sync(&self, name: &str, source: &[String]) -> Value {
        let text = output(self.command("sync", name, source).arg("--json"));
        serde_json::from_str(text.lines().last().unwrap()).unwrap()
    }

    /// All blocks with their state hashes and events.
    pub fn events(&self, name: &str) -> String {
        output(&mut btkn(&["events", "--data-dir", &self.data_dir(name).display().to_string()]))
    }

    /// The whole state, of a database that must not contradict itself.
    pub fn dump(&self, name: &str) -> String {
        let place = ["--data-dir", &self.data_dir(name).display().to_string()];
        output(btkn(&["check"]).args(place));
        output(btkn(&["dump"]).args(place))
    }
}

/// A file of the fixture chain.
pub fn fixture(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/regtest").join(path)
}

/// The configuration of the fixture, without its source.
pub fn fixture_bench() -> Bench {
    let text = std::fs::read_to_string(fixture("btkn.toml")).unwrap();
    let config: toml::Table = text.parse().unwrap();
    let entities: Vec<String> = config["entity"].clone().try_into().unwrap();
    Bench::with(config["start-height"].as_integer().unwrap() as u32, &entities)
}

/// Arguments for a node as the only source.
pub fn node_args(url: &str, cookie: &Path) -> Vec<String> {
    vec!["--rpc-url".into(), url.into(), "--rpc-cookie-file".into(), cookie.display().to_string()]
}

/// Does something with each of many, several at once; panics with the names of those that failed.
pub fn for_all<T: Sync>(all: &[T], name: impl Fn(&T) -> String + Sync, action: impl Fn(&T) + Sync) {
    const AT_ONCE: usize = 8;
    let next = AtomicUsize::new(0);
    let failed = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                while let Some(one) = all.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let done = std::panic::catch_unwind(AssertUnwindSafe(|| action(one)));
                    if done.is_err() {
                        failed.lock().unwrap().push(name(one));
                    }
                }
            });
        }
    });
    let failed = failed.into_inner().unwrap();
    assert!(failed.is_empty(), "failed: {failed:#?}");
}

/// The blocks of the fixture in `fixtures/regtest`, from the genesis block on.
pub fn fixture_blocks() -> Vec<Block> {
    let mut source = BlockFiles::open(&fixture("blocks"), Network::Regtest).unwrap();
    source.refresh().unwrap();
    let hashes = source.hashes(Height(0), usize::MAX).unwrap();
    let ids = (0..).map(Height).zip(hashes).map(|(height, hash)| BlockId { height, hash });
    let mut bytes = Vec::new();
    let block = |id| {
        source.fetch(id, &mut bytes).unwrap();
        deserialize(&bytes).unwrap()
    };
    ids.map(block).collect()
}

/// A `btkn run` that is ended with the test.
pub struct Server {
    child: Child,
    pub url: String,
    agent: ureq::Agent,
    log: Arc<Mutex<Vec<String>>>,
}

impl Server {
    /// Starts it on a free port and waits until it serves.
    pub fn start(mut command: Command) -> Self {
        command.args(["--listen", "127.0.0.1:0", "--json"]).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines().map(Result::unwrap);
        let url = lines
            .find_map(|line| {
                let (_, url) = line.split_once("serving on ")?;
                url.split([',', ' ']).next().map(str::to_owned)
            })
            .expect("it says where it serves");
        let log: Arc<Mutex<Vec<String>>> = Arc::default();
        let kept = log.clone();
        std::thread::spawn(move || lines.for_each(|line| kept.lock().unwrap().push(line)));
        let config = ureq::Agent::config_builder().http_status_as_error(false).build();
        Server { child, url, agent: config.into(), log }
    }

    /// The number of its process.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// The lines of its log that contain a text.
    pub fn logged(&self, text: &str) -> Vec<String> {
        self.log.lock().unwrap().iter().filter(|line| line.contains(text)).cloned().collect()
    }

    /// Waits until it ends by itself; returns its exit code and what it logged.
    pub fn failed(mut self) -> (Option<i32>, String) {
        let end = Instant::now() + PATIENCE;
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            assert!(Instant::now() < end, "it is still there after {PATIENCE:?}");
            std::thread::sleep(Duration::from_millis(20));
        };
        // The thread that reads the log lets go of it at its end.
        while Arc::strong_count(&self.log) > 1 {
            std::thread::sleep(Duration::from_millis(5));
        }
        (status.code(), self.log.lock().unwrap().join("\n"))
    }

    /// Status and body.
    pub fn get(&self, path: &str) -> (u16, Value) {
        let mut response = self.agent.get(format!("{}{path}", self.url)).call().unwrap();
        let status = response.status().as_u16();
        (status, response.body_mut().read_json().unwrap())
    }

    /// Status and body of what a request with this JSON is answered.
    pub fn post(&self, path: &str, json: &str) -> (u16, Value) {
        let request = self.agent.post(format!("{}{path}", self.url)).content_type("application/json");
        let mut response = request.send(json).unwrap();
        let status = response.status().as_u16();
        (status, response.body_mut().read_json().unwrap())
    }

    /// Waits until the status is as expected; returns it.
    pub fn wait_for(&self, what: &str, happened: impl Fn(&Value) -> bool) -> Value {
        self.wait_for_answer("/v1/status", what, happened)
    }

    /// Waits until an answer is as expected; returns it.
    pub fn wait_for_answer(&self, path: &str, what: &str, happened: impl Fn(&Value) -> bool) -> Value {
        let end = Instant::now() + PATIENCE;
        loop {
            let (_, answer) = self.get(path);
            if happened(&answer) {
                return answer;
            }
            assert!(Instant::now() < end, "waited {PATIENCE:?} in vain for {what}: {answer}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Waits until the state is that of the block with this hash, and the node has no other.
    pub fn wait_for_tip(&self, hash: &str) {
        self.wait_for(&format!("the block {hash}"), |status| {
            status["synced"] == true && status["as_of"]["block_hash"] == hash
        });
    }

    /// Sends a signal and waits for the end; returns how long it took and the last line of its output.
    pub fn end(mut self, signal: &str) -> (Duration, Value) {
        let asked = Instant::now();
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args([signal, &pid]).status().unwrap().success());
        let status = self.child.wait().unwrap();
        let took = asked.elapsed();
        assert_eq!(status.code(), Some(0), "{status}");
        let mut output = String::new();
        self.child.stdout.take().unwrap().read_to_string(&mut output).unwrap();
        (took, serde_json::from_str(output.lines().last().unwrap()).unwrap())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Both fail only if it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
