//! Knocking at a guest: does it answer the protocol its users will speak?

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::template::{ReadyWhen, Template};

/// How long one knock may take.
const KNOCK_DEADLINE: Duration = Duration::from_secs(3);

/// An X.224 connection request in a TPKT that offers TLS and network level authentication
/// ([MS-RDPBCGR] 2.2.1.1): what every RDP client sends first.
const RDP_REQUEST: [u8; 19] = [
    0x03, 0x00, 0x00, 0x13, 0x0e, 0xe0, 0x00, 0x00, 0x00, 0x00, 0x00, 0x01, 0x00, 0x08, 0x00, 0x03,
    0x00, 0x00, 0x00,
];
/// The code of an X.224 connection confirm, in the upper half of its octet.
const X224_CONFIRM: u8 = 0xd0;

/// Knocks once as the template's `ready_when` asks; an error says what did not answer.
pub(super) async fn knock(template: &Template, address: Option<IpAddr>) -> Result<(), String> {
    let (port, what) = match template.ready_when {
        ReadyWhen::Console => return Ok(()),
        ReadyWhen::Agent => {
            return address.map(|_| ()).ok_or_else(|| "no address yet".to_owned());
        }
        ReadyWhen::Rdp => (template.ports.rdp, "RDP"),
        ReadyWhen::Ssh => (template.ports.ssh, "SSH"),
    };
    let Some(address) = address else { return Err("no address yet".to_owned()) };
    let at = SocketAddr::new(address, port);
    let asked = timeout(KNOCK_DEADLINE, async {
        match template.ready_when {
            ReadyWhen::Rdp => rdp_answers(at).await,
            _ => ssh_answers(at).await,
        }
    });
    match asked.await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => Err(format!("no {what} answer at {at}: {error}")),
        Err(_) => Err(format!("no {what} answer at {at} within {} s", KNOCK_DEADLINE.as_secs())),
    }
}

/// Whether anything listens on the template's RDP or SSH port.
pub(super) async fn is_reachable(template: &Template, address: IpAddr) -> bool {
    for port in [template.ports.rdp, template.ports.ssh] {
        let connect = TcpStream::connect(SocketAddr::new(address, port));
        if matches!(timeout(KNOCK_DEADLINE, connect).await, Ok(Ok(_))) {
            return true;
        }
    }
    false
}

async fn rdp_answers(at: SocketAddr) -> io::Result<()> {
    let mut stream = TcpStream::connect(at).await?;
    stream.write_all(&RDP_REQUEST).await?;
    let mut answer = [0; 6];
    stream.read_exact(&mut answer).await?;
    if answer[0] == 3 && answer[5] & 0xf0 == X224_CONFIRM {
        Ok(())
    } else {
        Err(io::Error::other("this is not an RDP server"))
    }
}

async fn ssh_answers(at: SocketAddr) -> io::Result<()> {
    let mut stream = TcpStream::connect(at).await?;
    let mut banner = [0; 4];
    stream.read_exact(&mut banner).await?;
    if &banner == b"SSH-" { Ok(()) } else { Err(io::Error::other("this is not an SSH server")) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::TcpListener;

    async fn answering(bytes: &'static [u8]) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("binds");
        let at = listener.local_addr().expect("bound");
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let _ = stream.write_all(bytes).await;
            }
        });
        at
    }

    async fn check(ready_when: ReadyWhen, bytes: &'static [u8], ready: bool) {
        let at = answering(bytes).await;
        let mut template =
            Template::new("lab".parse().expect("name"), "fake".parse().expect("name"), "image");
        template.ready_when = ready_when;
        template.ports.rdp = at.port();
        template.ports.ssh = at.port();
        assert_eq!(
            knock(&template, Some(at.ip())).await.is_ok(),
            ready,
            "{ready_when:?} {bytes:?}"
        );
    }

    #[tokio::test]
    async fn only_the_right_protocol_counts() {
        check(ReadyWhen::Ssh, b"SSH-2.0-x\r\n", true).await;
        check(ReadyWhen::Ssh, b"HTTP/1.1 400\r\n", false).await;
        check(ReadyWhen::Rdp, &[3, 0, 0, 19, 14, 0xd0, 0, 0, 0, 0], true).await;
        check(ReadyWhen::Rdp, b"SSH-2.0-x\r\n", false).await;
    }

    #[tokio::test]
    async fn a_closed_port_is_named() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("binds");
        let at = listener.local_addr().expect("bound");
        drop(listener);
        let mut template =
            Template::new("lab".parse().expect("name"), "fake".parse().expect("name"), "image");
        template.ports.rdp = at.port();
        let error = knock(&template, Some(at.ip())).await.expect_err("closed");
        assert!(error.contains(&at.to_string()), "{error}");
    }
}
