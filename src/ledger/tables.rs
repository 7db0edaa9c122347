//! The tables of the state, and sets of changes to them.
//!
//! A table is a name, a key type and a value type; [`ChangeSet`] has one field for each. The store
//! keeps one column family for each, under the same name. Adding a table is one line below.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::fmt::Debug;

use super::activity::Activity;
use super::indexes::TokenTotals;
use super::keys::{
    BlockKey, EntityIndex, ExitId, ExitKind, Folded, KeyPart, L1OutPoint, NameKind, Only, Place,
};
use super::records::*;
use crate::protocol::{
    Amount, ChunkHash, Height, ManifestId, NodeHash, OwnerKey, PubKey, SparkOutPoint, TokenId,
};

/// A table of the state.
pub trait Table: Debug + 'static {
    /// Its name, also of its column family. Part of the database format.
    const NAME: &'static str;
    /// Its number in undo records. Part of the database format.
    const NUMBER: u8;
    /// What a row is found by.
    type Key: KeyPart;
    /// What a row says, encoded as CBOR.
    type Value: Value;

    /// Its part of a change set.
    fn rows(changes: &ChangeSet) -> &Rows<Self>;
    /// Its part of a change set, to be changed.
    fn rows_mut(changes: &mut ChangeSet) -> &mut Rows<Self>;
}

/// What a row can hold.
pub trait Value:
    Clone + PartialEq + Debug + minicbor::Encode<()> + for<'b> minicbor::Decode<'b, ()> + 'static
{
}

impl<T> Value for T where
    T: Clone + PartialEq + Debug + minicbor::Encode<()> + for<'b> minicbor::Decode<'b, ()> + 'static
{
}

/// One row, before and after.
#[derive(Clone, Debug, PartialEq)]
pub struct Change<V> {
    /// The value before, boxed because most rows are new.
    pub before: Option<Box<V>>,
    /// The value after; `None` removes the row.
    pub after: Option<V>,
}

/// Changed rows of a table.
pub type Rows<T> = BTreeMap<<T as Table>::Key, Change<<T as Table>::Value>>;

/// Rows that were not there before, in the order of their keys. A map that is built at once is little more
/// than half as large as one that grows row by row.
pub fn new_rows<T: Table>(rows: impl Iterator<Item = (T::Key, T::Value)>) -> Rows<T> {
    rows.map(|(key, value)| (key, Change { before: None, after: Some(value) })).collect()
}

/// Does something for every table, whatever its types.
pub trait TableVisitor {
    /// What can go wrong.
    type Error;

    /// Called once for each table, in the order of their numbers.
    fn table<T: Table>(&mut self) -> Result<(), Self::Error>;
}

