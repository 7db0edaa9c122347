use std::collections::BTreeMap;

use super::*;

const KEY_A: &str = "0279be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798";
const KEY_B: &str = "02c6047f9441ed7d6d3045406e95c07cd85c778e4b8cef3ca7abac09b95c709ee5";

/// Resolves layers of a command line and pairs of the environment.
fn resolve(command_line: Options, environment: &[(&str, &str)]) -> Result<Config, ConfigError> {
    let variables: BTreeMap<_, _> = environment.iter().copied().collect();
    let variable = |name: &str| variables.get(name).map(OsString::from);
    let surroundings = Surroundings { variable: &variable };
    Config::resolve(&surroundings.layers(command_line, None)?, &surroundings)
}

fn regtest() -> Options {
    Options {
        network: Some(Network::Regtest),
        entity: vec![format!("a={KEY_A}")],
        blocks_dir: Some("/b".into()),
        data_dir: Some("/d".into()),
        ..Options::default()
    }
}

#[test]
fn mainnet_needs_only_a_source() {
    let options = Options { blocks_dir: Some("/b".into()), ..Options::default() };
    let config = resolve(options, &[("HOME", "/home/u")]).unwrap();
    assert_eq!(config.rules.network, Network::Mainnet);
    assert_eq!(config.rules.start_height, Height(890_000));
    assert_eq!(config.data_dir, Path::new("/home/u/.local/share/btkn/mainnet"));
    assert_eq!(config.listen.to_string(), "127.0.0.1:3080");
    assert!(!config.json);
    let entity = "0205fe807e8fe1f368df955cc291f16d840b7f28374b0ed80b80c3e2e0921a0674";
    assert_eq!(config.rules.entities.iter().map(|(_, e)| e.id().to_string()).collect::<Vec<_>>(), [entity]);
}

#[test]
fn layers_override_each_other_option_by_option() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("btkn.toml");
    let toml = format!(
        "network = 'signet'\nentity = ['file={KEY_B}']\nblocks-dir = 'b'\nthreads = 9\nstart-height = 5\n\
         listen = '127.0.0.1:9'\n[limits]\nreads = 7\nwrite-seconds = 8\n"
    );
    std::fs::write(&file, toml).unwrap();
    let environment = [
        ("BTKN_NETWORK", "testnet".to_owned()),
        ("BTKN_THREADS", "3".to_owned()),
        ("BTKN_CONFIG", file.display().to_string()),
        ("XDG_DATA_HOME", "/share".to_owned()),
    ];
    let environment: Vec<_> = environment.iter().map(|(k, v)| (*k, v.as_str())).collect();
    let options = Options {
        network: Some(Network::Regtest),
        entity: vec![format!("cli={KEY_A}")],
        ..Options::default()
    };
    let config = resolve(options, &environment).unwrap();
    assert_eq!(config.rules.network, Network::Regtest, "command line above environment above file");
    assert_eq!(config.threads.get(), 3, "environment above file");
    assert_eq!(config.rules.start_height, Height(5), "file above default");
    assert_eq!(config.listen.port(), 9);
    let limits = (config.limits.reads, config.limits.write_time.as_secs(), config.limits.connections);
    assert_eq!(limits, (7, 8, 1024), "a limit that is left out has its default");
    let SourceConfig::BlockFiles { dir: blocks } = config.source else { panic!("{:?}", config.source) };
    assert_eq!(blocks, dir.path().join("b"));
    assert_eq!(config.data_dir, Path::new("/share/btkn/regtest"));
    let names: Vec<_> = config.rules.entities.iter().map(|(_, e)| e.name.as_str()).collect();
    assert_eq!(names, ["cli"], "lists are not put together from two layers");
}

#[test]
fn other_networks_start_at_their_first_block() {
    assert_eq!(resolve(regtest(), &[]).unwrap().rules.start_height, Height(0));
}

#[test]
fn several_keys_under_one_name_are_one_entity() {
    let entity = vec![format!("a={KEY_A}@7"), format!("a={KEY_B}")];
    let config = resolve(Options { entity, ..regtest() }, &[]).unwrap();
    assert_eq!(config.rules.entities.iter().map(|(_, e)| e.id().to_string()).collect::<Vec<_>>(), [KEY_B]);
}

#[test]
fn refusals_say_what_to_change() {
    let entity = |list: &[&str]| Options { entity: list.iter().map(|&e| e.into()).collect(), ..regtest() };
    let (a, a7, b) = (&format!("a={KEY_A}"), &format!("a={KEY_A}@7"), &format!("b={KEY_A}"));
    let cases = [
        ("no entity", entity(&[]), "regtest has no entity by default"),
        ("malformed entity", entity(&["a=02"]), "--entity: 'a=02' is not NAME=PUBKEY[@FROM_HEIGHT]"),
        ("same key twice", entity(&[a, a7]), "--entity: "),
        ("key under two names", entity(&[a, b]), "--entity: "),
        ("two keys from one height", entity(&[a, &format!("a={KEY_B}")]), "--entity: "),
        ("no threads", Options { threads: Some(0), ..regtest() }, "--threads must be at least 1"),
        ("bad URL", Options { blocks_dir: None, rpc_url: Some("x".into()), ..regtest() }, "--rpc-url: "),
        (
            "zero limit",
            Options { limits: Some(Limits { reads: 0, ..Limits::default() }), ..regtest() },
            "reads",
        ),
        ("no home", Options { data_dir: None, ..regtest() }, "--data-dir DIR"),
    ];
    for (name, options, text) in cases {
        let error = resolve(options, &[]).expect_err(name).to_string();
        assert!(error.contains(text), "{name}: {error}");
    }
}

#[test]
fn an_error_spells_the_option_as_the_user_did() {
    let options = Options { entity: vec![], ..regtest() };
    let error = resolve(options, &[("BTKN_ENTITY", "a=02")]).unwrap_err().to_string();
    assert!(error.starts_with("BTKN_ENTITY: 'a=02'"), "{error}");
}
