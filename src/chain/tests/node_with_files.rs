//! A node that decides, files that deliver.

use super::super::{Auth, NodeConfig, NodeWithFiles, Source};
use super::*;
use btkn_testkit::fake_node::{Cookie, FakeNode};

/// A data directory of a regtest node with these files, and the node.
fn open(disk: &Disk, fake: &FakeNode) -> Result<NodeWithFiles, SourceError> {
    let root = disk.path();
    let dir = root.join("regtest");
    fs::create_dir_all(dir.join("blocks")).unwrap();
    fs::write(dir.join(".cookie"), Cookie::FIRST.text).unwrap();
    let config = NodeConfig {
        url: fake.url(),
        auth: Auth::Cookie(NodeConfig::default_cookie(root, Network::Regtest)),
        network: Network::Regtest,
    };
    NodeWithFiles::open(root, config)
}

/// Writes a block file where the node keeps it.
fn put(disk: &Disk, number: u32, blocks: &[Block]) {
    let dir = disk.path().join("regtest/blocks");
    fs::create_dir_all(&dir).unwrap();
    fs::write(
        dir.join(format!("blk{number:05}.dat")),
        blocks.iter().map(record).collect::<Vec<_>>().concat(),
    )
    .unwrap();
}

#[test]
fn bytes_come_from_files_where_they_can() {
    let blocks = mine_chain(6);
    let fake = FakeNode::start(&blocks);
    let disk = Disk::new(None);
    // No genesis block: a node that prunes still has the newest files.
    put(&disk, 3, &blocks[2..4]);
    put(&disk, 4, &blocks[4..6]);
    let mut source = open(&disk, &fake).unwrap();
    let all = ids(&blocks);
    assert_eq!(source.refresh().unwrap(), all[6]);
    assert_eq!(source.hashes(Height(5), 5).unwrap().len(), 2);

    // Block, whether the node has to be asked for it.
    let check = |index: usize, asked: bool| {
        let before = fake.calls("getblock");
        let mut buf = Vec::new();
        source.fetch(all[index], &mut buf).unwrap();
        assert_eq!(buf, encode::serialize(&blocks[index]), "block {index}");
        assert_eq!(fake.calls("getblock") - before, u32::from(asked), "block {index}");
        assert_eq!(source.locate(all[index]).contains(".dat at offset "), !asked, "block {index}");
    };
    check(4, false);
    check(2, false);
    check(1, true);
    check(6, true);
    // The node writes it down.
    put(&disk, 4, &blocks[4..7]);
    check(6, false);
    // A file is pruned under our hands.
    fs::remove_file(disk.path().join("regtest/blocks/blk00003.dat")).unwrap();
    let mut buf = Vec::new();
    source.fetch(all[3], &mut buf).unwrap();
    assert_eq!(buf, encode::serialize(&blocks[3]));
    check(3, true);
    check(5, false);
}

#[test]
fn directories_that_are_refused() {
    let fake = FakeNode::start(&mine_chain(0));
    let disk = Disk::new(None);
    let config = NodeConfig {
        url: NodeConfig::default_url(Network::Signet),
        auth: Auth::Cookie(NodeConfig::default_cookie(disk.path(), Network::Signet)),
        network: Network::Signet,
    };
    let (kind, text) = told(NodeWithFiles::open(disk.path(), config).err().unwrap());
    assert_eq!(kind, "fatal");
    assert!(text.contains("is not the data directory of a signet node: there is no signet/blocks"), "{text}");

    let (kind, text) = told(open(&disk, &fake).err().unwrap());
    assert_eq!(kind, "fatal");
    assert!(text.contains("holds no block files"), "{text}");
}
