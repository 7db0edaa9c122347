//! Options to one validated, immutable value.
//!
//! Options come in layers: command line, environment, TOML file. Each is read raw ([`options`]); then
//! [`Config::resolve`] picks every value from the first layer that has it, fills in defaults, and
//! checks what must hold together. It touches no disk and no network: whether a directory exists or a
//! node answers is found out by whoever uses it.

mod entity;
mod options;
mod source;

use std::ffi::OsString;
use std::net::{Ipv4Addr, SocketAddr};
use std::num::{NonZeroU32, NonZeroUsize};
use std::path::{Path, PathBuf};

pub use entity::EntityTextError;
pub use options::{Layer, Options, Origin, Secret, unknown_variables};
pub use source::SourceConfig;

use crate::api::Limits;
use crate::ledger::Rules;
use crate::ledger::entities::{Entities, EntityConfig, EntityError, EntityKey};
use crate::protocol::{Height, Network, PubKey};
use crate::scan::VerifyBlocks;

/// Name of the entity that is followed on mainnet by default.
pub const MAINNET_ENTITY_NAME: &str = "spark";

/// Key of the entity that is followed on mainnet by default: the creation entity of every production
/// token. That it also signs withdrawals is inferred, which is why it can be configured.
pub const MAINNET_ENTITY_KEY: PubKey = PubKey([
    0x02, 0x05, 0xfe, 0x80, 0x7e, 0x8f, 0xe1, 0xf3, 0x68, 0xdf, 0x95, 0x5c, 0xc2, 0x91, 0xf1, 0x6d, 0x84,
    0x0b, 0x7f, 0x28, 0x37, 0x4b, 0x0e, 0xd8, 0x0b, 0x80, 0xc3, 0xe2, 0xe0, 0x92, 0x1a, 0x06, 0x74,
]);

/// First block that is applied on mainnet by default: shortly before Spark opened in April 2025.
pub const MAINNET_START_HEIGHT: Height = Height(890_000);

/// First block that is applied on every other network by default.
pub const OTHER_START_HEIGHT: Height = Height(0);

/// Where `btkn run` serves by default.
pub const DEFAULT_LISTEN: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 3080);

/// Everything that `sync` and `run` need to know.
#[derive(Clone, Debug)]
pub struct Config {
    /// Network, start height and entities: what indexers must share to be comparable.
    pub rules: Rules,
    /// Where the database is.
    pub data_dir: PathBuf,
    /// Where blocks come from.
    pub source: SourceConfig,
    /// How many threads scan.
    pub threads: NonZeroUsize,
    /// How much of every block is proven.
    pub verify_blocks: VerifyBlocks,
    /// Blocks whose undo records are kept; all, if `None`.
    pub undo_blocks: Option<NonZeroU32>,
    /// Whether to end with a JSON object on standard output.
    pub json: bool,
    /// Where to serve.
    pub listen: SocketAddr,
    /// Limits of the server.
    pub limits: Limits,
}

