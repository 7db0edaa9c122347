//! The test kit against a real Bitcoin Core: what it makes is valid, and is what the protocol reads.

use bitcoin::consensus::encode::serialize_hex;
use bitcoin::hashes::Hash;
use bitcoin::{BlockHash, OutPoint, Transaction};
use btkn_indexer::chain::BlockId;
use btkn_indexer::protocol::chunk::Chunk;
use btkn_indexer::protocol::envelope::{EnvelopeKind, messages};
use btkn_indexer::protocol::manifest::SignedManifest;
use btkn_indexer::protocol::op_return::{self, OpReturn};
use btkn_indexer::protocol::ttxo::Ttxo;
use btkn_indexer::protocol::withdrawal_output::SpendPath;
use btkn_indexer::protocol::{Height, Network};
use btkn_testkit::{BondSpend, Envelope, Exit, NodeOptions, Regtest, Spark, Token};
use serde_json::{Value, json};

fn refusal(chain: &Regtest, tx: &Transaction) -> Option<String> {
    let answer: Vec<Value> = chain.rpc("testmempoolaccept", &[json!([serialize_hex(tx)])]);
    answer[0]["reject-reason"].as_str().map(str::to_owned)
}

#[test]
fn a_snapshot_is_inscribed_as_the_protocol_reads_it() {
    let mut chain = Regtest::new();
    let mut spark = Spark::new("operators");
    spark.per_chunk = 2;
    let gold = spark.issue(&Token::new("Gold", "GLD"));
    for owner in ["alice", "bob", "carol"] {
        spark.mint(gold, owner, 1_000);
    }
    let snapshot = spark.full(chain.tip());
    let [commit, reveal] = chain.inscribe(&[vec![snapshot.manifest_envelope()], snapshot.chunk_envelopes()]);
    let block = chain.mine([&commit, &reveal]);
    assert_eq!(block, chain.tip());
    assert_eq!(block.height, Regtest::FIRST_TIP.next());

    let found = messages(&reveal);
    let places: Vec<_> = found.iter().map(|m| (m.input, m.envelope, m.inscription, m.kind)).collect();
    let expected =
        [(0, 0, 0, EnvelopeKind::Manifest), (1, 0, 1, EnvelopeKind::Chunk), (1, 1, 2, EnvelopeKind::Chunk)];
    assert_eq!(places, expected);
    let signed = SignedManifest::decode(&found[0].body).unwrap();
    assert!(signed.verify_signature());
    assert_eq!(signed.id, snapshot.id());
    assert_eq!(found[1].body, snapshot.bodies()[0]);
}

#[test]
fn the_chunks_of_a_delta_hold_every_change() {
    let mut spark = Spark::new("operators");
    spark.per_chunk = 4;
    let gold = spark.issue(&Token::new("Gold", "GLD"));
    let anchor = BlockId { height: Height(1), hash: BlockHash::all_zeros() };
    let coins: Vec<Ttxo> = (0..11).map(|_| spark.mint(gold, "alice", 2)).collect();
    spark.full(anchor);
    for coin in &coins[..9] {
        spark.transfer(&[coin], &[("bob", 2)]);
    }
    spark.drop_output(&coins[9]);
    let delta = spark.delta(anchor);
    let chunks: Vec<Chunk> =
        delta.bodies().iter().map(|body| Chunk::decode(body, Network::Regtest).unwrap()).collect();
    let count = |f: &dyn Fn(&Chunk) -> usize| chunks.iter().map(f).sum::<usize>();
    assert_eq!((count(&|chunk| chunk.created.len()), count(&|chunk| chunk.spent.len())), (9, 10));
    assert!(chunks.iter().all(|chunk| chunk.created.len() + chunk.spent.len() <= 4));
}

