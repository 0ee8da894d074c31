//! The mail server: greeting, capabilities, TLS and login as SMTP_URL asks for
//! them. No mail is sent.

use super::{Finding, Probe, chain, since};
use crate::configuration::{Configuration, percent_decoded};
use lettre::transport::smtp::authentication::{Credentials, DEFAULT_MECHANISMS};
use lettre::transport::smtp::client::{AsyncSmtpConnection, Certificate, TlsParameters};
use lettre::transport::smtp::extension::ClientId;
use reqwest::Url;
use std::time::{Duration, Instant};

const SERVER: &str = "smtp";
const STEP: Duration = Duration::from_secs(6);

pub(super) fn probe(configuration: &Configuration) -> Probe {
    let settings = &configuration.settings;
    let default = midwatch_communication::config::DEFAULT_SMTP_URL;
    let url = settings.text("SMTP_URL", default);
    let ca_file = settings.get("SMTP_CA_FILE");
    Probe {
        checks: &[SERVER],
        limit: Duration::from_secs(12),
        remedy: "see that the mail server runs, and that SMTP_URL leads to it",
        answer: Box::pin(async move { vec![check(&url, ca_file).await] }),
    }
}

/// How the conversation is protected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tls {
    /// `smtps://`: from the first byte.
    Wrapped,
    /// `tls=required`: STARTTLS, or no mail.
    Required,
    /// `tls=opportunistic`: STARTTLS where it is offered.
    Offered,
    None,
}

/// What SMTP_URL says.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Server {
    host: String,
    port: u16,
    tls: Tls,
    login: Option<(String, String)>,
}

impl Server {
    /// The form was checked by the code that sends mails.
    fn parse(url: &str) -> Result<Server, String> {
        midwatch_communication::smtp::check_url(url)?;
        let parsed = Url::parse(url).map_err(|error| format!("SMTP_URL: {error}"))?;
        let host = parsed.host_str().unwrap_or_default();
        let word = parsed
            .query_pairs()
            .find(|(name, _)| name == "tls")
            .map(|(_, value)| value.into_owned());
        let tls = match (parsed.scheme(), word.as_deref()) {
            ("smtps", _) => Tls::Wrapped,
            (_, Some("required")) => Tls::Required,
            (_, Some("opportunistic")) => Tls::Offered,
            _ => Tls::None,
        };
        let port = match tls {
            Tls::Wrapped => 465,
            Tls::Required | Tls::Offered => 587,
            Tls::None => 25,
        };
        let login = parsed.password().map(|password| {
            (
                percent_decoded(parsed.username()),
                percent_decoded(password),
            )
        });
        Ok(Server {
            host: host.trim_matches(['[', ']']).to_owned(),
            port: parsed.port().unwrap_or(port),
            tls,
            login,
        })
    }

    fn is_local(&self) -> bool {
        ["127.0.0.1", "::1", "localhost"].contains(&self.host.as_str())
    }
}

/// A step of the conversation that failed.
struct Refused {
    found: String,
    remedy: &'static str,
}

async fn check(url: &str, ca_file: Option<String>) -> Finding {
    let server = match Server::parse(url) {
        Ok(server) => server,
        Err(problem) => return Finding::fail(SERVER, problem, "correct SMTP_URL"),
    };
    match talk(&server, ca_file).await {
        Ok(found) if server.tls == Tls::None && !server.is_local() => Finding::warn(
            SERVER,
            format!("{found}; mails go there in the clear"),
            "use smtp://…?tls=required or smtps:// in SMTP_URL",
        ),
        Ok(found) => Finding::ok(SERVER, found),
        Err(refused) => {
            let found = format!("{}:{}: {}", server.host, server.port, refused.found);
            Finding::fail(SERVER, found, refused.remedy)
        }
    }
}

