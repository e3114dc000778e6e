//! The server on real sockets: TLS, bounds, and how it stops.

#![allow(clippy::unwrap_used, reason = "a test that unwraps None has failed")]

mod world;

use std::net::SocketAddr;
use std::time::Duration;

use daas_http::{Addresses, Extra, HttpConfig, Listeners, ServeError, Server, Tls};
use sha2::Digest;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use world::{PATIENCE, Wanted, World};

/// A server at work.
struct Served {
    addresses: Addresses,
    fingerprint: Option<String>,
    stop: CancellationToken,
    running: JoinHandle<Result<(), ServeError>>,
}

impl Served {
    async fn new(world: &World, config: HttpConfig) -> Self {
        let server = Server::bind(config, world.engine.clone(), Extra::default()).await.unwrap();
        let (addresses, stop) = (*server.addresses(), CancellationToken::new());
        let fingerprint = server.fingerprint().map(str::to_owned);
        let running = tokio::spawn(server.run(stop.clone()));
        Self { addresses, fingerprint, stop, running }
    }

    async fn stop(self) {
        self.stop.cancel();
        tokio::time::timeout(PATIENCE, self.running).await.unwrap().unwrap().unwrap();
    }
}

fn anywhere() -> HttpConfig {
    HttpConfig { listen: "127.0.0.1:0".parse().unwrap(), ..HttpConfig::default() }
}

async fn quiet() -> World {
    World::with(Wanted { idle_engine: true, ..Wanted::default() }).await
}

#[tokio::test]
async fn a_self_signed_certificate_is_made_once_and_is_the_one_that_is_told() {
    let world = quiet().await;
    let kept = tempfile::tempdir().unwrap();
    let tls = Tls::SelfSigned { directory: kept.path().to_owned(), names: vec!["lab".into()] };
    let config = HttpConfig {
        tls: tls.clone(),
        guest_listen: Some("127.0.0.1:0".parse().unwrap()),
        guest_tls: tls,
        ..anywhere()
    };
    let served = Served::new(&world, config.clone()).await;
    let pem = std::fs::read_to_string(kept.path().join("certificate.pem")).unwrap();
    let certificate = reqwest::Certificate::from_pem(pem.as_bytes()).unwrap();
    let client = reqwest::Client::builder()
        .tls_certs_only([certificate])
        .no_proxy()
        .timeout(PATIENCE)
        .build()
        .unwrap();
    let url = served.addresses.url();
    let answer = client.get(format!("{url}/health")).send().await.unwrap();
    assert_eq!((answer.status(), answer.version()), (http::StatusCode::OK, http::Version::HTTP_2));
    let guests = served.addresses.guest_url().unwrap();
    let answer = client.get(format!("{guests}/health")).send().await.unwrap();
    assert_eq!(answer.status(), 404, "guests are served their own route only");
    let fingerprint = served.fingerprint.clone().unwrap();
    assert_eq!(fingerprint, fingerprint_of(&pem));
    served.stop().await;
    let again = Listeners::bind(&config).await.unwrap();
    assert_eq!(again.fingerprint(), Some(fingerprint.as_str()), "kept over a restart");
    assert_eq!(again.guest_certificate_pem(), Some(pem.as_str()));
    let names = vec!["lab".into(), "10.9.8.7".into()];
    let more = Tls::SelfSigned { directory: kept.path().to_owned(), names };
    let renamed = Listeners::bind(&HttpConfig { tls: more, ..anywhere() }).await.unwrap();
    assert_ne!(renamed.fingerprint(), Some(fingerprint.as_str()), "new names, new certificate");
    let names = vec!["other".into()];
    let other = Tls::SelfSigned { directory: kept.path().to_owned(), names };
    let refused = Listeners::bind(&HttpConfig { guest_tls: other, ..config }).await.unwrap_err();
    assert!(refused.to_string().contains("a directory each"), "{refused}");
    let mode = std::os::unix::fs::PermissionsExt::mode(
        &std::fs::metadata(kept.path().join("key.pem")).unwrap().permissions(),
    );
    assert_eq!(mode & 0o777, 0o600);
    world.stop().await;
}

fn fingerprint_of(pem: &str) -> String {
    use rustls::pki_types::{CertificateDer, pem::PemObject};
    let der = CertificateDer::from_pem_slice(pem.as_bytes()).unwrap();
    let digest = sha2::Sha256::digest(&der);
    digest.iter().map(|b| format!("{b:02X}")).collect::<Vec<_>>().join(":")
}

#[tokio::test]
async fn keys_do_not_travel_in_clear_unless_that_was_wished() {
    let everywhere: SocketAddr = "0.0.0.0:0".parse().unwrap();
    let config = HttpConfig { listen: everywhere, ..HttpConfig::default() };
    let refused = Listeners::bind(&config).await.unwrap_err();
    assert!(matches!(refused, ServeError::Plain { address } if address == everywhere));
    let missing = Tls::Files { certificate: "/nowhere/c.pem".into(), key: "/nowhere/k.pem".into() };
    let refused = Listeners::bind(&HttpConfig { tls: missing, ..anywhere() }).await.unwrap_err();
    assert!(refused.to_string().contains("/nowhere/c.pem"), "{refused}");
}

