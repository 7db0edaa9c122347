//! Options as they were given, layer by layer, before anything is decided.

use std::ffi::OsString;
use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use super::ConfigError;
use crate::api::Limits;
use crate::protocol::Network;
use crate::scan::VerifyBlocks;

/// What every environment variable of the program starts with.
pub const VARIABLE_PREFIX: &str = "BTKN_";

/// Text that must not be shown.
#[derive(Clone, PartialEq, Eq, serde::Deserialize)]
#[serde(transparent)]
pub struct Secret(pub String);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(secret)")
    }
}

/// The options of one layer; what a layer does not say is `None` or empty. In the file, the keys are
/// the long options without their dashes.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Options {
    /// Which Bitcoin network.
    pub network: Option<Network>,
    /// Where the database is.
    pub data_dir: Option<PathBuf>,
    /// `NAME=PUBKEY[@FROM_HEIGHT]`, each.
    pub entity: Vec<String>,
    /// First block that is applied.
    pub start_height: Option<u32>,
    /// A `blocks` directory of Bitcoin Core, read without a node.
    pub blocks_dir: Option<PathBuf>,
    /// The data directory of a node on this machine.
    pub bitcoin_dir: Option<PathBuf>,
    /// The node's RPC address.
    pub rpc_url: Option<String>,
    /// The node's cookie file.
    pub rpc_cookie_file: Option<PathBuf>,
    /// The node's RPC user; no command-line option.
    pub rpc_user: Option<String>,
    /// The node's RPC password; no command-line option.
    pub rpc_password: Option<Secret>,
    /// How many threads scan.
    pub threads: Option<usize>,
    /// How much of every block is proven.
    pub verify_blocks: Option<VerifyBlocks>,
    /// How many blocks can be taken back.
    pub undo_blocks: Option<u32>,
    /// Whether to end with a JSON object on standard output.
    pub json: Option<bool>,
    /// Where to serve.
    pub listen: Option<SocketAddr>,
    /// Limits of the server; only in the file.
    pub limits: Option<Limits>,
}

/// Where a layer comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The arguments of the process.
    CommandLine,
    /// Variables that start with [`VARIABLE_PREFIX`].
    Environment,
    /// A TOML file.
    File(PathBuf),
}

impl Origin {
    /// How the user wrote the option `key` (its long name without dashes) in this layer.
    pub fn spell(&self, key: &str) -> String {
        match self {
            Origin::CommandLine => format!("--{key}"),
            Origin::Environment => variable(key),
            Origin::File(path) => format!("'{key}' in {}", path.display()),
        }
    }
}

/// One place that options came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layer {
    /// The place.
    pub origin: Origin,
    /// What it says.
    pub options: Options,
}

impl Layer {
    /// The layer of the command line.
    pub fn command_line(options: Options) -> Self {
        Layer { origin: Origin::CommandLine, options }
    }

    /// The layer of the environment. Empty variables count as not set.
    pub fn environment(variables: &dyn Fn(&str) -> Option<OsString>) -> Result<Self, ConfigError> {
        let env = Environment(variables);
        let options = Options {
            network: env.parse("network", "one of mainnet, testnet, signet, regtest")?,
            data_dir: env.path("data-dir"),
            entity: env.text("entity")?.map(|list| split_list(&list)).unwrap_or_default(),
            start_height: env.parse("start-height", "a height, such as 890000")?,
            blocks_dir: env.path("blocks-dir"),
            bitcoin_dir: env.path("bitcoin-dir"),
            rpc_url: env.text("rpc-url")?,
            rpc_cookie_file: env.path("rpc-cookie-file"),
            rpc_user: env.text("rpc-user")?,
            rpc_password: env.text("rpc-password")?.map(Secret),
            threads: env.parse("threads", "a number of threads")?,
            verify_blocks: env.parse("verify-blocks", "one of none, merkle, full")?,
            undo_blocks: env.parse("undo-blocks", "a number of blocks")?,
            json: env.parse("json", "true or false")?,
            listen: env.parse("listen", "an address and port, such as 127.0.0.1:3080")?,
            limits: None,
        };
        Ok(Layer { origin: Origin::Environment, options })
    }

