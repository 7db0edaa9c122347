//! Token announcements on L1.

use super::block::Block;
use super::events::Event;
use super::keys::Place;
use super::records::{AnnouncementRecord, Counter, TokenRecord};
use super::tables::{Announcements, Tokens};
use super::view::{ReadError, View};
use crate::protocol::TokenId;
use crate::protocol::announcement::TokenAnnouncement;
use crate::protocol::token::{Layer, TokenMetadata};
use crate::scan::messages::{MalformedKind, TxMessages};

impl From<MalformedKind> for Counter {
    fn from(kind: MalformedKind) -> Self {
        match kind {
            MalformedKind::Token => Counter::MalformedToken,
            MalformedKind::Withdrawal => Counter::MalformedWithdrawal,
        }
    }
}

impl<V: View> Block<'_, V> {
    /// An announcement counts if it is the first well-formed one of its transaction and nobody announced
    /// its identifier before. It makes the metadata known under the L1 identifier and under the one that
    /// each key of each followed entity gives it.
    pub(super) fn token_announced(
        &mut self,
        tx: &TxMessages,
        vout: u32,
        announcement: &TokenAnnouncement,
        token_seen: bool,
    ) -> Result<(), ReadError> {
        let metadata = &announcement.metadata;
        let token = metadata.identifier(self.rules.network, Layer::L1);
        if token_seen {
            self.count(Counter::SecondTokenOfTransaction)?;
            let reason = format!("token {token} is announced after another one in the same transaction");
            return self.notice(tx.txid, vout, reason);
        }
        if self.state.has::<Announcements>(&token)? {
            self.count(Counter::RepeatedToken)?;
            return self.notice(tx.txid, vout, format!("token {token} was announced before"));
        }
        let place = Place::output(self.height, tx.index, vout);
        self.state.put::<Announcements>(token, AnnouncementRecord { place, txid: tx.txid })?;
        let rules = self.rules;
        self.learn_token(token, metadata, Layer::L1, Some(token))?;
        for key in rules.entities.keys() {
            let layer = Layer::Spark(key);
            self.learn_token(metadata.identifier(rules.network, layer), metadata, layer, Some(token))?;
        }
        self.event(Event::Token { token, txid: tx.txid, vout });
        Ok(())
    }

    /// Keeps metadata whose identifier was computed from it, so that it proves itself.
    pub(super) fn learn_token(
        &mut self,
        token: TokenId,
        metadata: &TokenMetadata,
        layer: Layer,
        announced_as: Option<TokenId>,
    ) -> Result<(), ReadError> {
        let known = self.state.get::<Tokens>(&token)?.unwrap_or_default();
        let record = TokenRecord {
            metadata: Some(metadata.clone()),
            layer: Some(layer),
            announced_as: known.announced_as.or(announced_as),
        };
        self.state.put::<Tokens>(token, record)
    }

    /// Makes a token known of which only the identifier is known.
    pub(super) fn name_token(&mut self, token: TokenId) -> Result<(), ReadError> {
        if !self.state.has::<Tokens>(&token)? {
            self.state.put::<Tokens>(token, TokenRecord::default())?;
        }
        Ok(())
    }
}
