//! Handing a mail to the SMTP server.

use crate::channels::http::Answered;
use crate::mail::{Mail, Receipt, Refusal};
use anyhow::Context as _;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use lettre::address::Envelope;
use lettre::message::header::{ContentType, HeaderName, HeaderValue};
use lettre::message::{Attachment, Mailbox, Message, MultiPart, SinglePart};
use lettre::transport::smtp::client::{Certificate, Tls, TlsParameters};
use lettre::transport::smtp::response::Response;
use lettre::{Address, AsyncSmtpTransport, AsyncTransport as _, Tokio1Executor};
use midwatch_runtime::agent::JobError;
use reqwest::Url;
use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;
use tokio::time::Instant;

/// Limit of each step of the conversation: connect, a command, its reply.
const STEP_LIMIT: Duration = Duration::from_secs(10);
/// Limit of the whole delivery; the runtime's lease on a job is longer.
const WHOLE_LIMIT: Duration = Duration::from_secs(30);

/// A configured connection to the server. Each mail has its own connection:
/// there are a handful per incident, and idle ones break silently.
#[derive(Clone, Debug)]
pub struct Mailer {
    transport: AsyncSmtpTransport<Tokio1Executor>,
    from: Mailbox,
    /// Without credentials, for messages.
    server: String,
}

/// Checks the form of `SMTP_URL`, and that a login goes over TLS or stays on
/// this machine.
///
/// # Errors
/// Names the variable and the forms that it takes, never its password.
pub fn check_url(url: &str) -> Result<(), String> {
    let form = "SMTP_URL must be smtp://host:port, smtp://user:password@host:port?tls=required (STARTTLS) or smtps://user:password@host:port";
    if !url.starts_with("smtp://") && !url.starts_with("smtps://") {
        return Err(format!("{form}; its scheme is neither smtp nor smtps"));
    }
    AsyncSmtpTransport::<Tokio1Executor>::from_url(url)
        .map(drop)
        .map_err(|error| format!("{form}; {error}"))?;
    let parsed = Url::parse(url).map_err(|error| format!("{form}; {error}"))?;
    let has_login = !parsed.username().is_empty() || parsed.password().is_some();
    if has_login && !is_protected(&parsed) {
        return Err(format!("{CLEAR}, and it has a login; {PROTECT}"));
    }
    Ok(())
}

/// Checks that one-time links go over TLS or stay on this machine: whoever
/// reads one may use it. The URL is of the right form.
///
/// # Errors
/// As [`check_url`].
pub fn check_links(url: &str) -> Result<(), String> {
    match Url::parse(url) {
        Ok(parsed) if !is_protected(&parsed) => Err(format!(
            "{CLEAR}, and with APPROVAL_LINK_KEY_FILE mails hold links that approve; {PROTECT}"
        )),
        _ => Ok(()),
    }
}

const CLEAR: &str = "SMTP_URL lets mails go to another machine in the clear";
const PROTECT: &str = "add ?tls=required to it (STARTTLS; tls=opportunistic can be taken away on the way), or write smtps:// in place of smtp://";

/// Whether nobody on the way can read along.
fn is_protected(url: &Url) -> bool {
    // The first one counts, as where the connection is made.
    let tls = url.query_pairs().find(|(name, _)| name == "tls");
    let required = tls.is_some_and(|(_, value)| value == "required");
    url.scheme() == "smtps" || required || is_here(url)
}

