//! Every error that the API can answer, with its stable code.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

use crate::ledger::view::ReadError;
use crate::store::StoreError;

/// An error answer: `{"error":{"code","message"}}` under a status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiError {
    /// HTTP status.
    pub status: StatusCode,
    /// Stable name, for programs.
    pub code: &'static str,
    /// What is wrong and what to do, for people.
    pub message: String,
    /// Seconds after which it is worth another try.
    pub retry_after: Option<u32>,
}

/// Marks responses whose body is an error of ours already.
#[derive(Clone, Copy, Debug)]
pub(super) struct Named;

#[derive(serde::Serialize)]
struct Body<'a> {
    error: Inner<'a>,
}

#[derive(serde::Serialize)]
struct Inner<'a> {
    code: &'a str,
    message: &'a str,
}

impl ApiError {
    fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        ApiError { status, code, message: message.into(), retry_after: None }
    }

    /// 400: something in the request cannot be parsed.
    pub fn bad(code: &'static str, message: impl Into<String>) -> Self {
        ApiError::new(StatusCode::BAD_REQUEST, code, message)
    }

    /// 404: the thing is not known.
    pub fn unknown(code: &'static str, message: impl Into<String>) -> Self {
        ApiError::new(StatusCode::NOT_FOUND, code, message)
    }

    /// 410: the cursor's block is not the tip any more.
    pub fn gone(code: &'static str, message: impl Into<String>) -> Self {
        ApiError::new(StatusCode::GONE, code, message)
    }

    /// 503: not now.
    pub fn unavailable(code: &'static str, message: impl Into<String>, retry_after: u32) -> Self {
        let error = ApiError::new(StatusCode::SERVICE_UNAVAILABLE, code, message);
        ApiError { retry_after: Some(retry_after), ..error }
    }

    /// 500: our fault; the details are in the log.
    pub fn internal() -> Self {
        ApiError::of_status(StatusCode::INTERNAL_SERVER_ERROR)
    }

    /// The error for a status that some layer below the handlers answered with.
    pub(super) fn of_status(status: StatusCode) -> Self {
        let (code, message) = match status {
            StatusCode::BAD_REQUEST => ("bad_request", "the request is malformed"),
            StatusCode::NOT_FOUND => ("no_such_path", "there is nothing under this path"),
            StatusCode::METHOD_NOT_ALLOWED => {
                ("method_not_allowed", "this path is only read: use GET, HEAD or OPTIONS")
            }
            StatusCode::REQUEST_TIMEOUT => ("timeout", "the request took too long"),
            StatusCode::PAYLOAD_TOO_LARGE => ("payload_too_large", "the body of the request is too large"),
            StatusCode::URI_TOO_LONG => ("uri_too_long", "the path and query of the request are too long"),
            StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE => {
                ("headers_too_large", "the headers of the request are too large")
            }
            status if status.is_client_error() => ("bad_request", "the request cannot be answered"),
            _ => ("internal_error", "the server failed; its log says why"),
        };
        ApiError::new(status, code, message)
    }
}

impl From<ReadError> for ApiError {
    /// The store failed, or holds what it should not: logged, and not told to strangers.
    fn from(error: ReadError) -> Self {
        tracing::error!("{}", StoreError::from(error));
        ApiError::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "store_error",
            "the database cannot be read; the log of the server says why",
        )
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let body = Body { error: Inner { code: self.code, message: &self.message } };
        let mut response = (self.status, Json(body)).into_response();
        response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some(seconds) = self.retry_after {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response.extensions_mut().insert(Named);
        response
    }
}