#[tokio::test]
async fn clients_that_say_nothing_are_cut_and_make_room_for_others() {
    let world = quiet().await;
    let mut config = anywhere();
    config.limits.connections = 1;
    config.limits.header_time = Duration::from_millis(100);
    let served = Served::new(&world, config).await;
    let mut mute = TcpStream::connect(served.addresses.main).await.unwrap();
    let cut = tokio::time::timeout(PATIENCE, mute.read(&mut [0])).await.expect("it is cut");
    assert_eq!(cut.unwrap(), 0);
    let mut silent = TcpStream::connect(served.addresses.main).await.unwrap();
    silent.write_all(b"GET /health HTTP/1.1\r\n").await.unwrap();
    let mut other = TcpStream::connect(served.addresses.main).await.unwrap();
    other
        .write_all(b"GET /health HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
        .await
        .unwrap();
    let mut answer = String::new();
    let read = other.read_to_string(&mut answer);
    tokio::time::timeout(PATIENCE, read).await.expect("room was made").unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    // Half a body holds nothing up either.
    let mut half = TcpStream::connect(served.addresses.main).await.unwrap();
    let head = "POST /api/session/create HTTP/1.1\r\nhost: localhost\r\ncontent-length: 9\r\n\r\n{";
    half.write_all(head.as_bytes()).await.unwrap();
    let mut answer = vec![0; 512];
    let read = tokio::time::timeout(PATIENCE, half.read(&mut answer)).await.unwrap().unwrap();
    let answer = String::from_utf8_lossy(&answer[..read]).into_owned();
    assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
    served.stop().await;
    world.stop().await;
}

#[tokio::test]
async fn half_a_handshake_holds_nothing_at_either_listener() {
    let world = quiet().await;
    let kept = tempfile::tempdir().unwrap();
    let tls = Tls::SelfSigned { directory: kept.path().to_owned(), names: Vec::new() };
    let guest_listen = Some("127.0.0.1:0".parse().unwrap());
    let mut config = HttpConfig { tls: tls.clone(), guest_tls: tls, guest_listen, ..anywhere() };
    config.limits.header_time = Duration::from_millis(100);
    let served = Served::new(&world, config).await;
    for address in [served.addresses.main, served.addresses.guests.unwrap()] {
        // Nothing, the head of a TLS record without its body, and words that are no TLS.
        for said in [&b""[..], &[0x16, 3, 1, 2, 0, 1], b"GET / HTTP/1.1\r\n\r\n"] {
            let mut client = TcpStream::connect(address).await.unwrap();
            client.write_all(said).await.unwrap();
            let mut rest = Vec::new();
            let ended = tokio::time::timeout(PATIENCE, client.read_to_end(&mut rest)).await;
            // Cut without or with a reset: both are an end.
            let _ = ended.unwrap_or_else(|_| panic!("{address} still waits after {said:?}"));
        }
    }
    served.stop().await;
    world.stop().await;
}

#[tokio::test]
async fn streams_do_not_hold_up_the_stop() {
    let world = quiet().await;
    let mut config = anywhere();
    config.limits.stop_time = PATIENCE * 2;
    let served = Served::new(&world, config).await;
    let mut reader = TcpStream::connect(served.addresses.main).await.unwrap();
    let head = format!(
        "GET /api/v1/events HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {}\r\n\r\n",
        world.keys.alice
    );
    reader.write_all(head.as_bytes()).await.unwrap();
    let mut start = [0; 12];
    tokio::time::timeout(PATIENCE, reader.read_exact(&mut start)).await.unwrap().unwrap();
    assert_eq!(&start, b"HTTP/1.1 200");
    let address = served.addresses.main;
    served.stop().await;
    let mut rest = String::new();
    tokio::time::timeout(PATIENCE, reader.read_to_string(&mut rest)).await.unwrap().unwrap();
    assert!(rest.ends_with("0\r\n\r\n"), "the stream ended in order: {rest}");
    assert!(TcpStream::connect(address).await.is_err(), "nobody listens any more");
    world.stop().await;
}

#[tokio::test]
async fn the_compatible_api_can_have_a_listener_of_its_own() {
    let world = quiet().await;
    let mut config = anywhere();
    config.compat.listen = Some("127.0.0.1:0".parse().unwrap());
    let served = Served::new(&world, config).await;
    let compat = served.addresses.compat.unwrap();
    for (path, status) in [("/api/sessions", 200), ("/api/v1/sessions", 404)] {
        let mut client = TcpStream::connect(compat).await.unwrap();
        let head = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
        client.write_all(head.as_bytes()).await.unwrap();
        let mut answer = String::new();
        let read = client.read_to_string(&mut answer);
        tokio::time::timeout(PATIENCE, read).await.unwrap().unwrap();
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{path}: {answer}");
    }
    served.stop().await;
    world.stop().await;
}