macro_rules! tables {
    ($($(#[$doc:meta])* $number:literal $name:ident $field:ident: $key:ty => $value:ty;)+) => {
        $(
            $(#[$doc])*
            #[derive(Clone, Copy, Debug)]
            pub struct $name;

            impl Table for $name {
                const NAME: &'static str = stringify!($field);
                const NUMBER: u8 = $number;
                type Key = $key;
                type Value = $value;

                fn rows(changes: &ChangeSet) -> &Rows<Self> {
                    &changes.$field
                }

                fn rows_mut(changes: &mut ChangeSet) -> &mut Rows<Self> {
                    &mut changes.$field
                }
            }
        )+

        /// What a block, or a run of blocks, changes: for every row its value before and after.
        ///
        /// The database batch and the undo record are both made from it.
        #[derive(Clone, Debug, Default, PartialEq)]
        pub struct ChangeSet {
            $($field: Rows<$name>,)+
        }

        impl ChangeSet {
            /// How many rows it changes.
            pub fn len(&self) -> usize {
                0 $(+ self.$field.len())+
            }

            /// Whether it changes nothing.
            pub fn is_empty(&self) -> bool {
                self.len() == 0
            }

            /// Forgets rows that ended as they began.
            pub fn drop_unchanged(&mut self) {
                $(self.$field.retain(|_, change| change.before.as_deref() != change.after.as_ref());)+
            }

            /// Adds the changes of a later change set.
            pub fn absorb(&mut self, later: &ChangeSet) {
                $(absorb_rows::<$name>(&mut self.$field, &later.$field);)+
            }
        }

        /// Calls the visitor for every table.
        pub fn visit_tables<V: TableVisitor>(visitor: &mut V) -> Result<(), V::Error> {
            $(visitor.table::<$name>()?;)+
            Ok(())
        }
    };
}

fn absorb_rows<T: Table>(rows: &mut Rows<T>, later: &Rows<T>) {
    for (key, change) in later {
        match rows.get_mut(key) {
            Some(earlier) => earlier.after.clone_from(&change.after),
            None => {
                rows.insert(key.clone(), change.clone());
            }
        }
    }
}

tables! {
    /// The last applied block.
    0 Tip tip: Only => TipRecord;
    /// Applied blocks with their events.
    1 Blocks blocks: Height => BlockRecord;
    /// Heights of applied blocks.
    2 BlockHeights block_heights: BlockKey => Height;
    /// What was counted and not kept; see [`Counter`].
    3 Counters counters: u8 => u64;
    /// The last [`Notice::KEPT`] messages that were malformed or repeated, in a ring.
    4 Notices notices: u16 => Notice;
    /// Tokens that an announcement or an activated snapshot named.
    5 Tokens tokens: TokenId => TokenRecord;
    /// Token announcements that count, by their L1 identifier.
    6 Announcements announcements: TokenId => AnnouncementRecord;
    /// Declared total of a token.
    7 Supply supply: (TokenId, EntityIndex) => Amount;
    /// The active snapshot of each entity.
    8 Active active: EntityIndex => ActiveSnapshot;
    /// Accepted manifests, as signed.
    9 Manifests manifests: ManifestId => ManifestRecord;
    /// What became of accepted manifests.
    10 Snapshots snapshots: ManifestId => SnapshotRecord;
    /// Accepted manifests by sequence, then place.
    11 Sequences sequences: (EntityIndex, u64, Place) => ManifestId;
    /// Manifests that wait for chunks or for their turn, by the place of their acceptance.
    12 Pending pending: (EntityIndex, Place) => PendingManifest;
    /// Chunks that pending manifests still wait for, by the place of the manifest's acceptance.
    13 Wanted wanted: (ChunkHash, Place) => WantedChunk;
    /// Which pending manifests hold a chunk.
    14 ChunkHolders chunk_holders: (ChunkHash, ManifestId) => ChunkHolder;
    /// Bodies of chunks that pending manifests hold.
    15 ChunkBodies chunk_bodies: ChunkHash => ChunkBody;
    /// Evidence: two manifests of one sequence, under the lower and the higher id.
    16 Equivocations equivocations: (EntityIndex, ManifestId, ManifestId) => EquivocationRecord;
    /// Every TTXO that an activated snapshot ever declared.
    17 Ttxos ttxos: (EntityIndex, SparkOutPoint) => TtxoRecord;
    /// The declared set, with the leaf of each TTXO in the tree.
    18 Declared declared: (EntityIndex, SparkOutPoint) => NodeHash;
    /// TTXOs by owner.
    19 OwnerTtxos owner_ttxos: (OwnerKey, EntityIndex, SparkOutPoint) => Unit;
    /// The valid exit that stands, by its TTXO.
    20 Standing standing: (EntityIndex, SparkOutPoint) => ExitId;
    /// Withdrawal announcements of followed entities.
    21 Withdrawals withdrawals: Place => WithdrawalRecord;
    /// Exits.
    22 Exits exits: ExitId => ExitRecord;
    /// Exits by the L1 output that they name, then announcing output and record.
    23 ExitsByOutput exits_by_output: (L1OutPoint, u32, u8) => Unit;
    /// Exits by the TTXO that they name, then announcement and record.
    24 ExitsByTtxo exits_by_ttxo: (EntityIndex, SparkOutPoint, ExitOrder) => Unit;
    /// Unresolved announcements by the TTXOs that nobody has declared yet.
    25 Unresolved unresolved: (EntityIndex, SparkOutPoint, Place) => Unit;
    /// Unspent outputs of exits that are valid or unresolved, then announcing output and record.
    26 Watched watched: (L1OutPoint, u32, u8) => Unit;
    /// Valid pending exits by the height at which they mature.
    27 Maturing maturing: (Height, ExitId) => Unit;
    /// Balances that are not zero.
    28 Balances balances: (OwnerKey, TokenId, EntityIndex) => Balance;
    /// Owners of a token: the keys of `balances`, token first.
    29 Holders holders: (TokenId, OwnerKey, EntityIndex) => Unit;
    // What follows is for readers alone, see `indexes`.
    /// Owners of a token: those of `holders`, by what they hold and have not claimed, the most first.
    30 HoldersByAmount holders_by_amount: (TokenId, Reverse<Amount>, OwnerKey, EntityIndex) => Unit;
    /// How many owners `holders` has of a token, each counted once. No row for none.
    31 HolderCounts holder_counts: TokenId => u64;
    /// What became of a token under an entity. No row for zeros.
    32 Totals totals: (TokenId, EntityIndex) => TokenTotals;
    /// Tokens with metadata by ticker and by name.
    33 TokenNames token_names: (NameKind, Folded, TokenId) => Unit;
    /// Tokens with metadata by issuer.
    34 IssuerTokens issuer_tokens: (PubKey, TokenId) => Unit;
    /// Exits that were judged by the TTXOs which they name, by owner.
    35 ExitsByOwner exits_by_owner: (OwnerKey, ExitKind, ExitOrder) => ExitId;
    /// The same by token.
    36 ExitsByToken exits_by_token: (TokenId, ExitKind, ExitOrder) => ExitId;
    /// All exits by entity.
    37 ExitsByEntity exits_by_entity: (EntityIndex, ExitKind, ExitOrder) => ExitId;
    /// What happened to the TTXOs of an owner, the newest block first, numbered within a block.
    38 Activities activities: (OwnerKey, Reverse<Height>, u32) => Activity;
}

/// Where an exit stands in chain order: its announcement, then its record.
pub type ExitOrder = (Place, u8);
