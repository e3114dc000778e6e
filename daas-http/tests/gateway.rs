//! The gateway: who gets to a screen, what passes, and how it ends.

#![allow(clippy::unwrap_used, reason = "a test that unwraps None has failed")]

mod world;

use std::net::SocketAddr;
use std::time::Duration;

use daas_core::activity::Activity;
use daas_core::session::Phase;
use daas_core::store::SessionStore;
use daas_http::{GatewayConfig, HttpConfig, ServeError, Server};
use futures::{SinkExt as _, StreamExt as _};
use ironrdp_rdcleanpath::RDCleanPathPdu;
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{WebSocketStream, client_async};
use tokio_util::sync::CancellationToken;
use world::{PATIENCE, World, with_body, with_cookie};

/// A key press, as RFB writes it.
const KEY: [u8; 8] = [4, 1, 0, 0, 0, 0, 0, 97];

/// A world whose server listens, with a desktop of alice's.
struct Bench {
    world: World,
    id: String,
    address: SocketAddr,
    stop: CancellationToken,
    running: JoinHandle<Result<(), ServeError>>,
}

impl Bench {
    async fn new(gateway: GatewayConfig) -> Self {
        let world = World::new().await;
        let id = world.asked().await;
        world.phase(&id, Phase::Ready).await;
        let listen = "127.0.0.1:0".parse().unwrap();
        let config = HttpConfig { listen, gateway, ..HttpConfig::default() };
        let server = Server::bind(config, world.engine.clone(), world.extra()).await.unwrap();
        let (address, stop) = (server.addresses().main, CancellationToken::new());
        let running = tokio::spawn(server.run(stop.clone()));
        Self { world, id, address, stop, running }
    }

    async fn stop(self) {
        self.stop.cancel();
        timeout(PATIENCE, self.running).await.unwrap().unwrap().unwrap();
        self.world.stop().await;
    }

    /// Asks the listening server, as who has this key, or this cookie.
    async fn ask(&self, verb: &str, path: &str, who: &str, body: &str) -> (u16, Value) {
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let url = format!("http://{}{path}", self.address);
        let mut request = client.request(verb.parse().unwrap(), url).body(body.to_owned());
        request = request.header("content-type", "application/json");
        request = match who.starts_with("daas_") {
            true => request.bearer_auth(who),
            false => request.header("cookie", who).header("sec-fetch-site", "same-origin"),
        };
        let answer = timeout(PATIENCE, request.send()).await.unwrap().unwrap();
        (answer.status().as_u16(), answer.json().await.unwrap_or_default())
    }

    async fn ticket(&self, who: &str) -> Value {
        let path = format!("/api/v1/sessions/{}/tickets", self.id);
        let (status, ticket) = self.ask("POST", &path, who, r#"{"kind":"vnc"}"#).await;
        assert_eq!(status, 201, "{ticket}");
        ticket
    }

    /// Connects as `who` with `ticket`.
    async fn connect(&self, who: &str, ticket: &Value) -> Result<Viewer, Error> {
        self.connect_from(who, ticket, "same-origin").await
    }

    async fn connect_from(&self, who: &str, ticket: &Value, site: &str) -> Result<Viewer, Error> {
        let url = format!("ws://{}{}", self.address, ticket["path"].as_str().unwrap());
        let mut request = url.into_client_request().unwrap();
        let protocols: Vec<_> =
            ticket["protocols"].as_array().unwrap().iter().map(|p| p.as_str().unwrap()).collect();
        let headers = request.headers_mut();
        headers.insert("sec-websocket-protocol", protocols.join(", ").parse().unwrap());
        match who.starts_with("daas_") {
            true => headers.insert("authorization", format!("Bearer {who}").parse().unwrap()),
            false => {
                headers.insert("sec-fetch-site", site.parse().unwrap());
                headers.insert("cookie", who.parse().unwrap())
            }
        };
        let tcp = TcpStream::connect(self.address).await.unwrap();
        let (socket, answer) = timeout(PATIENCE, client_async(request, tcp)).await.unwrap()?;
        assert_eq!(answer.headers()["sec-websocket-protocol"], "binary");
        Ok(Viewer { socket, taken: Vec::new() })
    }

    /// A viewer that sees a screen, and the screen.
    async fn shown(&self, who: &str) -> (Viewer, DuplexStream) {
        let ticket = self.ticket(who).await;
        let mut viewer = self.connect(who, &ticket).await.unwrap();
        viewer.greet().await;
        (viewer, self.world.screens.next().await)
    }

    async fn activity(&self) -> Activity {
        self.world.store.activity(&self.id.parse().unwrap()).await.unwrap()
    }

    /// What is known of the desktop's use, once it pleases.
    async fn activity_until(&self, pleases: impl Fn(&Activity) -> bool) -> Activity {
        let seen = async {
            loop {
                let activity = self.activity().await;
                if pleases(&activity) {
                    return activity;
                }
                tokio::task::yield_now().await;
            }
        };
        timeout(PATIENCE, seen).await.expect("its use is not noted")
    }
}

struct Viewer {
    socket: WebSocketStream<TcpStream>,
    taken: Vec<u8>,
}

impl Viewer {
    async fn take(&mut self, count: usize) -> Vec<u8> {
        while self.taken.len() < count {
            match timeout(PATIENCE, self.socket.next()).await.unwrap().unwrap().unwrap() {
                Message::Binary(data) => self.taken.extend(data),
                Message::Ping(_) => {}
                other => panic!("{other:?}"),
            }
        }
        self.taken.drain(..count).collect()
    }