/// What the user must change. Every text says how.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The configuration file cannot be read.
    #[error("cannot read the configuration file {}: {source}", path.display())]
    ReadFile {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The configuration file is not TOML, or holds an unknown key or a wrong value.
    #[error("in the configuration file {}: {message}", path.display())]
    ParseFile {
        /// The file.
        path: PathBuf,
        /// What, with line and column.
        message: String,
    },
    /// An environment variable does not hold what it should.
    #[error("{name} must be {expected}")]
    Variable {
        /// The variable.
        name: String,
        /// What it should hold.
        expected: &'static str,
    },
    /// One entity is malformed.
    #[error("{option}: '{text}' is not NAME=PUBKEY[@FROM_HEIGHT]: {reason}")]
    EntityText {
        /// The option as the user spelled it.
        option: String,
        /// The value.
        text: String,
        /// What is wrong with it.
        reason: EntityTextError,
    },
    /// The entities contradict each other.
    #[error("{option}: {reason}")]
    Entities {
        /// The option as the user spelled it.
        option: String,
        /// What is wrong.
        reason: EntityError,
    },
    /// Only mainnet has a default entity.
    #[error("{0} has no entity by default: name the one to follow with --entity NAME=PUBKEY[@FROM_HEIGHT]")]
    NoEntity(Network),
    /// No source was named.
    #[error(
        "no source of blocks: give --blocks-dir DIR (block files alone, no node needed), \
         --bitcoin-dir DIR (a node on this machine) or --rpc-url URL (a node anywhere)"
    )]
    NoSource,
    /// Block files alone and a node were both named in one place.
    #[error("{files} and {node} contradict each other: block files alone need no node; leave one out")]
    TwoSources {
        /// The option for block files.
        files: String,
        /// The option for a node.
        node: String,
    },
    /// The URL of the node is not usable.
    #[error("{option}: {reason}; give something like http://127.0.0.1:8332")]
    Url {
        /// The option as the user spelled it.
        option: String,
        /// What is wrong.
        reason: &'static str,
    },
    /// A node was named without a way to log in.
    #[error(
        "no login for the node: give --rpc-cookie-file FILE (Bitcoin Core writes .cookie into its data \
         directory), or set BTKN_RPC_USER and BTKN_RPC_PASSWORD in the environment"
    )]
    NoLogin,
    /// A user without password, or the reverse.
    #[error(
        "half a login: BTKN_RPC_USER and BTKN_RPC_PASSWORD (or rpc-user and rpc-password in the \
         configuration file) must be set in the same place"
    )]
    HalfLogin,
    /// Cookie and password in one place.
    #[error("{cookie} and a user with password contradict each other; leave one out")]
    TwoLogins {
        /// The option for the cookie file.
        cookie: String,
    },
    /// No threads.
    #[error("{option} must be at least 1; leave it out to use every core")]
    NoThreads {
        /// The option as the user spelled it.
        option: String,
    },
    /// Not even the newest block could be taken back.
    #[error("{option} must be at least 1; leave it out to keep the undo records of all blocks")]
    NoUndo {
        /// The option as the user spelled it.
        option: String,
    },
    /// A limit lets nothing through.
    #[error("{option} must be at least 1; leave it out for the default")]
    ZeroLimit {
        /// The limit as the user spelled it.
        option: String,
    },
    /// There is no home directory to put the database into.
    #[error(
        "there is no home directory (HOME is not set): say with --data-dir DIR where the database is to be"
    )]
    NoHome,
}

/// What the configuration takes from the process: its environment.
pub struct Surroundings<'a> {
    /// Looks up an environment variable.
    pub variable: &'a dyn Fn(&str) -> Option<OsString>,
}

impl Surroundings<'_> {
    /// Reads the layers below the command line and puts them in order.
    ///
    /// The file is the one that `file` or else the variable `BTKN_CONFIG` names, if any does.
    pub fn layers(&self, command_line: Options, file: Option<&Path>) -> Result<Vec<Layer>, ConfigError> {
        let environment = Layer::environment(self.variable)?;
        let mut layers = vec![Layer::command_line(command_line), environment];
        let from_variable = self.path("BTKN_CONFIG");
        if let Some(file) = file.or(from_variable.as_deref()) {
            layers.push(Layer::file(file, self.path("HOME").as_deref())?);
        }
        Ok(layers)
    }

    /// Where the database is: what the layers say, else a directory per network below the user's own.
    pub fn data_dir(&self, layers: &[Layer]) -> Result<PathBuf, ConfigError> {
        if let Some((dir, _)) = pick(layers, |o| o.data_dir.clone()) {
            return Ok(dir);
        }
        let share = match (self.path("XDG_DATA_HOME"), self.path("HOME")) {
            (Some(share), _) if share.is_absolute() => share,
            (_, Some(home)) => home.join(".local/share"),
            (_, None) => return Err(ConfigError::NoHome),
        };
        Ok(share.join("btkn").join(network(layers).name()))
    }

    fn path(&self, name: &str) -> Option<PathBuf> {
        (self.variable)(name).filter(|value| !value.is_empty()).map(PathBuf::from)
    }
}

