//! Deliveries over real SMTP, to a small server in this process that keeps
//! what it takes and fails as often as it is told. (The end-to-end run uses an
//! independent server.)

mod fixtures;

use fixtures::{connections, core, hear};
use midwatch_communication::decide::{Mail, State};
use midwatch_communication::smtp::Mailer;
use midwatch_runtime::agent::JobError;
use midwatch_runtime::effect::Effect;
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

#[derive(Default)]
struct Seen {
    mails: Vec<String>,
    recipients: Vec<String>,
    logins: Vec<String>,
    connections: usize,
}

struct Sink {
    url: String,
    seen: Arc<Mutex<Seen>>,
}

/// Answers the first `failures` mails with `refusal`, takes the others.
async fn sink(failures: usize, refusal: &'static str) -> Sink {
    picky_sink(failures, refusal, &[]).await
}

/// Also answers each recipient in `replies` as it says there.
async fn picky_sink(
    failures: usize,
    refusal: &'static str,
    replies: &'static [(&'static str, &'static str)],
) -> Sink {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let port = listener.local_addr().expect("bound").port();
    let seen = Arc::new(Mutex::new(Seen::default()));
    let shared = Arc::clone(&seen);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let number = {
                let mut seen = shared.lock().expect("no holder panicked");
                seen.connections += 1;
                seen.connections
            };
            let refusal = (number <= failures).then_some(refusal);
            serve(stream, &shared, refusal, replies).await.ok();
        }
    });
    Sink {
        url: format!("smtp://user:p%40ss@127.0.0.1:{port}"),
        seen,
    }
}

async fn serve(
    stream: TcpStream,
    seen: &Mutex<Seen>,
    refusal: Option<&str>,
    replies: &[(&str, &str)],
) -> std::io::Result<()> {
    let (read, mut write) = stream.into_split();
    let mut lines = BufReader::new(read).lines();
    write.write_all(b"220 sink ESMTP\r\n").await?;
    while let Some(line) = lines.next_line().await? {
        let verb = line
            .split([' ', ':'])
            .next()
            .unwrap_or_default()
            .to_uppercase();
        let reply = match verb.as_str() {
            "EHLO" => "250-sink\r\n250-8BITMIME\r\n250-SMTPUTF8\r\n250 AUTH PLAIN".to_owned(),
            "AUTH" => {
                seen.lock()
                    .expect("no holder panicked")
                    .logins
                    .push(line.clone());
                "235 welcome".to_owned()
            }
            "MAIL" => refusal.unwrap_or("250 ok").to_owned(),
            "RCPT" => {
                seen.lock()
                    .expect("no holder panicked")
                    .recipients
                    .push(line.clone());
                let own = replies
                    .iter()
                    .find(|(address, _)| line.contains(&format!("<{address}>")));
                own.map_or("250 ok", |(_, reply)| *reply).to_owned()
            }
            "DATA" => {
                write.write_all(b"354 go on\r\n").await?;
                let mut mail = String::new();
                while let Some(line) = lines.next_line().await? {
                    if line == "." {
                        break;
                    }
                    mail.push_str(&line);
                    mail.push('\n');
                }
                seen.lock().expect("no holder panicked").mails.push(mail);
                "250 kept as 42".to_owned()
            }
            "QUIT" => {
                write.write_all(b"221 bye\r\n").await?;
                break;
            }
            _ => "250 ok".to_owned(),
        };
        write.write_all(format!("{reply}\r\n").as_bytes()).await?;
    }
    Ok(())
}

fn mails() -> Vec<Mail> {
    let (core, mut state) = (core(), State::default());
    connections()
        .events()
        .into_iter()
        .flat_map(|event| hear(&core, &mut state, event))
        .filter_map(|effect| match effect {
            Effect::StartJob(job) => {
                Some(serde_json::from_value(job.payload).expect("the job carries the mail"))
            }
            _ => None,
        })
        .collect()
}

fn mailer(url: &str) -> Mailer {
    Mailer::new(url, "midwatch@example.com", None).expect("the settings are valid")
}

/// The unfolded value of a header.
fn header(mail: &str, name: &str) -> Option<String> {
    let head = mail
        .split("\n\n")
        .next()
        .unwrap_or_default()
        .replace("\n ", " ");
    let prefix = format!("{name}: ");
    head.lines()
        .find_map(|line| line.strip_prefix(&prefix))
        .map(str::to_owned)
}

