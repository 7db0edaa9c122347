//! Pages of a list, and the cursors that lead from one to the next.
//!
//! A cursor names the block that its list was read at and the row with which the next page begins. As
//! only the state at the tip can be read, it is good for as long as that block is the tip; after that it
//! is refused, saying whether the tip moved on or the block left the chain. So a list that was paged
//! through to its end is always the list of one block.

use bitcoin::BlockHash;

use super::cursor::{self, List};
use super::error::ApiError;
use super::query::PageRequest;
use crate::ledger::keys::KeyPart;
use crate::ledger::records::TipRecord;
use crate::ledger::tables::{BlockHeights, Table};
use crate::ledger::view::View;

/// Rows of a list and how to go on.
#[derive(Clone, Debug)]
pub struct Page<R> {
    /// The rows.
    pub rows: Vec<R>,
    /// The cursor of the next page; `None` at the end.
    pub next_cursor: Option<String>,
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
    pub fn open(
        view: &impl View,
        tip: &TipRecord,
        list: List,
        range: (&K, &K),
        request: &PageRequest,
    ) -> Result<Self, ApiError> {
        let from = match &request.cursor {
            None => range.0.clone(),
            Some(text) => {
                let (block, key) = cursor::decode::<K>(list, text).ok_or_else(bad_cursor)?;
                check_block(view, tip, block)?;
                if !(range.0..=range.1).contains(&&key) {
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
    let pager = Pager::open(view, tip, list, range, request)?;
    let rows = view.scan::<T>(&pager.from, range.1);
    pager.collect(rows.map(|row| row.map(|(key, value)| (key.clone(), (key, value)))))
}

fn bad_cursor() -> ApiError {
    ApiError::bad(
        "bad_cursor",
        "this cursor does not come from this list; leave it out to start at the beginning",
    )
}

fn check_block(view: &impl View, tip: &TipRecord, block: BlockHash) -> Result<(), ApiError> {
    if block == tip.hash {
        return Ok(());
    }
    Err(if view.has::<BlockHeights>(&block.into())? {
        let message =
            format!("the list was read at block {block}, and newer blocks came; start again without cursor");
        ApiError::gone("cursor_expired", message)
    } else {
        let message =
            format!("block {block}, at which the list was read, left the chain; start again without cursor");
        ApiError::gone("cursor_reorged", message)
    })
}

#[cfg(test)]
mod tests {
    use bitcoin::hashes::Hash;

    use super::*;
    use crate::ledger::view::{Empty, ReadError};
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
        let pager = Pager::open(&Empty, tip, list, (&range.0, &range.1), &request)?;
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
            ("not hex", "zz", List::Tokens, (5, 9), 1, "bad_cursor"),
            ("empty", "", List::Tokens, (5, 9), 1, "bad_cursor"),
            ("cut off", &cursor[2..], List::Tokens, (5, 9), 1, "bad_cursor"),
            ("of another list", &cursor, List::Exits, (5, 9), 1, "bad_cursor"),
            ("outside the list", &cursor, List::Tokens, (8, 9), 1, "bad_cursor"),
            ("of a block that is gone", &cursor, List::Tokens, (5, 9), 2, "cursor_reorged"),
        ];
        for (name, cursor, list, range, block, code) in cases {
            let error = page(&tip(block), list, range, request(1, Some(cursor))).unwrap_err();
            assert_eq!(error.code, code, "{name}");
        }
    }
}
