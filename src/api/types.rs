//! The shapes of all answers.
//!
//! Token amounts are strings ([`Amount`] sees to it); satoshis, heights and counts are numbers. A field
//! that has no value is `null`, never left out. `schema/rest.md` describes them for outsiders.

use bitcoin::{BlockHash, Txid};
use serde::Serialize;

use crate::ledger::records::Counter;
use crate::protocol::{
    Amount, Height, ManifestId, NodeHash, OwnerKey, PubKey, SparkOutPoint, SparkTxHash, StateHash, TokenId,
};

/// An answer from the state: what it rests on, then the answer itself.
#[derive(Clone, Debug, Serialize)]
pub struct Answer<T> {
    /// The block and the snapshots that it rests on.
    pub as_of: AsOf,
    /// The answer.
    #[serde(flatten)]
    pub body: T,
}

/// The block, and the active snapshot of each entity, that an answer rests on.
#[derive(Clone, Debug, Serialize)]
pub struct AsOf {
    /// Height of the last applied block.
    pub height: Height,
    /// Its hash.
    pub block_hash: BlockHash,
    /// Its header time, Unix seconds.
    pub block_time: u32,
    /// State hash after it.
    pub state_hash: StateHash,
    /// One row per entity.
    pub snapshots: Vec<EntitySnapshot>,
}

/// The active snapshot of an entity.
#[derive(Clone, Debug, Serialize)]
pub struct EntitySnapshot {
    /// The entity.
    #[serde(flatten)]
    pub entity: EntityName,
    /// Sequence of its active snapshot; `null` where none has activated.
    pub sequence: Option<u64>,
    /// Manifest id of its active snapshot.
    pub manifest_id: Option<ManifestId>,
}

/// An entity.
#[derive(Clone, Debug, Serialize)]
pub struct EntityName {
    /// Its id: its first key.
    pub entity: PubKey,
    /// What this server calls it.
    pub entity_name: String,
}

/// A block as the place where something happened.
#[derive(Clone, Debug, Serialize)]
pub struct BlockPlace {
    /// Its height.
    pub block_height: Height,
    /// Its hash.
    pub block_hash: BlockHash,
    /// Its header time, Unix seconds.
    pub block_time: u32,
}

/// An owner in both forms.
#[derive(Clone, Debug, Serialize)]
pub struct Owner {
    /// Compressed public key.
    pub owner: OwnerKey,
    /// Spark address.
    pub owner_address: String,
    /// Whether it is the burn key, whose tokens are burned supply.
    pub is_burn: bool,
}

/// A token in both forms, with what is needed to show an amount of it.
#[derive(Clone, Debug, Serialize)]
pub struct TokenName {
    /// Its identifier.
    pub token_id: TokenId,
    /// Its identifier in bech32m form.
    pub token_address: String,
    /// Ticker, once the metadata is known.
    pub ticker: Option<String>,
    /// Decimals for display, once the metadata is known.
    pub decimals: Option<u8>,
}

/// `/v1/status`
#[derive(Clone, Debug, Serialize)]
pub struct Status {
    /// Version of the software.
    pub version: &'static str,
    /// The Bitcoin network.
    pub network: &'static str,
    /// First block that is applied.
    pub start_height: Height,
    /// Whether the state is that of the best known block.
    pub synced: bool,
    /// Progress of synchronisation.
    pub sync: SyncProgress,
    /// The followed entities.
    pub entities: Vec<EntityStatus>,
    /// Messages that were counted and have no other effect, by reason.
    pub counters: std::collections::BTreeMap<Counter, u64>,
    /// The last applied block; `null` before the first.
    pub as_of: Option<AsOf>,
}

/// Progress of synchronisation.
#[derive(Clone, Debug, Serialize)]
pub struct SyncProgress {
    /// `starting`, `catching_up`, `reorganising`, `following` or `failed`.
    pub state: crate::sync::status::Phase,
    /// Height of the best block that the source of blocks knows.
    pub source_height: Option<Height>,
    /// Its hash.
    pub source_block_hash: Option<BlockHash>,
    /// Seconds since the source last answered.
    pub source_heard_seconds: Option<u64>,
    /// What keeps it from going on.
    pub problem: Option<String>,
}

/// A followed entity.
#[derive(Clone, Debug, Serialize)]
pub struct EntityStatus {
    /// The entity.
    #[serde(flatten)]
    pub entity: EntityName,
    /// Its keys, lowest from-height first.
    pub keys: Vec<EntityKeyRow>,
}

