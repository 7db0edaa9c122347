//! How requests come in and answers go out.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::sync::Mutex;
use std::thread;

use super::answer::{Answer, answer};
use super::{Fault, POLL, State, lock};

/// A request.
pub(super) struct Request {
    /// What it asks for, if that is not the RPC interface: the path and the query.
    pub get: Option<String>,
    authorization: String,
    pub body: Vec<u8>,
}

/// Answers requests until the client, a fault or the end closes the connection.
pub(super) fn answer_requests(mut stream: &TcpStream, state: &Mutex<State>) -> Option<()> {
    let mut reader = BufReader::new(stream);
    loop {
        let request = read_request(&mut reader)?;
        if request.get.is_none() && lock(state).authorization != request.authorization {
            stream.write_all(&http(401, b"")).ok()?;
            continue;
        }
        send(stream, answer(&request, state)?, state)?;
    }
}

fn send(mut stream: &TcpStream, answer: Answer, state: &Mutex<State>) -> Option<()> {
    let Answer { status, body, manner } = answer;
    let bytes = http(status, &body);
    let head = bytes.len() - body.len();
    match manner {
        None => stream.write_all(&bytes).ok(),
        Some(Fault::Drip(count, pause)) => {
            for piece in bytes.chunks(count) {
                stream.write_all(piece).ok()?;
                thread::sleep(pause);
            }
            Some(())
        }
        Some(Fault::Chunked(count)) => send_chunks(stream, status, &body, count).ok(),
        Some(Fault::HalfBody) => stream.write_all(&http(status, &body[..body.len() / 2])).ok(),
        Some(Fault::CloseInHead) => {
            stream.write_all(&bytes[..head / 2]).ok()?;
            None
        }
        Some(Fault::CloseInBody) => {
            stream.write_all(&bytes[..head + body.len() / 2]).ok()?;
            None
        }
        Some(Fault::SilentBody) => {
            stream.write_all(&bytes[..head]).ok()?;
            until_lifted(state)
        }
        Some(Fault::Silent) => until_lifted(state),
        Some(_) => None,
    }
}

/// Waits for the end of all faults; the connection is to be closed then.
fn until_lifted(state: &Mutex<State>) -> Option<()> {
    while !{
        let state = lock(state);
        state.dropped || state.faults.is_empty()
    } {
        thread::sleep(POLL);
    }
    None
}

fn read_request(reader: &mut BufReader<&TcpStream>) -> Option<Request> {
    let (mut get, mut authorization, mut length) = (None, String::new(), 0);
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        let line = line.trim_end();
        if line.is_empty() {
            break;
        }
        if let Some(target) = line.strip_prefix("GET ") {
            get = target.split(' ').next().map(str::to_owned);
        }
        let Some((name, value)) = line.split_once(':') else { continue };
        match name.to_ascii_lowercase().as_str() {
            "authorization" => authorization = value.trim().to_owned(),
            "content-length" => length = value.trim().parse().ok()?,
            _ => {}
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some(Request { get, authorization, body })
}

fn http(status: u16, body: &[u8]) -> Vec<u8> {
    let head = format!("HTTP/1.1 {status} Status\r\nContent-Length: {}\r\n\r\n", body.len());
    [head.as_bytes(), body].concat()
}

fn send_chunks(mut stream: &TcpStream, status: u16, body: &[u8], count: usize) -> io::Result<()> {
    write!(stream, "HTTP/1.1 {status} Status\r\nTransfer-Encoding: chunked\r\n\r\n")?;
    for chunk in body.chunks(count) {
        let size = format!("{:x}\r\n", chunk.len());
        stream.write_all(&[size.as_bytes(), chunk, b"\r\n"].concat())?;
    }
    stream.write_all(b"0\r\n\r\n")
}
