//! Requests per second of the API beside those of a bare handler, in one run on the same cores.
//!
//! The state has 100,000 owners with balances in 1,000 tokens. Two servers run in this process: the API, and
//! one axum handler that answers a body of the same size and does nothing else. `wrk` asks both for the same
//! paths, in turn. Then the latency of the API is measured at half of the load that it carried. The processor
//! time of a request is that of this process alone, without `wrk`; it varies less than the rates do.
//!
//! `cargo bench --bench api`, with `wrk` on PATH. SECONDS=20 measures longer. MINUTES=10 asks for so long in
//! the end, and says how much memory the process has, which should not grow.

use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::http::header;
use bitcoin::BlockHash;
use bitcoin::hashes::Hash;
use bitcoin::secp256k1::{SECP256K1, SecretKey};
use btkn_indexer::api::{self, App, Limits};
use btkn_indexer::chain::BlockId;
use btkn_indexer::ledger::balances::WideAmount;
use btkn_indexer::ledger::keys::{EntityIndex, Only};
use btkn_indexer::ledger::records::*;
use btkn_indexer::ledger::tables::*;
use btkn_indexer::ledger::view::Empty;
use btkn_indexer::ledger::{Entities, EntityConfig, EntityKey, Overlay, Rules};
use btkn_indexer::protocol::token::{Layer, TokenMetadata};
use btkn_indexer::protocol::{Amount, Height, ManifestId, Network, PubKey, StateHash, TokenId};
use btkn_indexer::stop::Stop;
use btkn_indexer::store::Store;
use btkn_indexer::sync::status::{Phase, SyncStatus};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio::sync::watch;

/// As in the program.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

const OWNERS: u32 = 100_000;
const TOKENS: u32 = 1000;
const HELD_BY_EACH: u32 = 3;
const CONNECTIONS: usize = 32;
const HEIGHT: Height = Height(100);

fn main() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let seconds = std::env::var("SECONDS").ok().and_then(|text| text.parse().ok()).unwrap_or(5);
    let (store, owners, tokens) = state(dir.path());
    let runtime = Runtime::new().expect("a runtime");
    let stop = Stop::new();
    let address = runtime.block_on(serve(store, &stop));
    let balances: Vec<_> = owners.iter().map(|owner| format!("/v1/owners/{owner}/balances")).collect();
    let tokens: Vec<_> = tokens.iter().map(|token| format!("/v1/tokens/{token}")).collect();
    measure(&runtime, "balances", &address, &balances, seconds);
    measure(&runtime, "token", &address, &tokens, seconds);
    let minutes = std::env::var("MINUTES").ok().and_then(|text| text.parse().ok()).unwrap_or(0);
    for minute in 1..=minutes {
        let load = wrk(&address, &balances, 30).mean(wrk(&address, &tokens, 30));
        println!("minute {minute}: {:.0} requests/s, {} MiB of memory", load.rate, resident_mib());
    }
    stop.request();
}

/// Memory that this process has now, the load generator apart. Linux only.
fn resident_mib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<u64>().ok()).map_or(0, |kib| kib / 1024)
}

fn measure(runtime: &Runtime, what: &str, address: &str, paths: &[String], seconds: u64) {
    let bytes = runtime.block_on(body(address, &paths[0]));
    let bare = runtime.block_on(bare(bytes));
    // Half before and half after the API, so that a slow moment of the machine hits both.
    let first = wrk(&bare, paths, seconds);
    let ours = wrk(address, paths, seconds);
    let bare = first.mean(wrk(&bare, paths, seconds));
    println!(
        "{what}: {:.0} requests/s; a bare handler of {bytes} bytes {:.0}; ratio {:.2}",
        ours.rate,
        bare.rate,
        ours.rate / bare.rate
    );
    println!("{what}: {:.1} us of processor time; a bare handler {:.1}", ours.micros, bare.micros);
    let half = ours.rate / 2.0;
    let mut times = runtime.block_on(latencies(address, paths, half, Duration::from_secs(seconds)));
    times.sort_unstable();
    let at = |share: f64| times[(times.len() as f64 * share) as usize].as_secs_f64() * 1e3;
    println!("{what}: at {half:.0} requests/s p50 {:.2} ms, p99 {:.2} ms", at(0.5), at(0.99));
}

