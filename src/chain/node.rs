//! A Bitcoin Core node: it knows the best chain, hands out blocks and tells of new ones.
//!
//! Blocks come over REST where the node offers it, as the bytes that they are; else over RPC, as hex in
//! JSON. Everything else is asked over RPC, and so is a block that REST does not deliver.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use bitcoin::BlockHash;
use bitcoin::blockdata::constants::genesis_block;
use serde::Deserialize;
use serde_json::Value;

use super::http::HttpError;
use super::rest::{self, Choice, Rest};
use super::rpc::{self, Auth, Failure, RPC_METHOD_NOT_FOUND, Rpc};
use super::{BlockId, Source, SourceError};
use crate::protocol::{Height, Network};

/// The oldest version that is supported: 28.0.
const MIN_VERSION: u32 = 280_000;

/// Hashes asked for in one request.
const HASHES_AT_ONCE: usize = 1000;

/// One long poll; well below the time after which a silent connection counts as dead.
const LONG_POLL: Duration = Duration::from_secs(10);

/// How often a node is asked that can't do long polls.
const POLL: Duration = Duration::from_secs(1);

/// What is said about the two interfaces.
const FASTER: &str = "about five times faster";
const SLOWER: &str = "which is about five times slower";

/// Error codes of Bitcoin Core.
const RPC_MISC_ERROR: i32 = -1;
const RPC_INVALID_PARAMETER: i32 = -8;

/// The challenge of the default signet.
const SIGNET_CHALLENGE: &str = "512103ad5e0edad18cb1f0fc0d28a3d4f1f3e445640337489abb10404f2d1e086be430\
    210359ef5021964fe22d6f8e05b2463c9540ce96883fe3b278760f048f5189f2e6c452ae";

/// Which node, and how to log in.
#[derive(Clone, Debug)]
pub struct NodeConfig {
    /// `http://host:port`; the port may be left out. Without credentials.
    pub url: String,
    /// How to log in.
    pub auth: Auth,
    /// The network that it must be on.
    pub network: Network,
}

impl NodeConfig {
    /// The RPC address of a node on this machine that was left at its defaults.
    pub fn default_url(network: Network) -> String {
        format!("http://127.0.0.1:{}", rpc::default_port(network))
    }

    /// Where a node with this data directory writes its cookie.
    pub fn default_cookie(bitcoin_dir: &Path, network: Network) -> PathBuf {
        network_dir(bitcoin_dir, network).join(".cookie")
    }
}

/// The part of a Bitcoin Core data directory that belongs to a network.
pub(super) fn network_dir(bitcoin_dir: &Path, network: Network) -> PathBuf {
    match network {
        Network::Mainnet => bitcoin_dir.to_owned(),
        Network::Testnet => bitcoin_dir.join("testnet3"),
        Network::Signet => bitcoin_dir.join("signet"),
        Network::Regtest => bitcoin_dir.join("regtest"),
    }
}

/// A node as the only source.
///
/// Hashes of one call to [`hashes`](Source::hashes) can come from two branches if the node changes
/// its mind in between; callers notice by the parent in each block's header.
pub struct Node {
    rpc: Rpc,
    rest: Rest,
    /// Which of the two serves blocks.
    choice: Mutex<Choice>,
    /// Whether it is worth a word how fast blocks come.
    talks: bool,
    network: Network,
    /// Whether the node at the other end was found to be the right one.
    probed: AtomicBool,
    version: String,
    tip: Option<BlockId>,
    can_long_poll: AtomicBool,
}

#[derive(Deserialize)]
struct NetworkInfo {
    version: u32,
}

#[derive(Deserialize)]
struct BlockchainInfo {
    chain: String,
    blocks: u32,
    bestblockhash: BlockHash,
    signet_challenge: Option<String>,
}

#[derive(Deserialize)]
struct NewBlock {
    hash: BlockHash,
}

impl Node {
    /// Prepares to talk to a node; connects at the first [`refresh`](Source::refresh).
    ///
    /// # Errors
    /// Fatal for a URL that can't be one of a node.
    pub fn new(config: NodeConfig) -> Result<Self, SourceError> {
        let rpc = Rpc::new(&config.url, config.auth, config.network)?;
        Ok(Node {
            rest: Rest::beside(rpc.url()),
            rpc,
            choice: Mutex::default(),
            talks: true,
            network: config.network,
            probed: AtomicBool::new(false),
            version: String::new(),
            tip: None,
            can_long_poll: AtomicBool::new(true),
        })
    }

    /// The same for a node that is asked for few blocks, because most come from elsewhere.
    pub(super) fn for_few_blocks(config: NodeConfig) -> Result<Self, SourceError> {
        Ok(Node { talks: false, ..Node::new(config)? })
    }

    /// The node's address, without credentials.
    pub fn url(&self) -> &str {
        self.rpc.url()
    }

