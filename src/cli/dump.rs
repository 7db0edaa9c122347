//! `btkn dump`: the whole state at the tip, as one JSON object in a fixed order, one row to a line.
//!
//! Everything in it follows from the blocks and from what indexers must agree on. Names of entities are
//! left out: two indexers with the same configuration write the same bytes, and `diff` shows where they
//! part.

use std::io::Write;

use bitcoin::Txid;
use serde::Serialize;

use super::{Failure, write_json};
use crate::api::names::{self, ExitStateName, SnapshotKindName, SnapshotStateName};
use crate::ledger::keys::{EntityIndex, KeyPart, Only};
use crate::ledger::reasons::{ExitReason, FailReason};
use crate::ledger::tables::{Balances, Exits, Snapshots, Standing, Supply, Table, Tip, Tokens, Ttxos};
use crate::ledger::view::RowIter;
use crate::ledger::{ReadError, Rules, View};
use crate::protocol::token::Layer;
use crate::protocol::{Amount, Height, ManifestId, NodeHash, OwnerKey, PubKey, SparkOutPoint, TokenId};

/// Writes the state that `view` shows.
pub fn dump(view: &impl View, rules: &Rules, out: &mut impl Write) -> Result<(), Failure> {
    let tip = view.get::<Tip>(&Only)?;
    field(out, "{", "height", &tip.map(|tip| tip.height))?;
    field(out, ",", "block_hash", &tip.map(|tip| tip.hash))?;
    field(out, ",", "state_hash", &tip.map(|tip| tip.state_hash))?;
    let dump = Dump { view, rules };
    rows(out, "tokens", all::<Tokens>(view), |row| dump.token(row))?;
    rows(out, "snapshots", all::<Snapshots>(view), |row| dump.snapshot(row))?;
    rows(out, "ttxos", all::<Ttxos>(view), |row| dump.ttxo(row))?;
    rows(out, "exits", all::<Exits>(view), |row| dump.exit(row))?;
    rows(out, "balances", all::<Balances>(view), |row| dump.balance(row))?;
    out.write_all(b"\n}\n")?;
    Ok(out.flush()?)
}

type RowOf<T> = (<T as Table>::Key, <T as Table>::Value);

fn all<T: Table>(view: &impl View) -> RowIter<'_, T> {
    view.scan::<T>(&T::Key::LOWEST, &T::Key::HIGHEST)
}

fn field(out: &mut impl Write, before: &str, name: &str, value: &impl Serialize) -> Result<(), Failure> {
    write!(out, "{before}\n\"{name}\": ")?;
    Ok(write_json(out, value)?)
}

fn rows<I, O: Serialize>(
    out: &mut impl Write,
    name: &str,
    rows: impl Iterator<Item = Result<I, ReadError>>,
    show: impl Fn(I) -> Result<O, ReadError>,
) -> Result<(), Failure> {
    write!(out, ",\n\"{name}\": [")?;
    for (i, row) in rows.enumerate() {
        out.write_all(if i == 0 { b"\n" } else { b",\n" })?;
        write_json(out, &show(row?)?)?;
    }
    Ok(out.write_all(b"\n]")?)
}

struct Dump<'a, V> {
    view: &'a V,
    rules: &'a Rules,
}

#[derive(Serialize)]
struct TokenRow {
    token_id: TokenId,
    metadata: Option<MetadataRow>,
    announced_as: Option<TokenId>,
    supply: Vec<SupplyRow>,
}

#[derive(Serialize)]
struct MetadataRow {
    issuer: PubKey,
    name: String,
    ticker: String,
    decimals: u8,
    max_supply: Amount,
    freezable: bool,
    creation_entity: Option<PubKey>,
}

#[derive(Serialize)]
struct SupplyRow {
    entity: PubKey,
    declared: Amount,
}

#[derive(Serialize)]
struct SnapshotRow {
    manifest_id: ManifestId,
    entity: PubKey,
    sequence: u64,
    kind: SnapshotKindName,
    inscription_id: String,
    height: Height,
    state: SnapshotStateName,
    reason: Option<FailReason>,
    decided_height: Option<Height>,
    anchor_height: Height,
    spark_time_ms: u64,
    count: u64,
    root: NodeHash,
    chunks: u16,
    resurrected: Option<u64>,
}

#[derive(Serialize)]
struct TtxoRow {
    entity: PubKey,
    ttxo: SparkOutPoint,
    owner: OwnerKey,
    token_id: TokenId,
    amount: Amount,
    revocation_commitment: PubKey,
    withdraw_bond: u64,
    withdraw_locktime: u64,
    declared: bool,
    tombstone: bool,
    standing_exit: Option<String>,
}

#[derive(Serialize)]
struct ExitRow {
    exit_id: String,
    entity: PubKey,
    height: Height,
    vout: u16,
    ttxo: SparkOutPoint,
    state: ExitStateName,
    reason: Option<ExitReason>,
    judged_height: Option<Height>,
    reinstated_by: Option<u64>,
    spent_by: Option<SpendRow>,
}

#[derive(Serialize)]
struct SpendRow {
    txid: Txid,
    vin: u32,
    height: Height,
}

#[derive(Serialize)]
struct BalanceRow {
    owner: OwnerKey,
    token_id: TokenId,
    entity: PubKey,
    available: Amount,
    exiting: Amount,
    claimed: Amount,
}