/// A key of an entity.
#[derive(Clone, Debug, Serialize)]
pub struct EntityKeyRow {
    /// The key.
    pub key: PubKey,
    /// First height at which it is valid.
    pub from_height: Height,
}

/// `/v1/blocks/{height or hash}`
#[derive(Clone, Debug, Serialize)]
pub struct Block {
    /// Which block.
    #[serde(flatten)]
    pub block: BlockPlace,
    /// State hash after it.
    pub state_hash: StateHash,
    /// Event lines, in order.
    pub events: Vec<String>,
}

/// `/v1/tokens`
#[derive(Clone, Debug, Serialize)]
pub struct Tokens {
    /// Ordered by identifier.
    pub tokens: Vec<Token>,
    /// Continues the list; `null` at its end.
    pub next_cursor: Option<String>,
}

/// `/v1/tokens/{token}`, and a row of `/v1/tokens`
#[derive(Clone, Debug, Serialize)]
pub struct Token {
    /// Which token.
    #[serde(flatten)]
    pub token: TokenName,
    /// What an announcement or a snapshot says about it.
    pub metadata: Option<Metadata>,
    /// Its announcement on L1, where its metadata was announced.
    pub announcement: Option<Announcement>,
    /// Whether the supply of any entity exceeds the known maximum.
    pub over_max_supply: bool,
    /// One row per entity.
    pub supply: Vec<Supply>,
}

/// Metadata of a token.
#[derive(Clone, Debug, Serialize)]
pub struct Metadata {
    /// Issuer key.
    pub issuer: PubKey,
    /// Name.
    pub name: String,
    /// Ticker.
    pub ticker: String,
    /// Decimals, for display.
    pub decimals: u8,
    /// Maximum supply in base units; "0" for unlimited.
    pub max_supply: Amount,
    /// Whether its issuer may freeze it.
    pub freezable: bool,
    /// `l1` or `spark`.
    pub layer: Option<&'static str>,
    /// The entity key under which it was created, on Spark.
    pub creation_entity: Option<PubKey>,
}

/// An announcement on L1.
#[derive(Clone, Debug, Serialize)]
pub struct Announcement {
    /// The identifier that the announcement itself defines, that of the L1 layer.
    pub token_id: TokenId,
    /// The same in bech32m.
    pub token_address: String,
    /// Its transaction.
    pub txid: Txid,
    /// Its output.
    pub vout: u32,
    /// Its block.
    #[serde(flatten)]
    pub block: BlockPlace,
}

/// Supply of a token, as an entity declares it.
#[derive(Clone, Debug, Serialize)]
pub struct Supply {
    /// The entity.
    #[serde(flatten)]
    pub entity: EntityName,
    /// Declared total, burned and exited amounts that are declared included.
    pub declared: Amount,
    /// What the burn key has available.
    pub burned: Amount,
    /// Whether the declared total exceeds the known maximum.
    pub over_max_supply: bool,
}

/// `/v1/tokens/{token}/holders`
#[derive(Clone, Debug, Serialize)]
pub struct Holders {
    /// Which token.
    #[serde(flatten)]
    pub token: TokenName,
    /// Ordered by owner key, then entity.
    pub holders: Vec<Holder>,
    /// Continues the list; `null` at its end.
    pub next_cursor: Option<String>,
}

/// What an owner holds of a token.
#[derive(Clone, Debug, Serialize)]
pub struct Holder {
    /// The owner.
    #[serde(flatten)]
    pub owner: Owner,
    /// The sums.
    #[serde(flatten)]
    pub sums: Sums,
}

/// What an owner holds of a token under an entity, in base units.
#[derive(Clone, Debug, Serialize)]
pub struct Sums {
    /// The active snapshot of the entity, on which the sums rest.
    #[serde(flatten)]
    pub snapshot: BalanceSnapshot,
    /// In the declared set, no valid exit.
    pub available: Amount,
    /// Being withdrawn to L1.
    pub exiting: Amount,
    /// Withdrawn to L1.
    pub claimed: Amount,
}

/// The snapshot that a balance rests on.
#[derive(Clone, Debug, Serialize)]
pub struct BalanceSnapshot {
    /// The entity.
    #[serde(flatten)]
    pub entity: EntityName,
    /// Sequence of its active snapshot; `null` where none has activated.
    pub snapshot_sequence: Option<u64>,
}

