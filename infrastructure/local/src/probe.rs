//! How to see, from outside, that a server serves: each probe speaks a few
//! bytes of the server's own protocol.

use std::sync::OnceLock;
use std::time::Duration;

use anyhow::{Result, bail};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// One probe may take this long.
const LIMIT: Duration = Duration::from_millis(1500);

/// Any other request over HTTP to a process of this stack may take this long.
const HTTP_LIMIT: Duration = Duration::from_secs(10);

/// A question whose answer means "I serve".
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Probe {
    /// Nothing to ask: healthy as long as it runs.
    None,
    /// An `ApiVersions` request to a broker on this port.
    Kafka(u16),
    /// A login to a PostgreSQL server on this port.
    Postgres(u16),
    /// `PING` to a Redis server on this port.
    Redis(u16),
    /// A successful `GET` of this address.
    Http(String),
    /// The greeting of an SMTP server on the first port, and a successful
    /// `GET` of the address.
    Mail(u16, String),
    /// A listener on this port.
    Listener(u16),
}

impl Probe {
    /// Asks once.
    ///
    /// # Errors
    /// What is wrong, in words.
    pub async fn check(&self) -> Result<(), String> {
        match tokio::time::timeout(LIMIT, self.ask()).await {
            Ok(answer) => answer.map_err(|error| format!("{error:#}")),
            Err(_) => Err(format!("no answer within {} ms", LIMIT.as_millis())),
        }
    }

    async fn ask(&self) -> Result<()> {
        match self {
            Self::None => Ok(()),
            Self::Kafka(port) => ask_kafka(*port).await,
            Self::Postgres(port) => ask_postgres(*port).await,
            Self::Redis(port) => {
                let answer: [u8; 5] = talk(*port, b"PING\r\n").await?;
                expect(&answer == b"+PONG", "it does not answer PING")
            }
            Self::Http(address) => get(address).await,
            Self::Mail(port, address) => {
                let greeting: [u8; 3] = talk(*port, b"").await?;
                expect(&greeting == b"220", "it does not greet with 220")?;
                get(address).await
            }
            Self::Listener(port) => talk::<0>(*port, b"").await.map(|_| ()),
        }
    }
}

fn expect(holds: bool, complaint: &str) -> Result<()> {
    if !holds {
        bail!("{complaint}");
    }
    Ok(())
}

/// Sends `request` and reads exactly `N` bytes.
async fn talk<const N: usize>(port: u16, request: &[u8]) -> Result<[u8; N]> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
    stream.write_all(request).await?;
    let mut answer = [0; N];
    stream.read_exact(&mut answer).await?;
    Ok(answer)
}

/// Size, API key 18 (`ApiVersions`), version 0, correlation id 7, no client id.
const API_VERSIONS: [u8; 14] = [0, 0, 0, 10, 0, 18, 0, 0, 0, 0, 0, 7, 0xff, 0xff];

async fn ask_kafka(port: u16) -> Result<()> {
    // Size, correlation id, error code.
    let answer: [u8; 10] = talk(port, &API_VERSIONS).await?;
    expect(
        answer[4..] == [0, 0, 0, 7, 0, 0],
        "it does not answer ApiVersions",
    )
}

async fn ask_postgres(port: u16) -> Result<()> {
    // A start-up message, protocol 3.0: while the server still recovers, it
    // answers with an error ('E') instead of an authentication message ('R').
    let parameters = b"user\0postgres\0database\0postgres\0\0";
    let length = u32::try_from(parameters.len() + 8)?;
    let mut request = length.to_be_bytes().to_vec();
    request.extend(196_608_u32.to_be_bytes());
    request.extend(parameters);
    let answer: [u8; 1] = talk(port, &request).await?;
    expect(answer == *b"R", "it does not accept logins yet")
}

/// A client for the loopback interface. Connections are not kept, because one
/// client serves several runtimes in tests.
pub(crate) fn http() -> &'static reqwest::Client {
    static CLIENT: OnceLock<reqwest::Client> = OnceLock::new();
    CLIENT.get_or_init(|| {
        reqwest::Client::builder()
            .no_proxy()
            .pool_max_idle_per_host(0)
            .timeout(HTTP_LIMIT)
            .build()
            .expect("a client without options of its own can always be built")
    })
}

async fn get(address: &str) -> Result<()> {
    let response = http().get(address).send().await?;
    let status = response.status();
    if !status.is_success() {
        let body = response.text().await.unwrap_or_default();
        bail!("{}: {}", status.as_u16(), waiting_for(&body));
    }
    Ok(())
}

/// What a process that is not ready waits for: the dependencies that are not
/// `ok` in a `/readyz` answer, or else the answer as it is.
fn waiting_for(body: &str) -> String {
    let answer: serde_json::Value = serde_json::from_str(body).unwrap_or_default();
    let dependencies = answer["dependencies"].as_object();
    let missing: Vec<String> = dependencies
        .into_iter()
        .flatten()
        .filter(|(_, state)| *state != "ok")
        .map(|(name, state)| format!("{name} {}", state.as_str().unwrap_or("not ready")))
        .collect();
    if missing.is_empty() {
        return body.trim().to_owned();
    }
    missing.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_missing_is_named() {
        let body = r#"{"ready":false,"dependencies":{"redis":"ok","kafka":"no epoch yet"}}"#;
        assert_eq!(waiting_for(body), "kafka no epoch yet");
        assert_eq!(waiting_for("starting\n"), "starting");
    }
}