fn is_here(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    let address = host.parse::<IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

impl Mailer {
    /// Prepares deliveries to the server at `url` from `from`. Nothing is
    /// contacted yet.
    ///
    /// # Errors
    /// The URL, the address or the certificate cannot be used.
    pub fn new(url: &str, from: &str, ca_file: Option<&Path>) -> anyhow::Result<Mailer> {
        let mut builder = AsyncSmtpTransport::<Tokio1Executor>::from_url(url)
            .context("SMTP_URL cannot be used")?
            .timeout(Some(STEP_LIMIT));
        let server = server_of(url);
        if let Some(path) = ca_file {
            let pem = std::fs::read(path)
                .with_context(|| format!("SMTP_CA_FILE {} cannot be read", path.display()))?;
            let certificate = Certificate::from_pem(&pem).with_context(|| {
                format!("SMTP_CA_FILE {} is not a PEM certificate", path.display())
            })?;
            let parameters = TlsParameters::builder(host_of(&server).to_owned())
                .add_root_certificate(certificate)
                .build_native()
                .context("TLS cannot be set up for SMTP_URL")?;
            builder = builder.tls(if url.starts_with("smtps://") {
                Tls::Wrapper(parameters)
            } else if url.contains("tls=required") {
                Tls::Required(parameters)
            } else if url.contains("tls=opportunistic") {
                Tls::Opportunistic(parameters)
            } else {
                Tls::None
            });
        }
        Ok(Mailer {
            transport: builder.build(),
            from: Mailbox::new(
                Some("Midwatch".to_owned()),
                from.parse().context("MAIL_FROM is not a mail address")?,
            ),
            server,
        })
    }

    /// Hands over a mail, to all recipients but those in `behind` in one
    /// conversation. Where the server refuses that, each recipient gets a
    /// conversation of their own with the same bytes, so that one address
    /// neither costs anybody else the mail nor makes them wait for it; who was
    /// refused, and who is to be tried again alone, stands in the receipt.
    ///
    /// # Errors
    /// Nobody got it: permanent where the server refuses everybody for good
    /// (5xx) or the mail cannot be built, transient where the server is away,
    /// or where it refuses the one recipient of a delivery apart for now.
    pub async fn deliver(&self, mail: &Mail, behind: &[String]) -> Result<Receipt, JobError> {
        let message = self.message(mail).map_err(JobError::Permanent)?;
        let (whole, bytes) = (message.envelope().clone(), message.formatted());
        let (waiting, wanted): (Vec<String>, Vec<String>) = mail
            .addressed()
            .into_iter()
            .partition(|address| behind.contains(address));
        let mut receipt = Receipt {
            behind: waiting,
            ..Receipt::default()
        };
        if wanted.is_empty() {
            return Ok(receipt);
        }
        let envelope = only_to(&whole, &wanted).map_err(JobError::Permanent)?;
        let deadline = Instant::now() + WHOLE_LIMIT;
        match self.hand_over(&envelope, &bytes, deadline).await {
            Ok(reply) => receipt.reply = reply,
            Err(error) if mail.only.is_some() || is_away(&error) => return Err(error),
            // With somebody who waits, a refusal is one of several.
            Err(error) if wanted.len() == 1 && receipt.behind.is_empty() => {
                note(&mut receipt, &wanted[0], error)?;
            }
            Err(_) => {
                self.one_by_one(&whole, &wanted, &bytes, deadline, &mut receipt)
                    .await?;
            }
        }
        Ok(receipt)
    }

    async fn one_by_one(
        &self,
        whole: &Envelope,
        wanted: &[String],
        bytes: &[u8],
        deadline: Instant,
        receipt: &mut Receipt,
    ) -> Result<(), JobError> {
        let mut last = None;
        for recipient in wanted {
            let sent = match only_to(whole, std::slice::from_ref(recipient)) {
                Ok(own) => self.hand_over(&own, bytes, deadline).await,
                Err(error) => Err(JobError::Permanent(error)),
            };
            match sent {
                Ok(reply) => receipt.reply = reply,
                // Gone in between: whoever is left is tried again alone.
                Err(error) if is_away(&error) => {
                    receipt.postponed.push(refusal(recipient, &error));
                    last = Some(error);
                }
                Err(error @ JobError::Permanent(_)) => {
                    receipt.refused.push(refusal(recipient, &error));
                    last.get_or_insert(error);
                }
                Err(error) => receipt.postponed.push(refusal(recipient, &error)),
            }
        }
        let nobody = receipt.reply.is_empty() && receipt.behind.is_empty();
        match last {
            // Away from the first one on, or refused by all for good.
            Some(error) if nobody && receipt.postponed.len() == wanted.len() => Err(error),
            Some(error) if nobody && receipt.refused.len() == wanted.len() => Err(error),
            _ => Ok(()),
        }
    }

    async fn hand_over(
        &self,
        envelope: &Envelope,
        bytes: &[u8],
        deadline: Instant,
    ) -> Result<String, JobError> {
        let sending = self.transport.send_raw(envelope, bytes);
        match tokio::time::timeout_at(deadline, sending).await {
            Ok(Ok(response)) => Ok(said(&response)),
            Ok(Err(error)) => {
                let permanent = error.is_permanent();
                // 421 says that the whole server is going away.
                let about_this = error.is_transient()
                    && error.status().is_none_or(|code| code.to_string() != "421");
                let error = anyhow::Error::new(error);
                let error = if about_this {
                    anyhow::Error::new(Answered).context(format!("{error:#}"))
                } else {
                    error
                };
                let error = error.context(format!(
                    "the SMTP server {} did not take the mail",
                    self.server
                ));
                Err(if permanent {
                    JobError::Permanent(error)
                } else {
                    JobError::Transient(error)
                })
            }
            Err(_) => Err(JobError::Transient(anyhow::anyhow!(
                "the SMTP server {} did not finish within {} s",
                self.server,
                WHOLE_LIMIT.as_secs()
            ))),
        }
    }

    fn message(&self, mail: &Mail) -> anyhow::Result<Message> {
        let note = &mail.notification;
        let mailbox = |address: &String| -> anyhow::Result<Mailbox> {
            let address = address
                .parse()
                .with_context(|| format!("{address:?} is not a mail address"))?;
            Ok(Mailbox::new(None, address))
        };
        let mut builder = Message::builder()
            .from(self.from.clone())
            .subject(crate::units::line(&note.subject, 200))
            .message_id(Some(bracketed(&note.message_id)));
        for address in &note.to {
            builder = builder.to(mailbox(address)?);
        }
        for address in &note.cc {
            builder = builder.cc(mailbox(address)?);
        }
        if let Some(parent) = &note.in_reply_to {
            builder = builder.in_reply_to(bracketed(parent));
            let references: Vec<String> = mail.references.iter().map(|id| bracketed(id)).collect();
            builder = builder.references(references.join(" "));
        }
        let mut message = builder.multipart(body(mail)?)?;
        for (name, value) in [
            // Keeps vacation notices and ticket systems from answering.
            ("Auto-Submitted", "auto-generated"),
            ("X-Midwatch-Incident", mail.short_id.as_str()),
            ("X-Midwatch-Stage", note.stage.as_str()),
        ] {
            let name = HeaderName::new_from_ascii_str(name);
            let value = HeaderValue::new(name, crate::units::line(value, 80));
            message.headers_mut().insert_raw(value);
        }
        Ok(message)
    }
}

/// Plain text, and HTML with its picture. The picture travels inside the mail:
/// a remote one would tell its server who reads, and often is not shown.
fn body(mail: &Mail) -> anyhow::Result<MultiPart> {
    let note = &mail.notification;
    let Some(picture) = &mail.picture else {
        return Ok(MultiPart::alternative_plain_html(
            note.body_text.clone(),
            note.body_html.clone(),
        ));
    };
    let png = BASE64_STANDARD
        .decode(picture)
        .context("the mail's picture is no base64")?;
    let image = Attachment::new_inline("chart".to_owned()).body(
        png,
        ContentType::parse("image/png").context("a media type")?,
    );
    let related = MultiPart::related()
        .singlepart(SinglePart::html(note.body_html.clone()))
        .singlepart(image);
    Ok(MultiPart::alternative()
        .singlepart(SinglePart::plain(note.body_text.clone()))
        .multipart(related))
}

/// What the server answered, on one line.
fn said(response: &Response) -> String {
    let words: Vec<&str> = response.message().collect();
    format!("{} {}", response.code(), words.join(" "))
}

fn only_to(envelope: &Envelope, recipients: &[String]) -> anyhow::Result<Envelope> {
    let addresses: Result<Vec<Address>, _> = recipients
        .iter()
        .map(|recipient| recipient.parse::<Address>())
        .collect();
    let addresses = addresses.context("a recipient is no mail address")?;
    Envelope::new(envelope.from().cloned(), addresses).context("the recipients make no envelope")
}

/// Whether the server itself is away, rather than that it refuses somebody.
fn is_away(error: &JobError) -> bool {
    matches!(error, JobError::Transient(error) if !error.is::<Answered>())
}

fn refusal(recipient: &str, error: &JobError) -> Refusal {
    Refusal {
        recipient: recipient.to_owned(),
        reason: format!("{error:#}"),
    }
}

/// Writes down that a mail's one recipient is to be tried again alone.
fn note(receipt: &mut Receipt, recipient: &str, error: JobError) -> Result<(), JobError> {
    match error {
        JobError::Permanent(_) => Err(error),
        _ => {
            receipt.postponed.push(refusal(recipient, &error));
            Ok(())
        }
    }
}

/// An id as it stands in a header; derived ids hold nothing that would end it.
fn bracketed(id: &str) -> String {
    let plain: String = id
        .chars()
        .filter(|character| character.is_ascii_graphic() && !matches!(character, '<' | '>'))
        .collect();
    format!("<{plain}>")
}

/// `host:port` of an SMTP URL.
fn server_of(url: &str) -> String {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let authority = &rest[..end];
    authority
        .rsplit_once('@')
        .map_or(authority, |(_, host)| host)
        .to_owned()
}

fn host_of(server: &str) -> &str {
    if let Some(rest) = server.strip_prefix('[') {
        return rest.split_once(']').map_or(rest, |(host, _)| host);
    }
    server.rsplit_once(':').map_or(server, |(host, _)| host)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_server_is_named_without_its_password() {
        assert_eq!(
            server_of("smtp://u:p%40s@mail.example:587?tls=required"),
            "mail.example:587"
        );
        assert_eq!(host_of("mail.example:587"), "mail.example");
        assert_eq!(host_of("[::1]:25"), "::1");
    }

    #[test]
    fn a_login_and_links_never_leave_this_machine_in_the_clear() {
        for fine in [
            "smtp://a:b@mail.example?tls=required",
            "smtp://a:b@mail.example:587?x=y&tls=required",
            "smtps://a:b@mail.example",
            "smtp://a:b@127.0.0.1:1025",
            "smtp://a:b@localhost",
            "smtp://a:b@[::1]:25",
        ] {
            assert_eq!(check_url(fine), Ok(()), "{fine}");
            assert_eq!(check_links(fine), Ok(()), "{fine}");
        }
        for bad in [
            "smtp://a:open-sesame@mail.example",
            "smtp://a:open-sesame@mail.example?tls=opportunistic",
            "smtp://a:open-sesame@127.0.0.1.example?tls=opportunistic",
            "smtp://a:tls=required@mail.example",
        ] {
            let problem = check_url(bad).expect_err(bad);
            assert!(problem.contains("add ?tls=required"), "{problem}");
            assert!(problem.contains("smtps://"), "{problem}");
            assert!(!problem.contains("open-sesame"), "{problem}");
        }
        // Neither a login nor a link: an inbox beside it, as in Compose.
        let catcher = "smtp://mailpit:1025";
        assert_eq!(check_url(catcher), Ok(()));
        let problem = check_links(catcher).expect_err("links");
        assert!(problem.contains("add ?tls=required"), "{problem}");
    }

    #[test]
    fn urls_of_other_schemes_and_tls_words_are_refused() {
        assert_eq!(check_url("smtp://127.0.0.1:1025"), Ok(()));
        assert_eq!(check_url("smtps://a:b@mail.example"), Ok(()));
        assert_eq!(check_url("smtp://a:b@mail.example?tls=required"), Ok(()));
        for bad in [
            "mail.example:25",
            "http://mail.example",
            "smtp://mail.example?tls=maybe",
        ] {
            let problem = check_url(bad).expect_err(bad);
            assert!(problem.contains("SMTP_URL"), "{problem}");
        }
    }
}
