//! Answers about tokens and their owners.

use super::cursor::List;
use super::error::ApiError;
use super::page::{Page, table_page};
use super::query::PageRequest;
use super::reader::{Reader, TokenNames, name_of};
use super::types;
use crate::ledger::keys::{EntityIndex, KeyPart};
use crate::ledger::records::{Balance, TokenRecord};
use crate::ledger::tables::{Announcements, Balances, Holders, Supply, Tokens};
use crate::ledger::view::{ReadError, View};
use crate::protocol::token::Layer;
use crate::protocol::{Amount, OwnerKey, PubKey, TokenId, address};

impl<V: View> Reader<'_, V> {
    /// `/v1/tokens`
    pub fn tokens(&self, page: &PageRequest) -> Result<types::Tokens, ApiError> {
        let all = (&TokenId::MIN, &TokenId::MAX);
        let Page { rows, next_cursor } =
            table_page::<Tokens>(&self.view, &self.tip, List::Tokens, all, page)?;
        let tokens = rows.into_iter().map(|(token, record)| self.token_row(token, &record));
        Ok(types::Tokens { tokens: tokens.collect::<Result<_, _>>()?, next_cursor })
    }

    /// `/v1/tokens/{token}`
    pub fn one_token(&self, token: TokenId) -> Result<types::Token, ApiError> {
        let record = self.known_token(token)?;
        Ok(self.token_row(token, &record)?)
    }

    /// `/v1/tokens/{token}/holders`
    pub fn holders(&self, token: TokenId, page: &PageRequest) -> Result<types::Holders, ApiError> {
        let record = self.known_token(token)?;
        let range = (
            &(token, OwnerKey::LOWEST, EntityIndex::LOWEST),
            &(token, OwnerKey::HIGHEST, EntityIndex::HIGHEST),
        );
        let Page { rows, next_cursor } =
            table_page::<Holders>(&self.view, &self.tip, List::Holders, range, page)?;
        let holders = rows.into_iter().map(|((_, owner, entity), _)| {
            let balance = self.view.expect::<Balances>(&(owner, token, entity))?;
            Ok(types::Holder { owner: self.owner(owner), sums: self.sums(entity, balance)? })
        });
        Ok(types::Holders {
            token: self.token_name(token, &record),
            holders: holders.collect::<Result<_, ReadError>>()?,
            next_cursor,
        })
    }

    /// `/v1/owners/{owner}/balances`: what the owner holds, in all tokens.
    pub fn balances(&self, owner: OwnerKey, page: &PageRequest) -> Result<types::Balances, ApiError> {
        let range = (
            &(owner, TokenId::LOWEST, EntityIndex::LOWEST),
            &(owner, TokenId::HIGHEST, EntityIndex::HIGHEST),
        );
        let Page { rows, next_cursor } =
            table_page::<Balances>(&self.view, &self.tip, List::Balances, range, page)?;
        let mut names = TokenNames::new();
        let balances = rows
            .into_iter()
            .map(|((_, token, entity), balance)| self.balance_row(token, entity, balance, &mut names));
        let balances = balances.collect::<Result<_, _>>()?;
        Ok(types::Balances { owner: self.owner(owner), balances, next_cursor })
    }

    /// `/v1/owners/{owner}/balances?token=`: what the owner holds of one token, one row per entity,
    /// zeros included.
    pub fn balances_of_token(&self, owner: OwnerKey, token: TokenId) -> Result<types::Balances, ApiError> {
        self.known_token(token)?;
        let mut names = TokenNames::new();
        let balances = self.entities.iter().map(|(entity, _)| {
            let balance = self.view.get::<Balances>(&(owner, token, entity))?.unwrap_or_default();
            self.balance_row(token, entity, balance, &mut names)
        });
        let balances = balances.collect::<Result<_, _>>()?;
        Ok(types::Balances { owner: self.owner(owner), balances, next_cursor: None })
    }

    fn balance_row(
        &self,
        token: TokenId,
        entity: EntityIndex,
        balance: Balance,
        names: &mut TokenNames,
    ) -> Result<types::BalanceRow, ReadError> {
        Ok(types::BalanceRow { token: self.token(token, names)?, sums: self.sums(entity, balance)? })
    }

    fn token_row(&self, token: TokenId, record: &TokenRecord) -> Result<types::Token, ReadError> {
        let supply: Vec<_> = self
            .entities
            .iter()
            .map(|(index, entity)| {
                let declared = self.view.get::<Supply>(&(token, index))?.unwrap_or(Amount::ZERO);
                let burned = self.view.get::<Balances>(&(PubKey::BURN, token, index))?;
                Ok(types::Supply {
                    entity: name_of(entity),
                    declared,
                    burned: burned.unwrap_or_default().available,
                    over_max_supply: exceeds_maximum(record, declared),
                })
            })
            .collect::<Result<_, ReadError>>()?;
        Ok(types::Token {
            token: self.token_name(token, record),
            metadata: metadata(record),
            announcement: self.announcement(record)?,
            over_max_supply: supply.iter().any(|row| row.over_max_supply),
            supply,
        })
    }

    fn announcement(&self, record: &TokenRecord) -> Result<Option<types::Announcement>, ReadError> {
        let Some(token_id) = record.announced_as else { return Ok(None) };
        let row = self.view.expect::<Announcements>(&token_id)?;
        Ok(Some(types::Announcement {
            token_id,
            token_address: address::encode_token(token_id, self.network),
            txid: row.txid,
            vout: row.place.index,
            block: self.block(row.place.height)?,
        }))
    }
}

fn exceeds_maximum(record: &TokenRecord, declared: Amount) -> bool {
    let maximum = record.metadata.as_ref().map(|metadata| metadata.max_supply);
    maximum.is_some_and(|maximum| maximum != Amount::ZERO && declared > maximum)
}

fn metadata(record: &TokenRecord) -> Option<types::Metadata> {
    let metadata = record.metadata.as_ref()?;
    let (layer, creation_entity) = match record.layer {
        None => (None, None),
        Some(Layer::L1) => (Some("l1"), None),
        Some(Layer::Spark(key)) => (Some("spark"), Some(key)),
    };
    Some(types::Metadata {
        issuer: metadata.issuer,
        name: metadata.name.clone(),
        ticker: metadata.ticker.clone(),
        decimals: metadata.decimals,
        max_supply: metadata.max_supply,
        freezable: metadata.freezable,
        layer,
        creation_entity,
    })
}
