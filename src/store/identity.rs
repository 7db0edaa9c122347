//! What a database was made for. It is refused under anything else.

use std::cmp::Ordering;

use serde::{Deserialize, Serialize};

use crate::ledger::{Entities, Entity, EntityConfig, Rules};
use crate::protocol::{Height, Network};

/// The number of the database format that this version reads and writes.
pub const FORMAT: u32 = 2;

/// The key in the default column family.
pub(super) const KEY: &[u8] = b"identity";

/// Why a database does not fit.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// An older version made it.
    #[error(
        "it has format {found}, this version of btkn reads and writes format {FORMAT}; start `btkn sync` or `btkn run` \
         once with --rebuild, which keeps it as db.old and recovers the state from the blocks, or use the version \
         that made it"
    )]
    Older {
        /// Its format number.
        found: u32,
    },
    /// A newer version made it.
    #[error(
        "it has format {found}, this version of btkn knows format {FORMAT}; use the version that made it, or a newer one"
    )]
    Newer {
        /// Its format number.
        found: u32,
    },
    /// It follows another network.
    #[error("it follows {stored}, not {wanted}; correct --network or choose another --data-dir")]
    Network {
        /// What it was made for.
        stored: Network,
        /// What was asked for.
        wanted: Network,
    },
    /// It starts elsewhere.
    #[error(
        "it starts at height {stored}, not {wanted}; correct --start-height or choose another --data-dir"
    )]
    StartHeight {
        /// What it was made for.
        stored: Height,
        /// What was asked for.
        wanted: Height,
    },
    /// It follows other entities.
    #[error(
        "it follows the entities [{stored}], not [{wanted}]; correct --entity or choose another --data-dir"
    )]
    Entities {
        /// What it was made for.
        stored: String,
        /// What was asked for.
        wanted: String,
    },
    /// It cannot be read.
    #[error("what it was made for cannot be read: {0}")]
    Unreadable(String),
}

#[derive(Serialize, Deserialize)]
struct Identity {
    format: u32,
    network: Network,
    start_height: Height,
    entities: Vec<Entity>,
}

/// Only the format number, which every format has.
#[derive(Deserialize)]
struct FormatOnly {
    format: u32,
}

pub(super) fn encode(rules: &Rules) -> Vec<u8> {
    let identity = Identity {
        format: FORMAT,
        network: rules.network,
        start_height: rules.start_height,
        entities: rules.entities.as_slice().to_vec(),
    };
    serde_json::to_vec(&identity).expect("an identity is plain data")
}

pub(super) fn decode(bytes: &[u8]) -> Result<Rules, IdentityError> {
    let unreadable = |e: String| IdentityError::Unreadable(e);
    let FormatOnly { format } = serde_json::from_slice(bytes).map_err(|e| unreadable(e.to_string()))?;
    match format.cmp(&FORMAT) {
        Ordering::Less => return Err(IdentityError::Older { found: format }),
        Ordering::Greater => return Err(IdentityError::Newer { found: format }),
        Ordering::Equal => {}
    }
    let identity: Identity = serde_json::from_slice(bytes).map_err(|e| unreadable(e.to_string()))?;
    let entities =
        identity.entities.into_iter().map(|e| EntityConfig { name: e.name, keys: e.keys }).collect();
    let entities = Entities::new(entities).map_err(|e| unreadable(e.to_string()))?;
    Ok(Rules { network: identity.network, start_height: identity.start_height, entities })
}

/// Whether a database made for `stored` can be used for `wanted`. Names of entities do not count.
pub(super) fn compare(stored: &Rules, wanted: &Rules) -> Result<(), IdentityError> {
    if stored.network != wanted.network {
        return Err(IdentityError::Network { stored: stored.network, wanted: wanted.network });
    }
    if stored.start_height != wanted.start_height {
        return Err(IdentityError::StartHeight { stored: stored.start_height, wanted: wanted.start_height });
    }
    let (stored, wanted) = (keys(&stored.entities), keys(&wanted.entities));
    if stored != wanted {
        return Err(IdentityError::Entities { stored, wanted });
    }
    Ok(())
}

/// The keys of all entities in a fixed order, for people: `key@from+key@from, …`.
fn keys(entities: &Entities) -> String {
    let entity = |entity: &Entity| {
        let keys: Vec<_> = entity.keys.iter().map(|key| format!("{}@{}", key.key, key.from_height)).collect();
        keys.join("+")
    };
    entities.as_slice().iter().map(entity).collect::<Vec<_>>().join(", ")
}
