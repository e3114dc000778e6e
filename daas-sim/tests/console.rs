//! The VNC console, from its ticket to the first picture, as a browser's viewer goes.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is the test's failure")]

mod common;

use std::sync::Arc;
use std::time::Duration;

use common::{Client, SOON, start};
use daas_sim::{Event, SimConfig, Simulator, Version};
use des::Des;
use des::cipher::{Block, BlockCipherEncrypt as _, KeyInit as _};
use futures::{SinkExt as _, StreamExt as _};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use sha2::{Digest as _, Sha256};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{WebSocketStream, client_async};

const VM: &str = "/nodes/pve/qemu/100";

/// A viewer's end of the WebSocket, as a stream of bytes.
struct Viewer {
    socket: WebSocketStream<TlsStream<TcpStream>>,
    read: Vec<u8>,
}

impl Viewer {
    async fn open(sim: &Simulator, port: &str, ticket: &str) -> Result<Self, Error> {
        let ca = CertificateDer::from_pem_slice(sim.ca_pem().as_bytes()).unwrap();
        let mut roots = rustls::RootCertStore::empty();
        roots.add(ca).unwrap();
        let config =
            rustls::ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        let address = sim.url().replace("https://", "");
        let tcp = TcpStream::connect(&address).await.unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        let tls = TlsConnector::from(Arc::new(config)).connect(name, tcp).await.unwrap();
        let leaf = &tls.get_ref().1.peer_certificates().unwrap()[0];
        let digest: Vec<String> = Sha256::digest(leaf).iter().map(|b| format!("{b:02X}")).collect();
        assert_eq!(sim.fingerprint(), digest.join(":"));
        let ticket = utf8_percent_encode(ticket, NON_ALPHANUMERIC);
        let url =
            format!("wss://{address}/api2/json{VM}/vncwebsocket?port={port}&vncticket={ticket}");
        let mut request = url.into_client_request().unwrap();
        let token = sim.token("daas@pve", "daas").unwrap();
        let headers = request.headers_mut();
        headers.insert("Authorization", format!("PVEAPIToken={token}").parse().unwrap());
        headers.insert("Sec-WebSocket-Protocol", "binary".parse().unwrap());
        let (socket, response) = client_async(request, tls).await?;
        assert_eq!(response.headers()["sec-websocket-protocol"], "binary");
        Ok(Self { socket, read: Vec::new() })
    }

    async fn take(&mut self, count: usize) -> Vec<u8> {
        while self.read.len() < count {
            let message = tokio::time::timeout(SOON, self.socket.next()).await.unwrap();
            match message.unwrap().unwrap() {
                Message::Binary(data) => self.read.extend(data),
                other => panic!("{other:?}"),
            }
        }
        self.read.drain(..count).collect()
    }

    async fn send(&mut self, data: &[u8]) {
        self.socket.send(Message::Binary(data.to_vec().into())).await.unwrap();
    }

    /// RFB 3.8 with VNC authentication; the security result.
    async fn authenticate(&mut self, password: &str) -> u32 {
        assert_eq!(self.take(12).await, b"RFB 003.008\n");
        self.send(b"RFB 003.008\n").await;
        assert_eq!(self.take(2).await, [1, 2]);
        self.send(&[2]).await;
        let mut key = [0u8; 8];
        key.iter_mut().zip(password.bytes()).for_each(|(k, b)| *k = b.reverse_bits());
        let des = Des::new(&key.into());
        let mut answer = self.take(16).await;
        for half in answer.chunks_exact_mut(8) {
            let mut block = Block::<Des>::default();
            block.copy_from_slice(half);
            des.encrypt_block(&mut block);
            half.copy_from_slice(&block);
        }
        self.send(&answer).await;
        u32::from_be_bytes(self.take(4).await.try_into().unwrap())
    }
}

async fn running(version: Version) -> (Simulator, Client) {
    let (sim, client) = start(SimConfig { version, ..SimConfig::default() }).await;
    client.clone_of_9000(&sim, 100, "a").await;
    let said = client.post(&format!("{VM}/status/start"), &[]).await;
    assert_eq!(client.done(&sim, said).await, "OK");
    (sim, client)
}

