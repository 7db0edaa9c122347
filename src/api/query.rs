//! What a request asks for: its query parameters, strictly.
//!
//! A parameter that the endpoint does not know is an error that names it, as is one given twice:
//! whoever misspells a parameter learns it at once instead of reading another answer than he asked for.

use axum::extract::{FromRequestParts, Query};
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method, header};

use bitcoin::BlockHash;
use utoipa::IntoParams;

use super::cursor;
use super::error::{ApiError, Code};
use super::parse::{self, BlockName};
use super::schemas;
use crate::protocol::Height;

/// Rows of a list where the request does not say.
pub const DEFAULT_LIMIT: usize = 100;

/// Most rows of a list.
pub const MAX_LIMIT: usize = 1000;

/// The parameters of a request that have not been taken yet.
#[derive(Clone, Debug)]
pub struct Params {
    left: Vec<(String, String)>,
    /// The block of the cursor that was taken.
    cursor: Option<BlockHash>,
    rows: usize,
    if_none_match: Vec<String>,
    cacheable: bool,
    gzip: bool,
}

/// What every read of the state may ask.
#[derive(Clone, Debug, Default, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct Ask {
    /// The state as of the block of this height in the best chain; the last applied one if left out.
    pub height: Option<Height>,
    /// The state as of the block with this hash.
    #[param(value_type = Option<schemas::BlockHash>)]
    pub block: Option<BlockHash>,
    /// Answer also while blocks of the best chain are still to be applied.
    #[param(required = false)]
    pub allow_stale: bool,
    /// The block at which the list was begun that a cursor continues.
    #[param(ignore)]
    pub cursor: Option<BlockHash>,
    /// How many rows the answer may have.
    #[param(ignore)]
    pub rows: usize,
    /// Entity tags that the client has, as sent.
    #[param(ignore)]
    pub if_none_match: Vec<String>,
    /// Whether a cache may keep the answer: not that of a POST.
    #[param(ignore)]
    pub cacheable: bool,
    /// Whether the client takes a compressed body.
    #[param(ignore)]
    pub gzip: bool,
}

/// Which part of a list is asked for.
#[derive(Clone, Debug, PartialEq, Eq, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct PageRequest {
    /// Rows in a page; 100 if left out.
    #[param(required = false, minimum = 1, maximum = 1000)]
    pub limit: usize,
    /// The `next_cursor` of the page before, which is of the block at which the list was begun.
    pub cursor: Option<String>,
}

/// How much of a list without cursor is asked for.
#[derive(Clone, Copy, Debug, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct LimitRequest {
    /// Rows in the answer; 100 if left out.
    #[param(required = false, minimum = 1, maximum = 1000)]
    pub limit: usize,
}

impl Params {
    /// From the raw query and the headers.
    fn new(left: Vec<(String, String)>, method: &Method, headers: &HeaderMap) -> Result<Self, ApiError> {
        for (i, (name, _)) in left.iter().enumerate() {
            if left[..i].iter().any(|(earlier, _)| earlier == name) {
                let message = format!("the query parameter '{name}' is given twice");
                return Err(ApiError::new(Code::DuplicateParameter, message));
            }
        }
        let cacheable = method.is_safe();
        let tags = headers.get_all(header::IF_NONE_MATCH).iter().filter(|_| cacheable);
        let if_none_match = tags.filter_map(|tag| tag.to_str().ok().map(str::to_owned)).collect();
        let gzip = takes_gzip(headers);
        Ok(Params { left, cursor: None, rows: 1, if_none_match, cacheable, gzip })
    }

    /// Takes a parameter out.
    pub fn take(&mut self, name: &str) -> Option<String> {
        let index = self.left.iter().position(|(key, _)| key == name)?;
        Some(self.left.swap_remove(index).1)
    }

    /// Takes `limit` out.
    pub fn limit(&mut self) -> Result<LimitRequest, ApiError> {
        let limit = self.take("limit").map_or(Ok(DEFAULT_LIMIT), |text| parse_limit(&text))?;
        self.rows = limit;
        Ok(LimitRequest { limit })
    }

    /// Takes out a parameter that is a height.
    pub fn height(&mut self, name: &str) -> Result<Option<Height>, ApiError> {
        let Some(text) = self.take(name) else { return Ok(None) };
        let message = || format!("{name} must be a number from 0 to {}", u32::MAX);
        let height = parse::number(&text).map(Height);
        height.map(Some).ok_or_else(|| ApiError::new(Code::BadParameter, message()))
    }

    /// Takes out a parameter that is `true` or `false`; false if left out.
    pub fn flag(&mut self, name: &str) -> Result<bool, ApiError> {
        match self.take(name).as_deref() {
            None | Some("false") => Ok(false),
            Some("true") => Ok(true),
            Some(_) => Err(ApiError::new(Code::BadParameter, format!("{name} must be true or false"))),
        }
    }

    /// Takes `limit` and `cursor` out.
    pub fn page(&mut self) -> Result<PageRequest, ApiError> {
        let LimitRequest { limit } = self.limit()?;
        let cursor = self.take("cursor");
        self.cursor = cursor.as_deref().map(cursor::block).transpose()?;
        Ok(PageRequest { limit, cursor })
    }

    /// Ends the parsing: takes what every read may have, and refuses the rest.
    pub fn finish(mut self) -> Result<Ask, ApiError> {
        let height = self.height("height")?;
        let block = self.take("block").map(|text| parse::hash(&text)).transpose()?;
        if height.is_some() && block.is_some() {
            let message = "height and block name the same thing: give one of them";
            return Err(ApiError::new(Code::BadParameter, message));
        }
        Ok(Ask { height, block, ..self.finish_without_block()? })
    }

