//! Bodies of requests: JSON, strictly.

use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, FromRequest, Request};
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use serde::de::DeserializeOwned;

use super::App;
use super::error::{ApiError, Code};

/// The body of a request, read from JSON. A field that is not known is an error, if the type says so with
/// `deny_unknown_fields`.
#[derive(Clone, Copy, Debug)]
pub struct Body<T>(pub T);

impl<T: DeserializeOwned> FromRequest<App> for Body<T> {
    type Rejection = ApiError;

    async fn from_request(mut request: Request, app: &App) -> Result<Self, ApiError> {
        let kind = request.headers().get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
        let kind = kind.and_then(|kind| kind.split(';').next()).unwrap_or_default().trim();
        if !kind.eq_ignore_ascii_case("application/json") {
            return Err(ApiError::of(Code::UnsupportedMediaType));
        }
        DefaultBodyLimit::max(app.limits().body_bytes).apply(&mut request);
        let bytes = Bytes::from_request(request, app).await.map_err(|rejection| {
            match rejection.into_response().status() {
                StatusCode::PAYLOAD_TOO_LARGE => ApiError::of(Code::PayloadTooLarge),
                _ => ApiError::new(Code::BadBody, "the body ended before it was whole"),
            }
        })?;
        let body = serde_json::from_slice(&bytes);
        body.map(Body)
            .map_err(|error| ApiError::new(Code::BadBody, format!("the body of the request: {error}")))
    }
}
