//! How the rules read the state, and how they collect what they change.
//!
//! [`View`] is a consistent, read-only picture of all tables. [`Overlay`] lays changes over a view and
//! is a view itself, so that a block can be applied on top of blocks that are not stored yet.

use std::cmp::Ordering;
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
