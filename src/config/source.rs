//! Which source of blocks the options ask for, and how to log in to a node.
//!
//! Block files and a node exclude each other. The first layer that names either decides which it is;
//! the layers below it only add what it leaves open. So a node on the command line overrides block
//! files in the configuration file, while both in one place contradict each other.

use std::path::PathBuf;

use axum::http::Uri;

use super::options::{Layer, Options};
use super::{ConfigError, pick};
use crate::chain::{Auth, NodeConfig};
use crate::protocol::Network;

/// Where the blocks come from.
#[derive(Clone, Debug)]
pub enum SourceConfig {
    /// Block files alone; no node runs.
    BlockFiles {
        /// The directory that holds `blk00000.dat`.
        dir: PathBuf,
    },
    /// A node, asked for everything.
    Node(NodeConfig),
    /// A node on this machine decides the chain; bytes come from its block files.
    NodeWithFiles {
        /// Its data directory, that of mainnet for every network.
        bitcoin_dir: PathBuf,
        /// The node.
        node: NodeConfig,
    },
}

/// Decides the source.
pub(super) fn resolve(layers: &[Layer], network: Network) -> Result<SourceConfig, ConfigError> {
    let names_node =
        |o: &Options| o.bitcoin_dir.is_some() || o.rpc_url.is_some() || o.rpc_cookie_file.is_some();
    let names_source = |layer: &&Layer| layer.options.blocks_dir.is_some() || names_node(&layer.options);
    let deciding = layers.iter().find(names_source).ok_or(ConfigError::NoSource)?;
    match &deciding.options.blocks_dir {
        Some(_) if names_node(&deciding.options) => Err(contradiction(deciding)),
        Some(dir) => Ok(SourceConfig::BlockFiles { dir: dir.clone() }),
        None => node(layers, network),
    }
}

fn contradiction(layer: &Layer) -> ConfigError {
    let options = &layer.options;
    let other = match (&options.bitcoin_dir, &options.rpc_url) {
        (Some(_), _) => "bitcoin-dir",
        (None, Some(_)) => "rpc-url",
        (None, None) => "rpc-cookie-file",
    };
    ConfigError::TwoSources { files: layer.origin.spell("blocks-dir"), node: layer.origin.spell(other) }
}

fn node(layers: &[Layer], network: Network) -> Result<SourceConfig, ConfigError> {
    let url = match pick(layers, |o| o.rpc_url.clone()) {
        Some((url, origin)) => {
            let bad = |reason| ConfigError::Url { option: origin.spell("rpc-url"), reason };
            check_url(&url).map(|()| url.clone()).map_err(bad)?
        }
        None => NodeConfig::default_url(network),
    };
    let dir = pick(layers, |o| o.bitcoin_dir.clone()).map(|(dir, _)| dir);
    let cookie = dir.as_ref().map(|dir| NodeConfig::default_cookie(dir, network));
    let node = NodeConfig { url, auth: login(layers, cookie)?, network };
    Ok(match dir {
        Some(bitcoin_dir) => SourceConfig::NodeWithFiles { bitcoin_dir, node },
        None => SourceConfig::Node(node),
    })
}

/// The first layer that names a way to log in decides; failing all, the cookie in the node's directory.
fn login(layers: &[Layer], cookie: Option<PathBuf>) -> Result<Auth, ConfigError> {
    for layer in layers {
        let options = &layer.options;
        match (&options.rpc_cookie_file, &options.rpc_user, &options.rpc_password) {
            (None, None, None) => {}
            (Some(file), None, None) => return Ok(Auth::Cookie(file.clone())),
            (Some(_), _, _) => {
                return Err(ConfigError::TwoLogins { cookie: layer.origin.spell("rpc-cookie-file") });
            }
            (None, Some(user), Some(password)) => {
                return Ok(Auth::UserPass { user: user.clone(), password: password.0.clone() });
            }
            (None, _, _) => return Err(ConfigError::HalfLogin),
        }
    }
    cookie.map(Auth::Cookie).ok_or(ConfigError::NoLogin)
}

