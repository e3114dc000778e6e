//! The RDP server of drawn guests, seen by an IronRDP client that decodes every pixel.

#![allow(clippy::unwrap_used)]

mod drawn_support;

use std::sync::Arc;
use std::time::Duration;

use daas_sim::guest::drawn::{DrawnConfig, DrawnGuest, LogKind};
use daas_sim::guest::{Guest, GuestMaker};
use drawn_support::reports::{collect, install, next};
use drawn_support::{PATIENCE, booted, own_network, until};
use ironrdp_connector::{
    BitmapConfig, ClientConnector, Config, ConnectionOutcome, ConnectorResult, Credentials,
    DesktopSize, ServerName,
};
use ironrdp_core::{ReadCursor, decode_cursor, encode_vec};
use ironrdp_graphics::rdp6::BitmapStreamDecoder;
use ironrdp_pdu::Action;
use ironrdp_pdu::bitmap::{BitmapUpdateData, Compression};
use ironrdp_pdu::fast_path::{FastPathHeader, FastPathUpdatePdu, UpdateCode};
use ironrdp_pdu::input::MousePdu;
use ironrdp_pdu::input::fast_path::{FastPathInput, FastPathInputEvent, KeyboardFlags};
use ironrdp_pdu::input::mouse::PointerFlags;
use ironrdp_pdu::mcs::{DisconnectProviderUltimatum, DisconnectReason, McsMessage};
use ironrdp_pdu::rdp::client_info::{PerformanceFlags, TimezoneInfo};
use ironrdp_pdu::x224::X224;
use ironrdp_pdu::{gcc, rdp};
use ironrdp_tokio::{Framed, FramedWrite, NetworkClient, TokioFramed};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::ring::default_provider;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

const WIDTH: usize = 1280;
const HEIGHT: usize = 800;

struct Client {
    framed: TokioFramed<TlsStream<TcpStream>>,
    pixels: Vec<u32>,
    /// Pixels that no update has brought yet.
    missing: usize,
}

