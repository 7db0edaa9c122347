//! A bitcoind process of one's own: regtest, no peers, no wallet, in a temporary directory.

use std::cell::Cell;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use bitcoincore_rpc::{Auth, Client, RpcApi};
use serde_json::Value;
use tempfile::TempDir;

const START_TIMEOUT: Duration = Duration::from_secs(120);
const STOP_TIMEOUT: Duration = Duration::from_secs(60);

/// The bitcoind to use: `$BITCOIND`, or what `scripts/bitcoind` finds or builds.
pub fn bitcoind() -> &'static Path {
    static PATH: OnceLock<PathBuf> = OnceLock::new();
    PATH.get_or_init(|| {
        if let Some(path) = std::env::var_os("BITCOIND") {
            return path.into();
        }
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../scripts/bitcoind");
        let output =
            Command::new(script).stderr(Stdio::inherit()).output().expect("scripts/bitcoind can be run");
        assert!(output.status.success(), "{script} found no bitcoind");
        String::from_utf8(output.stdout).expect("a path in UTF-8").trim().into()
    })
}

/// How to start a [`Node`].
#[derive(Clone, Debug)]
pub struct NodeOptions {
    args: Vec<String>,
    xor_key: Option<[u8; 8]>,
    blocks_from: Option<PathBuf>,
    mock_time: Option<u64>,
    patience: Duration,
}

impl Default for NodeOptions {
    fn default() -> Self {
        NodeOptions {
            args: Vec::new(),
            xor_key: None,
            blocks_from: None,
            mock_time: Some(Node::START_TIME),
            patience: START_TIMEOUT,
        }
    }
}

impl NodeOptions {
    /// A node with an empty chain whose clock stands at [`Node::START_TIME`].
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds an argument, such as `-fastprune`.
    pub fn arg(mut self, arg: impl Into<String>) -> Self {
        self.args.push(arg.into());
        self
    }

    /// Fixes the key that obfuscates the block files; Core picks a random one otherwise.
    pub fn xor_key(mut self, key: [u8; 8]) -> Self {
        self.xor_key = Some(key);
        self
    }

    /// Starts from a copy of the block files in `dir` (with their `xor.dat`), which the node indexes at
    /// its start. The clock is the real one.
    pub fn blocks_from(mut self, dir: impl Into<PathBuf>) -> Self {
        self.blocks_from = Some(dir.into());
        self.mock_time = None;
        self
    }

    /// Waits longer until the node is up, which takes minutes where it has gigabytes to index.
    pub fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// Starts the node and waits until it answers.
    pub fn start(self) -> Node {
        let dir = tempfile::Builder::new().prefix("btkn-regtest-").tempdir().expect("a temporary directory");
        let blocks = dir.path().join("regtest/blocks");
        std::fs::create_dir_all(&blocks).expect("the blocks directory can be made");
        let mut first_args = Vec::new();
        if let Some(key) = self.xor_key {
            std::fs::write(blocks.join("xor.dat"), key).expect("xor.dat can be written");
        }
        if let Some(from) = &self.blocks_from {
            for entry in std::fs::read_dir(from).unwrap_or_else(|e| panic!("{}: {e}", from.display())) {
                let name = entry.expect("a directory entry").file_name();
                let text = name.to_string_lossy();
                if text.starts_with("blk") || text == "xor.dat" {
                    std::fs::copy(from.join(&name), blocks.join(&name)).expect("block files can be copied");
                }
            }
            first_args.push("-reindex".to_owned());
        }
        let time = Cell::new(self.mock_time);
        let mut node = Node { dir, port: 0, options: self, time, running: None };
        node.spawn(&first_args);
        node
    }
}

struct Running {
    child: Child,
    client: Client,
}

/// A bitcoind in regtest. It is killed, and its directory removed, when this is dropped.
pub struct Node {
    dir: TempDir,
    port: u16,
    options: NodeOptions,
    /// What the clock was set to. A node that is started again needs it, or it finds blocks of the future.
    time: Cell<Option<u64>>,
    running: Option<Running>,
}

impl Node {
    /// Where the clock of a node starts, Unix seconds (2025-06-15).
    pub const START_TIME: u64 = 1_750_000_000;

    /// The data directory, as `--bitcoin-dir` takes it.
    pub fn data_dir(&self) -> &Path {
        self.dir.path()
    }

    /// The directory with the block files.
    pub fn blocks_dir(&self) -> PathBuf {
        self.dir.path().join("regtest/blocks")
    }

    /// The cookie file with the RPC credentials; it exists while the node runs.
    pub fn cookie_file(&self) -> PathBuf {
        self.dir.path().join("regtest/.cookie")
    }

    /// The URL of the RPC interface. It stays the same when the node is started again.
    pub fn rpc_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// The port of the RPC and REST interfaces.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Whether the node was started and not stopped.
    pub fn is_running(&self) -> bool {
        self.running.is_some()
    }

