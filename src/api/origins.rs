//! Who may read from where: everyone from everywhere, for there are no cookies and no secrets.
//!
//! What browsers are told is always the same, so it is written out once and no request is looked at.

use std::sync::LazyLock;

use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, header};

use super::answer;
use super::conventions::REQUEST_ID;

/// Where a client of a stream goes on; only what is no browser has to ask for permission.
const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

const ANYONE: HeaderValue = HeaderValue::from_static("*");

const METHODS: HeaderValue = HeaderValue::from_static("GET,HEAD,POST,OPTIONS");

/// What a page may send.
static TAKEN: LazyLock<HeaderValue> = LazyLock::new(|| {
    list(&[header::ACCEPT, header::CONTENT_TYPE, header::IF_NONE_MATCH, LAST_EVENT_ID, REQUEST_ID])
});

/// What a page may see.
static SHOWN: LazyLock<HeaderValue> = LazyLock::new(|| {
    let ours = [answer::HEIGHT_HEADER, answer::BLOCK_HASH_HEADER, answer::SYNCED_HEADER];
    list(&[&[header::ETAG, header::RETRY_AFTER, REQUEST_ID], &ours[..]].concat())
});

/// How long a browser may remember this: a day, in seconds.
const MAX_AGE: HeaderValue = HeaderValue::from_static("86400");

/// Says it in the headers of an answer. That to `OPTIONS` is what a browser asks for before a request that it
/// does not make of itself.
pub fn allow(method: &Method, headers: &mut HeaderMap) {
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, ANYONE);
    if method == Method::OPTIONS {
        headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, METHODS);
        headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, TAKEN.clone());
        headers.insert(header::ACCESS_CONTROL_MAX_AGE, MAX_AGE);
    } else {
        headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, SHOWN.clone());
    }
}

/// Names in a row. It lives as long as the process, so that no copy of it is counted.
fn list(names: &[HeaderName]) -> HeaderValue {
    let names: Vec<_> = names.iter().map(HeaderName::as_str).collect();
    HeaderValue::from_static(names.join(",").leak())
}
