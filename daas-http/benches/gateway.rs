//! The gateway beside `websockify`: the same client reads the same source through each, alone and
//! thirty-two at a time. What each takes of the processor and of memory is read from the kernel.
//!
//! `cargo bench -p daas-http --bench gateway`, with `websockify` (PyPI) in `PATH` or named by
//! `DAAS_WEBSOCKIFY`. Prints figures and a ratio; it fails on errors, never on figures.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a benchmark that fails has failed")]

#[path = "../tests/world/mod.rs"]
mod world;

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use daas_core::machine::Reservation;
use daas_core::provisioner::{Console, ConsoleLine};
use daas_core::session::Phase;
use daas_http::{GatewayConfig, HttpConfig, Server};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use world::{Wanted, World};

/// Bytes that each connection carries, alone and among thirty-two.
const LOADS: [(usize, u64); 2] = [(1, 2 << 30), (32, 64 << 20)];
/// Bytes that the source writes at once: some lines of a screen.
const WRITE: usize = 64 << 10;
/// How long one measurement may take.
const PATIENCE: Duration = Duration::from_secs(300);
/// Tells a child process what it is.
const ROLE: &str = "DAAS_BENCH_SOURCE";
/// The processor's time in the kernel's books, in ticks per second (`getconf CLK_TCK`).
const TICKS: f64 = 100.0;

fn main() {
    // Where cargo tries whether benchmarks build and run, nothing is measured.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    let runtime = tokio::runtime::Runtime::new().unwrap();
    match std::env::var(ROLE) {
        Ok(source) => runtime.block_on(serve(source.parse().unwrap())),
        Err(_) => runtime.block_on(measure()),
    }
}

/// The child: a gateway in front of `source`, until its input ends.
async fn serve(source: SocketAddr) {
    let console: Arc<dyn Console> = Arc::new(Wire(source));
    let world = World::with(Wanted { console: Some(console), ..Wanted::default() }).await;
    let id = world.asked().await;
    world.phase(&id, Phase::Ready).await;
    let gateway = GatewayConfig { connections_of_one: 64, ..GatewayConfig::default() };
    let listen = "127.0.0.1:0".parse().unwrap();
    let config = HttpConfig { listen, gateway, ..HttpConfig::default() };
    let server = Server::bind(config, world.engine.clone(), world.extra()).await.unwrap();
    println!("{} {} {id}", server.addresses().main, world.keys.alice);
    let stop = CancellationToken::new();
    let running = tokio::spawn(server.run(stop.clone()));
    let mut rest = Vec::new();
    tokio::io::stdin().read_to_end(&mut rest).await.unwrap();
    stop.cancel();
    running.await.unwrap().unwrap();
    world.stop().await;
}

/// A screen behind a TCP port.
#[derive(Debug)]
struct Wire(SocketAddr);

#[async_trait::async_trait]
impl Console for Wire {
    async fn open(&self, _: &Reservation) -> daas_core::Result<ConsoleLine> {
        let stream = TcpStream::connect(self.0).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Ok(ConsoleLine { stream: Box::new(stream), password: None })
    }
}

/// What carries between client and source.
struct Carrier {
    name: &'static str,
    process: Child,
    address: SocketAddr,
    /// Key and session; absent: nobody asks for them.
    gateway: Option<(String, String)>,
}

impl Drop for Carrier {
    fn drop(&mut self) {
        // The gateway ends when its input does; `websockify` has no such end.
        drop(self.process.stdin.take());
        if self.gateway.is_none() {
            let _ = self.process.kill();
        }
        let _ = self.process.wait();
    }
}

#[derive(Debug, Clone, Copy)]
struct Figures {
    bytes_per_second: f64,
    bytes_per_cpu_second: f64,
    memory_per_connection: f64,
}

