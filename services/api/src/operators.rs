//! Who may give commands: people and programs with a token from the file that
//! `OPERATOR_TOKENS_FILE` names.
//!
//! Each line is `name token`, or `name:sha256` with the token's SHA-256 in
//! hexadecimal digits, so that the file need not hold the token itself. The
//! file is read whenever somebody shows a credential: a line that is taken out
//! ends its sessions as well.

use crate::App;
use crate::error::ApiError;
use crate::origin::Asker;
use axum::extract::rejection::FormRejection;
use axum::extract::{Form, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Redirect, Response};
use midwatch_runtime::clock;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use uuid::Uuid;

/// The cookie of a session.
const COOKIE: &str = "midwatch_operator";
/// How long a session lasts, wall clock: a watch.
const SESSION_MS: i64 = 12 * 3_600_000;
/// Sessions at a time; beyond that the oldest ends.
const SESSIONS: usize = 256;
/// Characters of a token at least: shorter ones can be guessed.
const TOKEN: usize = 16;
/// Characters of a name at most.
const NAME: usize = 100;
/// Bytes of the file at most: some thousand operators.
const FILE: u64 = 256 * 1024;

/// Somebody with a valid credential.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Operator {
    pub name: String,
    /// The beginning of the token's SHA-256: tells credentials apart and
    /// reveals none.
    pub credential_id: String,
}

type Hash = [u8; 32];

#[derive(Clone, Debug, PartialEq, Eq)]
struct Credential {
    name: String,
    hash: Hash,
}

impl Credential {
    fn operator(&self) -> Operator {
        Operator {
            name: self.name.clone(),
            credential_id: format!("sha256:{}", &hex(&self.hash)[..12]),
        }
    }
}

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
            sessions: Mutex::default(),
        }
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

    /// Whether there is a file of operators.
    #[must_use]
    pub fn are_set_up(&self) -> bool {
        self.file.is_some()
    }

    fn credentials(&self) -> Result<Vec<Credential>, ApiError> {
        let Some(file) = &self.file else {
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

    /// Who sends a request with `Authorization: Bearer`.
    ///
    /// # Errors
    /// 403 where no operator is set up, 401 without a valid token.
    pub fn of_program(&self, headers: &HeaderMap) -> Result<Operator, ApiError> {
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

    /// Who is signed in on the page that sends this request; `None` for
    /// nobody.
    ///
    /// # Errors
    /// 403 where no operator is set up.
    pub fn of_page(&self, headers: &HeaderMap) -> Result<Option<Operator>, ApiError> {
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

fn read(file: &Path) -> Result<Vec<Credential>, String> {
    let name = file.display();
    let size = std::fs::metadata(file).map_err(|error| format!("{name}: {error}"))?;
    if size.len() > FILE {
        return Err(format!(
            "{name} has {} bytes, at most {FILE} are read",
            size.len()
        ));
    }
    let text = std::fs::read_to_string(file).map_err(|error| format!("{name}: {error}"))?;
    let credentials = parse(&text).map_err(|problem| format!("{name}, {problem}"))?;
    if credentials.is_empty() {
        return Err(format!("{name} names nobody"));
    }
    Ok(credentials)
}

/// The credentials of a file's text. No problem quotes a token.
fn parse(text: &str) -> Result<Vec<Credential>, String> {
    let lines = text.lines().map(str::trim).enumerate();
    lines
        .filter(|(_, line)| !line.is_empty() && !line.starts_with('#'))
        .map(|(index, line)| credential(line).map_err(|why| format!("line {}: {why}", index + 1)))
        .collect()
}

fn credential(line: &str) -> Result<Credential, &'static str> {
    let (name, hash) = match line.split_once(char::is_whitespace) {
        Some((name, token)) => {
            let token = token.trim();
            if token.contains(char::is_whitespace) {
                return Err("a token holds no blanks");
            }
            if token.chars().count() < TOKEN {
                return Err("a token has at least 16 characters");
            }
            (name, Sha256::digest(token.as_bytes()).into())
        }
        None => {
            let (name, digits) = line
                .rsplit_once(':')
                .ok_or("write `name token` or `name:sha256`")?;
            let hash = from_hex(digits).ok_or("a SHA-256 has 64 hexadecimal digits")?;
            (name, hash)
        }
    };
    let harmless = |letter: char| letter.is_alphanumeric() || "._-@+".contains(letter);
    if name.is_empty() || name.chars().count() > NAME || !name.chars().all(harmless) {
        return Err("a name has letters, digits and ._-@+ only, at most 100");
    }
    Ok(Credential {
        name: name.to_owned(),
        hash,
    })
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn from_hex(text: &str) -> Option<Hash> {
    if text.len() != 64 || !text.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return None;
    }
    let mut hash = [0; 32];
    for (byte, digits) in hash.iter_mut().zip(text.as_bytes().chunks(2)) {
        let digits = std::str::from_utf8(digits).ok()?;
        *byte = u8::from_str_radix(digits, 16).ok()?;
    }
    Some(hash)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_a_name_with_a_token_or_with_its_hash() {
        // `printf %s correct-horse-battery | sha256sum`
        let digits = "62249369389075490555a758353aec61500c6218fa597252d52dc4bd0148f12d";
        let read = parse(&format!(
            "# people\n\nana correct-horse-battery\nbo:{digits}\n"
        ));
        let read = read.expect("two operators");
        assert_eq!(
            (read[0].name.as_str(), read[1].name.as_str()),
            ("ana", "bo")
        );
        assert_eq!(hex(&read[1].hash), digits);
        assert_eq!(read[0].hash, read[1].hash);
    }

    #[test]
    fn a_bad_line_is_named_and_no_token_is_quoted() {
        for (text, words) in [
            ("ana short", "at least 16"),
            ("\nana", "line 2: write `name token`"),
            ("ana:12", "64 hexadecimal digits"),
            ("<b> 0123456789abcdef", "a name has letters"),
            ("ana 0123456789abcdef 0123", "no blanks"),
        ] {
            let problem = parse(text).unwrap_err();
            assert!(problem.contains(words), "{text}: {problem}");
            assert!(!problem.contains("0123"), "{problem}");
        }
    }

    #[test]
    fn a_session_ends_with_its_line_or_its_time_and_is_no_other_cookie() {
        let folder = std::env::temp_dir().join(format!("operators-{}", clock::random_id()));
        std::fs::write(&folder, "ana correct-horse-battery\n").unwrap();
        let operators = Operators::new(Some(folder.clone()), true);
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
        let found = operators.of_page(&signed).unwrap().unwrap();
        assert_eq!(found.name, "ana");
        assert!(found.credential_id.starts_with("sha256:"));
        let forged = headers(&format!("{COOKIE}={}", Uuid::nil()));
        assert_eq!(operators.of_page(&forged).unwrap(), None);
        std::fs::write(&folder, "bo another-token-of-length\n").unwrap();
        assert_eq!(operators.of_page(&signed).unwrap(), None);
        std::fs::remove_file(&folder).unwrap();
        assert_eq!(
            operators.of_page(&signed).unwrap_err().code,
            "operators_unreadable"
        );
        assert_eq!(
            Operators::default().of_page(&signed).unwrap_err().code,
            "no_operators"
        );
    }
}
