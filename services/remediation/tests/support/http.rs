//! A small HTTP server whose connections can end as they do in a bad network.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// A request as it came.
#[derive(Clone, Debug)]
pub struct Asked {
    pub method: String,
    /// Without the query.
    pub path: String,
    pub query: String,
    /// Names in small letters.
    pub headers: BTreeMap<String, String>,
    pub body: Vec<u8>,
}

/// What becomes of it.
pub enum Reply {
    Say(u16, Vec<(&'static str, String)>, Vec<u8>),
    /// The connection is reset without a word.
    Reset,
}

impl Reply {
    pub fn json(status: u16, value: &serde_json::Value) -> Reply {
        Reply::Say(status, Vec::new(), value.to_string().into_bytes())
    }
}

pub type Answering = Pin<Box<dyn Future<Output = Reply> + Send>>;

/// Serves on a free port for as long as the runtime lives; returns the address.
pub async fn serve(answer: impl Fn(Asked) -> Answering + Send + Sync + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("an address");
    let answer = Arc::new(answer);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let answer = Arc::clone(&answer);
            tokio::spawn(async move { converse(stream, &*answer).await });
        }
    });
    format!("http://{address}")
}

async fn converse(mut stream: TcpStream, answer: &(impl Fn(Asked) -> Answering + Send + Sync)) {
    let mut buffer = Vec::new();
    while let Some(asked) = read(&mut stream, &mut buffer).await {
        match answer(asked).await {
            Reply::Reset => {
                stream.set_zero_linger().expect("a socket option");
                return;
            }
            Reply::Say(status, headers, body) => {
                let mut head = format!(
                    "HTTP/1.1 {status} Said\r\ncontent-length: {}\r\n",
                    body.len()
                );
                for (name, value) in headers {
                    head.push_str(&format!("{name}: {value}\r\n"));
                }
                head.push_str("content-type: application/json\r\n\r\n");
                let mut bytes = head.into_bytes();
                bytes.extend(body);
                if stream.write_all(&bytes).await.is_err() {
                    return;
                }
            }
        }
    }
}

async fn read(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> Option<Asked> {
    loop {
        if let Some(end) = buffer.windows(4).position(|four| four == b"\r\n\r\n") {
            let head = String::from_utf8(buffer[..end].to_vec()).ok()?;
            let mut lines = head.split("\r\n");
            let mut words = lines.next()?.split(' ');
            let (method, target) = (words.next()?.to_owned(), words.next()?);
            let headers: BTreeMap<String, String> = lines
                .filter_map(|line| line.split_once(':'))
                .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
                .collect();
            let length = headers
                .get("content-length")
                .map_or(0, |text| text.parse().unwrap_or(0));
            while buffer.len() < end + 4 + length {
                if stream.read_buf(buffer).await.ok()? == 0 {
                    return None;
                }
            }
            let (path, query) = target.split_once('?').unwrap_or((target, ""));
            let (path, query) = (path.to_owned(), query.to_owned());
            let body = buffer[end + 4..end + 4 + length].to_vec();
            buffer.drain(..end + 4 + length);
            return Some(Asked {
                method,
                path,
                query,
                headers,
                body,
            });
        }
        if stream.read_buf(buffer).await.ok()? == 0 {
            return None;
        }
    }
}
