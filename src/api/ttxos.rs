//! Answers about TTXOs and exits.

use bitcoin::OutPoint;

use super::cursor::List;
use super::error::ApiError;
use super::names;
use super::page::{Page, Pager, table_page};
use super::query::PageRequest;
use super::reader::{Reader, TokenNames};
use super::types;
use crate::ledger::keys::{EntityIndex, ExitId, KeyPart, L1OutPoint, Place};
use crate::ledger::records::{ExitRecord, TtxoRecord};
use crate::ledger::tables::{
    ExitOrder, Exits, ExitsByOutput, ExitsByTtxo, OwnerTtxos, Standing, Ttxos, Withdrawals,
};
use crate::ledger::view::{ReadError, View};
use crate::protocol::withdrawal_output::SpendPath;
use crate::protocol::{OwnerKey, SparkOutPoint};

/// Version 1 snapshots lack what the message under the owner's signature is made of.
const OWNER_SIGNATURE: &str = "unverifiable";

impl<V: View> Reader<'_, V> {
    /// `/v1/owners/{owner}/ttxos`
    pub fn owner_ttxos(&self, owner: OwnerKey, page: &PageRequest) -> Result<types::OwnerTtxos, ApiError> {
        let range = (
            &(owner, EntityIndex::LOWEST, SparkOutPoint::LOWEST),
            &(owner, EntityIndex::HIGHEST, SparkOutPoint::HIGHEST),
        );
        let Page { rows, next_cursor } =
            table_page::<OwnerTtxos>(&self.view, &self.tip, List::OwnerTtxos, range, page)?;
        let mut names = TokenNames::new();
        let ttxos = rows.into_iter().map(|((_, entity, outpoint), _)| {
            let record = self.view.expect::<Ttxos>(&(entity, outpoint))?;
            self.ttxo_row(entity, outpoint, &record, &mut names)
        });
        let ttxos = ttxos.collect::<Result<_, _>>()?;
        Ok(types::OwnerTtxos { owner: self.owner(owner), ttxos, next_cursor })
    }

    /// `/v1/ttxos/{spark_tx_hash}:{vout}`
    pub fn ttxo(&self, outpoint: SparkOutPoint) -> Result<types::Ttxos, ApiError> {
        let mut names = TokenNames::new();
        let mut ttxos = Vec::new();
        for (entity, _) in self.entities.iter() {
            if let Some(record) = self.view.get::<Ttxos>(&(entity, outpoint))? {
                ttxos.push(self.ttxo_row(entity, outpoint, &record, &mut names)?);
            }
        }
        if ttxos.is_empty() {
            let message = format!("no activated snapshot has ever declared the TTXO {outpoint}");
            return Err(ApiError::unknown("ttxo_not_found", message));
        }
        Ok(types::Ttxos { ttxos })
    }

    /// `/v1/exits`, in chain order.
    pub fn exits(&self, page: &PageRequest) -> Result<types::Exits, ApiError> {
        let range = (&ExitOrder::LOWEST, &ExitOrder::HIGHEST);
        let pager = Pager::open(&self.view, &self.tip, List::Exits, range, page)?;
        let (first, first_record) = pager.from;
        let announcements = self.view.scan::<Withdrawals>(&first, &Place::HIGHEST);
        let rows = announcements.flat_map(|announcement| {
            let (rows, error) = match announcement {
                Ok((place, withdrawal)) => {
                    let from = if place == first { first_record } else { 0 };
                    let rows = (from..withdrawal.records).map(move |record| {
                        let id = ExitId { txid: withdrawal.txid.into(), output: place.index, record };
                        Ok(((place, record), id))
                    });
                    (Some(rows), None)
                }
                Err(error) => (None, Some(Err(error))),
            };
            rows.into_iter().flatten().chain(error)
        });
        self.exit_rows(pager.collect(rows)?)
    }

    /// `/v1/exits?ttxo=`: exits that name a TTXO, entity by entity, each in chain order.
    pub fn exits_of_ttxo(&self, ttxo: SparkOutPoint, page: &PageRequest) -> Result<types::Exits, ApiError> {
        let key = |entity, order| (entity, ttxo, order);
        let range =
            (&key(EntityIndex::LOWEST, ExitOrder::LOWEST), &key(EntityIndex::HIGHEST, ExitOrder::HIGHEST));
        let pager = Pager::open(&self.view, &self.tip, List::TtxoExits, range, page)?;
        let (first_entity, named, first_order) = pager.from;
        if named != ttxo {
            return Err(ApiError::bad("bad_cursor", "this cursor comes from the exits of another TTXO"));
        }
        let entities =
            self.entities.iter().map(|(entity, _)| entity).filter(|entity| *entity >= first_entity);
        let rows = entities.flat_map(|entity| {
            let order = if entity == first_entity { first_order } else { ExitOrder::LOWEST };
            let rows = self.view.scan::<ExitsByTtxo>(&key(entity, order), &key(entity, ExitOrder::HIGHEST));
            rows.map(|row| {
                let (key, _) = row?;
                let (place, record) = key.2;
                let withdrawal = self.view.expect::<Withdrawals>(&place)?;
                Ok::<_, ReadError>((
                    key,
                    ExitId { txid: withdrawal.txid.into(), output: place.index, record },
                ))
            })
        });
        self.exit_rows(pager.collect(rows)?)
    }

    /// `/v1/exits/{txid}:{vout}`: exits whose bond is in an L1 output.
    pub fn exits_of_output(&self, output: OutPoint, page: &PageRequest) -> Result<types::Exits, ApiError> {
        let output = L1OutPoint::from(output);
        let range = (&(output, u32::LOWEST, u8::LOWEST), &(output, u32::HIGHEST, u8::HIGHEST));
        let Page { rows, next_cursor } =
            table_page::<ExitsByOutput>(&self.view, &self.tip, List::OutputExits, range, page)?;
        if rows.is_empty() {
            let message =
                format!("no withdrawal announcement of a followed entity names the output {output}");
            return Err(ApiError::unknown("exit_not_found", message));
        }
        let id = |((_, announcing, record), _)| ExitId { txid: output.txid, output: announcing, record };
        self.exit_rows(Page { rows: rows.into_iter().map(id).collect(), next_cursor })
    }

    fn exit_rows(&self, page: Page<ExitId>) -> Result<types::Exits, ApiError> {
        let mut names = TokenNames::new();
        let exits = page.rows.into_iter().map(|id| {
            let record = self.view.expect::<Exits>(&id)?;
            self.exit_row(id, &record, &mut names)
        });
        Ok(types::Exits { exits: exits.collect::<Result<_, _>>()?, next_cursor: page.next_cursor })
    }

    fn exit_row(
        &self,
        id: ExitId,
        exit: &ExitRecord,
        names: &mut TokenNames,
    ) -> Result<types::Exit, ReadError> {
        let ttxo = self.view.get::<Ttxos>(&(exit.entity, exit.ttxo))?;
        let locktime = ttxo.as_ref().map(|ttxo| ttxo.locktime).filter(|_| exit.state.is_valid());
        let holding = ttxo.map(|ttxo| -> Result<_, ReadError> {
            let token = self.token(ttxo.token, names)?;
            Ok(types::Holding { owner: self.owner(ttxo.owner), token, amount: ttxo.amount })
        });
        let (state, reason) = names::exit_state(exit.state);
        Ok(types::Exit {
            exit_id: id.to_string(),
            txid: id.txid.into(),
            vout: exit.bitcoin_vout,
            announcing_vout: id.output,
            record: id.record,
            block: self.block(exit.place.height)?,
            entity: self.entity(exit.entity)?,
            ttxo: exit.ttxo,
            holding: holding.transpose()?,
            state,
            reason,
            stands: exit.state.is_valid() && exit.reinstated.is_none(),
            reinstated_by: exit.reinstated,
            judged_height: exit.judged,
            matures_height: locktime.map(|blocks| u64::from(exit.place.height.0).saturating_add(blocks)),
            bond: exit.bond.map(|bond| bond.value),
            owner_signature: OWNER_SIGNATURE,
            spent_by: exit.spend.map(|spend| types::Spend {
                txid: spend.txid,
                vin: spend.input,
                path: match spend.path {
                    SpendPath::Key => "key",
                    SpendPath::Script => "script",
                },
                block_height: spend.height,
            }),
        })
    }

    fn ttxo_row(
        &self,
        entity: EntityIndex,
        outpoint: SparkOutPoint,
        record: &TtxoRecord,
        names: &mut TokenNames,
    ) -> Result<types::Ttxo, ReadError> {
        let exit = self.standing_exit(entity, outpoint)?;
        let declared = record.is_declared();
        let changes = record.history.iter().zip(["declared", "dropped"].into_iter().cycle());
        Ok(types::Ttxo {
            ttxo: outpoint,
            spark_tx_hash: outpoint.tx_hash,
            vout: outpoint.vout,
            entity: self.entity(entity)?,
            owner: self.owner(record.owner),
            token: self.token(record.token, names)?,
            amount: record.amount,
            state: match (&exit, declared) {
                (Some(_), _) => types::TtxoState::Exited,
                (None, true) => types::TtxoState::Live,
                (None, false) => types::TtxoState::Tombstone,
            },
            declared,
            exit,
            revocation_commitment: record.revocation,
            withdraw_bond: record.bond,
            withdraw_locktime: record.locktime,
            history: changes
                .map(|(declaration, change)| types::DeclarationRow {
                    change,
                    snapshot_sequence: declaration.sequence,
                    block_height: declaration.place.height,
                })
                .collect(),
        })
    }

    fn standing_exit(
        &self,
        entity: EntityIndex,
        ttxo: SparkOutPoint,
    ) -> Result<Option<types::StandingExit>, ReadError> {
        let Some(id) = self.view.get::<Standing>(&(entity, ttxo))? else { return Ok(None) };
        let exit = self.view.expect::<Exits>(&id)?;
        Ok(Some(types::StandingExit {
            exit_id: id.to_string(),
            outpoint: format!("{}:{}", id.txid, exit.bitcoin_vout),
            state: names::exit_state(exit.state).0,
        }))
    }
}