/// Greets, protects, logs in, and takes leave.
async fn talk(server: &Server, ca_file: Option<String>) -> Result<String, Refused> {
    let refused = |remedy: &'static str| {
        move |error: lettre::transport::smtp::Error| Refused {
            found: chain(&error),
            remedy,
        }
    };
    let tls = (server.tls != Tls::None)
        .then(|| parameters(server, ca_file))
        .transpose()?;
    let hello = ClientId::default();
    let begun = Instant::now();
    let wrapped = tls.clone().filter(|_| server.tls == Tls::Wrapped);
    let address = (server.host.as_str(), server.port);
    let mut connection =
        AsyncSmtpConnection::connect_tokio1(address, Some(STEP), &hello, wrapped, None)
            .await
            .map_err(refused(
                "start the mail server (`make demo` brings an inbox), or correct host, port and scheme in SMTP_URL",
            ))?;
    let name = connection.server_info().name().to_owned();
    let offered = connection.can_starttls();
    let mut found = format!(
        "{name} at {}:{} greets in {}; STARTTLS is {}",
        server.host,
        server.port,
        since(begun),
        match (server.tls, offered) {
            (Tls::Wrapped, _) => "not needed: TLS from the first byte",
            (_, true) => "offered",
            (_, false) => "not offered",
        }
    );
    if let (Tls::Required | Tls::Offered, Some(tls)) = (server.tls, tls) {
        if offered {
            connection
                .starttls(tls, &hello)
                .await
                .map_err(refused(
                    "trust the server's certificate: name its authority in SMTP_CA_FILE, and use the host name in it",
                ))?;
            found.push_str(" and taken");
        } else if server.tls == Tls::Required {
            return Err(Refused {
                found: format!("{name} offers no STARTTLS, and SMTP_URL wants it"),
                remedy: "use the server's port for STARTTLS (often 587), or smtps:// with its TLS port (often 465)",
            });
        }
    }
    if let Some((user, password)) = &server.login {
        let credentials = Credentials::new(user.clone(), password.clone());
        connection
            .auth(DEFAULT_MECHANISMS, &credentials)
            .await
            .map_err(refused(
                "correct user and password in SMTP_URL (signs such as @ as %40)",
            ))?;
        found.push_str("; the login is accepted");
    }
    // A server that is impatient with good-byes is no worse for it.
    connection.quit().await.ok();
    Ok(found)
}

fn parameters(server: &Server, ca_file: Option<String>) -> Result<TlsParameters, Refused> {
    let mut builder = TlsParameters::builder(server.host.clone());
    if let Some(path) = ca_file {
        let refused = |found: String| Refused {
            found,
            remedy: "set SMTP_CA_FILE to a certificate in PEM form",
        };
        let pem = std::fs::read(&path)
            .map_err(|error| refused(format!("SMTP_CA_FILE {path}: {error}")))?;
        let certificate = Certificate::from_pem(&pem)
            .map_err(|error| refused(format!("SMTP_CA_FILE {path}: {error}")))?;
        builder = builder.add_root_certificate(certificate);
    }
    builder.build_native().map_err(|error| Refused {
        found: format!("TLS cannot be set up: {error}"),
        remedy: "see that the host in SMTP_URL is a name",
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_url_says_how_to_protect_and_log_in() {
        let server = |url| Server::parse(url).unwrap();
        let plain = server("smtp://127.0.0.1:1025");
        assert_eq!(
            (plain.port, plain.tls, &plain.login),
            (1025, Tls::None, &None)
        );
        assert!(plain.is_local());
        let wrapped = server("smtps://me:p%40ss@mail.example");
        assert_eq!((wrapped.port, wrapped.tls), (465, Tls::Wrapped));
        assert_eq!(wrapped.login, Some(("me".to_owned(), "p@ss".to_owned())));
        let required = server("smtp://mail.example?tls=required");
        assert_eq!((required.port, required.tls), (587, Tls::Required));
        assert!(!required.is_local());
        assert!(Server::parse("http://mail").is_err());
    }
}