/// The API, as `btkn run` serves it.
async fn serve(store: Store, stop: &Stop) -> String {
    let tip = BlockId { height: HEIGHT, hash: BlockHash::all_zeros() };
    let status = SyncStatus {
        phase: Phase::Following,
        source_tip: Some(tip),
        heard: Some(Instant::now()),
        ..SyncStatus::starting()
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address").to_string();
    // The sender may go: what was sent stays.
    let app = App::new(Arc::new(store), watch::channel(status).1, Limits::default());
    tokio::spawn(api::serve(listener, app, stop.clone()));
    address
}

/// A handler that answers so many bytes, whatever the path.
async fn bare(bytes: usize) -> String {
    let body = "x".repeat(bytes);
    let answer = move || {
        let body = body.clone();
        async move { ([(header::CONTENT_TYPE, "application/json")], body) }
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address").to_string();
    tokio::spawn(async move { axum::serve(listener, Router::new().fallback(answer)).await });
    address
}

/// What a server carried.
#[derive(Clone, Copy)]
struct Load {
    /// Requests per second.
    rate: f64,
    /// Processor time of each, microseconds.
    micros: f64,
}

impl Load {
    fn mean(self, other: Load) -> Load {
        Load { rate: (self.rate + other.rate) / 2.0, micros: (self.micros + other.micros) / 2.0 }
    }
}

/// Processor time that this process has used, in microseconds. Linux only.
fn cpu_micros() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
    // User and system, in hundredths of a second: fields 14 and 15 of proc(5), of which two are cut off.
    fields.skip(11).take(2).filter_map(|ticks| ticks.parse::<f64>().ok()).sum::<f64>() * 1e4
}

/// Asks for the paths in turn, as fast as they are answered.
fn wrk(address: &str, paths: &[String], seconds: u64) -> Load {
    let before = cpu_micros();
    let rate = wrk_rate(address, paths, seconds);
    Load { rate, micros: (cpu_micros() - before) / (rate * seconds as f64) }
}

fn wrk_rate(address: &str, paths: &[String], seconds: u64) -> f64 {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let (script, list) = (dir.path().join("paths.lua"), dir.path().join("paths"));
    std::fs::write(&list, paths.join("\n")).expect("the paths are written");
    let lua = format!(
        "local paths, next = {{}}, 0\nfor line in io.lines('{}') do paths[#paths + 1] = line end\n\
         function request() next = next % #paths + 1; return wrk.format('GET', paths[next]) end\n\
         function done(summary) io.write(string.format('rate %f errors %d\\n', summary.requests / summary.duration \
         * 1e6, summary.errors.status + summary.errors.connect + summary.errors.read + summary.errors.timeout)) end\n",
        list.display()
    );
    std::fs::write(&script, lua).expect("the script is written");
    let (connections, time) = (format!("-c{CONNECTIONS}"), format!("-d{seconds}s"));
    let mut wrk = Command::new("wrk");
    wrk.args(["-t1", &connections, &time, "-s"]).arg(&script).arg(format!("http://{address}"));
    let output = wrk.output().expect("wrk is on PATH");
    let text = String::from_utf8_lossy(&output.stdout);
    let line = text.lines().find_map(|line| line.strip_prefix("rate ")).expect("wrk says its rate");
    let (rate, errors) = line.split_once(" errors ").expect("and its errors");
    assert_eq!(errors, "0", "every request is answered: {text}");
    rate.parse().expect("a number")
}

/// Times from when a request was due to its answer, at a fixed rate: a late answer makes the next ones late.
async fn latencies(address: &str, paths: &[String], rate: f64, time: Duration) -> Vec<Duration> {
    let paths: Arc<[String]> = paths.into();
    // When all of them are connected.
    let begin = Instant::now() + Duration::from_millis(200);
    let each = CONNECTIONS as f64 / rate;
    let tasks = (0..CONNECTIONS).map(|nth| {
        let (address, paths) = (address.to_owned(), Arc::clone(&paths));
        tokio::spawn(async move {
            let mut stream = TcpStream::connect(address).await.expect("the server listens");
            let (mut times, mut buffer) = (Vec::new(), Vec::new());
            for path in paths.iter().cycle().skip(nth * paths.len() / CONNECTIONS) {
                let share = nth as f64 / CONNECTIONS as f64;
                let due = begin + Duration::from_secs_f64((times.len() as f64 + share) * each);
                if due > begin + time {
                    break;
                }
                tokio::time::sleep_until(due.into()).await;
                request(&mut stream, path, &mut buffer).await;
                times.push(due.elapsed());
            }
            times
        })
    });
    let mut all = Vec::new();
    for task in tasks.collect::<Vec<_>>() {
        all.extend(task.await.expect("a client does not panic"));
    }
    all
}

/// Sends a request and reads its answer; returns the length of the body.
async fn request(stream: &mut TcpStream, path: &str, buffer: &mut Vec<u8>) -> usize {
    let head = format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n");
    stream.write_all(head.as_bytes()).await.expect("the request is sent");
    buffer.clear();
    loop {
        stream.read_buf(buffer).await.expect("the answer comes");
        let Some(end) = buffer.windows(4).position(|four| four == b"\r\n\r\n") else { continue };
        let head = String::from_utf8_lossy(&buffer[..end]).to_lowercase();
        assert!(head.starts_with("http/1.1 200"), "{head}");
        let length = head.split("content-length: ").nth(1).and_then(|rest| rest.lines().next());
        let length: usize = length.expect("an answer has a length").parse().expect("a number");
        if buffer.len() == end + 4 + length {
            return length;
        }
    }
}

async fn body(address: &str, path: &str) -> usize {
    let mut stream = TcpStream::connect(address).await.expect("the server listens");
    request(&mut stream, path, &mut Vec::new()).await
}

/// A database with one block, the owners in it and the tokens.
fn state(dir: &std::path::Path) -> (Store, Vec<PubKey>, Vec<TokenId>) {
    let key = |n: u32| {
        let mut secret = [1; 32];
        secret[..4].copy_from_slice(&n.to_be_bytes());
        PubKey::from(SecretKey::from_slice(&secret).expect("a scalar").public_key(SECP256K1))
    };
    let entity = EntityConfig {
        name: "operators".into(),
        keys: vec![EntityKey { key: key(u32::MAX), from_height: Height(0) }],
    };
    let entities = Entities::new(vec![entity]).expect("one entity with one key");
    let rules = Rules { network: Network::Regtest, start_height: HEIGHT, entities };
    let store = Store::open(dir, &rules).expect("a new database");
    let owners: Vec<PubKey> = (0..OWNERS).map(key).collect();
    let mut state = Overlay::new(Empty);
    let tokens: Vec<TokenId> = (0..TOKENS).map(|n| put_token(&mut state, n)).collect();
    let entity = EntityIndex(0);
    for (n, owner) in (0u32..).zip(&owners) {
        for i in 0..HELD_BY_EACH {
            let token = tokens[((n + i * 331) % TOKENS) as usize];
            let exiting = WideAmount::default();
            let balance = Balance { available: Amount(u128::from(n) * 1_000_003), exiting, claimed: exiting };
            state.put::<Balances>((*owner, token, entity), balance).expect("memory does not fail");
        }
    }
    let (hash, time, state_hash) = (BlockHash::all_zeros(), 1_750_000_000, StateHash::MIN);
    let block = BlockRecord { hash, time, state_hash, events: String::new() };
    let active = ActiveSnapshot { manifest: ManifestId::MAX, sequence: 7, count: OWNERS.into() };
    state.put::<Blocks>(HEIGHT, block).expect("memory does not fail");
    state
        .put::<Tip>(Only, TipRecord { height: HEIGHT, hash, time, state_hash })
        .expect("memory does not fail");
    state.put::<Active>(entity, active).expect("memory does not fail");
    store.commit(&[(HEIGHT, state.into_changes())]).expect("the block is written");
    (store, owners, tokens)
}

fn put_token(state: &mut Overlay<Empty>, n: u32) -> TokenId {
    let metadata = TokenMetadata {
        issuer: PubKey::BURN,
        name: format!("Token {n}"),
        ticker: format!("T{n:04}"),
        decimals: 8,
        max_supply: Amount(2_100_000_000_000_000),
        freezable: false,
    };
    let token = metadata.identifier(Network::Regtest, Layer::L1);
    let record = TokenRecord { metadata: Some(metadata), layer: Some(Layer::L1), announced_as: None };
    state.put::<Tokens>(token, record).expect("memory does not fail");
    state.put::<Supply>((token, EntityIndex(0)), Amount(1_000_000_000)).expect("memory does not fail");
    token
}
