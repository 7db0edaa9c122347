//! Who may read from where: everyone from everywhere, for there are no cookies and no secrets.
//!
//! What browsers are told is always the same, so that no request is looked at, and caches need not tell
//! origins apart.

use axum::http::{HeaderMap, HeaderValue, Method, header};

/// Any origin may ask, with any header, and see every header: a wildcard means that for requests without
/// credentials (Fetch Standard, "CORS protocol").
const ANY: HeaderValue = HeaderValue::from_static("*");

const METHODS: HeaderValue = HeaderValue::from_static("GET,HEAD,POST,OPTIONS");

/// How long a browser may remember this: a day, in seconds.
const MAX_AGE: HeaderValue = HeaderValue::from_static("86400");

/// Says it in the headers of an answer. That to `OPTIONS` is what a browser asks for before a request that it
/// does not make of itself.
pub fn allow(method: &Method, headers: &mut HeaderMap) {
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, ANY);
    if method == Method::OPTIONS {
        headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, METHODS);
        headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, ANY);
        headers.insert(header::ACCESS_CONTROL_MAX_AGE, MAX_AGE);
    } else {
        headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, ANY);
    }
}