async fn measure() {
    let source = source().await;
    let mut carriers = vec![gateway(source)];
    match websockify(source).await {
        Some(carrier) => carriers.push(carrier),
        None => println!("no websockify: pip install websockify, or name it in DAAS_WEBSOCKIFY"),
    }
    for (connections, bytes) in LOADS {
        let mut seen = Vec::new();
        for carrier in &carriers {
            let figures = timeout(PATIENCE, carry(carrier, connections, bytes)).await.unwrap();
            println!(
                "{:10} {connections:2} connections: {:7.1} MB/s, {:8.1} MB per CPU second, {:7.0} kB \
                 of memory per connection",
                carrier.name,
                figures.bytes_per_second / 1e6,
                figures.bytes_per_cpu_second / 1e6,
                figures.memory_per_connection / 1e3,
            );
            seen.push(figures);
        }
        if let [ours, theirs] = seen[..] {
            println!(
                "ratio      {connections:2} connections: {:.2} of its bytes per CPU second, {:.2} of its \
                 bytes per second",
                ours.bytes_per_cpu_second / theirs.bytes_per_cpu_second,
                ours.bytes_per_second / theirs.bytes_per_second,
            );
        }
    }
}

/// A screen that, once a client has come in, writes as many bytes as the client asks for in the
/// first eight bytes of its mouse's and keys' messages.
async fn source() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (mut tcp, _) = listener.accept().await.unwrap();
            tokio::spawn(async move {
                tcp.set_nodelay(true).unwrap();
                tcp.write_all(b"RFB 003.008\n").await.unwrap();
                let mut said = [0; 12];
                tcp.read_exact(&mut said).await.unwrap();
                tcp.write_all(&[1, 1]).await.unwrap();
                tcp.read_exact(&mut said[..1]).await.unwrap();
                tcp.write_all(&[0; 4]).await.unwrap();
                // ClientInit, then a key whose number is the amount in MiB.
                let mut asked = [0; 9];
                tcp.read_exact(&mut asked).await.unwrap();
                let mebibytes = u32::from_be_bytes([asked[5], asked[6], asked[7], asked[8]]);
                let picture = vec![7; WRITE];
                for _ in 0..(u64::from(mebibytes) << 20) / WRITE as u64 {
                    if tcp.write_all(&picture).await.is_err() {
                        return;
                    }
                }
                // Until the client has read all and goes.
                let _ = tcp.read(&mut said).await;
            });
        }
    });
    address
}

fn gateway(source: SocketAddr) -> Carrier {
    let mut process = Command::new(std::env::current_exe().unwrap())
        .arg("--bench")
        .env(ROLE, source.to_string())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let words: Vec<&str> = line.split_whitespace().collect();
    let [address, key, session] = words[..] else { panic!("the gateway says {line:?}") };
    let gateway = Some((key.to_owned(), session.to_owned()));
    Carrier { name: "gateway", process, address: address.parse().unwrap(), gateway }
}