    /// The layer of a TOML file. Relative paths in it are taken from the file's own directory, and
    /// `~/` stands for `home`.
    pub fn file(path: &Path, home: Option<&Path>) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| ConfigError::ReadFile { path: path.to_owned(), source })?;
        Layer::from_toml(&text, path, home)
    }

    fn from_toml(text: &str, path: &Path, home: Option<&Path>) -> Result<Self, ConfigError> {
        let mut options: Options = toml::from_str(text).map_err(|error| ConfigError::ParseFile {
            path: path.to_owned(),
            message: error.to_string().trim_end().to_owned(),
        })?;
        let base = path.parent().unwrap_or(Path::new(""));
        let paths = [
            &mut options.data_dir,
            &mut options.blocks_dir,
            &mut options.bitcoin_dir,
            &mut options.rpc_cookie_file,
        ];
        for path in paths.into_iter().flatten() {
            *path = match (path.strip_prefix("~"), home) {
                (Ok(rest), Some(home)) => home.join(rest),
                _ => base.join(&*path),
            };
        }
        Ok(Layer { origin: Origin::File(path.to_owned()), options })
    }
}

/// Variables of the program that stand for no option.
const OTHER_VARIABLES: &[&str] = &[
    "BTKN_CONFIG",
    crate::logging::FILTER_VARIABLE,
    crate::logging::FORMAT_VARIABLE,
    #[cfg(feature = "kill-points")]
    "BTKN_KILL",
    #[cfg(feature = "kill-points")]
    "BTKN_KILL_SMALL",
];

/// Options that have a variable.
const KEYS: [&str; 15] = [
    "network",
    "data-dir",
    "entity",
    "start-height",
    "blocks-dir",
    "bitcoin-dir",
    "rpc-url",
    "rpc-cookie-file",
    "rpc-user",
    "rpc-password",
    "threads",
    "verify-blocks",
    "undo-blocks",
    "json",
    "listen",
];

/// Which of these names look like variables of the program and are none: misspelt, most likely.
pub fn unknown_variables<'a>(names: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    let known = |name: &str| OTHER_VARIABLES.contains(&name) || KEYS.iter().any(|key| variable(key) == name);
    names.filter(|name| name.starts_with(VARIABLE_PREFIX) && !known(name)).collect()
}

/// The variable that stands for the option `key`.
pub fn variable(key: &str) -> String {
    format!("{VARIABLE_PREFIX}{}", key.replace('-', "_").to_uppercase())
}

fn split_list(list: &str) -> Vec<String> {
    list.split(',').map(|item| item.trim().to_owned()).collect()
}

struct Environment<'a>(&'a dyn Fn(&str) -> Option<OsString>);

impl Environment<'_> {
    fn raw(&self, key: &str) -> Option<OsString> {
        (self.0)(&variable(key)).filter(|value| !value.is_empty())
    }

    fn path(&self, key: &str) -> Option<PathBuf> {
        self.raw(key).map(PathBuf::from)
    }

    fn text(&self, key: &str) -> Result<Option<String>, ConfigError> {
        let text = self.raw(key).map(OsString::into_string).transpose();
        text.map_err(|_| ConfigError::Variable { name: variable(key), expected: "text in UTF-8" })
    }

    fn parse<T: FromText>(&self, key: &str, expected: &'static str) -> Result<Option<T>, ConfigError> {
        let Some(text) = self.text(key)? else { return Ok(None) };
        let value = T::from_text(&text);
        value.map(Some).ok_or_else(|| ConfigError::Variable { name: variable(key), expected })
    }
}

/// Values that an environment variable can hold.
trait FromText: Sized {
    fn from_text(text: &str) -> Option<Self>;
}

macro_rules! from_text {
    ($($kind:ty),*) => {
        $(impl FromText for $kind {
            fn from_text(text: &str) -> Option<Self> {
                Self::from_str(text).ok()
            }
        })*
    };
}

from_text!(u32, usize, bool, SocketAddr);

macro_rules! from_name {
    ($($kind:ty),*) => {
        $(impl FromText for $kind {
            fn from_text(text: &str) -> Option<Self> {
                clap::ValueEnum::from_str(text, false).ok()
            }
        })*
    };
}