#[test]
fn a_body_of_a_megabyte_fits_into_a_block() {
    let mut chain = Regtest::new();
    let body: Vec<u8> = (0..1_000_000_u32).map(|n| n as u8).collect();
    let txs = chain.inscribe(&[vec![Envelope::chunk(body.clone())]]);
    chain.mine(&txs);
    assert_eq!(messages(&txs[1])[0].body, body);
}

#[test]
fn bonds_are_spent_by_key_at_once_and_by_script_after_the_locktime() {
    let mut chain = Regtest::new();
    let mut spark = Spark::new("operators");
    spark.locktime = 3;
    let gold = spark.issue(&Token::new("Gold", "GLD"));
    let coins = [spark.mint(gold, "alice", 1), spark.mint(gold, "alice", 2), spark.mint(gold, "alice", 3)];
    let exits: Vec<Exit> = coins.iter().map(Exit::of).collect();
    let withdrawal = chain.withdraw(&spark, &exits);
    chain.mine([&withdrawal.tx]);

    let script = &withdrawal.tx.output[withdrawal.announcing_vout() as usize].script_pubkey;
    match op_return::parse(script.as_bytes()) {
        Some(OpReturn::Withdrawal(Ok(announcement))) => assert_eq!(announcement, withdrawal.announcement),
        other => panic!("not read as a withdrawal: {other:?}"),
    }

    let justice = chain
        .spend_bonds(&[(&withdrawal, 0, BondSpend::Justice), (&withdrawal, 1, BondSpend::JusticeWithAnnex)]);
    let claim = chain.claim(&withdrawal, 2);
    let paths: Vec<SpendPath> =
        justice.input.iter().chain(&claim.input).map(|input| SpendPath::of_witness(&input.witness)).collect();
    assert_eq!(paths, [SpendPath::Key, SpendPath::Key, SpendPath::Script]);

    assert_eq!(refusal(&chain, &claim).as_deref(), Some("non-BIP68-final"));
    chain.mine([&justice]);
    chain.mine_empty(1);
    assert_eq!(refusal(&chain, &claim), None);
    chain.mine([&claim]);
}

#[test]
fn a_branch_can_lose_and_win_again() {
    let mut chain = Regtest::new();
    let announce = chain.announce(Token::new("Gold", "GLD").metadata());
    let there = OutPoint::new(announce.compute_txid(), 1);
    let exists = |chain: &Regtest| {
        !chain.rpc::<Value>("gettxout", &[json!(there.txid), json!(there.vout), json!(false)]).is_null()
    };
    chain.mine([&announce]);
    let old = chain.mine_empty(2);
    let other = chain.announce(Token::new("Lead", "LED").metadata());

    let first = chain.reorg(3, &[&[other]]);
    assert_eq!(chain.height(), old.height.next());
    assert!(!exists(&chain), "the announcement is gone");
    assert_ne!(chain.block(first.height), first);

    // The transaction that was mined once can be mined again: its coins are still its own.
    chain.mine([&announce]);
    assert!(exists(&chain));

    let here = chain.block(first.height);
    chain.reconsider(first.hash);
    chain.invalidate(here.hash);
    assert_eq!(chain.tip(), old);
    assert!(exists(&chain));
}

#[test]
fn the_same_calls_make_the_same_chain_and_a_node_takes_over_its_block_files() {
    let make = || {
        let mut chain = Regtest::with(NodeOptions::new().arg("-fastprune"));
        let announce = chain.announce(Token::new("Gold", "GLD").metadata());
        chain.mine([&announce]);
        chain
    };
    let (mut one, two) = (make(), make());
    let tip = one.tip();
    assert_eq!(tip, two.tip());

    one.stop();
    let mut copy = Regtest::empty(NodeOptions::new().blocks_from(one.blocks_dir()));
    assert_eq!(copy.tip(), tip);
    one.start_again();
    assert_eq!(one.mine_empty(1), copy.mine_empty(1));
    assert_eq!(one.height(), Height(tip.height.0 + 1));
}
