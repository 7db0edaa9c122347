//! The entities that are followed, and which of their keys is valid when.

use std::collections::BTreeSet;

use super::keys::EntityIndex;
use crate::protocol::{Height, PubKey};

/// A key of an entity and the height from which it is valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct EntityKey {
    /// The key.
    pub key: PubKey,
    /// The first height at which it is valid.
    pub from_height: Height,
}

/// An entity as a user names it.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct EntityConfig {
    /// A name for people; it enters nothing that is hashed.
    pub name: String,
    /// Its keys, in any order.
    pub keys: Vec<EntityKey>,
}

/// A followed entity.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Entity {
    /// A name for people.
    pub name: String,
    /// Its keys by from-height, lowest first; never empty.
    pub keys: Vec<EntityKey>,
}

impl Entity {
    /// Its id: the key with the lowest from-height.
    pub fn id(&self) -> PubKey {
        self.keys[0].key
    }

    /// The key that is valid at `height`.
    pub fn key_at(&self, height: Height) -> Option<PubKey> {
        self.keys.iter().rev().find(|key| key.from_height <= height).map(|key| key.key)
    }
}

/// Why a list of entities cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EntityError {
    /// No entity at all.
    #[error("no entity to follow: name at least one as NAME=PUBKEY")]
    None,
    /// An entity without a key.
    #[error("entity {0} has no key")]
    NoKey(String),
    /// A name is empty or used twice.
    #[error("two entities are named {0:?}; give several keys of one entity in one place")]
    SameName(String),
    /// A key is not a point of the curve.
    #[error("key {1} of entity {0} is not a compressed secp256k1 public key")]
    NotOnCurve(String, PubKey),
    /// A key is listed twice.
    #[error("key {0} is listed twice; no key belongs to two entities or to one entity twice")]
    SameKey(PubKey),
    /// Two keys start at one height.
    #[error(
        "entity {0} has two keys from height {1}; each key needs a from-height of its own (NAME=PUBKEY@HEIGHT)"
    )]
    SameHeight(String, Height),
    /// More than the index can count.
    #[error("more than 65,535 entities")]
    TooMany,
}

/// The followed entities, in the order of their ids.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entities {
    list: Vec<Entity>,
}

impl Entities {
    /// Checks the rules for entities and puts them in order.
    pub fn new(configs: Vec<EntityConfig>) -> Result<Self, EntityError> {
        let mut names = BTreeSet::new();
        let mut seen = BTreeSet::new();
        let mut list = Vec::with_capacity(configs.len());
        for EntityConfig { name, mut keys } in configs {
            if !names.insert(name.clone()) {
                return Err(EntityError::SameName(name));
            }
            keys.sort_by_key(|key| key.from_height);
            if keys.is_empty() {
                return Err(EntityError::NoKey(name));
            }
            for key in &keys {
                if !key.key.is_on_curve() {
                    return Err(EntityError::NotOnCurve(name, key.key));
                }
                if !seen.insert(key.key) {
                    return Err(EntityError::SameKey(key.key));
                }
            }
            if let Some(pair) = keys.windows(2).find(|pair| pair[0].from_height == pair[1].from_height) {
                return Err(EntityError::SameHeight(name, pair[0].from_height));
            }
            list.push(Entity { name, keys });
        }
        if list.is_empty() {
            return Err(EntityError::None);
        }
        if list.len() > usize::from(u16::MAX) {
            return Err(EntityError::TooMany);
        }
        list.sort_by_key(Entity::id);
        Ok(Entities { list })
    }

    /// The entity whose valid key at `height` is `key`.
    pub fn by_key(&self, key: &PubKey, height: Height) -> Option<EntityIndex> {
        self.iter().find(|(_, entity)| entity.key_at(height) == Some(*key)).map(|(index, _)| index)
    }

    /// An entity by its index. Indexes come from this list or from a database made with it.
    pub fn get(&self, index: EntityIndex) -> Option<&Entity> {
        self.list.get(usize::from(index.0))
    }

    /// All entities with their indexes.
    pub fn iter(&self) -> impl Iterator<Item = (EntityIndex, &Entity)> {
        (0..=u16::MAX).map(EntityIndex).zip(&self.list)
    }

    /// Every key of every entity.
    pub fn keys(&self) -> impl Iterator<Item = PubKey> + '_ {
        self.list.iter().flat_map(|entity| entity.keys.iter().map(|key| key.key))
    }

    /// The list itself.
    pub fn as_slice(&self) -> &[Entity] {
        &self.list
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bitcoin::secp256k1::{SECP256K1, SecretKey};

    fn key(n: u8) -> PubKey {
        SecretKey::from_slice(&[n; 32]).unwrap().public_key(SECP256K1).into()
    }

    fn config(name: &str, keys: &[(PubKey, u32)]) -> EntityConfig {
        let keys = keys.iter().map(|&(key, from)| EntityKey { key, from_height: Height(from) }).collect();
        EntityConfig { name: name.into(), keys }
    }

    #[test]
    fn a_key_ends_where_the_next_begins() {
        let entities = Entities::new(vec![config("a", &[(key(2), 20), (key(1), 10)])]).unwrap();
        let valid = |height| entities.as_slice()[0].key_at(Height(height));
        assert_eq!(entities.as_slice()[0].id(), key(1));
        assert_eq!(
            [valid(9), valid(10), valid(19), valid(20)],
            [None, Some(key(1)), Some(key(1)), Some(key(2))]
        );
        assert_eq!(entities.by_key(&key(1), Height(20)), None);
        assert_eq!(entities.by_key(&key(2), Height(20)), Some(EntityIndex(0)));
    }

    #[test]
    fn order_of_configuration_changes_nothing() {
        let (a, b) = (config("a", &[(key(1), 0)]), config("b", &[(key(2), 0)]));
        assert_eq!(Entities::new(vec![a.clone(), b.clone()]), Entities::new(vec![b, a]));
    }

    #[test]
    fn each_rule_has_its_error() {
        let off = PubKey([0xff; 33]);
        let cases = [
            (vec![], EntityError::None),
            (vec![config("a", &[])], EntityError::NoKey("a".into())),
            (
                vec![config("a", &[(key(1), 0)]), config("a", &[(key(2), 0)])],
                EntityError::SameName("a".into()),
            ),
            (vec![config("a", &[(off, 0)])], EntityError::NotOnCurve("a".into(), off)),
            (vec![config("a", &[(key(1), 0)]), config("b", &[(key(1), 5)])], EntityError::SameKey(key(1))),
            (vec![config("a", &[(key(1), 0), (key(2), 0)])], EntityError::SameHeight("a".into(), Height(0))),
        ];
        for (configs, error) in cases {
            assert_eq!(Entities::new(configs), Err(error));
        }
    }
}
