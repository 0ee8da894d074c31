//! Query parameters. Whatever is not understood is refused by name, together
//! with what would be: a filter that is silently ignored shows the wrong rows.

use crate::error::ApiError;
use axum::extract::{FromRequestParts, Query};
use axum::http::request::Parts;
use midwatch_clients::postgres::read;
use midwatch_clients::postgres::read::IncidentRow;
use midwatch_events::{IncidentState, Severity};
use sqlx::PgPool;
use std::collections::BTreeMap;
use std::fmt::Display;
use std::str::FromStr;
use uuid::Uuid;

/// Longest text that a filter takes, in bytes. Names are at most 256, and the
/// key of a page holds two.
const TEXT_LIMIT: usize = 600;

/// All severities, gravest first.
pub const SEVERITIES: [Severity; 4] = [
    Severity::Critical,
    Severity::High,
    Severity::Medium,
    Severity::Low,
];

/// The parameters of one request. Empty ones count as absent.
#[derive(Clone, Debug, Default)]
pub struct Params(BTreeMap<String, String>);

impl<S: Send + Sync> FromRequestParts<S> for Params {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        let Query(pairs) =
            Query::<Vec<(String, String)>>::try_from_uri(&parts.uri).map_err(|error| {
                ApiError::parameter("query string", "unreadable", error.to_string())
            })?;
        let mut params = BTreeMap::new();
        for (name, value) in pairs {
            if value.trim().is_empty() {
                continue;
            }
            if value.len() > TEXT_LIMIT {
                let hint = format!("use at most {TEXT_LIMIT} bytes");
                return Err(ApiError::parameter(&name, "too long", hint));
            }
            if params.contains_key(&name) {
                return Err(ApiError::parameter(&name, &value, "give it once"));
            }
            params.insert(name, value.trim().to_owned());
        }
        Ok(Params(params))
    }
}

impl Params {
    /// Refuses parameters that are not among `known`.
    ///
    /// # Errors
    /// Names the first one, and those that are known.
    pub fn only(&self, known: &[&str]) -> Result<(), ApiError> {
        match self.0.keys().find(|name| !known.contains(&name.as_str())) {
            None => Ok(()),
            Some(name) if known.is_empty() => {
                Err(unknown(name, "this address takes no parameters"))
            }
            Some(name) => Err(unknown(name, &format!("known here: {}", known.join(", ")))),
        }
    }

    /// The parameter's text.
    #[must_use]
    pub fn text(&self, name: &str) -> Option<String> {
        self.0.get(name).cloned()
    }

    /// The parameter, which must be one of `allowed`; case does not matter.
    ///
    /// # Errors
    /// Names the allowed values.
    pub fn one_of(&self, name: &str, allowed: &[&str]) -> Result<Option<String>, ApiError> {
        let Some(text) = self.0.get(name) else {
            return Ok(None);
        };
        allowed
            .iter()
            .find(|value| value.eq_ignore_ascii_case(text))
            .map(|value| Some((*value).to_owned()))
            .ok_or_else(|| {
                ApiError::parameter(name, text, format!("allowed: {}", allowed.join(", ")))
            })
    }

    /// A state of an incident, or OPEN for all but RESOLVED.
    ///
    /// # Errors
    /// Names the allowed values.
    pub fn status(&self) -> Result<Option<String>, ApiError> {
        let mut allowed = vec!["OPEN"];
        allowed.extend(IncidentState::ALL.map(IncidentState::as_str));
        self.one_of("status", &allowed)
    }

    /// A severity.
    ///
    /// # Errors
    /// Names the allowed values.
    pub fn severity(&self) -> Result<Option<String>, ApiError> {
        self.one_of("severity", &SEVERITIES.map(Severity::as_str))
    }

    /// A number from `least` to `most`.
    ///
    /// # Errors
    /// Names the range.
    pub fn number<T>(&self, name: &str, least: T, most: T) -> Result<Option<T>, ApiError>
    where
        T: FromStr + PartialOrd + Display,
    {
        let Some(text) = self.0.get(name) else {
            return Ok(None);
        };
        match text.parse::<T>() {
            Ok(number) if number >= least && number <= most => Ok(Some(number)),
            _ => {
                let hint = format!("allowed: a whole number from {least} to {most}");
                Err(ApiError::parameter(name, text, hint))
            }
        }
    }

    /// The number of rows wanted, 50 unless told.
    ///
    /// # Errors
    /// Names the range.
    pub fn limit(&self, most: i64) -> Result<i64, ApiError> {
        Ok(self.number("limit", 1, most)?.unwrap_or(50))
    }

    /// The incident that a parameter names, by id or short id.
    ///
    /// # Errors
    /// Says what an id looks like, or that no incident has this short id.
    pub async fn incident(&self, pool: &PgPool, name: &str) -> Result<Option<Uuid>, ApiError> {
        let Some(text) = self.0.get(name) else {
            return Ok(None);
        };
        match incident_range(name, text)? {
            (first, last) if first == last => Ok(Some(first)),
            _ => Ok(Some(find_incident(pool, text).await?.id)),
        }
    }

    /// The key of the incident after which a page begins: `next` of the page
    /// before.
    ///
    /// # Errors
    /// Says where to take it from.
    pub fn before_incident(&self) -> Result<Option<(i64, Uuid)>, ApiError> {
        let Some(text) = self.0.get("before") else {
            return Ok(None);
        };
        text.split_once('.')
            .and_then(|(at, id)| Some((at.parse().ok()?, id.parse().ok()?)))
            .map(Some)
            .ok_or_else(|| {
                ApiError::parameter("before", text, "take it from `next` of the page before")
            })
    }