#[tokio::test]
async fn a_mail_arrives_with_both_parts_and_its_thread() {
    let sink = sink(0, "").await;
    let mails = mails();
    let mailer = mailer(&sink.url);
    let receipt = mailer
        .deliver(&mails[0], &[])
        .await
        .expect("the sink takes it");
    assert_eq!(receipt.reply, "250 kept as 42");
    mailer
        .deliver(&mails[1], &[])
        .await
        .expect("the sink takes it");

    let seen = sink.seen.lock().expect("no holder panicked");
    assert_eq!(
        seen.recipients[..2],
        [
            "RCPT TO:<oncall@example.com>",
            "RCPT TO:<management@example.com>"
        ]
    );
    // \0user\0p@ss in base64, computed with `printf '\0user\0p@ss' | base64`.
    assert_eq!(seen.logins[0], "AUTH PLAIN AHVzZXIAcEBzcw==");
    let [first, second] = seen.mails.as_slice() else {
        panic!("two mails");
    };
    let root = format!("<{}>", mails[0].notification.message_id);
    assert_eq!(header(first, "Message-ID").as_deref(), Some(root.as_str()));
    assert_eq!(header(first, "In-Reply-To"), None);
    assert_eq!(
        header(second, "In-Reply-To").as_deref(),
        Some(root.as_str())
    );
    assert_eq!(header(second, "References").as_deref(), Some(root.as_str()));
    assert_eq!(
        header(second, "Auto-Submitted").as_deref(),
        Some("auto-generated")
    );
    assert_eq!(
        header(second, "Cc").as_deref(),
        Some("management@example.com")
    );
    for part in ["multipart/alternative", "text/plain", "text/html"] {
        assert!(first.contains(part), "{part}");
    }
}

#[tokio::test]
async fn a_busy_server_is_tried_again_under_the_same_message_id() {
    // It is busy for the first two conversations.
    let sink = sink(2, "451 come back later").await;
    let mut mail = mails().remove(0);
    let mailer = mailer(&sink.url);
    let receipt = mailer.deliver(&mail, &[]).await.expect("one has it");
    let [waits] = receipt.postponed.as_slice() else {
        panic!("{receipt:?}");
    };
    assert_eq!(waits.recipient, "oncall@example.com");
    assert!(waits.reason.contains("127.0.0.1"), "{waits:?}");
    assert!(!waits.reason.contains("p%40ss"), "{waits:?}");
    mail.only = Some(waits.recipient.clone());
    mailer.deliver(&mail, &[]).await.expect("now it is taken");
    let seen = sink.seen.lock().expect("no holder panicked");
    assert_eq!((seen.connections, seen.mails.len()), (4, 2));
    for taken in &seen.mails {
        assert_eq!(
            header(taken, "Message-ID"),
            Some(format!("<{}>", mail.notification.message_id))
        );
    }
    // Each of the two once.
    let last = &seen.recipients[seen.recipients.len() - 2..];
    assert_eq!(
        last,
        [
            "RCPT TO:<management@example.com>",
            "RCPT TO:<oncall@example.com>"
        ]
    );
}

#[tokio::test]
async fn a_permanent_refusal_is_not_tried_again() {
    let sink = sink(usize::MAX, "550 no such sender").await;
    let error = mailer(&sink.url)
        .deliver(&mails()[0], &[])
        .await
        .expect_err("refused");
    assert!(matches!(&error, JobError::Permanent(_)), "{error}");
    assert!(error.to_string().contains("550"), "{error}");
}

#[tokio::test]
async fn one_refused_recipient_costs_nobody_else_the_mail() {
    let sink = picky_sink(0, "", &[("management@example.com", "550 no such user")]).await;
    let mail = &mails()[0];
    let receipt = mailer(&sink.url)
        .deliver(mail, &[])
        .await
        .expect("one took it");
    assert_eq!(receipt.reply, "250 kept as 42");
    let [refusal] = receipt.refused.as_slice() else {
        panic!("{receipt:?}");
    };
    assert_eq!(refusal.recipient, "management@example.com");
    assert!(refusal.reason.contains("no such user"), "{refusal:?}");
    let seen = sink.seen.lock().expect("no holder panicked");
    let [taken] = seen.mails.as_slice() else {
        panic!("one mail, not {}", seen.mails.len());
    };
    assert_eq!(
        header(taken, "Message-ID"),
        Some(format!("<{}>", mail.notification.message_id))
    );
    assert_eq!(
        header(taken, "Cc").as_deref(),
        Some("management@example.com")
    );
}