    async fn send(&mut self, data: &[u8]) {
        self.socket.send(Message::Binary(data.to_vec().into())).await.unwrap();
    }

    /// RFB 3.8, with the security type that needs no password.
    async fn greet(&mut self) {
        assert_eq!(self.take(12).await, b"RFB 003.008\n");
        self.send(b"RFB 003.008\n").await;
        assert_eq!(self.take(2).await, [1, 1]);
        self.send(&[1]).await;
        assert_eq!(self.take(4).await, [0; 4]);
    }

    /// The code and the reason with which the server ends.
    async fn end(mut self) -> (u16, String) {
        loop {
            match timeout(PATIENCE, self.socket.next()).await.expect("it goes on") {
                Some(Ok(Message::Close(Some(frame)))) => {
                    return (frame.code.into(), frame.reason.as_str().to_owned());
                }
                Some(Ok(_)) => {}
                other => panic!("{other:?}"),
            }
        }
    }
}

#[tokio::test]
async fn a_screen_is_shown_and_what_is_typed_reaches_it() {
    let bench = Bench::new(GatewayConfig::default()).await;
    let alice = bench.world.keys.alice.clone();
    let (mut viewer, mut screen) = bench.shown(&alice).await;
    viewer.send(&[&[1], KEY.as_slice()].concat()).await;
    let mut said = [0; 9];
    timeout(PATIENCE, screen.read_exact(&mut said)).await.unwrap().unwrap();
    assert_eq!(said[1..], KEY);
    screen.write_all(b"a picture").await.unwrap();
    assert_eq!(viewer.take(9).await, b"a picture");
    let (_, list) = bench.ask("GET", "/api/v1/connections", &alice, "").await;
    let listed = &list["connections"][0];
    assert_eq!((&listed["session"], &listed["kind"]), (&bench.id.clone().into(), &"vnc".into()));
    assert_eq!((&listed["bytes_down"], &listed["bytes_up"]), (&9.into(), &9.into()));
    let (_, others) = bench.ask("GET", "/api/v1/connections", &bench.world.keys.bob, "").await;
    assert_eq!(others["connections"].as_array().unwrap().len(), 0, "nobody else sees it");
    drop(screen);
    assert_eq!(viewer.end().await.0, 4005, "the screen went away");
    bench.stop().await;
}

#[tokio::test]
async fn a_connection_is_written_down_from_its_ticket_to_its_end() {
    let bench = Bench::new(GatewayConfig::default()).await;
    let alice = bench.world.sign_in("alice").await;
    let (viewer, screen) = bench.shown(&alice).await;
    drop(screen);
    viewer.end().await;
    let told = async {
        loop {
            let all = bench.world.audited().await;
            let about = all.into_iter().filter(|e| e.act.starts_with("console-"));
            let about: Vec<_> = about.collect();
            if about.last().is_some_and(|last| last.act == "console-end") {
                return about;
            }
        }
    };
    let told = timeout(PATIENCE, told).await.expect("its end is not written down");
    let acts: Vec<_> = told.iter().map(|e| (e.act.as_str(), e.stage.as_str(), e.status)).collect();
    assert_eq!(
        acts,
        [
            ("console-open", "asked", None),
            ("console-open", "done", Some(201)),
            ("console-open", "noted", None),
            ("console-end", "noted", None),
        ]
    );
    for entry in &told {
        assert_eq!(entry.owner.as_deref(), Some("alice@api"));
        assert_eq!(entry.session.as_deref(), Some(bench.id.as_str()));
    }
    assert!(told[2].known_by.starts_with("sign-in:"), "{told:?}");
    assert!(told[3].reason.as_deref().unwrap().contains(", after "), "{told:?}");
    bench.stop().await;
}

#[tokio::test]
async fn a_ticket_is_for_one_connection_of_its_user_and_kind() {
    let bench = Bench::new(GatewayConfig::default()).await;
    let (alice, bob) = (bench.world.keys.alice.clone(), bench.world.keys.bob.clone());
    let ticket = bench.ticket(&alice).await;
    assert_eq!(bench.connect(&bob, &ticket).await.unwrap().end().await.0, 4003, "not bob's");
    let again = bench.connect(&alice, &ticket).await.unwrap();
    assert_eq!(again.end().await.0, 4001, "who lost it may not have it twice");
    let mut forged = bench.ticket(&alice).await;
    forged["protocols"] = serde_json::json!(["binary", "daas.ticket.0123"]);
    assert_eq!(bench.connect(&alice, &forged).await.unwrap().end().await.0, 4001);
    forged["protocols"] = serde_json::json!(["binary"]);
    assert_eq!(bench.connect(&alice, &forged).await.unwrap().end().await.0, 4001);
    // Others' desktops have no tickets, and do not exist.
    let path = format!("/api/v1/sessions/{}/tickets", bench.id);
    assert_eq!(bench.ask("POST", &path, &bob, r#"{"kind":"vnc"}"#).await.0, 404);
    assert_eq!(bench.ask("POST", &path, &alice, r#"{"kind":"rdb"}"#).await.0, 400);
    bench.stop().await;
}

#[tokio::test]
async fn a_page_of_another_site_connects_nobody() {
    let bench = Bench::new(GatewayConfig::default()).await;
    let cookie = bench.world.sign_in("alice").await;
    let ticket = bench.ticket(&cookie).await;
    match bench.connect_from(&cookie, &ticket, "cross-site").await {
        Err(Error::Http(answer)) => assert_eq!(answer.status(), 403),
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("let in"),
    }
    let mut viewer = bench.connect(&cookie, &ticket).await.unwrap();
    viewer.greet().await;
    bench.stop().await;
}

#[tokio::test]
async fn connections_end_with_the_sign_in_the_desktop_and_the_server() {
    let bench = Bench::new(GatewayConfig::default()).await;
    let cookie = bench.world.sign_in("alice").await;
    let (viewer, _screen) = bench.shown(&cookie).await;
    let (status, _) = bench.ask("POST", "/sign-out", &cookie, "").await;
    assert!(status < 400, "{status}");
    assert_eq!(viewer.end().await.0, 4011);

    let alice = bench.world.keys.alice.clone();
    let (viewer, _screen) = bench.shown(&alice).await;
    let (_, list) = bench.ask("GET", "/api/v1/connections", &alice, "").await;
    let path = format!("/api/v1/connections/{}", list["connections"][0]["id"].as_str().unwrap());
    assert_eq!(bench.ask("DELETE", &path, &bench.world.keys.bob, "").await.0, 404);
    assert_eq!(bench.ask("DELETE", &path, &bench.world.keys.operator, "").await.0, 204);
    assert_eq!(viewer.end().await.0, 4006);

    let (viewer, _screen) = bench.shown(&alice).await;
    let path = format!("/api/v1/sessions/{}", bench.id);
    assert_eq!(bench.ask("DELETE", &path, &alice, "").await.0, 202);
    assert_eq!(viewer.end().await.0, 4004);

    let other = bench.world.asked().await;
    bench.world.phase(&other, Phase::Ready).await;
    let bench = Bench { id: other, ..bench };
    let (viewer, _screen) = bench.shown(&alice).await;
    bench.stop.cancel();
    assert_eq!(viewer.end().await.0, 1001);
    bench.stop().await;
}

#[tokio::test]
async fn use_of_the_screen_is_use_of_the_desktop() {
    let bench = Bench::new(GatewayConfig::default()).await;
    let alice = bench.world.keys.alice.clone();
    assert_eq!(bench.activity().await.gateway, None);
    let (mut viewer, mut screen) = bench.shown(&alice).await;
    let there = bench.activity_until(|a| a.gateway.is_some_and(|p| p.connected)).await;
    assert!(there.first_connected_at.is_some());
    let first = there.gateway.unwrap().input_at;
    viewer.send(&[&[1], KEY.as_slice()].concat()).await;
    let mut said = [0; 9];
    timeout(PATIENCE, screen.read_exact(&mut said)).await.unwrap().unwrap();
    drop(viewer);
    let left = bench.activity_until(|a| a.gateway.is_some_and(|p| !p.connected)).await;
    assert!(left.gateway.unwrap().input_at >= first);
    assert!(left.left_at(first).is_some());
    bench.stop().await;
}

#[tokio::test]
async fn an_unfinished_desktop_has_no_screen() {
    let bench = Bench::new(GatewayConfig::default()).await;
    let alice = bench.world.keys.alice.clone();
    let ticket = bench.ticket(&alice).await;
    bench.world.delete(&format!("/api/v1/sessions/{}", bench.id), &alice).await;
    bench.world.phase(&bench.id, Phase::Ended).await;
    let (code, why) = bench.connect(&alice, &ticket).await.unwrap().end().await;
    assert_eq!(code, 4009, "{why}");
    let path = format!("/api/v1/sessions/{}/tickets", bench.id);
    assert_eq!(bench.ask("POST", &path, &alice, r#"{"kind":"vnc"}"#).await.0, 409);
    bench.stop().await;
}

#[tokio::test]
async fn one_owner_does_not_take_all_connections() {
    let config = GatewayConfig { connections_of_one: 1, ..GatewayConfig::default() };
    let bench = Bench::new(config).await;
    let alice = bench.world.keys.alice.clone();
    let (_viewer, _screen) = bench.shown(&alice).await;
    let ticket = bench.ticket(&alice).await;
    let (code, why) = bench.connect(&alice, &ticket).await.unwrap().end().await;
    assert_eq!(code, 4029);
    assert!(why.contains("too many connections of this owner"), "{why}");
    bench.stop().await;
}

#[tokio::test]
async fn who_gives_no_sign_of_life_and_who_touches_nothing_is_let_go() {
    let silence = Duration::from_millis(300);
    let bench = Bench::new(GatewayConfig { silence, ..GatewayConfig::default() }).await;
    let alice = bench.world.keys.alice.clone();
    let (mut viewer, _screen) = bench.shown(&alice).await;
    // What comes is not read: nobody answers to the server's signs of life.
    let (_, list) = bench.ask("GET", "/api/v1/connections", &alice, "").await;
    assert_eq!(list["connections"].as_array().unwrap().len(), 1);
    bench.activity_until(|a| a.gateway.is_some_and(|p| !p.connected)).await;
    viewer.send(&[1]).await;
    bench.stop().await;

    let idle = Duration::from_millis(200);
    let bench = Bench::new(GatewayConfig { idle, ..GatewayConfig::default() }).await;
    let (viewer, _screen) = bench.shown(&bench.world.keys.alice).await;
    assert_eq!(viewer.end().await.0, 4007);
    bench.stop().await;

    let lifetime = Duration::from_millis(200);
    let bench = Bench::new(GatewayConfig { lifetime, ..GatewayConfig::default() }).await;
    let (viewer, _screen) = bench.shown(&bench.world.keys.alice).await;
    assert_eq!(viewer.end().await.0, 4008);
    bench.stop().await;
}

#[tokio::test]
async fn remote_desktop_takes_its_ticket_from_the_request_and_says_why_not() {
    let bench = Bench::new(GatewayConfig::default()).await;
    let alice = bench.world.keys.alice.clone();
    let way = serde_json::json!({"path": "/gateway/rdp", "protocols": ["binary"]});
    // A ticket for the machine's own screen is none for this.
    let ticket = bench.ticket(&alice).await["ticket"].as_str().unwrap().to_owned();
    let request = vec![3, 0, 0, 4];
    let said = RDCleanPathPdu::new_request(request, "evil.test".to_owned(), ticket, None).unwrap();
    let mut viewer = bench.connect(&alice, &way).await.unwrap();
    viewer.send(&said.to_der().unwrap()).await;
    let refusal = RDCleanPathPdu::new_http_error(401).to_der().unwrap();
    assert_eq!(viewer.take(refusal.len()).await, refusal);
    assert_eq!(viewer.end().await.0, 4001);
    for rubbish in [[0x30, 6, 0xa0, 4, 2, 2, 0, 1], [0x30, 6, 0xa0, 4, 2, 2, 0x0d, 0x3d]] {
        let mut viewer = bench.connect(&alice, &way).await.unwrap();
        viewer.send(&rubbish).await;
        let refusal = RDCleanPathPdu::new_http_error(503).to_der().unwrap();
        assert_eq!(viewer.take(refusal.len()).await, refusal);
        assert_eq!(viewer.end().await.0, 1002, "{rubbish:?}");
    }
    bench.stop().await;
}

#[tokio::test]
async fn what_is_no_websocket_is_told_what_is() {
    let world = World::new().await;
    let answer = world.get("/gateway/vnc", &world.keys.alice).await;
    assert_eq!(answer.status, 426, "{}", answer.text);
    assert_eq!(world.get("/gateway/telnet", &world.keys.alice).await.status, 404);
    let cookie = world.sign_in("alice").await;
    let request =
        with_cookie(with_body(world::request("POST", "/api/v1/sessions/x/tickets"), "{}"), &cookie);
    assert_eq!(world.send(request).await.status(), 403, "a page that does not say whose it is");
    world.stop().await;
}