/// `/v1/owners/{owner}/balances`
#[derive(Clone, Debug, Serialize)]
pub struct Balances {
    /// Which owner.
    #[serde(flatten)]
    pub owner: Owner,
    /// Ordered by token, then entity.
    pub balances: Vec<BalanceRow>,
    /// Continues the list; `null` at its end.
    pub next_cursor: Option<String>,
}

/// A balance of an owner.
#[derive(Clone, Debug, Serialize)]
pub struct BalanceRow {
    /// The token.
    #[serde(flatten)]
    pub token: TokenName,
    /// The sums.
    #[serde(flatten)]
    pub sums: Sums,
}

/// `/v1/owners/{owner}/ttxos`
#[derive(Clone, Debug, Serialize)]
pub struct OwnerTtxos {
    /// Which owner.
    #[serde(flatten)]
    pub owner: Owner,
    /// Ordered by entity, then outpoint.
    pub ttxos: Vec<Ttxo>,
    /// Continues the list; `null` at its end.
    pub next_cursor: Option<String>,
}

/// `/v1/ttxos/{spark_tx_hash}:{vout}`
#[derive(Clone, Debug, Serialize)]
pub struct Ttxos {
    /// One row per entity that ever declared it.
    pub ttxos: Vec<Ttxo>,
}

/// A TTXO that an entity declared at least once.
#[derive(Clone, Debug, Serialize)]
pub struct Ttxo {
    /// `<spark_tx_hash>:<vout>`
    pub ttxo: SparkOutPoint,
    /// Hash of the Spark transaction that made it.
    pub spark_tx_hash: SparkTxHash,
    /// Output index there.
    pub vout: u32,
    /// The entity.
    #[serde(flatten)]
    pub entity: EntityName,
    /// Its owner.
    #[serde(flatten)]
    pub owner: Owner,
    /// Its token.
    #[serde(flatten)]
    pub token: TokenName,
    /// Its amount.
    pub amount: Amount,
    /// `live`, `exited` or `tombstone`.
    pub state: TtxoState,
    /// Whether it is in the declared set.
    pub declared: bool,
    /// The valid exit that stands.
    pub exit: Option<StandingExit>,
    /// Revocation commitment.
    pub revocation_commitment: PubKey,
    /// Bond of an exit, satoshis.
    pub withdraw_bond: u64,
    /// Relative locktime of an exit, blocks.
    pub withdraw_locktime: u64,
    /// When it was declared and dropped, in turn.
    pub history: Vec<DeclarationRow>,
}

/// Where a TTXO stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum TtxoState {
    /// Declared, and no valid exit stands.
    Live,
    /// A valid exit stands.
    Exited,
    /// Was declared, is not now, and no valid exit stands.
    Tombstone,
}

/// The valid exit of a TTXO.
#[derive(Clone, Debug, Serialize)]
pub struct StandingExit {
    /// `<txid>:<announcing output>:<record>`
    pub exit_id: String,
    /// The L1 output that carries its bond.
    pub outpoint: String,
    /// `pending`, `matured`, `revoked` or `claimed`.
    pub state: &'static str,
}

/// A change of a TTXO's declaration.
#[derive(Clone, Debug, Serialize)]
pub struct DeclarationRow {
    /// `declared` or `dropped`.
    pub change: &'static str,
    /// Sequence of the snapshot that did it.
    pub snapshot_sequence: u64,
    /// Height of the block in which that snapshot activated.
    pub block_height: Height,
}

/// `/v1/exits` and `/v1/exits/{txid}:{vout}`
#[derive(Clone, Debug, Serialize)]
pub struct Exits {
    /// In the order of their announcements in the chain.
    pub exits: Vec<Exit>,
    /// Continues the list; `null` at its end.
    pub next_cursor: Option<String>,
}