impl<V: View> Dump<'_, V> {
    fn entity(&self, index: EntityIndex) -> Result<PubKey, ReadError> {
        let missing = || ReadError {
            table: "entities",
            reason: format!("a row names entity number {}, and there is none", index.0),
        };
        self.rules.entities.get(index).map(|entity| entity.id()).ok_or_else(missing)
    }

    fn token(&self, (token_id, record): RowOf<Tokens>) -> Result<TokenRow, ReadError> {
        let creation_entity = match record.layer {
            Some(Layer::Spark(key)) => Some(key),
            Some(Layer::L1) | None => None,
        };
        let metadata = record.metadata.map(|metadata| MetadataRow {
            issuer: metadata.issuer,
            name: metadata.name,
            ticker: metadata.ticker,
            decimals: metadata.decimals,
            max_supply: metadata.max_supply,
            freezable: metadata.freezable,
            creation_entity,
        });
        let mut supply = Vec::new();
        for row in
            self.view.scan::<Supply>(&(token_id, EntityIndex::LOWEST), &(token_id, EntityIndex::HIGHEST))
        {
            let ((_, entity), declared) = row?;
            supply.push(SupplyRow { entity: self.entity(entity)?, declared });
        }
        Ok(TokenRow { token_id, metadata, announced_as: record.announced_as, supply })
    }

    fn snapshot(&self, (manifest_id, record): RowOf<Snapshots>) -> Result<SnapshotRow, ReadError> {
        let (state, reason) = names::snapshot_state(record.state);
        Ok(SnapshotRow {
            manifest_id,
            entity: self.entity(record.entity)?,
            sequence: record.sequence,
            kind: names::snapshot_kind(record.kind),
            inscription_id: format!("{}i{}", record.txid, record.inscription),
            height: record.accepted.height,
            state,
            reason,
            decided_height: record.decided,
            anchor_height: record.anchor_height,
            spark_time_ms: record.as_of_ms,
            count: record.count,
            root: record.root,
            chunks: record.chunks,
            resurrected: record.resurrected,
        })
    }

    fn ttxo(&self, ((entity, ttxo), record): RowOf<Ttxos>) -> Result<TtxoRow, ReadError> {
        let standing = self.view.get::<Standing>(&(entity, ttxo))?;
        Ok(TtxoRow {
            entity: self.entity(entity)?,
            ttxo,
            owner: record.owner,
            token_id: record.token,
            amount: record.amount,
            revocation_commitment: record.revocation,
            withdraw_bond: record.bond,
            withdraw_locktime: record.locktime,
            declared: record.is_declared(),
            tombstone: !record.is_declared() && standing.is_none(),
            standing_exit: standing.map(|id| id.to_string()),
        })
    }

    fn exit(&self, (id, record): RowOf<Exits>) -> Result<ExitRow, ReadError> {
        let (state, reason) = names::exit_state(record.state);
        Ok(ExitRow {
            exit_id: id.to_string(),
            entity: self.entity(record.entity)?,
            height: record.place.height,
            vout: record.bitcoin_vout,
            ttxo: record.ttxo,
            state,
            reason,
            judged_height: record.judged,
            reinstated_by: record.reinstated,
            spent_by: record.spend.map(|spend| SpendRow {
                txid: spend.txid,
                vin: spend.input,
                height: spend.height,
            }),
        })
    }

    fn balance(
        &self,
        ((owner, token_id, entity), balance): RowOf<Balances>,
    ) -> Result<BalanceRow, ReadError> {
        Ok(BalanceRow {
            owner,
            token_id,
            entity: self.entity(entity)?,
            available: balance.available,
            exiting: balance.exiting.capped(),
            claimed: balance.claimed.capped(),
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::ledger::tests::vectors::published_chain;
    use crate::ledger::view::Empty;
    use crate::ledger::{Overlay, apply_block};

    fn dumped(view: &impl View, rules: &Rules) -> (String, Value) {
        let mut out = Vec::new();
        dump(view, rules, &mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        let value = serde_json::from_str(&text).unwrap();
        (text, value)
    }

    #[test]
    fn an_empty_state_is_dumped_as_such() {
        let (rules, _) = published_chain();
        let (_, dump) = dumped(&Empty, &rules);
        let expected = json!({
            "height": null, "block_hash": null, "state_hash": null,
            "tokens": [], "snapshots": [], "ttxos": [], "exits": [], "balances": [],
        });
        assert_eq!(dump, expected);
    }

    #[test]
    fn the_state_of_the_vectors_is_dumped_in_order() {
        let (rules, blocks) = published_chain();
        let mut state = Overlay::new(Empty);
        for block in &blocks {
            let changes = apply_block(&state, &rules, block).unwrap().changes;
            state.absorb(&changes);
        }
        let (text, dump) = dumped(&state, &rules);
        let parts =
            ["height", "block_hash", "state_hash", "tokens", "snapshots", "ttxos", "exits", "balances"];
        let at = parts.map(|name| text.find(&format!("\n\"{name}\": ")).unwrap());
        assert!(at.is_sorted(), "the order of the parts is fixed: {at:?}");
        let count = |name: &str| dump[name].as_array().unwrap().len();
        assert_eq!((count("snapshots"), count("exits"), count("balances")), (4, 7, 3));
        assert_eq!(dump["height"], 118);
        let holds =
            |row: &Value| [&row["available"], &row["exiting"], &row["claimed"]].map(|sum| sum.clone());
        assert_eq!(holds(&dump["balances"][1]), [json!("0"), json!("1007"), json!("50")]);
        let tombstones = dump["ttxos"].as_array().unwrap().iter().filter(|row| row["tombstone"] == true);
        let names: Vec<_> = tombstones.map(|row| row["ttxo"].as_str().unwrap()).collect();
        assert!(names[0].starts_with("fc1f0e9130abc0ca"), "{names:?}");
        assert!(!text.contains("alpha"), "names are local and not part of the state");
    }
}