    fn call<T: for<'a> Deserialize<'a>>(&self, method: &str, params: &[Value]) -> Result<T, SourceError> {
        self.rpc.call(method, params).map_err(|failure| self.explain(failure, method))
    }

    /// A failure may mean that another node is there the next time, so it is probed again.
    fn explain(&self, failure: Failure, method: &str) -> SourceError {
        if matches!(failure, Failure::Source(_)) {
            self.probed.store(false, Ordering::Relaxed);
        }
        self.rpc.explain(failure, method)
    }

    /// Checks version, network and genesis block of a node that is new to us.
    fn probe(&mut self) -> Result<(), SourceError> {
        let NetworkInfo { version } = self.call("getnetworkinfo", &[])?;
        let shown = format!("{}.{}.{}", version / 10_000, version / 100 % 100, version % 100);
        if version < MIN_VERSION {
            return Err(SourceError::Fatal(format!(
                "the node at {} runs version {shown}; Bitcoin Core 28 or later is needed",
                self.rpc.url()
            )));
        }
        let info: BlockchainInfo = self.call("getblockchaininfo", &[])?;
        let found = chain_name(&info);
        if found != self.network.name() {
            return Err(SourceError::Fatal(format!(
                "the node at {} is on {found}, not on {}: choose the other network or the other node",
                self.rpc.url(),
                self.network
            )));
        }
        let genesis = genesis_block(self.network.to_bitcoin()).block_hash();
        let first: BlockHash = self.call("getblockhash", &[0.into()])?;
        if first != genesis {
            return Err(SourceError::Fatal(format!(
                "the node at {} follows another chain: its first block is {first}, that of {} is {genesis}; \
                 choose a node of Bitcoin",
                self.rpc.url(),
                self.network
            )));
        }
        self.rpc.is_a_node();
        self.version = shown;
        self.can_long_poll.store(true, Ordering::Relaxed);
        self.probed.store(true, Ordering::Relaxed);
        self.probe_rest();
        Ok(())
    }

    fn choice(&self) -> MutexGuard<'_, Choice> {
        // Whoever panicked with the lock held left a choice that is as good as any.
        self.choice.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn probe_rest(&self) {
        let genesis = genesis_block(self.network.to_bitcoin()).block_hash();
        self.note_rest(self.rest.probe(genesis));
    }

    /// Decides over which interface blocks are to come, and says so where that is news.
    fn note_rest(&self, outcome: Result<(), HttpError>) {
        let news = self.choice().note(outcome.is_ok(), Instant::now());
        let (Some(served_before), url) = (news, self.rpc.url()) else { return };
        match outcome {
            _ if !self.talks => tracing::debug!(?outcome, "REST of the node at {url}"),
            Ok(()) => tracing::info!("blocks come over REST from the node at {url}"),
            Err(why) if served_before => {
                tracing::warn!(
                    "REST of the node at {url} serves no longer ({why}): blocks come over RPC, {SLOWER}"
                );
            }
            Err(HttpError::Status(404)) => tracing::info!(
                "blocks come over RPC, because REST of the node at {url} is off; rest=1 in its bitcoin.conf, and a \
                 restart of it, bring them {FASTER}"
            ),
            Err(why) => tracing::info!(
                "blocks come over RPC, because REST of the node at {url} does not answer ({why}); over REST they come \
                 {FASTER}: see rest and rpcallowip in its bitcoin.conf, and what lies between"
            ),
        }
    }

    /// Fetches a block over RPC.
    fn fetch_over_rpc(&self, block: BlockId, buf: &mut Vec<u8>) -> Result<(), SourceError> {
        let params = [block.hash.to_string().into(), 0.into()];
        let BlockId { height, hash } = block;
        let url = self.rpc.url();
        self.rpc.call_for_bytes("getblock", &params, buf).map_err(|failure| match failure {
            Failure::Answer(error) if error.code == RPC_MISC_ERROR && error.message.contains("pruned") => {
                SourceError::Fatal(format!(
                    "the node at {url} has pruned block {height} ({hash}): blocks from the start height on are \
                     needed, so use a node that does not prune, or one that keeps enough"
                ))
            }
            // It has pruned the block this very moment, or its disk is damaged.
            Failure::Answer(error)
                if error.code == RPC_MISC_ERROR && error.message.contains("not found on disk") =>
            {
                SourceError::Retry(format!(
                    "the node at {url} can't read block {height} ({hash}) from its disk; if that does not pass, \
                     its block files are damaged: restart it with -reindex"
                ))
            }
            failure => self.explain(failure, "getblock"),
        })
    }

