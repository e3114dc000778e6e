//! Connections on paused time, by a socket in memory: each deadline to the second.

#![allow(clippy::unwrap_used, reason = "a test that unwraps None has failed")]

use axum::body::{Body, Bytes};
use axum::routing::get;
use futures::StreamExt as _;
use http_body_util::{BodyExt as _, Empty};
use hyper::client::conn::http2 as client;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};
use tokio::time::{Instant, interval, timeout};

use super::*;

const HEADER: Duration = Duration::from_secs(20);
const TAKE: Duration = Duration::from_secs(30);
/// Far beyond every deadline, on paused time.
const LONG: Duration = Duration::from_secs(4 * 3_600);
/// What the socket in memory holds.
const SOCKET_BYTES: usize = 4 * 1024;
const BIG: usize = 1024 * 1024;

/// Answers at once, much, late, or without an end; `gone` is cancelled when an endless answer is
/// given up.
fn router(gone: &CancellationToken) -> Router {
    let gone = gone.clone();
    let endless = move |period: Duration| {
        let guard = gone.clone().drop_guard();
        let beats = futures::stream::unfold((interval(period), guard), |mut state| async move {
            state.0.tick().await;
            Some((Ok::<_, std::io::Error>(Bytes::from_static(&[b'.'; 1024])), state))
        });
        Body::from_stream(beats)
    };
    let (quick, slow) = (endless.clone(), endless);
    Router::new()
        .route("/", get(async || "here"))
        .route("/big", get(async || Bytes::from(vec![b'.'; BIG])))
        .route("/late", get(async || tokio::time::sleep(Duration::from_secs(570)).await))
        .route("/endless", get(async move || quick(Duration::from_millis(1))))
        .route("/heartbeat", get(async move || slow(Duration::from_secs(15))))
}

/// The client's end of a connection that is served, and what tells that an answer was given up.
fn open(speaks_http2: bool) -> (DuplexStream, CancellationToken, tokio::task::JoinHandle<()>) {
    // On HTTP/2 it is the client's window that holds an answer up, not the socket.
    let room = if speaks_http2 { 64 * SOCKET_BYTES } else { SOCKET_BYTES };
    let (ours, theirs) = tokio::io::duplex(room);
    let gone = CancellationToken::new();
    let traffic = Traffic::new(HEADER, TAKE);
    let connection = Connection {
        peer: SocketAddr::from(([127, 0, 0, 1], 4711)),
        router: router(&gone),
        header_time: HEADER,
        traffic: traffic.clone(),
        ending: Ending::default(),
    };
    let serving = tokio::spawn(connection.speak(traffic.watch(theirs), speaks_http2));
    (ours, gone, serving)
}

/// Waits for the server to end a connection, after `expected` and not before.
async fn ends_after(serving: tokio::task::JoinHandle<()>, begun: Instant, expected: Duration) {
    timeout(LONG, serving).await.expect("it is cut").unwrap();
    let took = begun.elapsed();
    let most = expected + Duration::from_secs(1);
    assert!((expected..most).contains(&took), "after {took:?}, not {expected:?}");
}

