//! Cuts the content of a snapshot into chunks of a limited size.

use std::collections::BTreeMap;

use super::chunk::{Chunk, ChunkToken, Index, terms_size, uint_size, usual_terms};
use super::ttxo::Ttxo;
use super::{Amount, OwnerKey, SparkOutPoint, TokenId};

/// Cuts the content of a snapshot into chunks whose bodies have at most `limit` bytes.
///
/// Created TTXOs come first, then spent ones, in the order given. A token given in full stands in the
/// first chunk that uses it, or after all created TTXOs where none does; other chunks name it by its
/// identifier. Of several entries of one token the first in full counts. Every chunk holds something, so
/// a limit below 512 bytes may be exceeded. Without any content there are no chunks.
pub fn split(tokens: &[ChunkToken], created: &[Ttxo], spent: &[SparkOutPoint], limit: usize) -> Vec<Chunk> {
    let mut splitter = Splitter {
        limit,
        done: Vec::new(),
        draft: Draft::new(),
        usual_terms: usual_terms(created),
        full: entries_to_write(tokens),
    };
    for ttxo in created {
        splitter.add_created(ttxo);
    }
    for token in tokens {
        splitter.add_unused(token);
    }
    for outpoint in spent {
        splitter.make_room(36 + uint_size(outpoint.vout.into()));
        splitter.draft.chunk.spent.push(*outpoint);
    }
    splitter.flush();
    splitter.done
}

/// One entry for each token: the first that gives it in full, or else its identifier.
fn entries_to_write(tokens: &[ChunkToken]) -> BTreeMap<TokenId, &ChunkToken> {
    let mut entries = BTreeMap::new();
    for token in tokens {
        let entry = entries.entry(token.id()).or_insert(token);
        if matches!(entry, ChunkToken::Id(_)) {
            *entry = token;
        }
    }
    entries
}

struct Splitter<'a> {
    limit: usize,
    done: Vec<Chunk>,
    draft: Draft,
    /// A chunk can have these as its default, or else others that save more.
    usual_terms: (u64, u64),
    /// The tokens that are to be written as given, once; then by their identifier.
    full: BTreeMap<TokenId, &'a ChunkToken>,
}

impl Splitter<'_> {
    fn add_created(&mut self, ttxo: &Ttxo) {
        let token = self.full.get(&ttxo.token).map_or(ChunkToken::Id(ttxo.token), |token| (*token).clone());
        let mut size = self.draft.created_size(ttxo, &token, self.usual_terms);
        if self.draft.size + size > self.limit {
            self.flush();
            size = self.draft.created_size(ttxo, &token, self.usual_terms);
        }
        self.draft.size += size;
        self.draft.owners.place(ttxo.owner);
        if !self.draft.tokens.contains(&ttxo.token) {
            self.draft.tokens.push(ttxo.token);
            self.draft.chunk.tokens.push(token);
        }
        self.full.remove(&ttxo.token);
        self.draft.chunk.created.push(*ttxo);
    }

    fn add_unused(&mut self, token: &ChunkToken) {
        if let Some(token) = self.full.remove(&token.id()) {
            self.make_room(token_size(token));
            self.draft.tokens.push(token.id());
            self.draft.chunk.tokens.push(token.clone());
        }
    }

    fn make_room(&mut self, size: usize) {
        if self.draft.size + size > self.limit {
            self.flush();
        }
        self.draft.size += size;
    }

    fn flush(&mut self) {
        let draft = std::mem::replace(&mut self.draft, Draft::new());
        if draft.chunk != Chunk::default() {
            self.done.push(draft.chunk);
        }
    }
}

/// A chunk that grows, and an upper bound of the size of its body.
struct Draft {
    chunk: Chunk,
    owners: Index<OwnerKey>,
    tokens: Index<TokenId>,
    size: usize,
}

impl Draft {
    /// The map with its keys, the version, four array heads and the default terms.
    const FIXED: usize = 1 + 6 + 1 + 4 * 9 + 13;

    fn new() -> Self {
        let (owners, tokens) = (Index::default(), Index::default());
        Draft { chunk: Chunk::default(), owners, tokens, size: Self::FIXED }
    }

    /// What a created TTXO adds to the body, with the entries of the tables that it needs.
    fn created_size(&self, ttxo: &Ttxo, token: &ChunkToken, usual_terms: (u64, u64)) -> usize {
        let new_owner = if self.owners.contains(&ttxo.owner) { 0 } else { 35 };
        let new_token = if self.tokens.contains(&ttxo.token) { 0 } else { token_size(token) };
        let indexes = uint_size(self.owners.keys.len() as u64) + uint_size(self.tokens.keys.len() as u64);
        let terms = (ttxo.bond, ttxo.locktime);
        let terms = if terms == usual_terms { 0 } else { terms_size(terms) };
        let outpoint = 34 + uint_size(ttxo.outpoint.vout.into());
        1 + outpoint + indexes + 35 + amount_size(ttxo.amount) + terms + new_owner + new_token
    }
}

fn token_size(token: &ChunkToken) -> usize {
    match token {
        ChunkToken::Id(_) => 34,
        // Lengths of names and tickers fit in the initial byte.
        ChunkToken::Full { metadata, .. } => 1 + 35 + 2 + metadata.name.len() + metadata.ticker.len() + 55,
    }
}

fn amount_size(amount: Amount) -> usize {
    u64::try_from(amount.0).map_or(17, uint_size)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::token::{Layer, TokenMetadata};
    use crate::protocol::{Network, PubKey};

    #[test]
    fn a_token_that_is_listed_twice_keeps_its_metadata() {
        let metadata = TokenMetadata {
            issuer: PubKey::BURN,
            name: "abc".to_owned(),
            ticker: "XYZ".to_owned(),
            decimals: 0,
            max_supply: Amount::ZERO,
            freezable: false,
        };
        let id = metadata.identifier(Network::Regtest, Layer::L1);
        let full = ChunkToken::Full { id, metadata, layer: Layer::L1 };
        for tokens in [[ChunkToken::Id(id), full.clone()], [full.clone(), ChunkToken::Id(id)]] {
            let chunks = split(&tokens, &[], &[], 1_000);
            assert_eq!(chunks, [Chunk { tokens: vec![full.clone()], ..Chunk::default() }]);
        }
    }
}