    /// The same where the path names its blocks in its own way.
    pub fn finish_without_block(mut self) -> Result<Ask, ApiError> {
        let allow_stale = self.flag("allow_stale")?;
        self.refuse_rest()?;
        let Params { cursor, rows, if_none_match, cacheable, gzip, .. } = self;
        Ok(Ask { height: None, block: None, allow_stale, cursor, rows, if_none_match, cacheable, gzip })
    }

    /// Ends the parsing of a request that does not read the state.
    pub fn refuse_rest(&self) -> Result<(), ApiError> {
        match self.left.first() {
            Some((name, _)) => {
                let message = format!("this path has no query parameter '{name}'");
                Err(ApiError::new(Code::UnknownParameter, message))
            }
            None => Ok(()),
        }
    }
}

/// Whether `accept-encoding` names gzip, and not only to refuse it.
fn takes_gzip(headers: &HeaderMap) -> bool {
    let lists = headers.get_all(header::ACCEPT_ENCODING).iter().filter_map(|list| list.to_str().ok());
    let mut encodings = lists.flat_map(|list| list.split(','));
    encodings.any(|encoding| {
        let (name, weight) = encoding.split_once(';').unwrap_or((encoding, "q=1"));
        let weight = weight.trim().strip_prefix("q=").and_then(|weight| weight.parse().ok());
        name.trim().eq_ignore_ascii_case("gzip") && weight.is_some_and(|weight: f32| weight > 0.0)
    })
}

fn parse_limit(text: &str) -> Result<usize, ApiError> {
    let limit = parse::number(text).filter(|limit| (1..=MAX_LIMIT).contains(limit));
    limit.ok_or_else(|| {
        ApiError::new(Code::BadParameter, format!("limit must be a number from 1 to {MAX_LIMIT}"))
    })
}

impl<S: Send + Sync> FromRequestParts<S> for Params {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        let Query(pairs) = match parts.uri.query() {
            None => Query::default(),
            Some(_) => Query::try_from_uri(&parts.uri).map_err(|_| ApiError::of(Code::BadQuery))?,
        };
        Params::new(pairs, &parts.method, &parts.headers)
    }
}

impl Ask {
    /// The block that the request names, unless it asks for the last one.
    pub fn named(&self) -> Option<BlockName> {
        self.height.map(BlockName::Height).or(self.block.map(BlockName::Hash))
    }

    /// Whether it asks for the last block, and not to go on with a list that was begun there.
    pub fn at_the_tip(&self) -> bool {
        self.named().is_none() && self.cursor.is_none()
    }

    /// Whether the client has the answer with this entity tag already.
    pub fn has(&self, etag: &str) -> bool {
        let mut tags = self.if_none_match.iter().flat_map(|list| list.split(',')).map(str::trim);
        tags.any(|tag| tag == "*" || tag.strip_prefix("W/").unwrap_or(tag) == etag)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn params(pairs: &[(&str, &str)]) -> Result<Params, ApiError> {
        let pairs = pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        Params::new(pairs, &Method::GET, &HeaderMap::new())
    }

    #[test]
    fn limits_are_from_1_to_1000() {
        let limit = |text| params(&[("limit", text)]).unwrap().page().map(|page| page.limit);
        assert_eq!(params(&[]).unwrap().page().unwrap().limit, 100);
        assert_eq!((limit("1"), limit("1000")), (Ok(1), Ok(1000)));
        for bad in ["", "0", "1001", "-1", "ten", "99999999999999999999"] {
            assert_eq!(limit(bad).unwrap_err().code, Code::BadParameter, "{bad}");
        }
    }

    #[test]
    fn unknown_and_repeated_parameters_are_named() {
        let unknown = params(&[("hieght", "7")]).unwrap().finish().unwrap_err();
        assert_eq!((unknown.code, unknown.message.contains("'hieght'")), (Code::UnknownParameter, true));
        let twice = params(&[("limit", "1"), ("limit", "2")]).unwrap_err();
        assert_eq!((twice.code, twice.message.contains("'limit'")), (Code::DuplicateParameter, true));
        assert!(params(&[("allow_stale", "true")]).unwrap().finish().unwrap().allow_stale);
        assert_eq!(params(&[("allow_stale", "1")]).unwrap().finish().unwrap_err().code, Code::BadParameter);
    }

    #[test]
    fn entity_tags_are_compared_one_by_one() {
        let ask = |tags: &[&str]| Ask {
            if_none_match: tags.iter().map(|&tag| tag.to_owned()).collect(),
            ..Ask::default()
        };
        for (tags, has) in [
            (&[][..], false),
            (&["\"a\""], true),
            (&["\"b\", W/\"a\""], true),
            (&["\"b\"", "\"a\""], true),
            (&["*"], true),
            (&["a"], false),
            (&["\"ab\""], false),
        ] {
            assert_eq!(ask(tags).has("\"a\""), has, "{tags:?}");
        }
    }

    #[test]
    fn gzip_must_be_named_and_not_refused() {
        let takes = |value: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::ACCEPT_ENCODING, axum::http::HeaderValue::from_static(value));
            takes_gzip(&headers)
        };
        for (value, expected) in [
            ("gzip", true),
            ("br, GZIP;q=0.5", true),
            ("gzip;q=0", false),
            ("gzip; q=0.0", false),
            ("br", false),
            ("gzipped", false),
            ("", false),
        ] {
            assert_eq!(takes(value), expected, "{value}");
        }
    }
}
