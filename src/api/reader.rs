//! Rows of the state, turned into the shapes of answers.
//!
//! A [`Reader`] looks at one consistent view. What several endpoints show in the same way is made here.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use super::answer::{self, Basis};
use super::error::{ApiError, Code};
use super::types::*;
use crate::ledger::Entities;
use crate::ledger::keys::EntityIndex;
use crate::ledger::records::{ActiveSnapshot, Balance, TipRecord, TokenRecord};
use crate::ledger::tables::{Blocks, Tokens};
use crate::ledger::view::{ReadError, View};
use crate::protocol::{Height, Network, OwnerKey, PubKey, TokenId, address};

/// A consistent view of the state as of a block.
#[derive(Debug)]
pub struct Reader<'a, V> {
    /// The rows.
    pub view: V,
    /// The block: the last applied one, unless the request names another.
    pub tip: TipRecord,
    /// What answers rest on there.
    pub basis: Arc<Basis>,
    /// The network, for bech32m forms.
    pub network: Network,
    /// The followed entities.
    pub entities: &'a Entities,
}

/// Tokens of which something is kept for the other answers of a block.
const MOST_TOKENS: usize = 4000;

/// What was found out about tokens at a block, so that it is not read and put together for every answer that
/// shows it.
#[derive(Debug)]
pub struct OfTokens<T>(RwLock<HashMap<TokenId, Arc<T>>>);

impl<T> OfTokens<T> {
    /// What is known of a token, from earlier or from `find`.
    pub fn get<E>(&self, token: TokenId, find: impl FnOnce() -> Result<T, E>) -> Result<Arc<T>, E> {
        if let Some(known) = self.0.read().unwrap_or_else(PoisonError::into_inner).get(&token) {
            return Ok(Arc::clone(known));
        }
        let found = Arc::new(find()?);
        let mut known = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if known.len() < MOST_TOKENS {
            known.insert(token, Arc::clone(&found));
        }
        Ok(found)
    }
}

impl<T> Default for OfTokens<T> {
    fn default() -> Self {
        OfTokens(RwLock::default())
    }
}

impl<V: View> Reader<'_, V> {
    /// What answers rest on.
    pub fn as_of(&self) -> AsOf {
        answer::as_of(&self.tip, &self.basis.active, self.entities)
    }

    /// The active snapshot of an entity.
    pub fn active(&self, entity: EntityIndex) -> Option<ActiveSnapshot> {
        self.basis.active.get(usize::from(entity.0)).copied().flatten()
    }

    /// The entity that a row names.
    pub fn entity(&self, index: EntityIndex) -> Result<EntityName, ReadError> {
        Ok(self.snapshot(index)?.entity.clone())
    }

    /// What balances under the entity that a row names rest on.
    fn snapshot(&self, index: EntityIndex) -> Result<&Arc<BalanceSnapshot>, ReadError> {
        let missing = || ReadError {
            table: "entities",
            reason: format!("a row names entity number {}, and there is none", index.0),
        };
        self.basis.snapshots.get(usize::from(index.0)).ok_or_else(missing)
    }

    /// An applied block.
    pub fn block(&self, height: Height) -> Result<BlockPlace, ReadError> {
        let block = self.view.expect::<Blocks>(&height)?;
        Ok(BlockPlace { block_height: height, block_hash: block.hash, block_time: block.time })
    }

    /// An owner.
    pub fn owner(&self, owner: OwnerKey) -> Owner {
        Owner {
            owner,
            owner_address: address::encode_owner(owner, self.network),
            is_burn: owner == PubKey::BURN,
        }
    }

    /// A token that there is.
    pub fn token(&self, token_id: TokenId) -> Result<Arc<TokenName>, ReadError> {
        self.basis.token_names.get(token_id, || {
            let metadata = self.view.expect::<Tokens>(&token_id)?.metadata;
            Ok(TokenName {
                token_id: Written::new(&token_id),
                token_address: Written::new(&address::encode_token(token_id, self.network)),
                decimals: metadata.as_ref().map(|metadata| metadata.decimals),
                ticker: metadata.map(|metadata| metadata.ticker),
            })
        })
    }

    /// A token that a request names: 404 where nobody announced or declared it.
    pub fn known_token(&self, token: TokenId) -> Result<TokenRecord, ApiError> {
        let record = self.view.get::<Tokens>(&token)?;
        record.ok_or_else(|| {
            let message = format!("no announcement and no activated snapshot names the token {token}");
            ApiError::new(Code::TokenNotFound, message)
        })
    }

    /// Sums of an owner for a token under an entity.
    pub fn sums(&self, entity: EntityIndex, balance: Balance) -> Result<Sums, ReadError> {
        Ok(Sums {
            snapshot: Arc::clone(self.snapshot(entity)?),
            available: balance.available,
            exiting: balance.exiting.capped(),
            claimed: balance.claimed.capped(),
        })
    }
}
