//! How the rules read the state, and how they collect what they change.
//!
//! [`View`] is a consistent, read-only picture of all tables. [`Overlay`] lays changes over a view and
//! is a view itself, so that a block can be applied on top of blocks that are not stored yet.

use std::cmp::Ordering;
use std::collections::btree_map::Entry;
use std::iter::Peekable;

use super::tables::{Change, ChangeSet, Rows, Table};

/// A row could not be read: the store failed, or what it holds does not decode.
#[derive(Debug, thiserror::Error)]
#[error("reading table {table}: {reason}")]
pub struct ReadError {
    /// Which table.
    pub table: &'static str,
    /// What happened, for people.
    pub reason: String,
}

impl ReadError {
    /// A row that another row refers to does not exist.
    pub fn missing<T: Table>(key: &T::Key) -> Self {
        ReadError { table: T::NAME, reason: format!("row {key:?} is missing, though another row names it") }
    }
}

/// A row of a table, or why it could not be read.
pub type Row<T> = Result<(<T as Table>::Key, <T as Table>::Value), ReadError>;

/// Rows of a table in the order of their keys.
pub type RowIter<'a, T> = Box<dyn Iterator<Item = Row<T>> + 'a>;

/// A consistent picture of the state.
pub trait View {
    /// The row under `key`.
    fn get<T: Table>(&self, key: &T::Key) -> Result<Option<T::Value>, ReadError>;

    /// All rows with `from <= key <= to`, in the order of their keys.
    fn scan<T: Table>(&self, from: &T::Key, to: &T::Key) -> RowIter<'_, T>;

    /// Whether there is a row under `key`.
    fn has<T: Table>(&self, key: &T::Key) -> Result<bool, ReadError> {
        Ok(self.get::<T>(key)?.is_some())
    }

    /// The row under `key`, which another row names.
    fn expect<T: Table>(&self, key: &T::Key) -> Result<T::Value, ReadError> {
        self.get::<T>(key)?.ok_or_else(|| ReadError::missing::<T>(key))
    }
}

impl<V: View> View for &V {
    fn get<T: Table>(&self, key: &T::Key) -> Result<Option<T::Value>, ReadError> {
        (**self).get::<T>(key)
    }

    fn scan<T: Table>(&self, from: &T::Key, to: &T::Key) -> RowIter<'_, T> {
        (**self).scan::<T>(from, to)
    }
}

/// A state with nothing in it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Empty;

impl View for Empty {
    fn get<T: Table>(&self, _: &T::Key) -> Result<Option<T::Value>, ReadError> {
        Ok(None)
    }

    fn scan<T: Table>(&self, _: &T::Key, _: &T::Key) -> RowIter<'_, T> {
        Box::new(std::iter::empty())
    }
}

/// Rows that are looked up in the order of their keys.
///
/// Many look-ups are cheaper as one walk along the table, unless too much lies between the rows that are
/// wanted. So rows are read in passing as long as they cost less than the look-ups would; after that every
/// key is looked up by itself.
pub struct InOrder<'a, T: Table, V> {
    view: &'a V,
    rows: Peekable<RowIter<'a, T>>,
    /// How many rows may still be read in passing.
    spare: usize,
}

/// About how many rows can be read in passing in the time of one look-up.
const ROWS_PER_LOOK_UP: usize = 4;

impl<'a, T: Table, V: View> InOrder<'a, T, V> {
    /// To look up about `count` keys between these.
    pub fn new(view: &'a V, from: &T::Key, to: &T::Key, count: usize) -> Self {
        InOrder { view, rows: view.scan::<T>(from, to).peekable(), spare: count * ROWS_PER_LOOK_UP }
    }

    /// The row under a key, which is above all that were asked for before.
    pub fn get(&mut self, key: &T::Key) -> Result<Option<T::Value>, ReadError> {
        while self.spare > 0 {
            let order = match self.rows.peek() {
                Some(Ok((row, _))) => row.cmp(key),
                Some(Err(_)) => Ordering::Equal,
                None => return Ok(None),
            };
            match order {
                Ordering::Less => self.rows.next(),
                Ordering::Equal => return Ok(self.rows.next().transpose()?.map(|(_, value)| value)),
                Ordering::Greater => return Ok(None),
            };
            self.spare -= 1;
        }
        self.view.get::<T>(key)
    }
}

/// Changes laid over a view.
#[derive(Debug)]
pub struct Overlay<V> {
    base: V,
    changes: ChangeSet,
}

impl<V: View> Overlay<V> {
    /// Nothing changed yet.
    pub fn new(base: V) -> Self {
        Overlay { base, changes: ChangeSet::default() }
    }

    /// What has been changed.
    pub fn changes(&self) -> &ChangeSet {
        &self.changes
    }

    /// What has been changed, leaving the view behind. Rows that ended as they began are left out.
    pub fn into_changes(mut self) -> ChangeSet {
        self.changes.drop_unchanged();
        self.changes
    }

    /// Takes over the changes of an overlay that was laid over this one.
    pub fn absorb(&mut self, later: &ChangeSet) {
        self.changes.absorb(later);
    }

    /// Writes a row.
    pub fn put<T: Table>(&mut self, key: T::Key, value: T::Value) -> Result<(), ReadError> {
        self.set::<T>(key, Some(value))
    }

    /// Removes a row if it is there.
    pub fn delete<T: Table>(&mut self, key: T::Key) -> Result<(), ReadError> {
        self.set::<T>(key, None)
    }