impl Client {
    async fn connect(guest: &DrawnGuest, password: &str, depth: u32) -> ConnectorResult<Self> {
        let stream = TcpStream::connect((guest.address(), guest.ports().rdp)).await.unwrap();
        let local = stream.local_addr().unwrap();
        let mut framed: TokioFramed<TcpStream> = Framed::new(stream);
        let mut connector = ClientConnector::new(config(password, depth), local);
        let upgrade = ironrdp_tokio::connect_begin(&mut framed, &mut connector).await?;
        let tls = rustls::ClientConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(AnyCertificate))
            .with_no_client_auth();
        let name = "guest.test".try_into().unwrap();
        let stream = framed.into_inner_no_leftover();
        let stream = TlsConnector::from(Arc::new(tls)).connect(name, stream).await.unwrap();
        let upgraded = ironrdp_tokio::mark_as_upgraded(upgrade, &mut connector);
        let mut framed = Framed::new(stream);
        let outcome = ironrdp_tokio::connect_finalize(
            upgraded,
            connector,
            &mut framed,
            &mut NoNetwork,
            ServerName::new("guest.test"),
            Vec::new(),
            None,
        )
        .await?;
        assert!(matches!(outcome, ConnectionOutcome::Connected(_)));
        let missing = WIDTH * HEIGHT;
        Ok(Self { framed, pixels: vec![u32::MAX; missing], missing })
    }

    async fn send(&mut self, event: FastPathInputEvent) {
        let bytes = encode_vec(&FastPathInput::single(event)).unwrap();
        self.framed.write_all(&bytes).await.unwrap();
    }

    /// Reads updates until the picture is as wanted.
    async fn see(&mut self, what: &str, wanted: impl Fn(&Self) -> bool) {
        let reading = async {
            while !wanted(self) {
                let (action, bytes) = self.framed.read_pdu().await.unwrap();
                if action == Action::FastPath {
                    self.update(&bytes);
                }
            }
        };
        timeout(PATIENCE, reading).await.unwrap_or_else(|_| panic!("not in time: {what}"));
    }

    fn update(&mut self, bytes: &[u8]) {
        let mut cursor = ReadCursor::new(bytes);
        let _: FastPathHeader = decode_cursor(&mut cursor).unwrap();
        let update: FastPathUpdatePdu<'_> = decode_cursor(&mut cursor).unwrap();
        assert_eq!(update.update_code, UpdateCode::Bitmap);
        let mut cursor = ReadCursor::new(update.data);
        let bitmaps: BitmapUpdateData<'_> = decode_cursor(&mut cursor).unwrap();
        for bitmap in bitmaps.rectangles {
            let (width, height) = (usize::from(bitmap.width), usize::from(bitmap.height));
            let pixels: Vec<u32> = match bitmap.bits_per_pixel {
                32 => {
                    assert!(bitmap.compression_flags.contains(Compression::BITMAP_COMPRESSION));
                    let mut rgb = Vec::new();
                    BitmapStreamDecoder::default()
                        .decode_bitmap_stream_to_rgb24(bitmap.bitmap_data, &mut rgb, width, height)
                        .unwrap();
                    rgb.chunks(3).map(|p| u32::from_be_bytes([0, p[0], p[1], p[2]])).collect()
                }
                24 => {
                    let all = bitmap.bitmap_data.chunks(3);
                    all.map(|p| u32::from_le_bytes([p[0], p[1], p[2], 0])).collect()
                }
                16 => {
                    let all = bitmap.bitmap_data.chunks(2);
                    all.map(|p| u32::from(u16::from_le_bytes([p[0], p[1]]))).collect()
                }
                other => panic!("{other} bits per pixel"),
            };
            assert_eq!(pixels.len(), width * height);
            let (left, top) =
                (usize::from(bitmap.rectangle.left), usize::from(bitmap.rectangle.top));
            for (i, row) in pixels.chunks(width).rev().enumerate() {
                let start = (top + i) * WIDTH + left;
                let place = &mut self.pixels[start..start + width];
                self.missing -= place.iter().filter(|pixel| **pixel == u32::MAX).count();
                place.copy_from_slice(row);
            }
        }
    }
}

fn is_whole(client: &Client) -> bool {
    client.missing == 0
}

#[tokio::test]
async fn the_picture_is_the_same_at_every_depth() {
    let config = DrawnConfig { clock: false, ..own_network() };
    let (maker, guest) = booted(config, &[]).await;
    let mut pictures = Vec::new();
    for depth in [32, 24, 16] {
        let mut client = Client::connect(&guest, "s3cret pass", depth).await.unwrap();
        client.see("the whole picture", is_whole).await;
        pictures.push(client.pixels);
    }
    let colours = pictures[0].iter().collect::<std::collections::HashSet<_>>().len();
    assert!(colours > 100, "{colours}");
    assert!(pictures[0] == pictures[1], "32 and 24 bits");
    let reduced: Vec<u32> = pictures[0]
        .iter()
        .map(|pixel| pixel >> 19 << 11 | (pixel >> 10 & 0x3f) << 5 | pixel >> 3 & 0x1f)
        .collect();
    assert!(pictures[2] == reduced, "16 bits");
    maker.close().await;
}

