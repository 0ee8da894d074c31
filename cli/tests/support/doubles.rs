//! Servers that answer wrongly on purpose.

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpListener;

/// An HTTP server with one answer to everything.
pub async fn http(answer: &'static str, status: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = [0; 16_384];
            let read = stream.read(&mut request).await;
            assert!(read.is_ok_and(|length| length > 0), "an empty request");
            let text = format!(
                "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{answer}",
                answer.len()
            );
            stream.write_all(text.as_bytes()).await.expect("answered");
        }
    });
    format!("http://{address}/v1")
}

/// A mail server that offers a login and takes none.
pub async fn strict_mail_server() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let number = listener.local_addr().expect("an address").port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let (read, mut write) = stream.into_split();
                let mut lines = BufReader::new(read).lines();
                write.write_all(b"220 strict.example\r\n").await.ok();
                while let Ok(Some(line)) = lines.next_line().await {
                    let reply: &[u8] = match line.split(' ').next() {
                        Some("EHLO") => b"250-strict.example\r\n250 AUTH PLAIN LOGIN\r\n",
                        Some("AUTH") => b"535 5.7.8 no such login\r\n",
                        Some("QUIT") => b"221 bye\r\n",
                        _ => b"502 only a test\r\n",
                    };
                    write.write_all(reply).await.ok();
                }
            });
        }
    });
    number
}