async fn shows_a_picture(version: Version) {
    let (sim, client) = running(version).await;
    let proxy = client.post(&format!("{VM}/vncproxy"), &[("websocket", "1")]).await.data();
    let text = |key: &str| proxy[key].as_str().unwrap_or_default().to_owned();
    let password = match version {
        Version::V9_2 => text("password"),
        _ => text("ticket").chars().take(8).collect(),
    };
    assert_eq!(text("port"), "5900", "the port is text");
    assert_eq!(text("user"), "daas@pve!daas");
    let mut viewer = Viewer::open(&sim, "5900", &text("ticket")).await.unwrap();
    assert_eq!(viewer.authenticate(&password).await, 0);
    viewer.send(&[1]).await;
    let init = viewer.take(24).await;
    assert_eq!(init[..4], [0, 64, 0, 48]);
    let name = viewer.take(4).await;
    assert_eq!(name, b"null");
    viewer.send(&[3, 0, 0, 0, 0, 0, 0, 64, 0, 48]).await;
    let update = viewer.take(4 + 12 + 64 * 48 * 4).await;
    assert_eq!(update[16..20], [0x80; 4]);
    viewer.socket.close(None).await.unwrap();
    let upid = text("upid");
    let ended = |e: &Event| matches!(e, Event::TaskEnd { upid: u, .. } if **u == *upid);
    let end = sim.log().wait_for(ended, SOON).await.unwrap();
    assert!(matches!(end.event, Event::TaskEnd { exit, .. } if &*exit == "OK"));
    sim.stop().await;
}

#[tokio::test]
async fn a_viewer_sees_the_screen() {
    shows_a_picture(Version::V9_1).await;
}

#[tokio::test]
async fn a_viewer_sees_the_screen_of_9_2() {
    shows_a_picture(Version::V9_2).await;
}

#[tokio::test]
async fn tickets_are_for_one_machine_and_passwords_count() {
    let (sim, client) = running(Version::V9_1).await;
    let path = format!("{VM}/vncproxy");
    let form = [("websocket", "1"), ("generate-password", "1")];
    let proxy = client.post(&path, &form).await.data();
    let ticket = proxy["ticket"].as_str().unwrap();
    let mut viewer = Viewer::open(&sim, "5900", ticket).await.unwrap();
    assert_eq!(viewer.authenticate("wrong").await, 1);
    let refused = Viewer::open(&sim, "5901", ticket).await.err().unwrap();
    assert!(matches!(&refused, Error::Http(r) if r.status() == 500), "{refused:?}");
    let forged = Viewer::open(&sim, "5900", &ticket.replace("PVEVNC:", "PVEVNC:0")).await;
    assert!(matches!(forged.err().unwrap(), Error::Http(r) if r.status() == 401));
    let plain = utf8_percent_encode(ticket, NON_ALPHANUMERIC);
    let plain = client.get(&format!("{VM}/vncwebsocket?port=5900&vncticket={plain}")).await;
    assert_eq!(plain.data()["port"], "5900");
    sim.clock().skip(Duration::from_secs(41));
    let late = Viewer::open(&sim, "5900", ticket).await;
    assert!(matches!(late.err().unwrap(), Error::Http(r) if r.status() == 401));
    let said = client.post(&format!("{VM}/status/stop"), &[]).await;
    assert_eq!(client.done(&sim, said).await, "OK");
    let proxy = client.post(&path, &form).await.data();
    let upid = proxy["upid"].as_str().unwrap();
    let ended = |e: &Event| matches!(e, Event::TaskEnd { upid: u, .. } if **u == *upid);
    let end = sim.log().wait_for(ended, SOON).await.unwrap();
    assert!(matches!(end.event, Event::TaskEnd { exit, .. } if &*exit == "VM 100 is not running"));
    sim.stop().await;
}
