//! Who may give commands: people and programs with a token from the file that
//! `OPERATOR_TOKENS_FILE` names, and people whom a proxy in front of this
//! server has signed in.
//!
//! Each line of the file is `name token`, or `name:sha256` with the token's
//! SHA-256 in hexadecimal digits, so that the file need not hold the token
//! itself; `slack=…`, `telegram=…` and `mail=…` may follow. The file is read whenever somebody
//! shows a credential: a line that is taken out ends its sessions as well.

mod file;
mod proxy;

pub use proxy::Proxy;

use crate::App;
use crate::caller::Caller;
use crate::error::ApiError;
use crate::origin::Asker;
use axum::extract::rejection::FormRejection;
use axum::extract::{Form, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Redirect, Response};
use file::{Credential, read};
use midwatch_runtime::clock;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use uuid::Uuid;

/// The cookie of a session.
const COOKIE: &str = "midwatch_operator";
/// How long a session lasts, wall clock: a watch.
const SESSION_MS: i64 = 12 * 3_600_000;
/// Sessions at a time; beyond that the oldest ends.
const SESSIONS: usize = 256;

/// Somebody with a valid credential.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Operator {
    pub name: String,
    /// The beginning of the token's SHA-256, or `slack:U123`, `telegram:123`,
    /// `pagerduty:P123`, `proxy:ana`: tells credentials apart and reveals none.
    pub credential_id: String,
}

type Hash = [u8; 32];

struct Session {
    hash: Hash,
    until_ms: i64,
}

/// The operators of this server.
#[derive(Default)]
pub struct Operators {
    file: Option<PathBuf>,
    /// Whether people reach this server over TLS: the cookie then stays there.
    secure: bool,
    proxy: Option<Proxy>,
    sessions: Mutex<BTreeMap<Uuid, Session>>,
}

impl Operators {
    /// Operators of a file; without one nobody may give commands. `secure`
    /// says that the server's public address is an https one.
    #[must_use]
    pub fn new(file: Option<PathBuf>, secure: bool) -> Operators {
        Operators {
            file,
            secure,
            proxy: None,
            sessions: Mutex::default(),
        }
    }

    /// The same, with a proxy that signs people in.
    #[must_use]
    pub fn behind(mut self, proxy: Option<Proxy>) -> Operators {
        self.proxy = proxy;
        self
    }

    /// Whether a proxy at this address may say for whom it asks.
    #[must_use]
    pub fn trusts(&self, peer: std::net::IpAddr) -> bool {
        self.proxy.as_ref().is_some_and(|proxy| proxy.trusts(peer))
    }

    /// What is wrong with the file, if anything is.
    ///
    /// # Errors
    /// It cannot be read, or a line is no credential.
    pub fn check(&self) -> Result<(), String> {
        self.file
            .as_deref()
            .map_or(Ok(()), |file| read(file).map(|_| ()))
    }

    /// Whether anybody can be an operator.
    #[must_use]
    pub fn are_set_up(&self) -> bool {
        self.file.is_some() || self.proxy.is_some()
    }

    /// Whether there are tokens to sign in with.
    #[must_use]
    pub fn have_tokens(&self) -> bool {
        self.file.is_some()
    }

    fn credentials(&self) -> Result<Vec<Credential>, ApiError> {
        let Some(file) = &self.file else {
            if self.proxy.is_some() {
                return Ok(Vec::new());
            }
            return Err(ApiError {
                status: StatusCode::FORBIDDEN,
                code: "no_operators",
                message: "nobody may give commands here: no operator is set up".to_owned(),
                hint: "write a line `name token` (16 characters or more) into a file, set \
                       OPERATOR_TOKENS_FILE to its path and start the API again"
                    .to_owned(),
            });
        };
        read(file).map_err(|problem| {
            tracing::error!(problem, "the operators cannot be read");
            ApiError {
                status: StatusCode::SERVICE_UNAVAILABLE,
                code: "operators_unreadable",
                message: format!("the operators cannot be read: {problem}"),
                hint: "mend the file that OPERATOR_TOKENS_FILE names".to_owned(),
            }
        })
    }

