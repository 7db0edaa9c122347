//! What a random chain is made of: small plans that shrink well and print readably. [`crate::build`]
//! turns them into messages that fit the state of the moment.

use proptest::collection::vec;
use proptest::prelude::*;

/// A chain and the configuration to follow it with.
#[derive(Clone, Debug)]
pub struct Plan {
    pub start: u32,
    /// For each entity, the from-heights of its keys, counted from a little below the start.
    pub entities: Vec<Vec<u32>>,
    /// How many blocks are committed at once to a store on disk; 0 where there is none.
    pub run: usize,
    pub steps: Vec<Step>,
}

#[derive(Clone, Debug)]
pub enum Step {
    /// A block of transactions.
    Block(Vec<Vec<Op>>),
    /// Takes back so many blocks, or all there are.
    Reorg(usize),
}

#[derive(Clone, Debug)]
pub enum Op {
    Publish(Publish),
    /// A manifest once more, perhaps under another signature; counted back from the last made.
    Manifest {
        draft: usize,
        signed_again: bool,
    },
    /// A chunk that a pending manifest waits for.
    Wanted(usize),
    /// A chunk of a manifest, wanted or not.
    Chunk(usize, usize),
    /// Many manifests that will never be complete.
    Flood {
        entity: usize,
        many: usize,
        falling: bool,
    },
    /// A token announcement.
    Token(usize),
    /// Something that only counts.
    Noise(u8),
    Withdraw(Withdraw),
    /// Spends a bond; counted back from the last unspent one.
    Spend {
        pick: usize,
        by_key: bool,
    },
}

#[derive(Clone, Debug)]
pub struct Publish {
    pub entity: usize,
    pub key: KeyChoice,
    /// A delta to the active snapshot, or to one made earlier (counted back).
    pub delta: Option<Base>,
    /// Members of a full set; in a delta, what comes or goes.
    pub picks: Vec<usize>,
    pub sequence: SequenceChoice,
    /// Blocks below the tip.
    pub anchor: u32,
    pub chunks: usize,
    pub deliver: Deliver,
    pub metadata: bool,
    pub flaw: Flaw,
    /// Another manifest with the same content before it, by this entity and with this flaw.
    pub also: Option<(usize, Flaw)>,
}

#[derive(Clone, Copy, Debug)]
pub enum Base {
    Active,
    Draft(usize),
}

#[derive(Clone, Copy, Debug)]
pub enum KeyChoice {
    Valid,
    /// A key of the entity, valid or not.
    Any(usize),
    Unfollowed,
}

#[derive(Clone, Copy, Debug)]
pub enum SequenceChoice {
    /// Above everything made for the entity so far.
    Next,
    /// So much above the active one; 0 is stale.
    AboveActive(u64),
    /// That of an earlier manifest.
    Same(usize),
    /// At the limit for gaps, or so much beyond it.
    Gap(u64),
}

/// Which chunks follow the manifest in its own transaction.
#[derive(Clone, Copy, Debug)]
pub enum Deliver {
    All,
    Reversed,
    None,
    First,
    Before,
    Twice,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flaw {
    None,
    Malformed,
    Network,
    Signature,
    AnchorHash,
    AnchorAtBlock,
    AnchorBelowStart,
    NoParent,
    BadChunk,
    SpentInFull,
    CreatedTwice,
    CreatedAgain,
    SpentAndCreated,
    SpentTwice,
    SpentUnknown,
    Mutated(u8),
    Count,
    Root,
}

#[derive(Clone, Debug)]
pub struct Withdraw {
    pub entity: usize,
    pub key: KeyChoice,
    pub records: Vec<Exit>,
    /// Whether the owners may differ.
    pub mixed: bool,
    /// Whether the TTXOs are taken from those that were declared.
    pub known: bool,
    pub bond: Bond,
    /// A second announcement that names the same outputs, to this entity, of the same TTXOs or not.
    pub again: Option<(usize, bool)>,
}

#[derive(Clone, Debug)]
pub struct Exit {
    pub ttxo: usize,
    pub vout: u16,
}

#[derive(Clone, Copy, Debug)]
pub enum Bond {
    Good,
    High,
    Low,
    OtherKey,
    OtherScript,
    Missing,
}

pub fn plan() -> impl Strategy<Value = Plan> {
    let run = prop_oneof![17 => Just(0usize), 1 => Just(1), 2 => 2..5usize];
    let first = prop_oneof![9 => Just(0u32), 1 => 1..4u32];
    let entity = (first, vec(0..7u32, 0..3)).prop_map(|(first, mut keys)| {
        keys.push(first);
        keys.sort();
        keys.dedup();
        keys
    });
    (prop_oneof![Just(0u32), Just(1), Just(101)], vec(entity, 1..=3), run, vec(step(), 1..24))
        .prop_map(|(start, entities, run, steps)| Plan { start, entities, run, steps })
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        10 => vec(vec(op(), 1..5), 0..5).prop_map(Step::Block),
        1 => (1..5usize).prop_map(Step::Reorg),
        1 => prop_oneof![5 => 1..3usize, 1 => Just(99)].prop_map(Step::Reorg),
    ]
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        60 => publish().prop_map(Op::Publish),
        4 => (0..5usize, any::<bool>()).prop_map(|(draft, signed_again)| Op::Manifest { draft, signed_again }),
        24 => (0..6usize).prop_map(Op::Wanted),
        6 => (0..5usize, 0..4usize).prop_map(|(draft, chunk)| Op::Chunk(draft, chunk)),
        1 => (entity(), 50..80usize, any::<bool>())
            .prop_map(|(entity, many, falling)| Op::Flood { entity, many, falling }),
        8 => (0..5usize).prop_map(Op::Token),
        2 => (0..12u8).prop_map(Op::Noise),
        40 => withdraw().prop_map(Op::Withdraw),
        24 => (0..6usize, any::<bool>()).prop_map(|(pick, by_key)| Op::Spend { pick, by_key }),
    ]
}

