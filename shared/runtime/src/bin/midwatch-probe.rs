//! `midwatch-probe URL`: exit code 0 where `URL` answers a GET with a status
//! of 200 to 299, else 1, with the reason on standard error.
//!
//! For health checks inside a container image that has no other program to ask
//! with. Plain HTTP; everything together takes at most two seconds.

use std::io::{ErrorKind, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// A health check that waits longer than this says nothing about now.
const LIMIT: Duration = Duration::from_secs(2);
/// Far more than a status line has; a server that sends more without a line
/// end speaks something else.
const STATUS_LINE_BYTES: usize = 1024;

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let (Some(url), None) = (arguments.next(), arguments.next()) else {
        eprintln!("usage: midwatch-probe http://HOST:PORT/PATH");
        return ExitCode::from(2);
    };
    match probe(&url) {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => {
            eprintln!("midwatch-probe: {url}: {reason}");
            ExitCode::FAILURE
        }
    }
}

fn probe(url: &str) -> Result<(), String> {
    let deadline = Instant::now() + LIMIT;
    let (host, path) = parts(url).ok_or("not of the form http://HOST:PORT/PATH")?;
    let addresses = host.to_socket_addrs().map_err(|error| error.to_string())?;
    let mut stream = Err("the name has no address".to_owned());
    for address in addresses {
        stream = TcpStream::connect_timeout(&address, left(deadline)?)
            .map_err(|error| format!("no connection to {address}: {error}"));
        if stream.is_ok() {
            break;
        }
    }
    let mut stream = stream?;
    let request = format!("GET {path} HTTP/1.0\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    let sent = stream
        .set_write_timeout(Some(left(deadline)?))
        .and_then(|()| stream.write_all(request.as_bytes()));
    sent.map_err(|error| format!("the request was not taken: {error}"))?;
    let line = status_line(&mut stream, deadline)?;
    match status(&line) {
        Some(200..=299) => Ok(()),
        Some(number) => Err(format!("answered {number}")),
        None => Err("no HTTP answer".to_owned()),
    }
}

/// Host with port, and path, of a URL.
fn parts(url: &str) -> Option<(&str, &str)> {
    let rest = url.strip_prefix("http://")?;
    let cut = rest.find('/').unwrap_or(rest.len());
    let (host, path) = rest.split_at(cut);
    let (_, port) = host.rsplit_once(':')?;
    port.parse::<u16>().ok()?;
    Some((host, if path.is_empty() { "/" } else { path }))
}

fn left(deadline: Instant) -> Result<Duration, String> {
    match deadline.checked_duration_since(Instant::now()) {
        Some(left) if !left.is_zero() => Ok(left),
        _ => Err(format!("no answer within {} s", LIMIT.as_secs())),
    }
}

fn status_line(stream: &mut TcpStream, deadline: Instant) -> Result<Vec<u8>, String> {
    let mut line = Vec::new();
    let mut chunk = [0; 256];
    while !line.contains(&b'\n') && line.len() < STATUS_LINE_BYTES {
        let left = left(deadline)?;
        let read = stream
            .set_read_timeout(Some(left))
            .and_then(|()| stream.read(&mut chunk));
        match read {
            Ok(0) => break,
            Ok(count) => line.extend_from_slice(&chunk[..count]),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            // Out of time: the loop's next look at the clock says so.
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => return Err(format!("the answer broke off: {error}")),
        }
    }
    Ok(line)
}

/// The status of `HTTP/1.1 200 OK`.
fn status(line: &[u8]) -> Option<u16> {
    let line = line.split(|&byte| byte == b'\n').next()?;
    let mut words = std::str::from_utf8(line).ok()?.split_ascii_whitespace();
    words.next()?.strip_prefix("HTTP/1.")?;
    words.next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    /// What the probe says of a server that answers with `reply` and then
    /// holds the line open.
    fn verdict(reply: &'static [u8]) -> Result<(), String> {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/readyz", listener.local_addr().unwrap());
        std::thread::scope(|scope| {
            let server = scope.spawn(move || {
                let (mut stream, _) = listener.accept().unwrap();
                let mut request = [0; 512];
                let count = stream.read(&mut request).unwrap();
                let request = String::from_utf8_lossy(&request[..count]).into_owned();
                stream.write_all(reply).unwrap();
                // Ends when the probe has hung up.
                stream.read_to_end(&mut Vec::new()).ok();
                request
            });
            let verdict = probe(&url);
            let request = server.join().unwrap();
            assert!(request.starts_with("GET /readyz HTTP/1.0\r\n"), "{request}");
            verdict
        })
    }

    #[test]
    fn only_a_status_of_the_two_hundreds_is_healthy() {
        assert_eq!(verdict(b"HTTP/1.1 200 OK\r\n\r\n"), Ok(()));
        let unready = verdict(b"HTTP/1.1 503 Service Unavailable\r\n\r\n");
        assert_eq!(unready, Err("answered 503".to_owned()));
        assert_eq!(verdict(b"+PONG\r\n"), Err("no HTTP answer".to_owned()));
    }

    #[test]
    fn a_silent_server_is_given_up_after_two_seconds() {
        let begun = Instant::now();
        let reason = verdict(b"HTTP/1.1").unwrap_err();
        assert_eq!(reason, "no answer within 2 s");
        assert!(begun.elapsed() >= LIMIT);
    }

    #[test]
    fn a_closed_port_and_a_wrong_address_are_named() {
        let free = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = free.local_addr().unwrap();
        drop(free);
        let reason = probe(&format!("http://{address}/")).unwrap_err();
        assert!(reason.contains("no connection"), "{reason}");
        for wrong in ["https://a:1/", "http://a/", "a:1", "http://a:b/"] {
            assert!(probe(wrong).unwrap_err().contains("not of the form"));
        }
    }
}
