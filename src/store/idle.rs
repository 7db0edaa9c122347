//! Iterators of one snapshot, to be used again.
//!
//! To make one, RocksDB looks up what memory and which files a table has, and allocates something for each
//! of them: that takes about as long as finding a few rows. Those that are kept here have no bounds. They end
//! where the group ends that they were sent to; see [`KeyPart::GROUP`](crate::ledger::keys::KeyPart::GROUP).

use std::ops::{Deref, DerefMut};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rocksdb::DBRawIterator;

/// Iterators that nobody uses now, each with the column family that it is of.
#[derive(Default)]
pub(super) struct Idle<'a>(Mutex<Vec<(&'static str, DBRawIterator<'a>)>>);

impl<'a> Idle<'a> {
    /// One of the column family `family`, from here or from `make`. It comes back when it is dropped.
    pub fn lend<E>(
        &self,
        family: &'static str,
        make: impl FnOnce() -> Result<DBRawIterator<'a>, E>,
    ) -> Result<Lent<'_, 'a>, E> {
        let kept = {
            let mut idle = self.lock();
            let at = idle.iter().position(|(of, _)| *of == family);
            at.map(|at| idle.swap_remove(at).1)
        };
        let iterator = kept.map_or_else(make, Ok)?;
        Ok(Lent { family, iterator: Some(iterator), home: self })
    }

    fn lock(&self) -> MutexGuard<'_, Vec<(&'static str, DBRawIterator<'a>)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An iterator on loan. Where it stands is anybody's guess until it is sent somewhere.
pub(super) struct Lent<'v, 'a> {
    family: &'static str,
    /// There until it is dropped.
    iterator: Option<DBRawIterator<'a>>,
    home: &'v Idle<'a>,
}

impl<'a> Deref for Lent<'_, 'a> {
    type Target = DBRawIterator<'a>;

    fn deref(&self) -> &DBRawIterator<'a> {
        self.iterator.as_ref().expect("it is there until it is dropped")
    }
}

impl<'a> DerefMut for Lent<'_, 'a> {
    fn deref_mut(&mut self) -> &mut DBRawIterator<'a> {
        self.iterator.as_mut().expect("it is there until it is dropped")
    }
}

impl Drop for Lent<'_, '_> {
    fn drop(&mut self) {
        if let Some(iterator) = self.iterator.take() {
            self.home.lock().push((self.family, iterator));
        }
    }
}