impl Config {
    /// Decides every value; `layers` are in falling order of precedence.
    pub fn resolve(layers: &[Layer], surroundings: &Surroundings<'_>) -> Result<Config, ConfigError> {
        let network = network(layers);
        let default_start = match network {
            Network::Mainnet => MAINNET_START_HEIGHT,
            _ => OTHER_START_HEIGHT,
        };
        let start_height = pick(layers, |o| o.start_height).map_or(default_start, |(h, _)| Height(h));
        Ok(Config {
            rules: Rules { network, start_height, entities: entities(layers, network)? },
            data_dir: surroundings.data_dir(layers)?,
            source: source::resolve(layers, network)?,
            threads: threads(layers)?,
            verify_blocks: pick(layers, |o| o.verify_blocks).map(|(verify, _)| verify).unwrap_or_default(),
            undo_blocks: undo_blocks(layers)?,
            json: pick(layers, |o| o.json).is_some_and(|(json, _)| json),
            listen: pick(layers, |o| o.listen).map_or(DEFAULT_LISTEN, |(listen, _)| listen),
            limits: limits(layers)?,
        })
    }
}

/// The value of the first layer that has one.
fn pick<T>(layers: &[Layer], get: impl Fn(&Options) -> Option<T>) -> Option<(T, &Origin)> {
    layers.iter().find_map(|layer| get(&layer.options).map(|value| (value, &layer.origin)))
}

fn network(layers: &[Layer]) -> Network {
    pick(layers, |o| o.network).map_or(Network::Mainnet, |(network, _)| network)
}

fn threads(layers: &[Layer]) -> Result<NonZeroUsize, ConfigError> {
    match pick(layers, |o| o.threads) {
        Some((threads, origin)) => {
            let none = || ConfigError::NoThreads { option: origin.spell("threads") };
            NonZeroUsize::new(threads).ok_or_else(none)
        }
        None => Ok(std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN)),
    }
}

fn undo_blocks(layers: &[Layer]) -> Result<Option<NonZeroU32>, ConfigError> {
    let Some((blocks, origin)) = pick(layers, |o| o.undo_blocks) else { return Ok(None) };
    let none = || ConfigError::NoUndo { option: origin.spell("undo-blocks") };
    NonZeroU32::new(blocks).map(Some).ok_or_else(none)
}

fn limits(layers: &[Layer]) -> Result<Limits, ConfigError> {
    let Some((limits, origin)) = pick(layers, |o| o.limits) else { return Ok(Limits::default()) };
    match limits.zero() {
        Some(name) => Err(ConfigError::ZeroLimit { option: origin.spell(&format!("limits.{name}")) }),
        None => Ok(limits),
    }
}

/// The entities of the first layer that names any: a list is never put together from two places.
fn entities(layers: &[Layer], network: Network) -> Result<Entities, ConfigError> {
    let named = pick(layers, |o| Some(o.entity.clone()).filter(|list| !list.is_empty()));
    let Some((texts, origin)) = named else {
        return match network {
            Network::Mainnet => build(vec![default_entity()], "--entity"),
            _ => Err(ConfigError::NoEntity(network)),
        };
    };
    let option = origin.spell("entity");
    let mut entities: Vec<EntityConfig> = Vec::new();
    for text in texts {
        let (name, key) = entity::parse(&text).map_err(|reason| ConfigError::EntityText {
            option: option.clone(),
            text,
            reason,
        })?;
        match entities.iter_mut().find(|entity| entity.name == name) {
            Some(entity) => entity.keys.push(key),
            None => entities.push(EntityConfig { name, keys: vec![key] }),
        }
    }
    build(entities, &option)
}

fn default_entity() -> EntityConfig {
    let key = EntityKey { key: MAINNET_ENTITY_KEY, from_height: Height(0) };
    EntityConfig { name: MAINNET_ENTITY_NAME.to_owned(), keys: vec![key] }
}

fn build(entities: Vec<EntityConfig>, option: &str) -> Result<Entities, ConfigError> {
    Entities::new(entities).map_err(|reason| ConfigError::Entities { option: option.to_owned(), reason })
}

#[cfg(test)]
mod tests;