    /// Who shows this token.
    ///
    /// # Errors
    /// 403 where no operator is set up, 401 for an unknown token.
    fn of_token(&self, token: &str) -> Result<Credential, ApiError> {
        let hash: Hash = Sha256::digest(token.trim().as_bytes()).into();
        let found = self.credentials()?.into_iter().find(|one| one.hash == hash);
        found.ok_or_else(|| {
            metrics::counter!("midwatch_api_operators_refused_total").increment(1);
            unknown("this token is not among the operators' tokens")
        })
    }

    /// Whom the proxy in front of this server names; `None` where it names
    /// nobody. Whoever is known by that mail address is one person, however
    /// they come.
    fn of_proxy(&self, caller: &Caller, headers: &HeaderMap) -> Result<Option<Operator>, ApiError> {
        let proxy = self.proxy.as_ref();
        let named = proxy.map_or(Ok(None), |proxy| proxy.operator(caller.peer, headers))?;
        Ok(named.map(|operator| Operator {
            name: self.name_of_mail(&operator.name).unwrap_or(operator.name),
            credential_id: operator.credential_id,
        }))
    }

    /// The operator who is called so in Slack.
    ///
    /// # Errors
    /// 403 where no operator is set up or nobody is called so.
    pub fn of_slack(&self, user: &str) -> Result<Operator, ApiError> {
        self.of_user("slack", user, |one| &one.slack)
    }

    /// The operator with this user id of Telegram.
    ///
    /// # Errors
    /// As [`Operators::of_slack`].
    pub fn of_telegram(&self, user: i64) -> Result<Operator, ApiError> {
        self.of_user("telegram", &user.to_string(), |one| &one.telegram)
    }

    /// The operator who is called `user` by another product.
    fn of_user(
        &self,
        product: &str,
        user: &str,
        names: impl Fn(&Credential) -> &[String],
    ) -> Result<Operator, ApiError> {
        let all = self.credentials()?;
        let known = all
            .iter()
            .find(|one| names(one).iter().any(|name| name == user));
        let known = known.ok_or_else(|| {
            metrics::counter!("midwatch_api_operators_refused_total").increment(1);
            ApiError {
                status: StatusCode::FORBIDDEN,
                code: "not_an_operator",
                message: format!("the user {user} of {product} is no operator here"),
                hint: format!("add {product}={user} to your line of OPERATOR_TOKENS_FILE"),
            }
        })?;
        Ok(Operator {
            name: known.name.clone(),
            credential_id: format!("{product}:{user}"),
        })
    }

    /// The name of the operator with this mail address, where one is known.
    #[must_use]
    pub fn name_of_mail(&self, address: &str) -> Option<String> {
        let address = address.to_ascii_lowercase();
        let all = self.credentials().ok()?;
        let known = all.into_iter().find(|one| one.mail.contains(&address));
        known.map(|one| one.name)
    }

    /// Who sends a request with `Authorization: Bearer`, or through the proxy.
    ///
    /// # Errors
    /// 403 where no operator is set up or somebody else than the proxy names
    /// people, 401 without a valid token.
    pub fn of_program(&self, caller: &Caller, headers: &HeaderMap) -> Result<Operator, ApiError> {
        if let Some(operator) = self.of_proxy(caller, headers)? {
            return Ok(operator);
        }
        let given = headers.get(header::AUTHORIZATION);
        let given = given.and_then(|value| value.to_str().ok());
        let token = given.and_then(|text| {
            let (scheme, token) = text.split_once(' ')?;
            scheme.eq_ignore_ascii_case("bearer").then_some(token)
        });
        match token {
            Some(token) => Ok(self.of_token(token)?.operator()),
            None => {
                self.credentials()?;
                Err(unknown("the request shows no operator's token"))
            }
        }
    }

