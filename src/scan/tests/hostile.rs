//! Blocks that are made to do harm: what the scanner finds in them is what decoding everything finds.

use bitcoin::consensus::encode;
use btkn_testkit::hostile::{ORDINARY, Scene, cases};

use super::{Chain, naive};
use crate::scan::{WatchSet, scan_batch};

#[test]
fn hostile_blocks_are_read_as_by_decoding_everything() {
    let scene = Scene::new(50);
    for case in cases().iter().chain([&ORDINARY]) {
        let mut blocks = scene.blocks.clone();
        blocks.extend(case.chain(&scene, 100_000, 2));
        let chain =
            Chain(blocks.iter().map(|block| (block.block_hash(), encode::serialize(block))).collect());
        let watched = WatchSet::new();
        let expected = naive(&chain, &watched);
        let scanned: Vec<_> = scan_batch(&chain.raw(), &watched).into_iter().map(Result::unwrap).collect();
        assert_eq!(scanned, expected, "{}", case.name);
    }
}
