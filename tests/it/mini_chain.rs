//! A regtest chain of a few blocks, made without a node.

use bitcoin::constants::genesis_block;
use bitcoin::{Amount as Bitcoins, Block, ScriptBuf, TxOut};
use btkn_indexer::protocol::announcement::TokenAnnouncement;
use btkn_indexer::protocol::token::TokenMetadata;
use btkn_indexer::protocol::{Amount, PubKey};
pub use btkn_testkit::{append_blocks as append, write_blocks as write};

/// The height of the block whose coinbase announces [`token`].
pub const TOKEN_HEIGHT: u32 = 3;

/// The token that the chain announces.
pub fn token() -> TokenMetadata {
    TokenMetadata {
        issuer: PubKey::BURN,
        name: "Mini".into(),
        ticker: "MIN".into(),
        decimals: 2,
        max_supply: Amount(0),
        freezable: false,
    }
}

/// Blocks 0 to `height`.
pub fn blocks(height: u32) -> Vec<Block> {
    let genesis = genesis_block(bitcoin::Network::Regtest);
    let rest = branch(&genesis, 0, height, 0);
    std::iter::once(genesis).chain(rest).collect()
}

/// Blocks on top of `parent`, which is block `above`, up to `height`; other ones for each `salt`.
pub fn branch(parent: &Block, above: u32, height: u32, salt: u64) -> Vec<Block> {
    let mut blocks: Vec<Block> = Vec::new();
    for height in above + 1..=height {
        let value = Bitcoins::from_sat(salt);
        let mut outputs = vec![TxOut { value, script_pubkey: ScriptBuf::new() }];
        if height == TOKEN_HEIGHT {
            let script_pubkey = TokenAnnouncement { metadata: token() }.script();
            outputs.push(TxOut { value: Bitcoins::ZERO, script_pubkey });
        }
        let parent = blocks.last().unwrap_or(parent);
        blocks.push(btkn_testkit::mine_on(&parent.header, height, outputs, Vec::new()));
    }
    blocks
}