/// The first entity most of the time, so that something comes of it.
fn entity() -> impl Strategy<Value = usize> {
    prop_oneof![4 => Just(0usize), 2 => 1..3usize]
}

fn key() -> impl Strategy<Value = KeyChoice> {
    prop_oneof![
        30 => Just(KeyChoice::Valid),
        2 => (0..3usize).prop_map(KeyChoice::Any),
        1 => Just(KeyChoice::Unfollowed),
    ]
}

fn publish() -> impl Strategy<Value = Publish> {
    let delta = prop_oneof![
        4 => Just(None),
        4 => Just(Some(Base::Active)),
        3 => (0..3usize).prop_map(|back| Some(Base::Draft(back))),
    ];
    let sequence = prop_oneof![
        12 => Just(SequenceChoice::Next),
        4 => (0..4u64).prop_map(SequenceChoice::AboveActive),
        2 => (0..3usize).prop_map(SequenceChoice::Same),
        1 => (0..2u64).prop_map(SequenceChoice::Gap),
    ];
    let deliver = prop_oneof![
        8 => Just(Deliver::All),
        2 => Just(Deliver::Reversed),
        4 => Just(Deliver::None),
        2 => Just(Deliver::First),
        1 => Just(Deliver::Before),
        1 => Just(Deliver::Twice),
    ];
    let also = prop_oneof![2 => Just(Flaw::None), 1 => Just(Flaw::Count)];
    let also = prop::option::weighted(0.15, (entity(), also));
    let anchor = prop_oneof![6 => Just(0u32), 4 => 1..6u32];
    (
        (entity(), key(), delta, vec(0..TTXOS, 0..7)),
        (sequence, anchor, 1..4usize, deliver, any::<bool>(), flaw(), also),
    )
        .prop_map(
            |((entity, key, delta, picks), (sequence, anchor, chunks, deliver, metadata, flaw, also))| {
                Publish { entity, key, delta, picks, sequence, anchor, chunks, deliver, metadata, flaw, also }
            },
        )
}

/// How many TTXOs there are in the world of these chains.
pub const TTXOS: usize = 12;

fn flaw() -> impl Strategy<Value = Flaw> {
    use Flaw::*;
    let flaws = vec![
        Malformed,
        Network,
        Signature,
        AnchorHash,
        AnchorAtBlock,
        AnchorBelowStart,
        NoParent,
        BadChunk,
        SpentInFull,
        CreatedTwice,
        CreatedAgain,
        SpentAndCreated,
        SpentTwice,
        SpentUnknown,
        Mutated(0),
        Mutated(1),
        Mutated(2),
        Mutated(3),
        Mutated(4),
        Mutated(5),
        Count,
        Root,
    ];
    prop_oneof![5 => Just(None), 1 => prop::sample::select(flaws)]
}

fn withdraw() -> impl Strategy<Value = Withdraw> {
    let bond = prop_oneof![
        14 => Just(Bond::Good),
        2 => Just(Bond::High),
        1 => Just(Bond::Low),
        1 => Just(Bond::OtherKey),
        1 => Just(Bond::OtherScript),
        1 => Just(Bond::Missing),
    ];
    let vout = prop_oneof![1 => 0..3u16, 4 => 0..7u16];
    let exit = (0..TTXOS, vout).prop_map(|(ttxo, vout)| Exit { ttxo, vout });
    let records = prop_oneof![3 => vec(exit.clone(), 1..=2), 1 => vec(exit, 1..=5)];
    let again = prop::option::weighted(0.25, (0..3usize, any::<bool>()));
    (entity(), key(), records, prop::bool::weighted(0.1), prop::bool::weighted(0.7), bond, again).prop_map(
        |(entity, key, records, mixed, known, bond, again)| Withdraw {
            entity,
            key,
            records,
            mixed,
            known,
            bond,
            again,
        },
    )
}
