//! The style sheet, the script and the icon, compiled in.

use crate::error::ApiError;
use axum::extract::Path;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};

/// Name, type and content of each file.
const FILES: &[(&str, &str, &str)] = &[
    (
        "midwatch.css",
        "text/css; charset=utf-8",
        include_str!("../../static/midwatch.css"),
    ),
    (
        "midwatch.js",
        "text/javascript; charset=utf-8",
        include_str!("../../static/midwatch.js"),
    ),
    (
        "topics.css",
        "text/css; charset=utf-8",
        include_str!("../../static/topics.css"),
    ),
    (
        "topics.js",
        "text/javascript; charset=utf-8",
        include_str!("../../static/topics.js"),
    ),
    (
        "icon.svg",
        "image/svg+xml",
        include_str!("../../static/icon.svg"),
    ),
];

/// The address of a file, with its version: a changed file has another
/// address, so that browsers may keep each for ever.
#[must_use]
pub fn address(name: &str) -> String {
    let content = FILES
        .iter()
        .find(|(file, ..)| *file == name)
        .map_or("", |(.., text)| text);
    format!("/static/{name}?v={}", version(content))
}

fn version(content: &str) -> String {
    let mut hasher = DefaultHasher::new();
    content.hash(&mut hasher);
    format!("{:016x}", hasher.finish())
}

/// `GET /static/{file}`.
pub async fn show(Path(file): Path<String>, headers: HeaderMap) -> Result<Response, ApiError> {
    let Some((_, kind, content)) = FILES.iter().find(|(name, ..)| *name == file) else {
        return Err(ApiError::not_found(
            format!("there is no file {file}"),
            "pages name theirs",
        ));
    };
    let tag = format!("\"{}\"", version(content));
    let tag = HeaderValue::from_str(&tag).map_err(|error| ApiError::internal(error.to_string()))?;
    let keep = HeaderValue::from_static("public, max-age=31536000, immutable");
    let common = [(header::ETAG, tag.clone()), (header::CACHE_CONTROL, keep)];
    if headers.get(header::IF_NONE_MATCH) == Some(&tag) {
        return Ok((StatusCode::NOT_MODIFIED, common).into_response());
    }
    Ok((common, [(header::CONTENT_TYPE, *kind)], *content).into_response())
}
