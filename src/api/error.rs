//! Every error that the API can answer, with its stable code.

use std::fmt::{self, Display};

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

use crate::ledger::view::ReadError;
use crate::store::{HeightError, StoreError};

macro_rules! codes {
    ($($status:literal $name:ident = $code:literal, $meaning:literal;)+) => {
        /// The stable names of errors, for programs. The document of the API lists them with each path.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Code {
            $(#[doc = $meaning] $name,)+
        }

        impl Code {
            /// All of them, by status.
            pub const ALL: &[Code] = &[$(Code::$name),+];

            /// As it is answered.
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Code::$name => $code,)+
                }
            }

            /// The status that it is answered under.
            pub fn status(self) -> StatusCode {
                let status = match self {
                    $(Code::$name => const { $status },)+
                };
                StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
            }

            /// What it means, in one sentence.
            pub fn meaning(self) -> &'static str {
                match self {
                    $(Code::$name => $meaning,)+
                }
            }
        }
    };
}

codes! {
    400 BadToken = "bad_token", "a token is named by its 64 hex digits or its bech32m form, and this is neither";
    400 BadOwner = "bad_owner", "an owner is named by its 66 hex digits or a Spark address, and this is neither";
    400 BadBlock = "bad_block", "a block is named by its height or the 64 hex digits of its hash";
    400 BadTtxo = "bad_ttxo", "a TTXO is named by <spark_tx_hash>:<vout>";
    400 BadOutpoint = "bad_outpoint", "an L1 output is named by <txid>:<vout>";
    400 BadSequence = "bad_sequence", "a snapshot is named by its sequence, a decimal number";
    400 BadManifestId = "bad_manifest_id", "a manifest is named by the 64 hex digits of its id";
    400 BadCursor = "bad_cursor", "the cursor does not come from this list";
    400 BadParameter = "bad_parameter", "a parameter has a value that it cannot have; the message names it";
    400 UnknownParameter = "unknown_parameter", "the path has no such parameter; the message names it";
    400 DuplicateParameter = "duplicate_parameter", "a parameter is given twice";
    400 BadQuery = "bad_query", "the query string is not a list of name=value pairs in UTF-8";
    400 BadBody = "bad_body", "the body is not the JSON that the path expects; the message says where";
    400 BadRequest = "bad_request", "the request is malformed, such as a path that is not UTF-8";
    404 TokenNotFound = "token_not_found", "no announcement and no activated snapshot names the token";
    404 BlockNotFound = "block_not_found",
        "the block is not applied: above the last one, below the start height, or not in the best chain";
    404 TtxoNotFound = "ttxo_not_found", "no activated snapshot has ever declared the TTXO";
    404 ExitNotFound = "exit_not_found", "no withdrawal announcement of a followed entity names the L1 output";
    404 SnapshotNotFound = "snapshot_not_found", "no such manifest has been accepted";
    404 EntityNotFound = "entity_not_found", "no followed entity has that id or name";
    404 NoSuchPath = "no_such_path", "there is nothing under the path";
    405 MethodNotAllowed = "method_not_allowed", "the path does not have the method; `allow` lists those it has";
    408 Timeout = "timeout", "the request, or its answer, took too long";
    410 CursorReorged = "cursor_reorged",
        "the block at which the list was begun has left the chain: start again without cursor";
    410 CursorUnknown = "cursor_unknown",
        "the block of the cursor is not known: another database gave it out, or it left the chain too long ago; \
         drop what was taken from the feed, and read it again from the start";
    410 HistoryPruned = "history_pruned",
        "the state as of that block is not kept any more; the message names the oldest block that is";
    413 PayloadTooLarge = "payload_too_large", "the body of the request is too large";
    414 UriTooLong = "uri_too_long", "path and query are too long";
    415 UnsupportedMediaType = "unsupported_media_type", "the body must be sent as application/json";
    431 HeadersTooLarge = "headers_too_large", "the headers are too large";
    500 StoreError = "store_error", "the database cannot be read; the log of the server says why";
    500 InternalError = "internal_error", "the server failed; its log says why";
    503 CatchingUp = "catching_up",
        "blocks of the best chain are still to be applied; ask again later, or with allow_stale=true";
    503 Busy = "busy", "as many requests as allowed are being answered; try again";
    503 TooManyStreams = "too_many_streams", "as many streams as allowed are open; read page by page, or try again";
    503 Starting = "starting", "the source of blocks has not answered yet";
    503 Reorganising = "reorganising", "blocks that left the best chain are being undone";
    503 SyncFailed = "sync_failed", "synchronisation gave up";
    503 NoBlocks = "no_blocks", "the best chain does not reach the start height yet";
    503 SourceSilent = "source_silent", "the source of blocks has not answered for three minutes";
    503 Stuck = "stuck", "the source answers, and for three minutes something has kept the next block from being applied";
}