/// What is wrong with the URL of a node. The text may hold a password, so no error shows it.
fn check_url(text: &str) -> Result<(), &'static str> {
    let uri: Uri = text.parse().map_err(|_| "it is not a URL")?;
    let authority = uri.authority().ok_or("it has no host")?;
    match uri.scheme_str() {
        Some("http") => {}
        Some("https") => return Err("a node's RPC speaks plain http; for another machine, use a tunnel"),
        _ => return Err("it does not begin with http://"),
    }
    if authority.as_str().contains('@') {
        return Err("it carries a login, which every user of the machine could read; \
                    set BTKN_RPC_USER and BTKN_RPC_PASSWORD in the environment instead");
    }
    if authority.host().is_empty() {
        return Err("it has no host");
    }
    let has_port = authority.as_str().len() > authority.host().len();
    if has_port && authority.port_u16().is_none_or(|port| port == 0) {
        return Err("its port is not a number from 1 to 65535");
    }
    match uri.query() {
        Some(_) => Err("it has a query"),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::options::{Origin, Secret};

    fn cli(options: Options) -> Layer {
        Layer::command_line(options)
    }

    fn file(options: Options) -> Layer {
        Layer { origin: Origin::File("/c.toml".into()), options }
    }

    fn user(user: &str) -> Options {
        Options { rpc_user: Some(user.into()), rpc_password: Some(Secret("pw".into())), ..Options::default() }
    }

    fn url(text: &str) -> Options {
        Options { rpc_url: Some(text.into()), ..Options::default() }
    }

    /// A source in one line. Passwords show here alone.
    fn line(source: SourceConfig) -> String {
        let node = |node: NodeConfig| match node.auth {
            Auth::Cookie(file) => format!("{} {}", node.url, file.display()),
            Auth::UserPass { user, password } => format!("{} {user}:{password}", node.url),
        };
        match source {
            SourceConfig::BlockFiles { dir } => format!("files {}", dir.display()),
            SourceConfig::Node(config) => node(config),
            SourceConfig::NodeWithFiles { bitcoin_dir, node: config } => {
                format!("{} with files {}", node(config), bitcoin_dir.display())
            }
        }
    }

    #[test]
    fn chooses_the_source() {
        let blocks = || Options { blocks_dir: Some("/b".into()), ..Options::default() };
        let bitcoin = || Options { bitcoin_dir: Some("/n".into()), ..Options::default() };
        let cookie = || Options { rpc_cookie_file: Some("/k".into()), ..url("http://h") };
        let cases = [
            ("block files", vec![cli(blocks())], "files /b"),
            (
                "a data directory says all",
                vec![cli(bitcoin())],
                "http://127.0.0.1:18443 /n/regtest/.cookie with files /n",
            ),
            (
                "URL on the command line, login from the file",
                vec![cli(url("http://h:1")), file(user("u"))],
                "http://h:1 u:pw",
            ),
            ("a node above block files", vec![cli(cookie()), file(blocks())], "http://h /k"),
            ("block files above a node", vec![cli(blocks()), file(cookie())], "files /b"),
            (
                "a login above the directory's cookie",
                vec![cli(bitcoin()), file(user("u"))],
                "http://127.0.0.1:18443 u:pw with files /n",
            ),
        ];
        for (name, layers, expected) in cases {
            assert_eq!(line(resolve(&layers, Network::Regtest).unwrap()), expected, "{name}");
        }
    }

    #[test]
    fn refuses_what_is_missing_or_contradictory() {
        let both = Options { blocks_dir: Some("/b".into()), ..url("http://h") };
        let two =
            Options { rpc_cookie_file: Some("/k".into()), rpc_url: Some("http://h".into()), ..user("u") };
        let half = Options { rpc_user: Some("u".into()), ..url("http://h") };
        let cases = [
            ("nothing", vec![cli(Options::default())], "no source of blocks"),
            ("a login alone", vec![cli(user("u"))], "no source of blocks"),
            ("two sources", vec![file(both)], "'blocks-dir' in /c.toml and 'rpc-url' in /c.toml"),
            ("no login", vec![cli(url("http://h"))], "no login"),
            ("two logins", vec![file(two)], "'rpc-cookie-file' in /c.toml"),
            ("half a login", vec![file(half)], "BTKN_RPC_PASSWORD"),
        ];
        for (name, layers, text) in cases {
            let error = resolve(&layers, Network::Regtest).unwrap_err().to_string();
            assert!(error.contains(text), "{name}: {error}");
        }
    }

    #[test]
    fn urls_are_plain_http_without_login() {
        for text in ["http://127.0.0.1:8332", "http://node", "http://[::1]/", "http://node:1/wallet/x"] {
            assert_eq!(check_url(text), Ok(()), "{text}");
        }
        for text in [
            "",
            "node",
            "node:8332",
            "127.0.0.1:8332",
            "https://node",
            "ftp://node",
            "http://",
            "http://node:",
            "http://node:0",
            "http://node:99999",
            "http://user:pw@node",
            "http://node/?a=b",
            "http://no de",
        ] {
            let error = check_url(text).expect_err(text);
            assert!(!error.contains("pw"), "{error}");
        }
    }
}
