//! What a request asks for: its query parameters, strictly.
//!
//! A parameter that the endpoint does not know is an error that names it, as is one given twice:
//! whoever misspells a parameter learns it at once instead of reading another answer than he asked for.

use axum::extract::{FromRequestParts, Query};
use axum::http::request::Parts;
use axum::http::{HeaderMap, header};

use super::error::ApiError;

/// Rows of a list where the request does not say.
pub const DEFAULT_LIMIT: usize = 100;

/// Most rows of a list.
pub const MAX_LIMIT: usize = 1000;

/// The parameters of a request that have not been taken yet.
#[derive(Clone, Debug)]
pub struct Params {
    left: Vec<(String, String)>,
    if_none_match: Vec<String>,
}

/// What every read of the state may ask.
#[derive(Clone, Debug, Default)]
pub struct Ask {
    /// Answer also while catching up.
    pub allow_stale: bool,
    /// Entity tags that the client has, as sent.
    pub if_none_match: Vec<String>,
}

/// Which part of a list is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PageRequest {
    /// At most so many rows.
    pub limit: usize,
    /// The cursor as the client sent it back.
    pub cursor: Option<String>,
}

impl Params {
    /// From the raw query and the headers.
    fn new(left: Vec<(String, String)>, headers: &HeaderMap) -> Result<Self, ApiError> {
        for (i, (name, _)) in left.iter().enumerate() {
            if left[..i].iter().any(|(earlier, _)| earlier == name) {
                let message = format!("the query parameter '{name}' is given twice");
                return Err(ApiError::bad("duplicate_parameter", message));
            }
        }
        let tags = headers.get_all(header::IF_NONE_MATCH).iter();
        let if_none_match = tags.filter_map(|tag| tag.to_str().ok().map(str::to_owned)).collect();
        Ok(Params { left, if_none_match })
    }

    /// Takes a parameter out.
    pub fn take(&mut self, name: &str) -> Option<String> {
        let index = self.left.iter().position(|(key, _)| key == name)?;
        Some(self.left.swap_remove(index).1)
    }

    /// Takes `limit` out.
    pub fn limit(&mut self) -> Result<usize, ApiError> {
        self.take("limit").map_or(Ok(DEFAULT_LIMIT), |text| parse_limit(&text))
    }

    /// Takes `limit` and `cursor` out.
    pub fn page(&mut self) -> Result<PageRequest, ApiError> {
        Ok(PageRequest { limit: self.limit()?, cursor: self.take("cursor") })
    }

    /// Ends the parsing: takes what every read may have, and refuses the rest.
    pub fn finish(mut self) -> Result<Ask, ApiError> {
        let allow_stale = match self.take("allow_stale").as_deref() {
            None | Some("false") => false,
            Some("true") => true,
            Some(_) => return Err(ApiError::bad("bad_parameter", "allow_stale must be true or false")),
        };
        self.refuse_rest()?;
        Ok(Ask { allow_stale, if_none_match: self.if_none_match })
    }

    /// Ends the parsing of a request that does not read the state.
    pub fn refuse_rest(&self) -> Result<(), ApiError> {
        match self.left.first() {
            Some((name, _)) => {
                let message = format!("this path has no query parameter '{name}'");
                Err(ApiError::bad("unknown_parameter", message))
            }
            None => Ok(()),
        }
    }
}

fn parse_limit(text: &str) -> Result<usize, ApiError> {
    let limit = text.parse().ok().filter(|limit| (1..=MAX_LIMIT).contains(limit));
    limit.ok_or_else(|| {
        ApiError::bad("bad_parameter", format!("limit must be a number from 1 to {MAX_LIMIT}"))
    })
}

impl<S: Send + Sync> FromRequestParts<S> for Params {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        let Query(pairs) = Query::<Vec<(String, String)>>::try_from_uri(&parts.uri)
            .map_err(|_| ApiError::bad("bad_query", "the query string cannot be read as name=value pairs"))?;
        Params::new(pairs, &parts.headers)
    }
}

impl Ask {
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
        Params::new(pairs, &HeaderMap::new())
    }

    #[test]
    fn limits_are_from_1_to_1000() {
        let limit = |text| params(&[("limit", text)]).unwrap().page().map(|page| page.limit);
        assert_eq!(params(&[]).unwrap().page().unwrap().limit, 100);
        assert_eq!((limit("1"), limit("1000")), (Ok(1), Ok(1000)));
        for bad in ["", "0", "1001", "-1", "ten", "99999999999999999999"] {
            assert_eq!(limit(bad).unwrap_err().code, "bad_parameter", "{bad}");
        }
    }

    #[test]
    fn unknown_and_repeated_parameters_are_named() {
        let unknown = params(&[("height", "7")]).unwrap().finish().unwrap_err();
        assert_eq!((unknown.code, unknown.message.contains("'height'")), ("unknown_parameter", true));
        let twice = params(&[("limit", "1"), ("limit", "2")]).unwrap_err();
        assert_eq!((twice.code, twice.message.contains("'limit'")), ("duplicate_parameter", true));
        assert!(params(&[("allow_stale", "true")]).unwrap().finish().unwrap().allow_stale);
        assert_eq!(params(&[("allow_stale", "1")]).unwrap().finish().unwrap_err().code, "bad_parameter");
    }

    #[test]
    fn entity_tags_are_compared_one_by_one() {
        let ask = |tags: &[&str]| Ask {
            allow_stale: false,
            if_none_match: tags.iter().map(|&tag| tag.to_owned()).collect(),
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
}