async fn websockify(source: SocketAddr) -> Option<Carrier> {
    let program = std::env::var("DAAS_WEBSOCKIFY").unwrap_or_else(|_| "websockify".to_owned());
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = free.local_addr().unwrap();
    drop(free);
    let process = Command::new(program)
        .args([address.to_string(), source.to_string()])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .ok()?;
    let carrier = Carrier { name: "websockify", process, address, gateway: None };
    let end = Instant::now() + Duration::from_secs(30);
    while TcpStream::connect(address).await.is_err() {
        assert!(Instant::now() < end, "websockify does not listen");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Some(carrier)
}

async fn carry(carrier: &Carrier, connections: usize, bytes: u64) -> Figures {
    let memory_before = memory(carrier.process.id());
    let mut clients = Vec::new();
    for _ in 0..connections {
        clients.push(connect(carrier).await);
    }
    let (cpu, began) = (cpu(carrier.process.id()), Instant::now());
    let reading: Vec<_> =
        clients.into_iter().map(|client| tokio::spawn(read(client, bytes))).collect();
    // In the middle, when all buffers are in use.
    tokio::time::sleep(Duration::from_millis(300)).await;
    let memory_used = memory(carrier.process.id()).saturating_sub(memory_before);
    let mut clients = Vec::new();
    for client in reading {
        clients.push(client.await.unwrap());
    }
    let (seconds, cpu) = (began.elapsed().as_secs_f64(), self::cpu(carrier.process.id()) - cpu);
    drop(clients);
    let all = bytes as f64 * connections as f64;
    Figures {
        bytes_per_second: all / seconds,
        bytes_per_cpu_second: all / cpu,
        memory_per_connection: memory_used as f64 / connections as f64,
    }
}

/// A viewer that has come in: what comes from here on is counted, not looked at, so that the client
/// costs next to nothing.
async fn connect(carrier: &Carrier) -> TcpStream {
    let mut tcp = TcpStream::connect(carrier.address).await.unwrap();
    tcp.set_nodelay(true).unwrap();
    let (path, more) = match &carrier.gateway {
        None => ("/".to_owned(), "Sec-WebSocket-Protocol: binary\r\n".to_owned()),
        Some((key, session)) => {
            let url = format!("http://{}/api/v1/sessions/{session}/tickets", carrier.address);
            let client = reqwest::Client::builder().no_proxy().build().unwrap();
            let asked =
                client.post(url).bearer_auth(key).header("content-type", "application/json");
            let ticket: serde_json::Value =
                asked.body(r#"{"kind":"vnc"}"#).send().await.unwrap().json().await.unwrap();
            let protocol = ticket["protocols"][1].as_str().unwrap().to_owned();
            let more = format!(
                "Sec-WebSocket-Protocol: binary, {protocol}\r\nAuthorization: Bearer {key}\r\n"
            );
            ("/gateway/vnc".to_owned(), more)
        }
    };
    let head = format!(
        "GET {path} HTTP/1.1\r\nHost: {}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{more}\r\n",
        carrier.address
    );
    tcp.write_all(head.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        answer.push(tcp.read_u8().await.unwrap());
    }
    assert!(answer.starts_with(b"HTTP/1.1 101"), "{}", String::from_utf8_lossy(&answer));
    assert_eq!(frame(&mut tcp).await, b"RFB 003.008\n");
    say(&mut tcp, b"RFB 003.008\n").await;
    assert_eq!(frame(&mut tcp).await, [1, 1]);
    say(&mut tcp, &[1]).await;
    assert_eq!(frame(&mut tcp).await, [0; 4]);
    tcp
}

/// A short frame, whole.
async fn frame(tcp: &mut TcpStream) -> Vec<u8> {
    let head = [tcp.read_u8().await.unwrap(), tcp.read_u8().await.unwrap()];
    assert_eq!(head[0], 0x82, "a whole binary frame");
    let mut data = vec![0; usize::from(head[1])];
    tcp.read_exact(&mut data).await.unwrap();
    data
}

/// A short frame, masked with zeros.
async fn say(tcp: &mut TcpStream, data: &[u8]) {
    let head = [0x82, 0x80 | u8::try_from(data.len()).unwrap(), 0, 0, 0, 0];
    tcp.write_all(&[&head, data].concat()).await.unwrap();
}

async fn read(mut tcp: TcpStream, bytes: u64) -> TcpStream {
    let mebibytes = u32::try_from(bytes >> 20).unwrap().to_be_bytes();
    say(&mut tcp, &[&[1, 4, 1, 0, 0], mebibytes.as_slice()].concat()).await;
    let (mut buffer, mut left) = (vec![0; 1 << 20], bytes);
    while left > 0 {
        let count = tcp.read(&mut buffer).await.unwrap() as u64;
        assert!(count > 0, "it ended with {left} bytes to go");
        left = left.saturating_sub(count);
    }
    tcp
}

/// The processor's time that a process and its children have had, in seconds.
fn cpu(id: u32) -> f64 {
    family(id)
        .into_iter()
        .filter_map(|id| std::fs::read_to_string(format!("/proc/{id}/stat")).ok())
        .map(|stat| {
            let fields: Vec<&str> = stat.rsplit(") ").next().unwrap().split(' ').collect();
            // utime, stime, and those of children that have ended.
            fields[11..15].iter().map(|field| field.parse::<f64>().unwrap()).sum::<f64>() / TICKS
        })
        .sum()
}

/// The memory that only a process and its children have, in bytes.
fn memory(id: u32) -> u64 {
    let private = |text: &str| -> u64 {
        let lines = text.lines().filter(|line| line.starts_with("Private_"));
        lines.filter_map(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok()).sum()
    };
    family(id)
        .into_iter()
        .filter_map(|id| std::fs::read_to_string(format!("/proc/{id}/smaps_rollup")).ok())
        .map(|text| private(&text) * 1024)
        .sum()
}

/// A process and its children: `websockify` has one for each connection.
fn family(id: u32) -> Vec<u32> {
    let mut all = vec![id];
    if let Ok(children) = std::fs::read_to_string(format!("/proc/{id}/task/{id}/children")) {
        for child in children.split_whitespace().filter_map(|child| child.parse().ok()) {
            all.extend(family(child));
        }
    }
    all
}
