//! The arguments as they are typed.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::config::Options;
use crate::protocol::{Height, Network};
use crate::scan::VerifyBlocks;

const EXAMPLES: &str = "\
Examples:
  A node on this machine: catch up, follow it, and serve on 127.0.0.1:3080.
    btkn run --bitcoin-dir ~/.bitcoin

  A node elsewhere, with its user and password from the environment.
    BTKN_RPC_USER=alice BTKN_RPC_PASSWORD=… btkn run --rpc-url http://192.168.1.5:8332

  No node at all: recover from the block files of an old disk.
    btkn sync --blocks-dir /mnt/old/bitcoin/blocks

  Look at the result.
    curl 127.0.0.1:3080/v1/status
    btkn events --from 890000
    btkn dump > state.json
    btkn check
    btkn verify --bitcoin-dir ~/.bitcoin

  Before the disk is trusted: kill btkn on it some dozen times, and compare.
    btkn selftest --data-dir /var/lib/btkn

Every option can also be set in the environment (--data-dir is BTKN_DATA_DIR, several entities
are separated by commas) or in a TOML file named by --config (data-dir = \"…\", entity = [\"…\"]).
The command line comes first, then the environment, then the file. BTKN_LOG=debug logs more,
BTKN_LOG_FORMAT=json for programs.

Exit codes: 0 done, 1 failed, 2 wrong usage.";

const SOURCE_HELP: &str = "\
Where blocks come from, one of:
  --blocks-dir DIR    the block files of Bitcoin Core, without a node
  --bitcoin-dir DIR   a node on this machine: it decides the chain, bytes come from its files
  --rpc-url URL       a node anywhere, with --rpc-cookie-file, or with BTKN_RPC_USER and
                      BTKN_RPC_PASSWORD in the environment; fastest with rest=1 in its bitcoin.conf";

const EVENTS_EXAMPLES: &str = "\
Examples:
  btkn events --from 900000 --to 900100
  btkn events --data-dir /var/lib/btkn | jq 'select(.events != [])'

Two indexers with the same network, start height and entities print the same lines.";

const VERIFY_HELP: &str = "\
The source and the entities are named as for `btkn sync`. The database is only read, also while
`btkn run` has it open, and compared as of the start. The second state takes as much time and space
as the first synchronisation did, and is deleted at the end.

Exit codes: 0 nothing differs, 1 something does (the first block or row is named), 2 wrong usage.";

const SELFTEST_HELP: &str = "\
In a directory of its own within the data directory, which it removes at the end, a chain of 330
blocks is synced by processes that are killed (SIGKILL) at random moments, while branches of empty
blocks win and lose again. After each kill the database is tested against itself, and every block in
it against a run without kills; at the end the whole state must be the known one. No node is needed;
a database that is there already is not touched.

Shown, for the file system of that directory: what was committed is whole after the death of the
process; a second process is kept out; rename and flush work. Not shown: a power failure. Whether
the disk keeps what it was asked to flush can be tested only by cutting its power.

Exit codes: 0 passed, 1 not passed or not possible (the reason is said), 2 wrong usage.";

/// Rebuilds BTKN token balances from Bitcoin blocks alone, and serves them over REST.
#[derive(Debug, Parser)]
#[command(name = "btkn", version, after_help = EXAMPLES)]
pub struct Arguments {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Catch up with the best chain, then exit
    #[command(after_help = SOURCE_HELP)]
    Sync {
        /// Options.
        #[command(flatten)]
        args: SyncArgs,
        /// Move the database aside, to db.old, and recover the state from the blocks: for one that is damaged
        #[arg(long)]
        rebuild: bool,
    },
    /// Catch up, follow the chain, and serve the REST API until stopped
    #[command(after_help = SOURCE_HELP)]
    Run {
        /// Options.
        #[command(flatten)]
        args: RunArgs,
        /// Move the database aside, to db.old, and recover the state from the blocks: for one that is damaged
        #[arg(long)]
        rebuild: bool,
    },
    /// Print one JSON object per block: height, block hash, state hash, event lines
    #[command(after_help = EVENTS_EXAMPLES)]
    Events(EventsArgs),
    /// Print the whole state at the tip as JSON in a fixed order
    Dump(PlaceArgs),
    /// Derive the state again from the blocks and compare it with the database, block by block, row by row
    #[command(after_help = VERIFY_HELP)]
    Verify(VerifyArgs),
    /// Test the database against itself: indexes, sums, roots, state hashes and undo records
    Check(PlaceArgs),
    /// Print the OpenAPI document of the REST API, which programs can be generated from
    Openapi,
    /// Test the disk: sync a built-in chain in the data directory, kill that many times, and compare
    #[command(after_help = SELFTEST_HELP)]
    Selftest(SelftestArgs),
}

/// Which database.
#[derive(Debug, Default, Args)]
pub struct PlaceArgs {
    /// TOML file with options, named as here without the dashes
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,

    /// mainnet (the default), testnet, signet or regtest
    #[arg(long, value_enum, hide_possible_values = true)]
    pub network: Option<Network>,

    /// Directory of the database; ~/.local/share/btkn/<network> by default
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
}

/// Arguments of `btkn sync`.
#[derive(Debug, Default, Args)]
pub struct SyncArgs {
    /// Which database.
    #[command(flatten)]
    pub place: PlaceArgs,

    /// `blocks` directory of Bitcoin Core; no node needs to run
    #[arg(long, value_name = "DIR", help_heading = "Source of blocks")]
    pub blocks_dir: Option<PathBuf>,

    /// Data directory of a node on this machine, such as ~/.bitcoin
    #[arg(long, value_name = "DIR", help_heading = "Source of blocks")]
    pub bitcoin_dir: Option<PathBuf>,

    /// RPC address of a node; 127.0.0.1 and the port of the network by default
    #[arg(long, value_name = "URL", help_heading = "Source of blocks")]
    pub rpc_url: Option<String>,

    /// Cookie file of the node; the one in --bitcoin-dir by default
    #[arg(long, value_name = "FILE", help_heading = "Source of blocks")]
    pub rpc_cookie_file: Option<PathBuf>,

    /// Entity to follow; repeat it for others, or with the same name for the next key of one.
    /// A key without height is valid from height 0. Mainnet has a default
    #[arg(long, value_name = "NAME=PUBKEY[@FROM_HEIGHT]")]
    pub entity: Vec<String>,

    /// First block to apply; 890000 by default on mainnet, 0 elsewhere
    #[arg(long, value_name = "N")]
    pub start_height: Option<u32>,

    /// Threads that scan blocks; one per core by default
    #[arg(long, value_name = "N")]
    pub threads: Option<usize>,

    /// How much of every block is proven: none, the Merkle root of its transactions (the default), or in full,
    /// witnesses too. A block in which a message is found is always proven in full
    #[arg(long, value_enum, value_name = "none|merkle|full", hide_possible_values = true)]
    pub verify_blocks: Option<VerifyBlocks>,

    /// Keep the undo records of this many blocks; of all by default. A deeper reorganisation rebuilds
    /// the state from the start height
    #[arg(long, value_name = "N")]
    pub undo_blocks: Option<u32>,

    /// End with one JSON object on the last line of standard output
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `btkn selftest`.
#[derive(Debug, Args)]
pub struct SelftestArgs {
    /// Which data directory.
    #[command(flatten)]
    pub place: PlaceArgs,

    /// How often a branch wins and loses again; up to six kills each
    #[arg(long, value_name = "N", default_value_t = crate::selftest::Options::ROUNDS)]
    pub rounds: usize,

    /// Leave the directory of the test there
    #[arg(long)]
    pub keep: bool,
}

/// Arguments of `btkn run`.
#[derive(Debug, Default, Args)]
pub struct RunArgs {
    /// As for `sync`.
    #[command(flatten)]
    pub sync: SyncArgs,

    /// Address and port to serve on; 127.0.0.1:3080 by default
    #[arg(long, value_name = "ADDRESS")]
    pub listen: Option<SocketAddr>,
}

/// Arguments of `btkn verify`.
#[derive(Debug, Default, Args)]
pub struct VerifyArgs {
    /// As for `sync`.
    #[command(flatten)]
    pub sync: SyncArgs,

    /// Directory in which the second state is made; the data directory by default
    #[arg(long, value_name = "DIR")]
    pub scratch_dir: Option<PathBuf>,
}

/// Arguments of `btkn events`.
#[derive(Debug, Args)]
pub struct EventsArgs {
    /// Which database.
    #[command(flatten)]
    pub place: PlaceArgs,

    /// First block to print; the first applied one by default
    #[arg(long, value_name = "H", value_parser = height)]
    pub from: Option<Height>,

    /// Last block to print; the tip by default
    #[arg(long, value_name = "H", value_parser = height)]
    pub to: Option<Height>,
}

fn height(text: &str) -> Result<Height, std::num::ParseIntError> {
    text.parse().map(Height)
}

impl PlaceArgs {
    /// The same as a layer of options.
    pub fn options(&self) -> Options {
        Options { network: self.network, data_dir: self.data_dir.clone(), ..Options::default() }
    }
}

impl SyncArgs {
    /// The same as a layer of options.
    pub fn options(&self) -> Options {
        Options {
            entity: self.entity.clone(),
            start_height: self.start_height,
            blocks_dir: self.blocks_dir.clone(),
            bitcoin_dir: self.bitcoin_dir.clone(),
            rpc_url: self.rpc_url.clone(),
            rpc_cookie_file: self.rpc_cookie_file.clone(),
            threads: self.threads,
            verify_blocks: self.verify_blocks,
            undo_blocks: self.undo_blocks,
            json: self.json.then_some(true),
            ..self.place.options()
        }
    }
}

impl RunArgs {
    /// The same as a layer of options.
    pub fn options(&self) -> Options {
        Options { listen: self.listen, ..self.sync.options() }
    }
}