    /// Who is signed in on the page that sends this request, or at the proxy
    /// that it comes through; `None` for nobody.
    ///
    /// # Errors
    /// 403 where no operator is set up or somebody else than the proxy names
    /// people.
    pub fn of_page(
        &self,
        caller: &Caller,
        headers: &HeaderMap,
    ) -> Result<Option<Operator>, ApiError> {
        if let Some(operator) = self.of_proxy(caller, headers)? {
            return Ok(Some(operator));
        }
        let credentials = self.credentials()?;
        let Some(id) = session_id(headers) else {
            return Ok(None);
        };
        let sessions = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        let session = sessions
            .get(&id)
            .filter(|session| session.until_ms > clock::now_ms());
        Ok(session.and_then(|session| {
            let mut all = credentials.iter();
            all.find(|one| one.hash == session.hash)
                .map(Credential::operator)
        }))
    }

    /// Begins a session; answers with its cookie.
    fn begin(&self, credential: &Credential) -> HeaderValue {
        let id = clock::random_id();
        let now_ms = clock::now_ms();
        let mut sessions = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        sessions.retain(|_, session| session.until_ms > now_ms);
        while sessions.len() >= SESSIONS {
            let oldest = sessions.iter().min_by_key(|(_, one)| one.until_ms);
            let Some(oldest) = oldest.map(|(id, _)| *id) else {
                break;
            };
            sessions.remove(&oldest);
        }
        sessions.insert(
            id,
            Session {
                hash: credential.hash,
                until_ms: now_ms + SESSION_MS,
            },
        );
        self.cookie(&id.simple().to_string(), SESSION_MS / 1_000)
    }

    /// Ends the session of this request; answers with a cookie that goes.
    fn end(&self, headers: &HeaderMap) -> HeaderValue {
        if let Some(id) = session_id(headers) {
            let mut sessions = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
            sessions.remove(&id);
        }
        self.cookie("", 0)
    }

    fn cookie(&self, value: &str, seconds: i64) -> HeaderValue {
        let secure = if self.secure { "; Secure" } else { "" };
        let text = format!(
            "{COOKIE}={value}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Strict{secure}"
        );
        HeaderValue::from_str(&text).expect("a name, digits and words are a header's text")
    }
}

/// The field of the form, and which incident's page it is on.
#[derive(Deserialize)]
pub struct SignIn {
    #[serde(default)]
    token: String,
    #[serde(default)]
    incident: String,
}

/// `POST /operator/sign-in`: the form of the page.
pub async fn sign_in(
    State(app): State<App>,
    headers: HeaderMap,
    body: Result<Form<SignIn>, FormRejection>,
) -> Result<Response, ApiError> {
    app.origins.check(&headers, Asker::Page)?;
    let Form(form) = body.map_err(|error| unreadable(&error.body_text()))?;
    let credential = app.operators.of_token(&form.token)?;
    tracing::info!(operator = credential.name, "an operator signed in");
    Ok(leave(&form.incident, app.operators.begin(&credential)))
}

/// `POST /operator/sign-out`: the button of the page.
pub async fn sign_out(
    State(app): State<App>,
    headers: HeaderMap,
    body: Result<Form<SignIn>, FormRejection>,
) -> Result<Response, ApiError> {
    app.origins.check(&headers, Asker::Page)?;
    let Form(form) = body.map_err(|error| unreadable(&error.body_text()))?;
    Ok(leave(&form.incident, app.operators.end(&headers)))
}

/// Back to the page with a cookie. Only an id is taken over, so that the way
/// never leads elsewhere.
fn leave(incident: &str, cookie: HeaderValue) -> Response {
    let place = incident
        .parse::<Uuid>()
        .map_or_else(|_| "/".to_owned(), |id| format!("/incidents/{id}#operate"));
    ([(header::SET_COOKIE, cookie)], Redirect::to(&place)).into_response()
}

fn session_id(headers: &HeaderMap) -> Option<Uuid> {
    headers
        .get_all(header::COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|text| text.split(';'))
        .find_map(|pair| pair.trim().strip_prefix(COOKIE)?.strip_prefix('='))
        .and_then(|id| id.parse().ok())
}

fn unknown(message: &str) -> ApiError {
    ApiError {
        status: StatusCode::UNAUTHORIZED,
        code: "not_an_operator",
        message: message.to_owned(),
        hint: "sign in on the page, or send `Authorization: Bearer` with a token of \
               OPERATOR_TOKENS_FILE (the command line reads OPERATOR_TOKEN)"
            .to_owned(),
    }
}

