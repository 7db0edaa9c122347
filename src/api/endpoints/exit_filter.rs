//! Which exits a list is of, and where they are found.

use utoipa::IntoParams;

use super::exits::Exits;
use crate::api::app::App;
use crate::api::cursor::List;
use crate::api::error::{ApiError, Code};
use crate::api::names::{self, ExitStateName};
use crate::api::page::{Page, Pager, table_page};
use crate::api::parse;
use crate::api::query::{PageRequest, Params};
use crate::api::reader::Reader;
use crate::api::schemas;
use crate::ledger::keys::{EntityIndex, ExitId, ExitKind, KeyPart, Place};
use crate::ledger::tables::{
    ExitOrder, ExitsByEntity, ExitsByOwner, ExitsByToken, ExitsByTtxo, Maturing, Table, Withdrawals,
};
use crate::ledger::view::{ReadError, View};
use crate::protocol::{Height, OwnerKey, SparkOutPoint, TokenId};

/// Which exits. At most one of the fields but `state`; and `state` alone, or with `owner`, `token` or `entity`.
#[derive(Clone, Copy, Debug, Default, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct ExitsOf {
    /// Only exits in this state.
    pub state: Option<ExitStateName>,
    /// Only exits of this TTXO.
    #[param(value_type = Option<schemas::TtxoParam>)]
    pub ttxo: Option<SparkOutPoint>,
    /// Only exits of this owner.
    #[param(value_type = Option<schemas::OwnerParam>)]
    pub owner: Option<OwnerKey>,
    /// Only exits of this token.
    #[param(value_type = Option<schemas::TokenParam>)]
    pub token: Option<TokenId>,
    /// Only exits of this entity.
    #[param(value_type = Option<schemas::EntityParam>)]
    pub entity: Option<EntityIndex>,
    /// Only pending exits that the block of this height will mature, unless they are revoked before.
    pub matures_at: Option<Height>,
    /// Only pending exits that will have matured by this height; by height.
    pub matures_by: Option<Height>,
}

/// Takes `state` out.
pub fn take_state(params: &mut Params) -> Result<Option<ExitStateName>, ApiError> {
    let state = params.take("state").map(|text| {
        let message = "state must be unresolved, pending, matured, revoked, claimed or invalid";
        names::parse(&text).ok_or_else(|| ApiError::new(Code::BadParameter, message))
    });
    state.transpose()
}

impl ExitsOf {
    /// Takes them out of the parameters.
    pub fn take(app: &App, params: &mut Params) -> Result<ExitsOf, ApiError> {
        let of = ExitsOf {
            state: take_state(params)?,
            ttxo: params.take("ttxo").map(|text| parse::ttxo(&text)).transpose()?,
            owner: params.take("owner").map(|text| parse::owner(app, &text)).transpose()?,
            token: params.take("token").map(|text| parse::token(app, &text)).transpose()?,
            entity: params.take("entity").map(|text| parse::entity(app, &text)).transpose()?,
            matures_at: params.height("matures_at")?,
            matures_by: params.height("matures_by")?,
        };
        let any_state = [of.owner.is_some(), of.token.is_some(), of.entity.is_some()];
        let no_state = [of.ttxo.is_some(), of.matures_at.is_some(), of.matures_by.is_some()];
        let count = |given: &[bool]| given.iter().filter(|given| **given).count();
        let (with, without) = (count(&any_state), count(&no_state));
        if with + without > 1 {
            let message = "give at most one of ttxo, owner, token, entity, matures_at and matures_by";
            return Err(ApiError::new(Code::BadParameter, message));
        }
        if without > 0 && of.state.is_some() {
            let message = "state goes with owner, token or entity, or stands alone";
            return Err(ApiError::new(Code::BadParameter, message));
        }
        Ok(of)
    }
}

