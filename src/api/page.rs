//! Pages of a list, and the cursors that lead from one to the next.
//!
//! A cursor names the block that its list was begun at and the row with which the next page begins. The
//! next page is read from the state as of that block (see `at.rs`), whatever came after it; so a list that
//! was paged through to its end is the list of one block, each row exactly once.

use bitcoin::BlockHash;

use super::cursor::{self, List};
use super::error::{ApiError, Code};
use super::query::PageRequest;
use crate::ledger::keys::KeyPart;
use crate::ledger::records::TipRecord;
use crate::ledger::tables::Table;
use crate::ledger::view::View;

/// Rows of a list and how to go on.
#[derive(Clone, Debug)]
pub struct Page<R> {
    /// The rows.
    pub rows: Vec<R>,
    /// The cursor of the next page; `None` at the end.
    pub next_cursor: Option<String>,
}

impl<R> Page<R> {
    /// A list that has no rows.
    pub fn empty() -> Self {
        Page { rows: Vec::new(), next_cursor: None }
    }

    /// The same page of other rows.
    pub fn map<S>(self, change: impl FnMut(R) -> S) -> Page<S> {
        Page { rows: self.rows.into_iter().map(change).collect(), next_cursor: self.next_cursor }
    }
}

/// A list at one block, about to be read.
#[derive(Debug)]
pub struct Pager<K> {
    list: List,
    block: BlockHash,
    limit: usize,
    /// The first key to read.
    pub from: K,
}

impl<K: KeyPart> Pager<K> {
    /// Opens the list whose keys are `range`; a cursor must lie in it.
    ///
    /// `tip` is the block that is read at, which must be the one that a cursor names.
    pub fn open(
        tip: &TipRecord,
        list: List,
        range: (&K, &K),
        request: &PageRequest,
    ) -> Result<Self, ApiError> {
        let from = match &request.cursor {
            None => range.0.clone(),
            Some(text) => {
                let (block, key) = cursor::decode::<K>(list, text).ok_or_else(bad_cursor)?;
                if block != tip.hash || !(range.0..=range.1).contains(&&key) {
                    return Err(bad_cursor());
                }
                key
            }
        };
        Ok(Pager { list, block: tip.hash, limit: request.limit, from })
    }

    /// Takes rows up to the limit. `rows` are those from `self.from` on, each with its key.
    pub fn collect<R, E>(self, rows: impl Iterator<Item = Result<(K, R), E>>) -> Result<Page<R>, ApiError>
    where
        ApiError: From<E>,
    {
        let mut page = Vec::new();
        for row in rows {
            let (key, row) = row?;
            if page.len() == self.limit {
                let next_cursor = Some(cursor::encode(self.list, self.block, &key));
                return Ok(Page { rows: page, next_cursor });
            }
            page.push(row);
        }
        Ok(Page { rows: page, next_cursor: None })
    }
}

/// A page of a table: its rows, each with its key.
pub type TablePage<T> = Page<(<T as Table>::Key, <T as Table>::Value)>;

/// A page of the rows of a table with `range.0 <= key <= range.1`.
pub fn table_page<T: Table>(
    view: &impl View,
    tip: &TipRecord,
    list: List,
    range: (&T::Key, &T::Key),
    request: &PageRequest,
) -> Result<TablePage<T>, ApiError> {
    let pager = Pager::open(tip, list, range, request)?;
    let rows = view.scan::<T>(&pager.from, range.1);
    pager.collect(rows.map(|row| row.map(|(key, value)| (key.clone(), (key, value)))))
}

fn bad_cursor() -> ApiError {
    let message = "this cursor does not come from this list; leave it out to start at the beginning";
    ApiError::new(Code::BadCursor, message)
}

#[cfg(test)]
mod tests {
    use bitcoin::hashes::Hash;

    use super::*;
    use crate::ledger::view::ReadError;
    use crate::protocol::{Height, StateHash};

    fn tip(n: u8) -> TipRecord {
        TipRecord {
            height: Height(n.into()),
            hash: BlockHash::from_byte_array([n; 32]),
            time: 0,
            state_hash: StateHash::MIN,
        }
    }

    fn page(
        tip: &TipRecord,
        list: List,
        range: (u32, u32),
        request: PageRequest,
    ) -> Result<Page<u32>, ApiError> {
        let pager = Pager::open(tip, list, (&range.0, &range.1), &request)?;
        let rows = pager.from..=range.1;
        pager.collect(rows.map(|row| Ok::<_, ReadError>((row, row))))
    }

    fn request(limit: usize, cursor: Option<&str>) -> PageRequest {
        PageRequest { limit, cursor: cursor.map(str::to_owned) }
    }

    #[test]
    fn pages_give_each_row_once() {
        let tip = tip(1);
        let first = page(&tip, List::Tokens, (5, 9), request(2, None)).unwrap();
        let second = page(&tip, List::Tokens, (5, 9), request(3, first.next_cursor.as_deref())).unwrap();
        assert_eq!((first.rows, second.rows), (vec![5, 6], vec![7, 8, 9]));
        assert_eq!(second.next_cursor, None, "a page that ends with the list has no successor");
    }

    #[test]
    fn foreign_cursors_are_refused() {
        let cursor = page(&tip(1), List::Tokens, (5, 9), request(2, None)).unwrap().next_cursor.unwrap();
        let cases = [
            ("not hex", "zz", List::Tokens, (5, 9), 1, Code::BadCursor),
            ("empty", "", List::Tokens, (5, 9), 1, Code::BadCursor),
            ("cut off", &cursor[2..], List::Tokens, (5, 9), 1, Code::BadCursor),
            ("of another list", &cursor, List::Exits, (5, 9), 1, Code::BadCursor),
            ("outside the list", &cursor, List::Tokens, (8, 9), 1, Code::BadCursor),
            ("of another block", &cursor, List::Tokens, (5, 9), 2, Code::BadCursor),
        ];
        for (name, cursor, list, range, block, code) in cases {
            let error = page(&tip(block), list, range, request(1, Some(cursor))).unwrap_err();
            assert_eq!(error.code, code, "{name}");
        }
    }
}