impl Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl serde::Serialize for Code {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

/// An error answer: `{"error":{"code","message"}}` under the status of its code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiError {
    /// Stable name, for programs.
    pub code: Code,
    /// What is wrong and what to do, for people.
    pub message: String,
    /// Seconds after which it is worth another try.
    pub retry_after: Option<u32>,
    /// What failed on our side: for the log, and not for strangers.
    pub(super) cause: Option<String>,
}

/// Marks responses whose body is an error of ours already.
#[derive(Clone, Debug)]
pub(super) struct Named {
    /// What failed on our side, to be logged.
    pub cause: Option<String>,
}

#[derive(serde::Serialize)]
struct Body<'a> {
    error: Inner<'a>,
}

#[derive(serde::Serialize)]
struct Inner<'a> {
    code: Code,
    message: &'a str,
}

impl ApiError {
    /// What is wrong, by its code, and in words for people.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        ApiError { code, message: message.into(), retry_after: None, cause: None }
    }

    /// The same, worth another try after so many seconds.
    pub fn retry(code: Code, message: impl Into<String>, retry_after: u32) -> Self {
        ApiError { retry_after: Some(retry_after), ..ApiError::new(code, message) }
    }

    /// 500: our fault; the cause goes to the log.
    pub fn internal(cause: impl Display) -> Self {
        ApiError { cause: Some(cause.to_string()), ..ApiError::of(Code::InternalError) }
    }

    /// The error with nothing to say but what its code means.
    pub fn of(code: Code) -> Self {
        ApiError::new(code, code.meaning())
    }

    /// The error for a status that some layer below the handlers answered with.
    pub(super) fn of_status(status: StatusCode) -> Self {
        ApiError::of(match status {
            StatusCode::NOT_FOUND => Code::NoSuchPath,
            StatusCode::METHOD_NOT_ALLOWED => Code::MethodNotAllowed,
            StatusCode::REQUEST_TIMEOUT => Code::Timeout,
            StatusCode::PAYLOAD_TOO_LARGE => Code::PayloadTooLarge,
            StatusCode::UNSUPPORTED_MEDIA_TYPE => Code::UnsupportedMediaType,
            status if status.is_client_error() => Code::BadRequest,
            _ => Code::InternalError,
        })
    }
}

impl From<ReadError> for ApiError {
    /// The store failed, or holds what it should not: for the log, and not for strangers.
    fn from(error: ReadError) -> Self {
        ApiError::from(StoreError::from(error))
    }
}

impl From<StoreError> for ApiError {
    /// As for a row that cannot be read.
    fn from(error: StoreError) -> Self {
        ApiError { cause: Some(error.to_string()), ..ApiError::of(Code::StoreError) }
    }
}

impl From<HeightError> for ApiError {
    fn from(error: HeightError) -> Self {
        let code = match error {
            HeightError::Above { .. } | HeightError::BeforeStart { .. } => Code::BlockNotFound,
            HeightError::Forgotten { .. } => Code::HistoryPruned,
            HeightError::Read(error) => return error.into(),
        };
        ApiError::new(code, error.to_string())
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let body = Body { error: Inner { code: self.code, message: &self.message } };
        let mut response = (self.code.status(), Json(body)).into_response();
        response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some(seconds) = self.retry_after {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response.extensions_mut().insert(Named { cause: self.cause });
        response
    }
}