    /// The parameters as a query string.
    #[must_use]
    pub fn query(&self) -> String {
        let encoded: Vec<String> = self
            .0
            .iter()
            .map(|(name, value)| format!("{}={}", percent(name), percent(value)))
            .collect();
        encoded.join("&")
    }

    /// The same without `name`: the first page of what `name` pages through.
    #[must_use]
    pub fn query_without(&self, name: &str) -> String {
        let mut fewer = self.clone();
        fewer.0.remove(name);
        fewer.query()
    }

    /// The same with `name` set to `value`.
    #[must_use]
    pub fn query_with(&self, name: &str, value: &str) -> String {
        let mut more = self.clone();
        more.0.insert(name.to_owned(), value.to_owned());
        more.query()
    }
}

/// The range of ids that a full or short id stands for: a short id is the
/// first eight digits of the id, so it needs no index of its own.
///
/// # Errors
/// Says what an id looks like.
pub fn incident_range(name: &str, text: &str) -> Result<(Uuid, Uuid), ApiError> {
    if let Ok(id) = text.parse::<Uuid>() {
        return Ok((id, id));
    }
    let digits = text
        .get(..4)
        .filter(|head| head.eq_ignore_ascii_case("INC-"))
        .map_or(text, |_| &text[4..]);
    match u32::from_str_radix(digits, 16) {
        Ok(head) if digits.len() == 8 && !digits.starts_with('+') => {
            let first = u128::from(head) << 96;
            Ok((
                Uuid::from_u128(first),
                Uuid::from_u128(first | ((1 << 96) - 1)),
            ))
        }
        _ => Err(ApiError::parameter(
            name,
            text,
            "give an incident's UUID, or its short id as in INC-A1B2C3D4",
        )),
    }
}

/// The incident that a path or parameter names.
///
/// # Errors
/// No id, no such incident, or the database is away.
pub async fn find_incident(pool: &PgPool, text: &str) -> Result<IncidentRow, ApiError> {
    let (first, last) = incident_range("id", text)?;
    read::incident(pool, first, last).await?.ok_or_else(|| {
        ApiError::not_found(
            format!("there is no incident {text}"),
            "GET /api/incidents lists those that there are",
        )
    })
}

/// The key of a list's row, as `next` gives it out.
#[must_use]
pub fn incident_key(row: &read::IncidentSummary) -> String {
    format!("{}.{}", row.created_us, row.id.simple())
}

fn unknown(name: &str, hint: &str) -> ApiError {
    ApiError {
        code: "unknown_parameter",
        message: format!("the parameter {name:?} is not known"),
        ..ApiError::parameter(name, "", hint)
    }
}

/// Percent-encodes everything but the unreserved characters of RFC 3986.
#[must_use]
pub fn percent(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                char::from(byte).to_string()
            }
            _ => format!("%{byte:02X}"),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn params(query: &str) -> Result<Params, ApiError> {
        let uri = format!("/x?{query}").parse::<axum::http::Uri>().unwrap();
        let (mut parts, ()) = axum::http::Request::builder()
            .uri(uri)
            .body(())
            .unwrap()
            .into_parts();
        futures::executor::block_on(Params::from_request_parts(&mut parts, &()))
    }

    #[test]
    fn a_short_id_is_the_range_of_the_ids_that_begin_with_it() {
        let (first, last) = incident_range("id", "INC-A1B2C3D4").unwrap();
        assert_eq!(first.to_string(), "a1b2c3d4-0000-0000-0000-000000000000");
        assert_eq!(last.to_string(), "a1b2c3d4-ffff-ffff-ffff-ffffffffffff");
        assert_eq!(incident_range("id", "a1b2c3d4"), Ok((first, last)));
        for wrong in [
            "",
            "INC-",
            "INC-A1B2C3D",
            "INC-A1B2C3D4E",
            "inc-+1b2c3d4",
            "žluť",
        ] {
            let error = incident_range("id", wrong).unwrap_err();
            assert!(error.hint.contains("INC-A1B2C3D4"), "{wrong}: {error:?}");
        }
    }

    #[test]
    fn a_bad_parameter_is_named_with_what_would_do() {
        let error = params("status=broken").unwrap().status().unwrap_err();
        assert_eq!(error.message, "the parameter status is \"broken\"");
        assert!(error.hint.contains("OPEN, DETECTING") && error.hint.contains("RESOLVED"));
        let error = params("limit=0").unwrap().limit(200).unwrap_err();
        assert_eq!(error.hint, "allowed: a whole number from 1 to 200");
        let error = params("stats=x").unwrap().only(&["status"]).unwrap_err();
        assert_eq!(
            (error.code, error.hint.as_str()),
            ("unknown_parameter", "known here: status")
        );
        assert!(params("a=1&a=2").is_err());
        assert!(params("before=7").unwrap().before_incident().is_err());
        assert_eq!(params("status=").unwrap().status(), Ok(None));
        assert_eq!(
            params("severity=high").unwrap().severity(),
            Ok(Some("HIGH".to_owned()))
        );
    }

    #[test]
    fn a_query_string_survives_its_own_encoding() {
        let before = params("service=%3Cimg+src%3Dx%3E&status=OPEN").unwrap();
        let again = params(&before.query_with("before", "1.2&3")).unwrap();
        assert_eq!(again.text("service").as_deref(), Some("<img src=x>"));
        assert_eq!(again.text("before").as_deref(), Some("1.2&3"));
        assert_eq!(again.query_without("before"), before.query());
    }
}