#[tokio::test]
async fn one_recipient_refused_for_now_keeps_nobody_elses_mail() {
    let sink = picky_sink(0, "", &[("management@example.com", "450 greylisted")]).await;
    let mailer = mailer(&sink.url);
    let mails = mails();
    let first = mailer.deliver(&mails[0], &[]).await.expect("one took it");
    assert_eq!(first.refused, Vec::new());
    let [waits] = first.postponed.as_slice() else {
        panic!("{first:?}");
    };
    assert_eq!(waits.recipient, "management@example.com");
    assert!(waits.reason.contains("greylisted"), "{waits:?}");
    // The next mail goes at once to whoever does not wait for the first.
    let behind = vec![waits.recipient.clone()];
    let tried = sink
        .seen
        .lock()
        .expect("no holder panicked")
        .recipients
        .len();
    let next = mailer
        .deliver(&mails[1], &behind)
        .await
        .expect("one takes it");
    assert_eq!(
        (next.reply.as_str(), &next.behind),
        ("250 kept as 42", &behind)
    );
    {
        let seen = sink.seen.lock().expect("no holder panicked");
        assert_eq!(seen.mails.len(), 2);
        assert_eq!(seen.recipients[tried..], ["RCPT TO:<oncall@example.com>"]);
    }
    // Alone, it fails as any delivery does, for a try of its own.
    let mut alone = mails[0].clone();
    alone.only = Some(waits.recipient.clone());
    let error = mailer
        .deliver(&alone, &[])
        .await
        .expect_err("still refused");
    assert!(matches!(&error, JobError::Transient(_)), "{error}");
    assert!(error.to_string().contains("greylisted"), "{error}");
    // With everybody waiting, the server is not even asked.
    let all = mails[1].addressed();
    let nobody = mailer
        .deliver(&mails[1], &all)
        .await
        .expect("nothing to do");
    assert_eq!((nobody.reply.as_str(), nobody.behind), ("", all));
}

#[tokio::test]
async fn for_good_and_for_now_are_told_apart() {
    let replies = &[
        ("oncall@example.com", "550 no such user"),
        ("management@example.com", "451 greylisted"),
    ];
    let sink = picky_sink(0, "", replies).await;
    let receipt = mailer(&sink.url).deliver(&mails()[0], &[]).await;
    let receipt = receipt.expect("who is to be tried again is known");
    assert_eq!(receipt.reply, "");
    assert_eq!(receipt.refused[0].recipient, "oncall@example.com");
    assert_eq!(receipt.postponed[0].recipient, "management@example.com");
    assert!(receipt.postponed[0].reason.contains("greylisted"));
}

#[tokio::test]
async fn who_is_refused_for_good_costs_nobody_the_mail_who_waits() {
    let sink = picky_sink(0, "", &[("oncall@example.com", "550 no such user")]).await;
    let behind = vec!["management@example.com".to_owned()];
    let receipt = mailer(&sink.url).deliver(&mails()[0], &behind).await;
    let receipt = receipt.expect("somebody waits");
    assert_eq!(receipt.refused[0].recipient, "oncall@example.com");
    assert_eq!(receipt.behind, behind);
}

#[tokio::test]
async fn an_absent_server_is_a_passing_trouble() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let port = listener.local_addr().expect("bound").port();
    drop(listener);
    let error = mailer(&format!("smtp://127.0.0.1:{port}"))
        .deliver(&mails()[0], &[])
        .await
        .expect_err("nobody there");
    assert!(matches!(error, JobError::Transient(_)));
}

#[tokio::test]
async fn no_value_of_a_mail_can_add_a_header() {
    let sink = sink(0, "").await;
    let mut mail = mails().remove(0);
    mail.notification.subject = "a\r\nBcc: all@example.com\r\n\r\nbody".to_owned();
    mail.notification.stage = "opened\r\nX-Evil: 1".to_owned();
    mail.notification.in_reply_to = Some("x>\r\nX-Evil: 2".to_owned());
    mail.references = vec!["y\r\nX-Evil: 3".to_owned()];
    mailer(&sink.url)
        .deliver(&mail, &[])
        .await
        .expect("the sink takes it");
    let taken = sink
        .seen
        .lock()
        .expect("no holder panicked")
        .mails
        .remove(0);
    for name in ["Bcc", "X-Evil"] {
        assert_eq!(header(&taken, name), None);
    }

    let mut mail = mail.clone();
    mail.notification.to = vec!["a@example.com>\r\nRCPT TO:<b@example.com".to_owned()];
    let error = mailer(&sink.url)
        .deliver(&mail, &[])
        .await
        .expect_err("no address");
    assert!(matches!(error, JobError::Permanent(_)));
}
