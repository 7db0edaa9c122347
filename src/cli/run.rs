//! `btkn sync` and `btkn run`.

use std::io::{self, Write};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::sync::watch;

use super::{Failure, stop_on_interrupt, write_json};
use crate::api::{self, App};
use crate::chain::{BlockFiles, Node, NodeMempool, NodeWithFiles, Source, SourceError};
use crate::config::{Config, SourceConfig};
use crate::kill;
use crate::mempool::{self, Watcher};
use crate::stop::Stop;
use crate::store::Store;
use crate::sync::status::SyncStatus;
use crate::sync::{End, Options, Summary, Sync};

/// How long reads that were under way when the process was asked to stop may hold it up.
const READ_GRACE: Duration = Duration::from_millis(100);

/// Catches up and ends.
pub fn sync(config: &Config, rebuild: bool) -> Result<(), Failure> {
    let stop = stop_on_interrupt()?;
    let (source, store) = open(config, &stop, rebuild)?;
    let (status, _) = watch::channel(SyncStatus::starting());
    let mut sync = Sync::new(store, source, options(config), status, stop)?;
    let end = sync.catch_up()?;
    report(&sync.summary()?, config.json)?;
    match end {
        End::Done => Ok(()),
        End::Stopped => Err(Failure::Stopped),
    }
}

/// Catches up, follows and serves until it is asked to stop.
pub fn run(config: &Config, rebuild: bool) -> Result<(), Failure> {
    let stop = stop_on_interrupt()?;
    let (source, store) = open(config, &stop, rebuild)?;
    let (status, progress) = watch::channel(SyncStatus::starting());
    let mut sync = Sync::new(store.clone(), source, options(config), status, stop.clone())?;

    let runtime = Runtime::new().map_err(|error| Failure::Start(error.to_string()))?;
    let listen = |source| Failure::Listen { address: config.listen, source };
    let listener = runtime.block_on(TcpListener::bind(config.listen)).map_err(listen)?;
    let address = listener.local_addr().map_err(listen)?;
    let (mempool, watcher) = mempool(config, &store, &stop)?;
    if let Some(watcher) = watcher {
        runtime.spawn(mempool::watch(watcher, progress.clone()));
    }
    let app = App::new(store, progress, config.limits).with_mempool(mempool);
    let serving = runtime.spawn(api::serve(listener, app, stop.clone()));
    tracing::info!("serving on http://{address}, for example http://{address}/v1/status");

    let followed = sync.follow();
    stop.request();
    // It ends by itself once a stop is requested, and reports nothing.
    let _ = runtime.block_on(serving);
    runtime.shutdown_timeout(READ_GRACE);
    followed?;
    report(&sync.summary()?, config.json)
}

pub(super) fn options(config: &Config) -> Options {
    Options {
        threads: config.threads.get(),
        verify_blocks: config.verify_blocks,
        batch_blocks: kill::size(Options::BATCH_BLOCKS, 8),
        undo_blocks: config.undo_blocks,
    }
}

/// The source comes first: a mistake there must not leave an empty database behind.
fn open(config: &Config, stop: &Stop, rebuild: bool) -> Result<(Box<dyn Source>, Arc<Store>), Failure> {
    limit_threads(config)?;
    let source = open_source(config, stop)?;
    if rebuild && let Some(aside) = Store::set_aside(&config.data_dir)? {
        tracing::info!(
            "the database is kept as {}, which can be removed once the state is recovered; rebuilding it from \
             the blocks. Leave --rebuild out at the next start",
            aside.display()
        );
    }
    Ok((source, Arc::new(Store::open(&config.data_dir, &config.rules)?)))
}

/// What is spread over threads outside the scan (checks of keys, the search of block files) keeps to their
/// number too.
fn limit_threads(config: &Config) -> Result<(), Failure> {
    let threads = rayon::ThreadPoolBuilder::new().num_threads(config.threads.get());
    threads.build_global().map_err(|error| Failure::Start(format!("{} threads: {error}", config.threads)))
}

pub(super) fn open_source(config: &Config, stop: &Stop) -> Result<Box<dyn Source>, SourceError> {
    Ok(match &config.source {
        SourceConfig::BlockFiles { dir } => {
            Box::new(BlockFiles::open(dir, config.rules.network)?.stopping_with(stop.clone()))
        }
        SourceConfig::Node(node) => Box::new(Node::new(node.clone())?),
        SourceConfig::NodeWithFiles { bitcoin_dir, node } => {
            Box::new(NodeWithFiles::open(bitcoin_dir, node.clone())?)
        }
    })
}

/// What is known of the mempool, and who watches it where there is a node to ask.
fn mempool(
    config: &Config,
    store: &Arc<Store>,
    stop: &Stop,
) -> Result<(mempool::Published, Option<Watcher>), SourceError> {
    let node = match &config.source {
        SourceConfig::BlockFiles { .. } => {
            return Ok((
                mempool::unavailable("block files have no mempool: it takes a node as source"),
                None,
            ));
        }
        SourceConfig::Node(node) | SourceConfig::NodeWithFiles { node, .. } => node,
    };
    let node = NodeMempool::new(node.clone())?;
    let (watcher, published) = Watcher::new(node, store.clone(), stop.clone());
    Ok((published, Some(watcher)))
}

/// The last line of standard output.
fn report(summary: &Summary, json: bool) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    if json {
        write_json(&mut out, summary)?;
        writeln!(out)?;
        return Ok(out.flush()?);
    }
    match (summary.height, summary.block_hash, summary.state_hash) {
        (Some(height), Some(block), Some(state)) => {
            writeln!(out, "height {height}, block {block}, state hash {state}")?;
        }
        _ => writeln!(out, "the best chain does not reach the start height yet")?,
    }
    let megabytes = summary.bytes as f64 / 1e6;
    writeln!(out, "{} blocks, {megabytes:.1} MB, {:.1} s", summary.blocks, summary.seconds)?;
    Ok(out.flush()?)
}