    /// Waits for a block by asking the node to answer when there is one. False if it can't do that.
    fn long_poll(&self, known: BlockHash, timeout: Duration) -> Result<bool, SourceError> {
        // The node takes 0 for "without end".
        let millis = timeout.min(LONG_POLL).as_millis().max(1) as u64;
        match self.rpc.call::<NewBlock>("waitfornewblock", &[millis.into()]) {
            Ok(block) => {
                tracing::trace!(changed = block.hash != known, "long poll ended");
                Ok(true)
            }
            Err(Failure::Forbidden) => Ok(false),
            Err(Failure::Answer(error)) if error.code == RPC_METHOD_NOT_FOUND => Ok(false),
            Err(failure) => Err(self.explain(failure, "waitfornewblock")),
        }
    }
}

/// The network's name as we write it; others as the node does.
fn chain_name(info: &BlockchainInfo) -> &str {
    match (info.chain.as_str(), info.signet_challenge.as_deref()) {
        ("main", _) => "mainnet",
        ("test", _) => "testnet",
        ("signet", Some(challenge)) if challenge != SIGNET_CHALLENGE => "a signet of its own",
        (name, _) => name,
    }
}

impl Source for Node {
    fn describe(&self) -> String {
        let interface = if self.choice().is_rest() { "REST" } else { "RPC" };
        match self.version.as_str() {
            "" => format!("node at {}", self.rpc.url()),
            version => format!("Bitcoin Core {version} at {} ({interface})", self.rpc.url()),
        }
    }

    fn refresh(&mut self) -> Result<BlockId, SourceError> {
        if !self.probed.load(Ordering::Relaxed) {
            self.probe()?;
        } else if self.choice().is_due(Instant::now()) {
            self.probe_rest();
        }
        let info: BlockchainInfo = self.call("getblockchaininfo", &[])?;
        let tip = BlockId { height: Height(info.blocks), hash: info.bestblockhash };
        self.tip = Some(tip);
        Ok(tip)
    }

    fn hashes(&self, from: Height, count: usize) -> Result<Vec<BlockHash>, SourceError> {
        let end = self.tip.map_or(0, |tip| u64::from(tip.height.0) + 1);
        let end = end.min(u64::from(from.0).saturating_add(count as u64));
        let heights: Vec<[Value; 1]> = (u64::from(from.0)..end).map(|height| [height.into()]).collect();
        let mut hashes = Vec::with_capacity(heights.len());
        for heights in heights.chunks(HASHES_AT_ONCE) {
            let answers = self.rpc.batch("getblockhash", heights);
            for answer in answers.map_err(|failure| self.explain(failure, "getblockhash"))? {
                match answer.map(|response| response.result()) {
                    Ok(Ok(hash)) => hashes.push(hash),
                    // The chain got shorter since it was asked about.
                    Err(Failure::Answer(error)) if error.code == RPC_INVALID_PARAMETER => return Ok(hashes),
                    Err(failure) => return Err(self.explain(failure, "getblockhash")),
                    Ok(Err(error)) => {
                        return Err(SourceError::Fatal(format!(
                            "{}: no block hash: {error}",
                            self.rpc.url()
                        )));
                    }
                }
            }
        }
        Ok(hashes)
    }

    fn fetch(&self, block: BlockId, buf: &mut Vec<u8>) -> Result<(), SourceError> {
        if !self.choice().is_rest() {
            return self.fetch_over_rpc(block, buf);
        }
        match self.rest.block(block.hash, buf) {
            Ok(()) => return Ok(()),
            // RPC would most likely be as silent, and is asked before the next block anyway.
            Err(HttpError::Silent) => {
                return Err(self.explain(self.rpc.failed(HttpError::Silent), "block"));
            }
            Err(error) => tracing::debug!("block {} over REST: {error}", block.height),
        }
        // What is wrong with the node or with the block is for RPC to say. Where nothing is, REST may have
        // failed for once, or for good.
        self.fetch_over_rpc(block, buf)?;
        self.note_rest(self.rest.block(block.hash, &mut Vec::new()));
        Ok(())
    }

    fn in_flight(&self) -> usize {
        rest::AT_ONCE
    }

    fn locate(&self, block: BlockId) -> String {
        format!("block {} of the node at {}", block.height, self.rpc.url())
    }

    fn wait(&self, known: BlockHash, timeout: Duration) -> Result<(), SourceError> {
        let deadline = Instant::now() + timeout;
        loop {
            let best: BlockHash = self.call("getbestblockhash", &[])?;
            let left = deadline.saturating_duration_since(Instant::now());
            if best != known || left.is_zero() {
                return Ok(());
            }
            if !self.can_long_poll.load(Ordering::Relaxed) {
                thread::sleep(left.min(POLL));
            } else if !self.long_poll(known, left)? {
                self.can_long_poll.store(false, Ordering::Relaxed);
                tracing::info!(
                    url = self.rpc.url(),
                    "the node offers no waitfornewblock; asking every second"
                );
            }
        }
    }
}