/// An exit: one record of a withdrawal announcement.
#[derive(Clone, Debug, Serialize)]
pub struct Exit {
    /// `<txid>:<announcing output>:<record>`
    pub exit_id: String,
    /// The announcing transaction.
    pub txid: Txid,
    /// Index of the L1 output that carries the bond.
    pub vout: u16,
    /// Index of the announcing output.
    pub announcing_vout: u32,
    /// Index of the record in the announcement.
    pub record: u8,
    /// The block of the announcement.
    #[serde(flatten)]
    pub block: BlockPlace,
    /// The entity.
    #[serde(flatten)]
    pub entity: EntityName,
    /// `<spark_tx_hash>:<vout>` of the TTXO that it names.
    pub ttxo: SparkOutPoint,
    /// What the TTXO holds; `null` where no activated snapshot has declared it.
    pub holding: Option<Holding>,
    /// `unresolved`, `pending`, `matured`, `revoked`, `claimed` or `invalid`.
    pub state: &'static str,
    /// Why it is invalid.
    pub reason: Option<&'static str>,
    /// Whether it is valid and no snapshot has reinstated its TTXO.
    pub stands: bool,
    /// Sequence of the snapshot that reinstated its TTXO.
    pub reinstated_by: Option<u64>,
    /// Height of the block in which it was judged.
    pub judged_height: Option<Height>,
    /// First height at which the owner may claim; `null` unless valid.
    pub matures_height: Option<u64>,
    /// Satoshis in the output; `null` where there is no such output.
    pub bond: Option<u64>,
    /// What is known of the owner's signature: `valid`, `invalid` or `unverifiable`.
    pub owner_signature: &'static str,
    /// The spend of the output.
    pub spent_by: Option<Spend>,
}

/// What a TTXO holds, and for whom.
#[derive(Clone, Debug, Serialize)]
pub struct Holding {
    /// Its owner.
    #[serde(flatten)]
    pub owner: Owner,
    /// Its token.
    #[serde(flatten)]
    pub token: TokenName,
    /// Its amount.
    pub amount: Amount,
}

/// The spend of an exit's output.
#[derive(Clone, Debug, Serialize)]
pub struct Spend {
    /// The spending transaction.
    pub txid: Txid,
    /// Its input.
    pub vin: u32,
    /// `key` (revocation) or `script` (the owner's claim).
    pub path: &'static str,
    /// Height of its block.
    pub block_height: Height,
}

/// `/v1/snapshots` and `/v1/snapshots/{sequence}`
#[derive(Clone, Debug, Serialize)]
pub struct Snapshots {
    /// Ordered by entity, then sequence, then place in the chain.
    pub snapshots: Vec<Snapshot>,
    /// Continues the list; `null` at its end.
    pub next_cursor: Option<String>,
}

/// A snapshot whose manifest was accepted.
#[derive(Clone, Debug, Serialize)]
pub struct Snapshot {
    /// The entity.
    #[serde(flatten)]
    pub entity: EntityName,
    /// Its sequence.
    pub sequence: u64,
    /// Its manifest.
    pub manifest_id: ManifestId,
    /// The inscription of its manifest, `<txid>i<n>`.
    pub inscription_id: String,
    /// The block in which its manifest was accepted.
    #[serde(flatten)]
    pub block: BlockPlace,
    /// `full` or `delta`.
    pub kind: &'static str,
    /// `pending`, `active`, `replaced`, `failed` or `superseded`.
    pub state: &'static str,
    /// Why it failed.
    pub reason: Option<&'static str>,
    /// Height at which it activated, failed or was superseded.
    pub decided_height: Option<Height>,
    /// The manifest that it builds on; `null` for one that builds on none.
    pub parent: Option<ManifestId>,
    /// The block as of which the entity speaks.
    pub anchor: Anchor,
    /// Spark time of the snapshot, Unix milliseconds, as its manifest says.
    pub spark_time_ms: u64,
    /// Number of TTXOs in its set, as its manifest says.
    pub count: u64,
    /// Root of its set, as its manifest says.
    pub root: NodeHash,
    /// Number of chunks that its manifest lists.
    pub chunks: u16,
    /// How many of them have been seen.
    pub chunks_seen: u16,
    /// TTXOs that it declares although a standing exit had taken them off Spark by its anchor.
    pub resurrected: Option<u64>,
}

/// The anchor of a snapshot.
#[derive(Clone, Debug, Serialize)]
pub struct Anchor {
    /// Its height.
    pub height: Height,
    /// Its hash.
    pub block_hash: BlockHash,
}

/// `/v1/notices`
#[derive(Clone, Debug, Serialize)]
pub struct Notices {
    /// The newest first.
    pub notices: Vec<Notice>,
}

/// A message that was malformed or repeated, and had no effect.
#[derive(Clone, Debug, Serialize)]
pub struct Notice {
    /// Its transaction.
    pub txid: Txid,
    /// Its output.
    pub vout: u32,
    /// Its block.
    #[serde(flatten)]
    pub block: BlockPlace,
    /// What is wrong with it, for people.
    pub reason: String,
}

/// `/health/live` and `/health/ready`
#[derive(Clone, Debug, Serialize)]
pub struct Health {
    /// `live` or `ready`.
    pub status: &'static str,
}