#[tokio::test]
async fn keys_and_clicks_arrive_and_presence_is_known() {
    let config = DrawnConfig { clock: false, ..own_network() };
    let (maker, guest) = booted(config, &[]).await;
    assert!(guest.activity_now().is_empty());
    let mut client = Client::connect(&guest, "s3cret pass", 32).await.unwrap();
    client.see("the whole picture", is_whole).await;
    let session = guest.activity_now().remove(0);
    assert_eq!((session.user.as_str(), session.display.as_str()), ("alice", ":10"));
    assert!(session.connected && session.peers.len() == 1);
    let asked = guest.run("root", "ss -xp state established | grep -c xrdp_display_10", "").await;
    assert_eq!(asked.unwrap().stdout, "1\n");

    // Long enough to be told from the reset that a key makes.
    until("some idle time", || guest.activity_now()[0].idle > Duration::from_millis(120)).await;
    let before = client.pixels.clone();
    let pressed = std::time::Instant::now();
    client.send(FastPathInputEvent::KeyboardEvent(KeyboardFlags::empty(), 0x23)).await;
    client.see("the letter", |client| client.pixels != before).await;
    let idle = guest.run("alice", "DISPLAY=:10 xprintidle", "").await.unwrap();
    let idle = Duration::from_millis(idle.stdout.trim().parse().unwrap());
    assert!(idle <= pressed.elapsed(), "{idle:?} since the key");
    let before = client.pixels.clone();
    let flags = PointerFlags::LEFT_BUTTON | PointerFlags::DOWN;
    let click = |flags| MousePdu {
        flags,
        number_of_wheel_rotation_units: 0,
        x_position: 640,
        y_position: 400,
    };
    client.send(FastPathInputEvent::MouseEvent(click(flags))).await;
    client.see("the click", |client| client.pixels != before).await;
    let before = client.pixels.clone();
    client.send(FastPathInputEvent::UnicodeKeyboardEvent(KeyboardFlags::empty(), 0x58)).await;
    client.see("the unicode key", |client| client.pixels != before).await;

    let reason = DisconnectReason::UserRequested;
    let goodbye =
        X224(McsMessage::DisconnectProviderUltimatum(DisconnectProviderUltimatum { reason }));
    client.framed.write_all(&encode_vec(&goodbye).unwrap()).await.unwrap();
    until("the disconnect is seen", || !guest.activity_now()[0].connected).await;
    let sessions = guest.run("root", "loginctl list-sessions --no-legend | wc -l", "").await;
    assert_eq!(sessions.unwrap().stdout, "1\n", "the session outlives its connection");
    maker.close().await;
}

#[tokio::test]
async fn the_reporter_tells_at_once_who_comes_works_and_goes() {
    let (maker, guest) = booted(own_network(), &[]).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let (server, mut reports) = collect(listener, None);
    install(&guest, &url, "3600", "").await;
    assert_eq!(next(&mut reports).await.1["sessions"], serde_json::json!([]));
    let mut client = Client::connect(&guest, "s3cret pass", 32).await.unwrap();
    let told = next(&mut reports).await.1;
    let session = &told["sessions"][0];
    assert_eq!((&session["user"], &session["display"]), (&"alice".into(), &":10".into()));
    assert_eq!(session["state"], "connected");
    for number in ["idle_seconds", "state_seconds"] {
        assert!(session[number].as_u64().is_some_and(|seconds| seconds < 5), "{told}");
    }
    client.send(FastPathInputEvent::KeyboardEvent(KeyboardFlags::empty(), 0x23)).await;
    // Input alone is told at most once a second, so that the key may be a second old by then.
    assert_eq!(next(&mut reports).await.1["sessions"][0]["state"], "connected", "after a key");
    drop(client);
    assert_eq!(next(&mut reports).await.1["sessions"][0]["state"], "disconnected");
    server.abort();
    maker.close().await;
}

#[tokio::test]
async fn a_wrong_password_or_user_ends_the_connection() {
    let (maker, guest) = booted(own_network(), &[]).await;
    assert!(Client::connect(&guest, "S3cret pass", 32).await.is_err());
    guest.run("root", "passwd -l alice", "").await.unwrap();
    assert!(Client::connect(&guest, "s3cret pass", 32).await.is_err(), "a locked account");
    let refused = guest.with_disk(|disk| {
        disk.log()
            .filter(|e| e.kind == LogKind::Refused && e.text.contains("wrong password"))
            .count()
    });
    assert_eq!(refused, 2);
    assert!(guest.activity_now().is_empty());
    maker.close().await;
}