    /// Writes or removes a row whose present value the caller has read, so that it is not read again.
    pub fn replace<T: Table>(&mut self, key: T::Key, present: Option<T::Value>, after: Option<T::Value>) {
        debug_assert_eq!(self.get::<T>(&key).ok(), Some(present.clone()), "{} {key:?}", T::NAME);
        match T::rows_mut(&mut self.changes).entry(key) {
            Entry::Occupied(mut change) => change.get_mut().after = after,
            Entry::Vacant(place) => {
                place.insert(Change { before: present.map(Box::new), after });
            }
        }
    }

    /// Changes rows, each from what is known to be there.
    pub fn replace_all<T: Table>(&mut self, rows: Rows<T>) {
        if !T::rows(&self.changes).is_empty() {
            let replace = |(key, row): (_, Change<T::Value>)| {
                self.replace::<T>(key, row.before.map(|before| *before), row.after);
            };
            return rows.into_iter().for_each(replace);
        }
        debug_assert!(rows.iter().all(|(key, row)| {
            self.base.get::<T>(key).ok().as_ref().map(Option::as_ref) == Some(row.before.as_deref())
        }));
        *T::rows_mut(&mut self.changes) = rows;
    }

    /// Writes the rows of a table that nothing else writes in this block. The caller knows what was before.
    pub(super) fn put_all<T: Table>(&mut self, rows: Rows<T>) {
        *T::rows_mut(&mut self.changes) = rows;
    }

    fn set<T: Table>(&mut self, key: T::Key, after: Option<T::Value>) -> Result<(), ReadError> {
        let rows = T::rows_mut(&mut self.changes);
        match rows.get_mut(&key) {
            Some(change) => change.after = after,
            None => {
                let before = self.base.get::<T>(&key)?.map(Box::new);
                rows.insert(key, Change { before, after });
            }
        }
        Ok(())
    }
}

impl<V: View> View for Overlay<V> {
    fn get<T: Table>(&self, key: &T::Key) -> Result<Option<T::Value>, ReadError> {
        match T::rows(&self.changes).get(key) {
            Some(change) => Ok(change.after.clone()),
            None => self.base.get::<T>(key),
        }
    }

    fn scan<T: Table>(&self, from: &T::Key, to: &T::Key) -> RowIter<'_, T> {
        if from > to {
            return Box::new(std::iter::empty());
        }
        let rows: &Rows<T> = T::rows(&self.changes);
        if rows.is_empty() {
            return self.base.scan::<T>(from, to);
        }
        let changed = rows.range(from.clone()..=to.clone());
        Box::new(Merge::<T, _> {
            base: self.base.scan::<T>(from, to).peekable(),
            changed: changed.peekable(),
        })
    }
}

/// Rows of the base, with changed rows in place of those they change.
struct Merge<'a, T: Table, I: Iterator<Item = (&'a T::Key, &'a Change<T::Value>)>> {
    base: Peekable<RowIter<'a, T>>,
    changed: Peekable<I>,
}

impl<'a, T: Table, I: Iterator<Item = (&'a T::Key, &'a Change<T::Value>)>> Iterator for Merge<'a, T, I> {
    type Item = Row<T>;

    fn next(&mut self) -> Option<Row<T>> {
        loop {
            let order = match (self.base.peek(), self.changed.peek()) {
                (Some(Err(_)), _) | (_, None) => return self.base.next(),
                (Some(Ok((base, _))), Some((changed, _))) => base.cmp(changed),
                (None, Some(_)) => Ordering::Greater,
            };
            if order == Ordering::Less {
                return self.base.next();
            }
            if order == Ordering::Equal {
                self.base.next();
            }
            let (key, change) = self.changed.next()?;
            if let Some(value) = &change.after {
                return Some(Ok((key.clone(), value.clone())));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::tables::{Counters, new_rows};

    fn squares(keys: impl Iterator<Item = u8>) -> Overlay<Empty> {
        let mut state = Overlay::new(Empty);
        state.replace_all::<Counters>(new_rows::<Counters>(keys.map(|key| (key, u64::from(key).pow(2)))));
        state
    }

    #[test]
    fn in_order_finds_what_looking_up_finds_however_much_lies_between() {
        let state = squares((0..=250).step_by(2));
        for step in [1, 2, 3, 10, 40] {
            let keys: Vec<u8> = (0..=255).step_by(step).collect();
            let mut rows = InOrder::<Counters, _>::new(&state, &0, &255, keys.len());
            for key in keys {
                let expected = state.get::<Counters>(&key).unwrap();
                assert_eq!(rows.get(&key).unwrap(), expected, "{key} of every {step}");
            }
        }
    }

    #[test]
    fn rows_known_to_be_absent_are_changes_from_nothing() {
        let mut state = squares([1, 5].into_iter());
        state.replace_all::<Counters>(new_rows::<Counters>([(3, 9)].into_iter()));
        state.replace::<Counters>(5, Some(25), None);
        let keys: Vec<u8> = state.scan::<Counters>(&0, &255).map(|row| row.unwrap().0).collect();
        assert_eq!(keys, [1, 3]);
        let changes = state.into_changes();
        assert_eq!(changes.len(), 2, "what came and went is no change");
        assert!(Counters::rows(&changes).values().all(|change| change.before.is_none()));
    }
}
