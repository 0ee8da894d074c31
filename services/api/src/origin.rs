//! Who may change anything: pages of this very server, and programs.
//!
//! Browsers let any page send a form to any address, so a request to change
//! something must show that it comes from here. They say so themselves in
//! `Sec-Fetch-Site` and `Origin`. The host that was asked for must be this
//! server's too: a foreign name that leads to this address would make a foreign
//! page look like one of ours.

use crate::error::ApiError;
use axum::http::{HeaderMap, StatusCode, header};
use std::net::IpAddr;

/// What kind of request it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asker {
    /// A form: only browsers send them, and they always name their origin.
    Page,
    /// JSON: programs name no origin, and no form can send it.
    Program,
}

/// The names under which this server is known.
#[derive(Clone, Debug, Default)]
pub struct Origins {
    name: Option<String>,
}

impl Origins {
    /// Addresses and `localhost` count as this server's names; so does the
    /// host of `dashboard`, its public address.
    #[must_use]
    pub fn new(dashboard: Option<&str>) -> Origins {
        let name = dashboard
            .and_then(|text| reqwest::Url::parse(text).ok())
            .and_then(|url| url.host_str().map(str::to_ascii_lowercase));
        Origins { name }
    }

    /// Lets pages of this server and programs pass.
    ///
    /// # Errors
    /// 403 for all others, with what was wrong.
    pub fn check(&self, headers: &HeaderMap, asker: Asker) -> Result<(), ApiError> {
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        let host = text(header::HOST.as_str()).unwrap_or_default();
        if !self.is_ours(host) {
            return Err(foreign(
                format!("{host:?} is no name of this server"),
                "ask by its address, or set DASHBOARD_URL to its public address",
            ));
        }
        let origin = text(header::ORIGIN.as_str());
        let here = |origin: &str| {
            origin
                .split_once("://")
                .is_some_and(|(_, rest)| rest == host)
        };
        let site = text("sec-fetch-site");
        let named = origin.is_some() || site.is_some();
        let fits = origin.is_none_or(here)
            && site.is_none_or(|site| site == "same-origin")
            && (named || asker == Asker::Program);
        if fits {
            Ok(())
        } else {
            Err(foreign(
                "the request comes from a page of another origin, or does not say from where",
                "use the page of this server, or POST JSON to the address below /api",
            ))
        }
    }

    fn is_ours(&self, host: &str) -> bool {
        let name = match host.strip_prefix('[') {
            Some(rest) => rest.split(']').next().unwrap_or_default(),
            None => host.rsplit_once(':').map_or(host, |(name, _)| name),
        };
        name.eq_ignore_ascii_case("localhost")
            || name.parse::<IpAddr>().is_ok()
            || self
                .name
                .as_deref()
                .is_some_and(|ours| name.eq_ignore_ascii_case(ours))
    }
}

fn foreign(message: impl Into<String>, hint: &str) -> ApiError {
    ApiError {
        status: StatusCode::FORBIDDEN,
        code: "foreign_origin",
        message: message.into(),
        hint: hint.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_pages_of_this_server_and_programs_may_change_anything() {
        let origins = Origins::new(Some("https://midwatch.example:8443/x"));
        let local = ("host", "127.0.0.1:8000");
        let fits = ("origin", "http://127.0.0.1:8000");
        let same = ("sec-fetch-site", "same-origin");
        let public = ("host", "midwatch.example:8443");
        for (headers, page, program) in [
            (vec![local], false, true),
            (vec![local, fits], true, true),
            (vec![local, same], true, true),
            (vec![local, fits, same], true, true),
            (vec![("host", "[::1]:8000")], false, true),
            (
                vec![public, ("origin", "https://midwatch.example:8443")],
                true,
                true,
            ),
            (vec![local, ("origin", "http://evil.example")], false, false),
            (
                vec![local, ("origin", "http://127.0.0.1:9000")],
                false,
                false,
            ),
            (vec![local, ("origin", "null")], false, false),
            (
                vec![local, fits, ("sec-fetch-site", "cross-site")],
                false,
                false,
            ),
            (vec![local, ("sec-fetch-site", "same-site")], false, false),
            // A foreign name that was made to lead here.
            (
                vec![
                    ("host", "evil.example:8000"),
                    ("origin", "http://evil.example:8000"),
                ],
                false,
                false,
            ),
            (vec![], false, false),
        ] {
            let map: HeaderMap = headers
                .iter()
                .map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()))
                .collect();
            let got = [Asker::Page, Asker::Program].map(|asker| origins.check(&map, asker).is_ok());
            assert_eq!(got, [page, program], "{headers:?}");
        }
    }
}