    /// The RPC client.
    pub fn client(&self) -> &Client {
        &self.running.as_ref().expect("the node was stopped; start it again first").client
    }

    /// Calls an RPC method; panics with its error.
    pub fn rpc<T: serde::de::DeserializeOwned>(&self, method: &str, args: &[Value]) -> T {
        self.client().call(method, args).unwrap_or_else(|e| panic!("RPC {method}: {e}"))
    }

    /// Stops the node in order, so that everything is on disk.
    pub fn stop(&mut self) {
        let mut running = self.running.take().expect("the node runs");
        let _: Value = running.client.call("stop", &[]).expect("the node can be told to stop");
        let deadline = Instant::now() + STOP_TIMEOUT;
        while running.child.try_wait().expect("the node's process can be asked").is_none() {
            if Instant::now() > deadline {
                let _ = running.child.kill();
                let _ = running.child.wait();
                panic!("bitcoind did not stop within {} s", STOP_TIMEOUT.as_secs());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Kills the node's process, as a power cut would.
    pub fn kill(&mut self) {
        if let Some(mut running) = self.running.take() {
            let _ = running.child.kill();
            let _ = running.child.wait();
        }
    }

    /// Starts a stopped node again, on the same port and directory, with one more argument.
    pub fn start_again_with(&mut self, arg: impl Into<String>) {
        self.options.args.push(arg.into());
        self.start_again();
    }

    /// Starts a stopped node again, on the same port and directory.
    pub fn start_again(&mut self) {
        assert!(self.running.is_none(), "the node runs already");
        self.spawn(&[]);
    }

    /// Sets the node's clock, Unix seconds.
    pub fn set_time(&self, time: u64) {
        self.time.set(Some(time));
        let _: Value = self.rpc("setmocktime", &[time.into()]);
    }

    fn spawn(&mut self, more: &[String]) {
        // A free port can be taken by somebody else before bitcoind has it: try a few.
        let mut error = String::new();
        for _ in 0..5 {
            if self.port == 0 {
                let probe = TcpListener::bind("127.0.0.1:0").expect("a free port");
                self.port = probe.local_addr().expect("a bound address").port();
            }
            match self.try_spawn(more) {
                Ok(running) => {
                    self.running = Some(running);
                    return;
                }
                Err(e) => error = e,
            }
            if !error.contains("Unable to bind") {
                break;
            }
            self.port = 0;
        }
        panic!("bitcoind did not start: {error}");
    }

    fn try_spawn(&self, more: &[String]) -> Result<Running, String> {
        let _ = std::fs::remove_file(self.cookie_file());
        let stderr_path = self.dir.path().join("stderr.txt");
        let stderr = std::fs::File::create(&stderr_path).map_err(|e| e.to_string())?;
        let mut command = Command::new(bitcoind());
        command
            .arg("-regtest")
            .arg(format!("-datadir={}", self.dir.path().display()))
            .arg(format!("-rpcport={}", self.port))
            .args(["-rpcbind=127.0.0.1", "-rpcallowip=127.0.0.1", "-server", "-listen=0", "-connect=0"])
            .args(["-dnsseed=0", "-fixedseeds=0", "-persistmempool=0", "-datacarriersize=100000"])
            .args(["-printtoconsole=0", "-par=1", "-dbcache=16"])
            .args(self.time.get().map(|time| format!("-mocktime={time}")))
            .args(&self.options.args)
            .args(more)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(stderr);
        let child = command.spawn().map_err(|e| format!("{}: {e}", bitcoind().display()))?;
        self.wait_until_up(child, &stderr_path)
    }

    /// Whether the node is through with block files that it found at its start.
    fn has_loaded(&self) -> bool {
        let log = std::fs::read(self.dir.path().join("regtest/debug.log")).unwrap_or_default();
        self.options.blocks_from.is_none() || String::from_utf8_lossy(&log).contains("initload thread exit")
    }

    fn wait_until_up(&self, mut child: Child, stderr: &Path) -> Result<Running, String> {
        let deadline = Instant::now() + self.options.patience;
        loop {
            if let Some(status) = child.try_wait().map_err(|e| e.to_string())? {
                let said = std::fs::read_to_string(stderr).unwrap_or_default();
                return Err(format!("{status}: {said}"));
            }
            if Instant::now() > deadline {
                let _ = child.kill();
                let _ = child.wait();
                return Err(format!("no answer within {} s", self.options.patience.as_secs()));
            }
            std::thread::sleep(Duration::from_millis(20));
            // Credentials are read when the client is made, so the cookie has to be there by then.
            let Ok(client) = Client::new(&self.rpc_url(), Auth::CookieFile(self.cookie_file())) else {
                continue;
            };
            if client.call::<Value>("getblockchaininfo", &[]).is_ok() && self.has_loaded() {
                return Ok(Running { child, client });
            }
        }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.kill();
    }
}