async fn ask(stream: &mut DuplexStream, path: &str) {
    let head = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_client_that_says_nothing_or_half_of_it_is_cut() {
    for said in ["", "GET / HTTP/1.1\r\nhost: loc"] {
        let begun = Instant::now();
        let (mut stream, _, serving) = open(false);
        stream.write_all(said.as_bytes()).await.unwrap();
        ends_after(serving, begun, HEADER).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_head_that_trickles_in_has_no_more_time() {
    let begun = Instant::now();
    let (mut stream, _, serving) = open(false);
    stream.write_all(b"GET / HTTP/1.1\r\nx-slow: ").await.unwrap();
    let trickle = async {
        let mut second = interval(Duration::from_secs(1));
        while stream.write_all(b".").await.is_ok() {
            second.tick().await;
        }
    };
    tokio::join!(ends_after(serving, begun, HEADER), trickle);
}

#[tokio::test(start_paused = true)]
async fn a_connection_is_kept_for_another_request_but_not_for_ever() {
    let begun = Instant::now();
    let (mut stream, _, serving) = open(false);
    let mut second = interval(Duration::from_secs(15));
    for _ in 0..4 {
        second.tick().await;
        ask(&mut stream, "/").await;
        let mut answer = [0; SOCKET_BYTES];
        let read = stream.read(&mut answer).await.unwrap();
        assert!(answer[..read].ends_with(b"here"), "{}", String::from_utf8_lossy(&answer[..read]));
    }
    ends_after(serving, begun, Duration::from_secs(45) + HEADER).await;
}

#[tokio::test(start_paused = true)]
async fn a_body_that_nobody_reads_and_that_does_not_come_holds_nothing() {
    let begun = Instant::now();
    let (mut stream, _, serving) = open(false);
    let head = "GET / HTTP/1.1\r\nhost: localhost\r\ncontent-length: 10\r\n\r\n1";
    stream.write_all(head.as_bytes()).await.unwrap();
    timeout(LONG, serving).await.expect("it is cut").unwrap();
    assert!(begun.elapsed() <= HEADER, "{:?}", begun.elapsed());
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_is_not_taken_is_given_up() {
    for path in ["/endless", "/big"] {
        let begun = Instant::now();
        let (mut stream, gone, serving) = open(false);
        ask(&mut stream, path).await;
        ends_after(serving, begun, TAKE).await;
        if path == "/endless" {
            timeout(TAKE, gone.cancelled()).await.expect("the stream is given up");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_slow_reader_gets_all() {
    let (mut stream, _, serving) = open(false);
    ask(&mut stream, "/big").await;
    let (mut taken, mut pause) = (0, interval(Duration::from_secs(6)));
    while taken < BIG {
        pause.tick().await;
        let mut some = [0; SOCKET_BYTES];
        let read = timeout(LONG, stream.read(&mut some)).await.unwrap().unwrap();
        assert_ne!(read, 0, "it was cut after {taken} bytes");
        taken += read;
    }
    drop(stream);
    timeout(LONG, serving).await.expect("it ends with its client").unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_slow_reader_of_http2_gets_all() {
    let begun = Instant::now();
    let (mut sender, _, _serving) = http2(8 * 1024).await;
    let mut answer = sender.send_request(request("/big")).await.unwrap().into_body();
    let (mut taken, mut pause) = (0, interval(Duration::from_secs(12)));
    while let Some(frame) = timeout(LONG, answer.frame()).await.unwrap() {
        taken += frame.unwrap().into_data().unwrap().len();
        pause.tick().await;
    }
    assert_eq!(taken, BIG);
    assert!(begun.elapsed() > HEADER * 10, "it was slow: {:?}", begun.elapsed());
}

#[tokio::test(start_paused = true)]
async fn what_blocks_by_design_is_waited_for() {
    let begun = Instant::now();
    let (mut stream, _, _serving) = open(false);
    ask(&mut stream, "/late").await;
    let mut answer = [0; 15];
    stream.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 200 OK");
    assert!(begun.elapsed() >= Duration::from_secs(570));

    let (mut stream, _, _serving) = open(false);
    ask(&mut stream, "/heartbeat").await;
    let (mut taken, mut some) = (0, [0; SOCKET_BYTES]);
    while taken < 240 * 1024 {
        let read = timeout(LONG, stream.read(&mut some)).await.unwrap().unwrap();
        assert_ne!(read, 0, "it was cut after {taken} bytes");
        taken += read;
    }
}

type Sender = client::SendRequest<Empty<Bytes>>;

/// A client that speaks HTTP/2, grants `window` bytes of each answer, and answers pings.
async fn http2(window: u32) -> (Sender, CancellationToken, tokio::task::JoinHandle<()>) {
    let (stream, gone, serving) = open(true);
    let mut builder = client::Builder::new(TokioExecutor::new());
    builder.timer(TokioTimer::new()).initial_stream_window_size(window);
    let (sender, connection) = builder.handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    (sender, gone, serving)
}

fn request(path: &str) -> http::Request<Empty<Bytes>> {
    http::Request::get(format!("http://localhost{path}")).body(Empty::new()).unwrap()
}

#[tokio::test(start_paused = true)]
async fn an_http2_client_that_asks_for_nothing_is_cut() {
    let begun = Instant::now();
    let (_sender, _, serving) = http2(65_535).await;
    ends_after(serving, begun, HEADER).await;
    // One that does not even begin gets its time twice: to begin, and to end in order.
    let begun = Instant::now();
    let (_stream, _, serving) = open(true);
    timeout(LONG, serving).await.expect("it is cut").unwrap();
    assert!(begun.elapsed() <= HEADER * 2, "{:?}", begun.elapsed());
}

#[tokio::test(start_paused = true)]
async fn an_http2_answer_that_is_not_taken_is_given_up() {
    for path in ["/endless", "/big"] {
        let begun = Instant::now();
        let (mut sender, gone, serving) = http2(1_024).await;
        let answer = sender.send_request(request(path)).await.unwrap();
        timeout(LONG, serving).await.expect("it is cut").unwrap();
        assert!(begun.elapsed() <= HEADER * 2 + TAKE, "{path}: {:?}", begun.elapsed());
        if path == "/endless" {
            timeout(TAKE, gone.cancelled()).await.expect("the stream is given up");
        }
        drop(answer);
    }
}

#[tokio::test(start_paused = true)]
async fn an_http2_client_may_wait_for_what_blocks_by_design() {
    let (mut sender, _, _serving) = http2(65_535).await;
    let late = timeout(LONG, sender.send_request(request("/late"))).await.unwrap().unwrap();
    assert_eq!(late.status(), 200);
    let beats = sender.send_request(request("/heartbeat")).await.unwrap().into_body();
    let beats = beats.into_data_stream().take(240);
    let taken = timeout(LONG, beats.collect::<Vec<_>>()).await.unwrap();
    assert_eq!(taken.iter().filter(|beat| beat.is_ok()).count(), 240);
}

#[tokio::test]
async fn a_client_that_goes_without_a_word_is_noticed() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (client, accepted) = tokio::join!(TcpStream::connect(address), listener.accept());
    let (stream, _) = accepted.unwrap();
    tune(&stream).unwrap();
    let socket = SockRef::from(&stream);
    assert!(socket.keepalive().unwrap() && socket.tcp_nodelay().unwrap());
    assert_eq!(socket.tcp_keepalive_time().unwrap(), PROBE_AFTER);
    assert_eq!(socket.tcp_keepalive_interval().unwrap(), PROBE_PERIOD);
    #[cfg(target_os = "linux")]
    assert_eq!(socket.tcp_user_timeout().unwrap(), Some(ECHO_TIME));
    drop(client);
}