impl<V: View> Reader<'_, V> {
    /// A page of these exits.
    pub fn exits_of(&self, of: &ExitsOf, page: &PageRequest) -> Result<Exits, ApiError> {
        let page = match *of {
            ExitsOf { ttxo: Some(ttxo), .. } => self.exits_of_ttxo(ttxo, page),
            ExitsOf { matures_at: Some(height), .. } => self.maturing(height, height, page),
            ExitsOf { matures_by: Some(height), .. } => self.maturing(Height::LOWEST, height, page),
            ExitsOf { owner: Some(owner), state, .. } => {
                self.exits_in::<ExitsByOwner, _>(List::OwnerExits, owner, state, page)
            }
            ExitsOf { token: Some(token), state, .. } => {
                self.exits_in::<ExitsByToken, _>(List::TokenExits, token, state, page)
            }
            ExitsOf { entity: Some(entity), state, .. } => {
                self.exits_in::<ExitsByEntity, _>(List::EntityExits, entity, state, page)
            }
            ExitsOf { state: Some(state), .. } => self.exits_in_state(state, page),
            _ => self.exits_in_chain_order(page),
        };
        self.exit_rows(page?)
    }

    fn exits_in<T, P>(
        &self,
        list: List,
        of: P,
        state: Option<ExitStateName>,
        page: &PageRequest,
    ) -> Result<Page<ExitId>, ApiError>
    where
        P: KeyPart,
        T: Table<Key = (P, ExitKind, ExitOrder), Value = ExitId>,
    {
        let (first, last) = state.map_or((ExitKind::LOWEST, ExitKind::HIGHEST), |state| {
            let kind = names::exit_kind(state);
            (kind, kind)
        });
        let range = (&(of.clone(), first, ExitOrder::LOWEST), &(of, last, ExitOrder::HIGHEST));
        let Page { rows, next_cursor } = table_page::<T>(&self.view, &self.tip, list, range, page)?;
        Ok(Page { rows: rows.into_iter().map(|(_, id)| id).collect(), next_cursor })
    }

    fn exits_in_state(&self, state: ExitStateName, page: &PageRequest) -> Result<Page<ExitId>, ApiError> {
        let kind = names::exit_kind(state);
        let key = |entity, order| (entity, kind, order);
        let range =
            (&key(EntityIndex::LOWEST, ExitOrder::LOWEST), &key(EntityIndex::HIGHEST, ExitOrder::HIGHEST));
        let pager = Pager::open(&self.tip, List::StateExits, range, page)?;
        let (first_entity, of, first_order) = pager.from;
        if of != kind {
            return Err(ApiError::new(Code::BadCursor, "this cursor comes from the exits of another state"));
        }
        let entities =
            self.entities.iter().map(|(entity, _)| entity).filter(|entity| *entity >= first_entity);
        let rows = entities.flat_map(|entity| {
            let order = if entity == first_entity { first_order } else { ExitOrder::LOWEST };
            self.view.scan::<ExitsByEntity>(&key(entity, order), &key(entity, ExitOrder::HIGHEST))
        });
        pager.collect(rows)
    }

    /// Pending exits that mature in one of these blocks.
    fn maturing(&self, from: Height, to: Height, page: &PageRequest) -> Result<Page<ExitId>, ApiError> {
        let range = (&(from, ExitId::LOWEST), &(to, ExitId::HIGHEST));
        let Page { rows, next_cursor } =
            table_page::<Maturing>(&self.view, &self.tip, List::Maturing, range, page)?;
        Ok(Page { rows: rows.into_iter().map(|((_, id), _)| id).collect(), next_cursor })
    }

    fn exits_in_chain_order(&self, page: &PageRequest) -> Result<Page<ExitId>, ApiError> {
        let range = (&ExitOrder::LOWEST, &ExitOrder::HIGHEST);
        let pager = Pager::open(&self.tip, List::Exits, range, page)?;
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
        pager.collect(rows)
    }

    fn exits_of_ttxo(&self, ttxo: SparkOutPoint, page: &PageRequest) -> Result<Page<ExitId>, ApiError> {
        let key = |entity, order| (entity, ttxo, order);
        let range =
            (&key(EntityIndex::LOWEST, ExitOrder::LOWEST), &key(EntityIndex::HIGHEST, ExitOrder::HIGHEST));
        let pager = Pager::open(&self.tip, List::TtxoExits, range, page)?;
        let (first_entity, named, first_order) = pager.from;
        if named != ttxo {
            return Err(ApiError::new(Code::BadCursor, "this cursor comes from the exits of another TTXO"));
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
        pager.collect(rows)
    }
}
