//! The words before the connection: RDCleanPath's request, answer and refusal, in DER.

use std::net::IpAddr;

use ironrdp_rdcleanpath::{DetectionResult, RDCleanPathPdu};
use tracing::warn;

use crate::gateway::carry::Client;
use crate::gateway::ended::Ended;

/// The longest request, in bytes; it holds a ticket and a request of 19 bytes or some more.
const REQUEST_BYTES_MAX: usize = 8 * 1024;
/// The longest connection request that is passed on, in bytes.
const X224_BYTES_MAX: usize = 1_024;

/// What a client asks for.
#[derive(Debug)]
pub(in crate::gateway) struct Opening {
    pub(in crate::gateway) ticket: String,
    /// The connection request for the desktop, in clear.
    pub(in crate::gateway) request: Vec<u8>,
}

impl Opening {
    /// Reads it; what the client says more is for the desktop.
    pub(in crate::gateway) async fn read(client: &mut Client) -> Result<Self, Ended> {
        let rubbish = || Ended::Protocol("it is no request of RDCleanPath");
        let request = client
            .message(REQUEST_BYTES_MAX, |said| match RDCleanPathPdu::detect(said) {
                DetectionResult::Detected { total_length, .. } => Ok(Some(total_length)),
                DetectionResult::NotEnoughBytes => Ok(None),
                DetectionResult::Failed => Err(rubbish()),
            })
            .await?;
        let pdu = RDCleanPathPdu::from_der(&request).map_err(|_| rubbish())?;
        let (Some(ticket), Some(request)) = (pdu.proxy_auth, pdu.x224_connection_pdu) else {
            return Err(rubbish());
        };
        let request = Vec::from(request.into_bytes());
        let length = request.get(2..4).map(|l| usize::from(u16::from_be_bytes([l[0], l[1]])));
        if request.first() != Some(&3)
            || length != Some(request.len())
            || request.len() > X224_BYTES_MAX
        {
            return Err(Ended::Protocol("what is for the desktop is no connection request"));
        }
        Ok(Self { ticket, request })
    }
}

/// The answer to a request; absent: it cannot be written.
pub(super) fn accepted(
    address: IpAddr,
    confirm: Vec<u8>,
    chain: impl Iterator<Item = Vec<u8>>,
) -> Option<Vec<u8>> {
    written(RDCleanPathPdu::new_response(address.to_string(), confirm, chain))
}

/// The refusal of a request; absent: it cannot be written.
pub(super) fn refused(status: u16) -> Option<Vec<u8>> {
    written(Ok::<_, String>(RDCleanPathPdu::new_http_error(status)))
}

fn written<E: std::fmt::Display>(pdu: Result<RDCleanPathPdu, E>) -> Option<Vec<u8>> {
    let written =
        pdu.map_err(|e| e.to_string()).and_then(|p| p.to_der().map_err(|e| e.to_string()));
    written.map_err(|error| warn!(error, "an answer of RDCleanPath cannot be written")).ok()
}
