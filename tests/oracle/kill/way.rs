//! Where a state may be on its way from one block to another.

use bitcoin::BlockHash;

use crate::chain::Chain;

/// How many blocks are to be undone and applied between the state of a block and the best one.
pub fn distance(chain: &Chain, tip: Option<BlockHash>) -> (u32, u32) {
    let to = chain.branch(chain.best());
    let from = tip.map_or(Vec::new(), |tip| chain.branch(tip));
    let common = from.iter().zip(&to).take_while(|(one, other)| one == other).count();
    ((from.len() - common) as u32, (to.len() - common) as u32)
}

/// The blocks that the state may be of on its way from one best block over others, `None` being the
/// state before any. Blocks are undone down to where two branches part, and no further, unless that is
/// out of reach of the last `kept` blocks.
pub fn on_the_way(
    chain: &Chain,
    from: Option<BlockHash>,
    bests: &[BlockHash],
    kept: Option<u32>,
) -> Vec<Option<BlockHash>> {
    let branches: Vec<_> = from.iter().chain(bests).map(|tip| chain.branch(*tip)).collect();
    let shortest = branches.iter().map(Vec::len).min().unwrap_or(0);
    let same = |at: &usize| branches.iter().all(|branch| branch[*at] == branches[0][*at]);
    let common = (0..shortest).take_while(same).count();
    let mut on_the_way = Vec::new();
    let from_nothing = from.is_none() || kept.is_some_and(|kept| out_of_reach(&branches, kept as usize));
    if from_nothing || common == 0 {
        on_the_way.push(None);
    }
    let lowest = if from_nothing { 0 } else { common.saturating_sub(1) };
    on_the_way.extend(branches.iter().flat_map(|branch| &branch[lowest..]).copied().map(Some));
    on_the_way
}

/// Whether two of these branches part so far down that a state may have to be rebuilt between them.
fn out_of_reach(branches: &[Vec<BlockHash>], kept: usize) -> bool {
    let longest = branches.iter().map(Vec::len).max().unwrap_or(0);
    let parting = |one: &Vec<BlockHash>, other: &Vec<BlockHash>| {
        let common = one.iter().zip(other).take_while(|(one, other)| one == other).count();
        (common < one.len().min(other.len())).then_some(common)
    };
    let pairs = branches.iter().flat_map(|one| branches.iter().filter_map(|other| parting(one, other)));
    pairs.into_iter().any(|common| common + kept < longest)
}
