//! Opens an RDP connection: negotiation, TLS, the login, and what both sides can do
//! ([MS-RDPBCGR] 1.3.1.1).

use std::net::SocketAddr;
use std::sync::Arc;

use async_trait::async_trait;
use ironrdp_acceptor::{
    Acceptor, ConnectionSetupHandler, ConnectorError, ConnectorErrorExt, ConnectorResult,
    DesktopSize, ReceivedCredentials, accept_finalize_with,
};
use ironrdp_connector::Sequence;
use ironrdp_core::WriteBuf;
use ironrdp_pdu::nego::SecurityProtocol;
use ironrdp_pdu::rdp::capability_sets::{
    Bitmap, BitmapDrawingFlags, CapabilitySet, General, GeneralExtraFlags, Input, InputFlags,
    Order, OrderFlags, OrderSupportExFlags, Pointer, VirtualChannel, VirtualChannelFlags,
};
use ironrdp_tokio::{Framed, FramedWrite, TokioFramed};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::super::DrawnGuest;
use super::super::desktop::{HEIGHT, WIDTH};
use super::super::disk::LogKind;
use super::super::password;
use super::picture::Depth;

/// A connection whose user is known and whose client expects the desktop.
pub(super) struct Opened {
    pub(super) framed: TokioFramed<TlsStream<TcpStream>>,
    pub(super) user: String,
    pub(super) io_channel: u16,
    pub(super) depth: Depth,
    /// Input the client sent before the sequence ended.
    pub(super) early: Vec<Vec<u8>>,
}

/// Goes through the whole sequence; the reason of a failure is for the log.
pub(super) async fn open(
    guest: &Arc<DrawnGuest>,
    stream: TcpStream,
    peer: SocketAddr,
    tls: TlsAcceptor,
) -> Result<Opened, String> {
    let size = DesktopSize { width: WIDTH, height: HEIGHT };
    let mut acceptor = Acceptor::new(SecurityProtocol::SSL, size, capabilities(), None);
    let stream = negotiate(stream, &mut acceptor).await?;
    let stream = tls.accept(stream).await.map_err(|error| format!("TLS: {error}"))?;
    acceptor.mark_security_upgrade_as_done();
    let mut login = Login { guest: guest.clone(), peer, user: String::new() };
    let framed = TokioFramed::new(stream);
    let (framed, result) = accept_finalize_with(framed, &mut acceptor, &mut login)
        .await
        .map_err(|error| format!("{}", error.report()))?;
    let (mut bits, mut fast_path) = (0, false);
    for capability in &result.capabilities {
        match capability {
            CapabilitySet::Bitmap(bitmap) => bits = bitmap.pref_bits_per_pix,
            CapabilitySet::General(general) => {
                let flags = general.extra_flags;
                fast_path = flags.contains(GeneralExtraFlags::FASTPATH_OUTPUT_SUPPORTED);
            }
            _ => {}
        }
    }
    if !fast_path {
        return Err("the client takes no fast-path output".into());
    }
    let depth =
        Depth::of(bits).ok_or_else(|| format!("{bits} bits per pixel are not supported"))?;
    let (io_channel, early) = (result.io_channel_id, result.input_events);
    Ok(Opened { framed, user: login.user, io_channel, depth, early })
}

/// The first exchange, in clear. Its refusal has to reach the client, so the steps are made here.
async fn negotiate(stream: TcpStream, acceptor: &mut Acceptor) -> Result<TcpStream, String> {
    let mut framed: TokioFramed<TcpStream> = Framed::new(stream);
    let (_, request) = framed.read_pdu().await.map_err(|error| format!("negotiation: {error}"))?;
    let mut answer = WriteBuf::new();
    acceptor
        .step(&request, None, &mut answer)
        .map_err(|error| format!("negotiation: {}", error.report()))?;
    let chosen = acceptor.step_no_input(&mut answer);
    framed.write_all(answer.filled()).await.map_err(|error| format!("negotiation: {error}"))?;
    chosen.map_err(|error| format!("negotiation: {}", error.report()))?;
    let (stream, leftover) = framed.into_inner();
    if !leftover.is_empty() {
        return Err("negotiation: bytes in clear before TLS".into());
    }
    Ok(stream)
}

/// Checks the name and password of the Client Info PDU against the guest's accounts.
struct Login {
    guest: Arc<DrawnGuest>,
    peer: SocketAddr,
    user: String,
}

impl Login {
    fn refuse(&self, user: &str, why: &'static str) -> ConnectorError {
        self.guest.note(LogKind::Refused, user, format!("rdp {why} from {}", self.peer));
        ConnectorError::general(why)
    }
}

#[async_trait(?Send)]
impl ConnectionSetupHandler for Login {
    async fn handle_credentials(
        &mut self,
        credentials: Option<ReceivedCredentials>,
    ) -> ConnectorResult<()> {
        let Some(ReceivedCredentials { credentials, .. }) = credentials else {
            return Err(self.refuse("", "without a user name and password"));
        };
        let user = credentials.username;
        let hash = self
            .guest
            .with_disk(|disk| disk.accounts.get(&user).map(|account| account.password.clone()));
        let Some(hash) = hash else { return Err(self.refuse(&user, "unknown user")) };
        let password = credentials.password;
        let fits = tokio::task::spawn_blocking(move || password::fits(&password, &hash)).await;
        if !matches!(fits, Ok(true)) {
            return Err(self.refuse(&user, "wrong password"));
        }
        self.user = user;
        Ok(())
    }
}

fn capabilities() -> Vec<CapabilitySet> {
    vec![
        CapabilitySet::General(General {
            extra_flags: GeneralExtraFlags::FASTPATH_OUTPUT_SUPPORTED,
            refresh_rect_support: true,
            suppress_output_support: true,
            ..General::default()
        }),
        CapabilitySet::Bitmap(Bitmap {
            pref_bits_per_pix: 32,
            desktop_width: WIDTH,
            desktop_height: HEIGHT,
            desktop_resize_flag: true,
            drawing_flags: BitmapDrawingFlags::empty(),
        }),
        CapabilitySet::Order(Order::new(OrderFlags::empty(), OrderSupportExFlags::empty(), 0, 0)),
        CapabilitySet::Pointer(Pointer { color_pointer_cache_size: 20, pointer_cache_size: 20 }),
        CapabilitySet::Input(Input {
            input_flags: InputFlags::SCANCODES
                | InputFlags::UNICODE
                | InputFlags::FASTPATH_INPUT
                | InputFlags::FASTPATH_INPUT_2,
            keyboard_layout: 0,
            keyboard_type: None,
            keyboard_subtype: 0,
            keyboard_function_key: 12,
            keyboard_ime_filename: String::new(),
        }),
        CapabilitySet::VirtualChannel(VirtualChannel {
            flags: VirtualChannelFlags::NO_COMPRESSION,
            chunk_size: None,
        }),
    ]
}
