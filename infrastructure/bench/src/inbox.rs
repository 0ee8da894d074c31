//! An SMTP inbox that knows to the millisecond when a mail was taken. The
//! stack's inbox shows a mail's own date, in whole seconds.

use anyhow::{Context as _, Result};
use std::cell::RefCell;
use std::rc::Rc;
use std::time::{Duration, Instant};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// A client that says nothing for so long is hung up on.
const PATIENCE: Duration = Duration::from_secs(30);
/// Bytes of one mail.
const LARGEST: usize = 4 * 1024 * 1024;
/// Mails held at most.
const HELD: usize = 10_000;

/// A mail that was taken.
#[derive(Clone, Debug)]
pub struct Mail {
    pub at: Instant,
    /// All of it, with quoted-printable's soft line breaks removed, so that a
    /// name in it stands on one line.
    pub text: String,
}

impl Mail {
    /// The stage that its Message-ID begins with.
    pub fn stage(&self) -> Option<&str> {
        let line = self.text.lines().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case("message-id").then_some(value)
        })?;
        let id = line.trim().trim_start_matches('<');
        Some(id.split_once('.')?.0)
    }
}

/// The inbox; it ends when dropped.
pub struct Inbox {
    pub url: String,
    mails: Rc<RefCell<Vec<Mail>>>,
    server: JoinHandle<()>,
}

impl Inbox {
    /// Listens on a free port. Must run inside a `LocalSet`.
    ///
    /// # Errors
    /// No port is free.
    pub async fn open() -> Result<Inbox> {
        let listener = TcpListener::bind("127.0.0.1:0").await.context("an inbox")?;
        let url = format!("smtp://{}", listener.local_addr()?);
        let mails: Rc<RefCell<Vec<Mail>>> = Rc::default();
        let kept = Rc::clone(&mails);
        let server = tokio::task::spawn_local(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let kept = Rc::clone(&kept);
                tokio::task::spawn_local(async move {
                    // A client that hangs up early has not delivered.
                    tokio::time::timeout(PATIENCE, serve(stream, &kept))
                        .await
                        .ok();
                });
            }
        });
        Ok(Inbox { url, mails, server })
    }

    /// The mails taken since the last call.
    pub fn take(&self) -> Vec<Mail> {
        self.mails.take()
    }
}

impl Drop for Inbox {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn serve(stream: TcpStream, mails: &RefCell<Vec<Mail>>) -> Result<()> {
    let mut stream = BufReader::new(stream);
    stream.write_all(b"220 bench\r\n").await?;
    let mut line = String::new();
    loop {
        line.clear();
        if stream.read_line(&mut line).await? == 0 {
            return Ok(());
        }
        let verb = line
            .trim()
            .get(..4)
            .unwrap_or_default()
            .to_ascii_uppercase();
        let answer: &[u8] = match verb.as_str() {
            "DATA" => {
                stream.write_all(b"354 go on\r\n").await?;
                let text = read_mail(&mut stream).await?;
                let at = Instant::now();
                let mut mails = mails.borrow_mut();
                if mails.len() < HELD {
                    mails.push(Mail { at, text });
                    b"250 taken\r\n"
                } else {
                    b"452 full\r\n"
                }
            }
            "QUIT" => {
                stream.write_all(b"221 bye\r\n").await?;
                return Ok(());
            }
            "EHLO" | "HELO" | "MAIL" | "RCPT" | "RSET" | "NOOP" => b"250 yes\r\n",
            _ => b"502 no\r\n",
        };
        stream.write_all(answer).await?;
    }
}

/// Reads up to the line that is a single dot.
async fn read_mail(stream: &mut BufReader<TcpStream>) -> Result<String> {
    let mut raw = Vec::new();
    loop {
        let begin = raw.len();
        let size = stream.read_until(b'\n', &mut raw).await?;
        anyhow::ensure!(size > 0 && raw.len() <= LARGEST, "the mail does not end");
        if &raw[begin..] == b".\r\n" {
            raw.truncate(begin);
            let text = String::from_utf8_lossy(&raw);
            return Ok(text.replace("=\r\n", "").replace("\r\n", "\n"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_mail_is_taken_whole_with_its_stage() {
        let tasks = tokio::task::LocalSet::new();
        tasks
            .run_until(async {
                let inbox = Inbox::open().await.unwrap();
                let address = inbox.url.trim_start_matches("smtp://").to_owned();
                let mut stream = BufReader::new(TcpStream::connect(address).await.unwrap());
                let words = "EHLO me\r\nMAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nDATA\r\n\
                     Message-ID: <opened.12@midwatch>\r\n\r\nbench-=\r\nservice\r\n.\r\nQUIT\r\n";
                stream.write_all(words.as_bytes()).await.unwrap();
                let mut replies = String::new();
                while stream.read_line(&mut replies).await.unwrap() > 0 {}
                let codes: Vec<&str> = replies.lines().map(|line| &line[..3]).collect();
                assert_eq!(codes, ["220", "250", "250", "250", "354", "250", "221"]);
                let mails = inbox.take();
                assert_eq!(mails.len(), 1);
                assert_eq!(mails[0].stage(), Some("opened"));
                assert!(mails[0].text.ends_with("\n\nbench-service\n"));
            })
            .await;
    }
}