#[tokio::test]
async fn the_server_comes_and_goes_with_its_unit_and_with_power() {
    let (maker, guest) = booted(own_network(), &[]).await;
    let address = (guest.address(), guest.ports().rdp);
    let mut client = Client::connect(&guest, "s3cret pass", 24).await.unwrap();
    client.see("the whole picture", is_whole).await;
    guest.run("root", "systemctl stop xrdp", "").await.unwrap();
    let end = timeout(PATIENCE, async { while client.framed.read_pdu().await.is_ok() {} }).await;
    end.expect("the client is cut");
    assert!(!guest.activity_now()[0].connected);
    assert!(TcpStream::connect(address).await.is_err(), "nobody listens");
    guest.run("root", "systemctl start xrdp", "").await.unwrap();
    Client::connect(&guest, "s3cret pass", 24).await.unwrap();
    timeout(PATIENCE, guest.stop()).await.expect("stops in time").unwrap();
    assert_eq!(guest.tasks(), 0);
    assert!(TcpStream::connect(address).await.is_err(), "nobody listens");
    maker.close().await;
}

/// Never asked: there is no Kerberos here.
struct NoNetwork;

impl NetworkClient for NoNetwork {
    async fn send(
        &mut self,
        _request: &ironrdp_connector::sspi::generator::NetworkRequest,
    ) -> ConnectorResult<Vec<u8>> {
        panic!("no network is needed")
    }
}

/// The guest's certificate is its own; these tests are not about it.
#[derive(Debug)]
struct AnyCertificate;

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _: &rustls::pki_types::CertificateDer<'_>,
        _: &[rustls::pki_types::CertificateDer<'_>],
        _: &rustls::pki_types::ServerName<'_>,
        _: &[u8],
        _: rustls::pki_types::UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &rustls::pki_types::CertificateDer<'_>,
        signature: &rustls::DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let known = default_provider().signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signature, &known)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &rustls::pki_types::CertificateDer<'_>,
        signature: &rustls::DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let known = default_provider().signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signature, &known)
    }

    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        default_provider().signature_verification_algorithms.supported_schemes()
    }
}

fn config(password: &str, depth: u32) -> Config {
    Config {
        desktop_size: DesktopSize { width: WIDTH as u16, height: HEIGHT as u16 },
        monitor_layout: None,
        desktop_scale_factor: 0,
        desktop_physical_size: None,
        desktop_orientation: None,
        device_scale_factor: None,
        monitor_extended_layout: None,
        relative_mouse_input: false,
        enable_tls: true,
        enable_credssp: false,
        enable_standard_rdp_security: false,
        credentials: Credentials::UsernamePassword {
            username: "alice".into(),
            password: password.into(),
        },
        domain: None,
        client_build: 0,
        client_name: "test".into(),
        keyboard_type: gcc::KeyboardType::IBM_ENHANCED,
        keyboard_subtype: 0,
        keyboard_functional_keys_count: 12,
        keyboard_layout: 0,
        connection_type: gcc::ConnectionType::Lan,
        ime_file_name: String::new(),
        bitmap: Some(BitmapConfig {
            lossy_compression: false,
            color_depth: depth,
            codecs: rdp::capability_sets::BitmapCodecs::default(),
        }),
        dig_product_id: String::new(),
        client_dir: String::new(),
        alternate_shell: String::new(),
        work_dir: String::new(),
        remote_application_mode: false,
        rail_support_level: rdp::capability_sets::RailSupportLevel::empty(),
        platform: rdp::capability_sets::MajorPlatformType::UNIX,
        hardware_id: None,
        request_data: None,
        autologon: true,
        enable_audio_playback: false,
        enable_audio_capture: false,
        performance_flags: PerformanceFlags::default(),
        license_cache: None,
        timezone_info: TimezoneInfo::default(),
        compression_type: None,
        enable_server_pointer: false,
        pointer_software_rendering: false,
        multitransport_flags: None,
        support_dyn_vc_gfx_protocol: false,
    }
}
