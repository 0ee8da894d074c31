//! Asking Midwatch's HTTP API.

use crate::failure::Failure;
use reqwest::Url;
use serde_json::Value;
use std::time::Duration;

/// How long one answer may take; lists take a fraction of a second.
const LIMIT: Duration = Duration::from_secs(10);

/// The same for what is published: the API waits for the broker.
const POST_LIMIT: Duration = Duration::from_secs(45);

/// A client of the API.
#[derive(Clone, Debug)]
pub struct Api {
    base: Url,
    client: reqwest::Client,
}

impl Api {
    /// A client of the API at `base`. Nothing is contacted yet.
    ///
    /// # Errors
    /// `base` is no http(s) address.
    pub fn new(base: &str) -> Result<Api, Failure> {
        let mend = "set --api, MIDWATCH_API_URL or DASHBOARD_URL to an address such as http://127.0.0.1:8000";
        let url = Url::parse(base)
            .map_err(|error| Failure::new(format!("{base:?} is no address: {error}"), mend))?;
        if !matches!(url.scheme(), "http" | "https") {
            let what = format!("{base:?} is no http or https address");
            return Err(Failure::new(what, mend));
        }
        let local = ["127.0.0.1", "localhost", "[::1]"];
        let mut builder = reqwest::Client::builder().timeout(LIMIT);
        if url.host_str().is_some_and(|host| local.contains(&host)) {
            // A proxy leads to other machines, never to this one.
            builder = builder.no_proxy();
        }
        let client = builder
            .build()
            .map_err(|error| Failure::new(format!("the HTTP client: {error}"), mend))?;
        Ok(Api { base: url, client })
    }

    /// `GET`s a path below the API's address, as JSON.
    ///
    /// # Errors
    /// Nobody answers, or the answer is a refusal; with the API's own words.
    pub async fn get(&self, path: &str, query: &[(&str, String)]) -> Result<Value, Failure> {
        let mut url = self.base.clone();
        let root = url.path().trim_end_matches('/').to_owned();
        url.set_path(&format!("{root}{path}"));
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        self.answer(self.client.get(url.clone()), &url).await
    }

    /// `POST`s JSON to a path below the API's address, with an operator's
    /// token.
    ///
    /// # Errors
    /// As [`Api::get`]. Where no answer came in time, the message says that
    /// the request may have been heard.
    pub async fn post(&self, path: &str, body: &Value, token: &str) -> Result<Value, Failure> {
        let mut url = self.base.clone();
        let root = url.path().trim_end_matches('/').to_owned();
        url.set_path(&format!("{root}{path}"));
        // A broker that is away is waited for by the API.
        let request = self.client.post(url.clone()).timeout(POST_LIMIT);
        self.answer(request.bearer_auth(token).json(body), &url)
            .await
    }

    async fn answer(&self, request: reqwest::RequestBuilder, url: &Url) -> Result<Value, Failure> {
        let away = |error: reqwest::Error| {
            let why = if error.is_timeout() {
                "no answer came in time; a command may have been heard".to_owned()
            } else {
                "nobody answers there".to_owned()
            };
            Failure::new(
                format!("the API at {}: {why}", self.base),
                "start Midwatch (`make demo`), or say with --api or MIDWATCH_API_URL where its API is",
            )
        };
        let response = request.send().await.map_err(away)?;
        let status = response.status();
        let body = response.text().await.map_err(away)?;
        let answer: Option<Value> = serde_json::from_str(&body).ok();
        match answer {
            Some(answer) if status.is_success() => Ok(answer),
            // 503 of /health is an answer, too.
            Some(answer) if answer["status"].is_string() => Ok(answer),
            Some(answer) if answer["error"]["message"].is_string() => {
                let text = |name: &str| {
                    answer["error"][name]
                        .as_str()
                        .unwrap_or_default()
                        .to_owned()
                };
                // A decision that does not fit breaks a rule, which has a name.
                let code = text("code");
                let what = if status.as_u16() == 409 || code == "unknown_step" {
                    format!("{} (rule {code})", text("message"))
                } else {
                    text("message")
                };
                Err(Failure::new(what, text("hint")))
            }
            _ => Err(Failure::new(
                format!("{url} answers {status}, which is not Midwatch's API"),
                "say with --api or MIDWATCH_API_URL where the API is",
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_that_is_none_is_refused_with_an_example() {
        for bad in ["localhost", "ftp://x", ""] {
            let Err(Failure::Problem { mend, .. }) = Api::new(bad) else {
                panic!("{bad:?} is no address");
            };
            assert!(mend.contains("http://127.0.0.1:8000"));
        }
        assert!(Api::new("https://midwatch.example/ops").is_ok());
    }
}