/// What a form or body that cannot be read is told.
pub(crate) fn unreadable(what: &str) -> ApiError {
    ApiError {
        status: StatusCode::BAD_REQUEST,
        code: "bad_body",
        message: format!("the body cannot be read: {what}"),
        hint: "GET /openapi.json describes what each address takes".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_ends_with_its_line_or_its_time_and_is_no_other_cookie() {
        let folder = std::env::temp_dir().join(format!("operators-{}", clock::random_id()));
        std::fs::write(&folder, "ana correct-horse-battery\n").unwrap();
        let operators = Operators::new(Some(folder.clone()), true);
        let caller = Caller::default();
        let credential = operators.of_token("correct-horse-battery").unwrap();
        let cookie = operators.begin(&credential);
        let cookie = cookie.to_str().unwrap();
        for part in ["HttpOnly", "SameSite=Strict", "Secure", "Path=/"] {
            assert!(cookie.contains(part), "{cookie}");
        }
        let pair = cookie.split(';').next().unwrap();
        let headers = |text: &str| {
            HeaderMap::from_iter([(header::COOKIE, HeaderValue::from_str(text).unwrap())])
        };
        let signed = headers(&format!("other=1; {pair}"));
        let found = operators.of_page(&caller, &signed).unwrap().unwrap();
        assert_eq!(found.name, "ana");
        assert!(found.credential_id.starts_with("sha256:"));
        let forged = headers(&format!("{COOKIE}={}", Uuid::nil()));
        assert_eq!(operators.of_page(&caller, &forged).unwrap(), None);
        std::fs::write(&folder, "bo another-token-of-length\n").unwrap();
        assert_eq!(operators.of_page(&caller, &signed).unwrap(), None);
        std::fs::remove_file(&folder).unwrap();
        assert_eq!(
            operators.of_page(&caller, &signed).unwrap_err().code,
            "operators_unreadable"
        );
        assert_eq!(
            Operators::default()
                .of_page(&caller, &signed)
                .unwrap_err()
                .code,
            "no_operators"
        );
    }

    #[test]
    fn other_names_lead_to_the_operator_and_to_nobody_else() {
        let file = std::env::temp_dir().join(format!("aliases-{}", clock::random_id()));
        let line = "ana correct-horse-battery slack=U0123ABCD telegram=123 mail=ana@example.com\n";
        std::fs::write(&file, line).unwrap();
        let operators = Operators::new(Some(file.clone()), false);
        let ana = operators.of_slack("U0123ABCD").unwrap();
        assert_eq!(
            (ana.name.as_str(), ana.credential_id.as_str()),
            ("ana", "slack:U0123ABCD")
        );
        let same = operators.of_telegram(123).unwrap();
        assert_eq!(
            (same.name.as_str(), same.credential_id.as_str()),
            ("ana", "telegram:123")
        );
        for other in [
            operators.of_slack("U0123ABC"),
            operators.of_slack("123"),
            operators.of_telegram(12),
        ] {
            let other = other.unwrap_err();
            assert_eq!(
                (other.status.as_u16(), other.code),
                (403, "not_an_operator")
            );
        }
        assert_eq!(
            operators.name_of_mail("Ana@Example.com").as_deref(),
            Some("ana")
        );
        assert_eq!(operators.name_of_mail("bo@example.com"), None);
        let proxy = Proxy::new("X-User", "10.0.0.7").unwrap();
        let operators = operators.behind(Some(proxy));
        let caller = Caller {
            peer: Some("10.0.0.7".parse().unwrap()),
            address: String::new(),
        };
        for (named, name) in [
            ("ana@example.com", "ana"),
            ("bo@example.com", "bo@example.com"),
        ] {
            let headers = HeaderMap::from_iter([(
                axum::http::HeaderName::from_static("x-user"),
                named.parse().unwrap(),
            )]);
            let known = operators.of_proxy(&caller, &headers).unwrap().unwrap();
            assert_eq!(known.name, name);
            assert_eq!(known.credential_id, format!("proxy:{named}"));
        }
        std::fs::remove_file(&file).unwrap();
    }
}
