//! A client that looks at the desktop and works on it, until either side ends it.

use std::sync::Arc;
use std::time::Duration;

use ironrdp_core::decode;
use ironrdp_pdu::Action;
use ironrdp_pdu::input::fast_path::FastPathInput;
use ironrdp_pdu::mcs::McsMessage;
use ironrdp_pdu::rdp::headers::{ShareControlHeader, ShareControlPdu, ShareDataPdu};
use ironrdp_pdu::x224::X224;
use ironrdp_tokio::{FramedWrite, split_tokio_framed};
use tokio::task::yield_now;
use tokio::time::timeout;

use super::super::activity::Connection;
use super::super::desktop::{Area, Desktop, Viewer};
use super::input::Devices;
use super::opening::Opened;
use super::picture::Picture;

/// How long a client may take to accept one update.
const WRITE_MAX: Duration = Duration::from_secs(30);

/// How often the clock is looked at.
const TICK: Duration = Duration::from_secs(5);

/// Serves one client; the reason of a failure is for the log.
pub(super) async fn run(
    desktop: &Arc<Desktop>,
    opened: Opened,
    presence: &Connection,
) -> Result<(), String> {
    let Opened { framed, io_channel, depth, early, .. } = opened;
    let (mut reader, mut writer) = split_tokio_framed(framed);
    let mut client = Client {
        viewer: desktop.look(),
        devices: Devices::new(desktop, presence),
        io_channel,
        hidden: false,
    };
    for bytes in early {
        let action = bytes.first().map(|first| Action::from_fp_output_header(*first));
        if let Some(Ok(action)) = action {
            client.obey(action, &bytes)?;
        }
    }
    let mut picture = Picture::new(depth);
    let mut tick = tokio::time::interval(TICK);
    loop {
        if !client.hidden {
            picture.changed(&client.viewer.unseen());
            if let Some(update) = picture.update(&client.viewer)? {
                let written = timeout(WRITE_MAX, writer.write_all(&update)).await;
                written.map_err(|_| "the client takes no more")?.map_err(|e| e.to_string())?;
            }
        }
        let waiting = client.hidden || picture.is_sent();
        tokio::select! {
            read = reader.read_pdu() => {
                let (action, bytes) = read.map_err(|error| error.to_string())?;
                if client.obey(action, &bytes)? == Wish::End {
                    return Ok(());
                }
            }
            () = client.viewer.changed(), if waiting => {}
            () = yield_now(), if !waiting => {}
            _ = tick.tick() => desktop.tick(),
        }
    }
}

/// What a client wants next.
#[derive(Debug, PartialEq, Eq)]
enum Wish {
    GoOn,
    End,
}

struct Client<'a> {
    viewer: Viewer,
    devices: Devices<'a>,
    io_channel: u16,
    /// The client's window is minimised: it wants no updates.
    hidden: bool,
}

impl Client<'_> {
    fn obey(&mut self, action: Action, bytes: &[u8]) -> Result<Wish, String> {
        match action {
            Action::FastPath => {
                let input: FastPathInput =
                    decode(bytes).map_err(|error| format!("fast-path input: {error}"))?;
                input.input_events().iter().for_each(|event| self.devices.fast(event));
                Ok(Wish::GoOn)
            }
            Action::X224 => {
                let message: X224<McsMessage<'_>> =
                    decode(bytes).map_err(|error| format!("MCS message: {error}"))?;
                match message.0 {
                    McsMessage::SendDataRequest(data) if data.channel_id == self.io_channel => {
                        self.share(&data.user_data)
                    }
                    McsMessage::DisconnectProviderUltimatum(_) => Ok(Wish::End),
                    // Virtual channels lead nowhere here.
                    _ => Ok(Wish::GoOn),
                }
            }
        }
    }

    fn share(&mut self, bytes: &[u8]) -> Result<Wish, String> {
        let header: ShareControlHeader =
            decode(bytes).map_err(|error| format!("share control PDU: {error}"))?;
        let ShareControlPdu::Data(data) = header.share_control_pdu else { return Ok(Wish::GoOn) };
        match data.share_data_pdu {
            ShareDataPdu::Input(input) => {
                input.0.iter().for_each(|event| self.devices.slow(event));
            }
            ShareDataPdu::SuppressOutput(wish) => self.hidden = wish.desktop_rect.is_none(),
            ShareDataPdu::RefreshRectangle(_) => {
                self.hidden = false;
                self.viewer.forget(Area::WHOLE);
            }
            ShareDataPdu::ShutdownRequest => return Ok(Wish::End),
            _ => {}
        }
        Ok(Wish::GoOn)
    }
}
