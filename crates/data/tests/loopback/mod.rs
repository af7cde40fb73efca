//! A web server on the loopback that does what a test tells it to, good or bad.
#![allow(dead_code, reason = "each test file uses a part of this")]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};

/// What a client asked for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Request {
    /// The path, without its first `/`.
    pub file: String,
    /// The first byte wanted; `None` for all.
    pub from: Option<usize>,
    /// How many requests came before this one.
    pub number: usize,
}

/// The server. Dropping it ends it.
pub struct Server {
    address: SocketAddr,
    requests: Arc<Mutex<Vec<Request>>>,
    ended: Arc<AtomicBool>,
    listener: Option<JoinHandle<()>>,
}

impl Server {
    /// A server that answers each request by `answer`, then closes the connection.
    pub fn new(answer: impl Fn(&Request, &mut TcpStream) + Send + Sync + 'static) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let ended = Arc::new(AtomicBool::new(false));
        let (seen, over, answer) = (Arc::clone(&requests), Arc::clone(&ended), Arc::new(answer));
        let listener = thread::spawn(move || {
            for stream in listener.incoming() {
                if over.load(Ordering::SeqCst) {
                    return;
                }
                let (seen, answer, mut stream) = (Arc::clone(&seen), Arc::clone(&answer), stream.unwrap());
                // Those that hold their client up end with it.
                thread::spawn(move || {
                    let Some(mut request) = read(&mut stream) else { return };
                    {
                        let mut seen = seen.lock().unwrap();
                        request.number = seen.len();
                        seen.push(request.clone());
                    }
                    answer(&request, &mut stream);
                });
            }
        });
        Server { address, requests, ended, listener: Some(listener) }
    }

    /// Its address, with a `/` at the end.
    pub fn url(&self) -> String {
        format!("http://{}/", self.address)
    }

    /// What it was asked for, in order.
    pub fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap().clone()
    }

    /// The first byte that each request wanted.
    pub fn ranges(&self) -> Vec<Option<usize>> {
        self.requests().iter().map(|request| request.from).collect()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(self.address);
        let _ = self.listener.take().unwrap().join();
    }
}

/// The address of a server that is not there.
pub fn nobody() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    format!("http://{}/", listener.local_addr().unwrap())
}

fn read(stream: &mut TcpStream) -> Option<Request> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        if stream.read(&mut byte).ok()? == 0 {
            return None;
        }
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).unwrap().to_lowercase();
    let file = head.split_whitespace().nth(1).unwrap().trim_start_matches('/').to_string();
    let range = head.lines().find_map(|line| line.strip_prefix("range: bytes="));
    Some(Request { file, from: range.map(|range| range.trim_end_matches('-').parse().unwrap()), number: 0 })
}

/// Writes; that a client has gone away is its own business.
pub fn send(stream: &mut TcpStream, bytes: impl AsRef<[u8]>) -> bool {
    stream.write_all(bytes.as_ref()).and_then(|()| stream.flush()).is_ok()
}

/// Writes the head of an answer: `200 OK` and more lines.
pub fn head(stream: &mut TcpStream, status: &str, lines: &[String]) {
    let lines: String = lines.iter().map(|line| format!("{line}\r\n")).collect();
    send(stream, format!("HTTP/1.1 {status}\r\nConnection: close\r\n{lines}\r\n"));
}

/// The line that says how long the body is.
pub fn length(bytes: usize) -> String {
    format!("Content-Length: {bytes}")
}

/// Answers with all of `bytes`, whatever range was asked for.
pub fn whole(stream: &mut TcpStream, bytes: &[u8]) {
    head(stream, "200 OK", &[length(bytes.len())]);
    send(stream, bytes);
}

/// Answers as a good server does: with the range that was asked for. Breaks off before byte `end`.
pub fn ranged(request: &Request, stream: &mut TcpStream, bytes: &[u8], end: usize) {
    match request.from {
        None => head(stream, "200 OK", &[length(bytes.len())]),
        Some(from) if from >= bytes.len() => return head(stream, "416 Range Not Satisfiable", &[length(0)]),
        Some(from) => {
            let range = format!("Content-Range: bytes {from}-{}/{}", bytes.len() - 1, bytes.len());
            head(stream, "206 Partial Content", &[length(bytes.len() - from), range]);
        }
    }
    let from = request.from.unwrap_or(0);
    send(stream, &bytes[from..end.max(from)]);
}

/// Says nothing until the client goes away.
pub fn hold(stream: &mut TcpStream) {
    let _ = stream.read(&mut [0]);
}