from_name!(Network, VerifyBlocks);

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(pairs: &[(&str, &str)]) -> Result<Options, ConfigError> {
        let get = |name: &str| pairs.iter().find(|(key, _)| *key == name).map(|(_, v)| OsString::from(*v));
        Layer::environment(&get).map(|layer| layer.options)
    }

    #[test]
    fn environment_reads_every_kind_of_value() {
        let read = environment(&[
            ("BTKN_NETWORK", "signet"),
            ("BTKN_DATA_DIR", "/d"),
            ("BTKN_ENTITY", "a=02, b=03"),
            ("BTKN_START_HEIGHT", "7"),
            ("BTKN_RPC_PASSWORD", "pw"),
            ("BTKN_THREADS", "3"),
            ("BTKN_VERIFY_BLOCKS", "full"),
            ("BTKN_JSON", "true"),
            ("BTKN_LISTEN", "[::1]:80"),
            ("BTKN_RPC_URL", ""),
        ]);
        let expected = Options {
            network: Some(Network::Signet),
            data_dir: Some("/d".into()),
            entity: vec!["a=02".into(), "b=03".into()],
            start_height: Some(7),
            rpc_password: Some(Secret("pw".into())),
            threads: Some(3),
            verify_blocks: Some(VerifyBlocks::Full),
            json: Some(true),
            listen: Some("[::1]:80".parse().unwrap()),
            ..Options::default()
        };
        assert_eq!(read.unwrap(), expected);
    }

    #[test]
    fn environment_names_the_variable_that_is_wrong() {
        let wrong =
            [("BTKN_NETWORK", "main"), ("BTKN_THREADS", "-1"), ("BTKN_JSON", "si"), ("BTKN_LISTEN", "80")];
        for (name, value) in wrong {
            let error = environment(&[(name, value)]).unwrap_err().to_string();
            assert!(error.starts_with(&format!("{name} must be ")), "{error}");
        }
    }

    #[test]
    fn misspelt_variables_are_noticed() {
        let names = ["HOME", "BTKN_NETWROK", "BTKN_CONFIG", "BTKN_LOG"].map(str::to_owned);
        let all = names.into_iter().chain(KEYS.map(variable)).collect::<Vec<_>>();
        assert_eq!(unknown_variables(all.iter().map(String::as_str)), ["BTKN_NETWROK"]);
    }

    #[test]
    fn every_key_of_the_file_but_the_limits_has_a_variable() {
        let error = toml::from_str::<Options>("nonsense = 1").unwrap_err().to_string();
        for key in KEYS.iter().chain(&["limits"]) {
            assert!(error.contains(&format!("`{key}`")), "{key}: {error}");
        }
        let named = error.matches('`').count() / 2;
        assert_eq!(named, KEYS.len() + 2, "one more key, and the unknown one: {error}");
    }

    #[test]
    fn file_paths_are_relative_to_the_file() {
        let text = "data-dir = 'd'\nblocks-dir = '/b'\nbitcoin-dir = '~/.bitcoin'\n";
        let layer =
            Layer::from_toml(text, Path::new("/etc/btkn/c.toml"), Some(Path::new("/home/u"))).unwrap();
        assert_eq!(layer.options.data_dir, Some("/etc/btkn/d".into()));
        assert_eq!(layer.options.blocks_dir, Some("/b".into()));
        assert_eq!(layer.options.bitcoin_dir, Some("/home/u/.bitcoin".into()));
    }

    #[test]
    fn file_errors_name_the_file_and_the_key() {
        let cases = [
            ("unknown key", "data_dir = 'd'", "data_dir"),
            ("wrong type", "threads = 'many'", "threads"),
            ("unknown proof", "verify-blocks = 'all'", "verify-blocks"),
            ("unknown network", "network = 'main'", "network"),
            ("no TOML", "network mainnet", "network"),
            ("unknown limit", "[limits]\nread = 1", "read"),
            ("negative time", "[limits]\nwrite-seconds = -1", "write-seconds"),
        ];
        for (name, text, key) in cases {
            let error = Layer::from_toml(text, Path::new("/c.toml"), None).unwrap_err().to_string();
            assert!(error.contains("/c.toml") && error.contains(key), "{name}: {error}");
        }
    }

    #[test]
    fn secrets_are_not_shown() {
        assert!(!format!("{:?}", Secret("hunter2".into())).contains("hunter2"));
    }
}
