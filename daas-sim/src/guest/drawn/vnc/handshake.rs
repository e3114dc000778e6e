//! Opens a connection: version, security, the server's description (RFC 6143, 7.1 to 7.3).

use std::io::{self, ErrorKind};

use des::Des;
use des::cipher::{BlockCipherEncrypt, KeyInit};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::super::desktop::{HEIGHT, WIDTH};
use super::pixels::Format;

const NONE: u8 = 1;
const VNC_AUTHENTICATION: u8 = 2;

/// How a client proves that it may look.
pub(super) enum Security {
    None,
    /// VNC authentication; 8 bytes of the password count.
    Password(String),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Version {
    V3,
    V7,
    V8,
}

/// Everything up to the description of the picture.
pub(super) async fn open<S>(stream: &mut S, security: &Security) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    stream.write_all(b"RFB 003.008\n").await?;
    let mut greeting = [0; 12];
    stream.read_exact(&mut greeting).await?;
    let version = match &greeting {
        b"RFB 003.008\n" => Version::V8,
        b"RFB 003.007\n" => Version::V7,
        // Other 3.x numbers count as 3.3 (RFC 6143, 7.1.1).
        other if other.starts_with(b"RFB 003.") && other[11] == b'\n' => Version::V3,
        _ => return Err(io::Error::new(ErrorKind::InvalidData, "no RFB 3 client")),
    };
    let kind = if matches!(security, Security::None) { NONE } else { VNC_AUTHENTICATION };
    if version == Version::V3 {
        stream.write_all(&u32::from(kind).to_be_bytes()).await?;
    } else {
        stream.write_all(&[1, kind]).await?;
        let chosen = stream.read_u8().await?;
        if chosen != kind {
            return refuse(stream, version, "this security type was not offered").await;
        }
    }
    match security {
        Security::None if version == Version::V8 => stream.write_all(&[0; 4]).await?,
        Security::None => {}
        Security::Password(password) => authenticate(stream, version, password).await?,
    }
    // Whether the client wants to share does not matter: everybody may look at once.
    stream.read_u8().await?;
    let name = "drawn guest";
    let mut description = Vec::new();
    description.extend_from_slice(&WIDTH.to_be_bytes());
    description.extend_from_slice(&HEIGHT.to_be_bytes());
    description.extend_from_slice(&Format::default().encoded());
    description.extend_from_slice(&(name.len() as u32).to_be_bytes());
    description.extend_from_slice(name.as_bytes());
    stream.write_all(&description).await?;
    stream.flush().await
}

async fn authenticate<S>(stream: &mut S, version: Version, password: &str) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let challenge: [u8; 16] = rand::random();
    stream.write_all(&challenge).await?;
    let mut response = [0; 16];
    stream.read_exact(&mut response).await?;
    if response != answer(&challenge, password) {
        return refuse(stream, version, "wrong password").await;
    }
    stream.write_all(&[0; 4]).await
}

/// The challenge encrypted with the password, whose bytes have their bits mirrored.
fn answer(challenge: &[u8; 16], password: &str) -> [u8; 16] {
    let mut key = [0; 8];
    for (key, byte) in key.iter_mut().zip(password.bytes()) {
        *key = byte.reverse_bits();
    }
    let cipher = Des::new(&key.into());
    let mut answer = [0; 16];
    for (plain, out) in challenge.chunks(8).zip(answer.chunks_mut(8)) {
        let mut block = [0; 8];
        block.copy_from_slice(plain);
        let mut block = block.into();
        cipher.encrypt_block(&mut block);
        out.copy_from_slice(&block);
    }
    answer
}

async fn refuse<S: AsyncWrite + Unpin>(
    stream: &mut S,
    version: Version,
    reason: &'static str,
) -> io::Result<()> {
    let mut text = vec![0, 0, 0, 1];
    if version == Version::V8 {
        text.extend_from_slice(&(reason.len() as u32).to_be_bytes());
        text.extend_from_slice(reason.as_bytes());
    }
    stream.write_all(&text).await?;
    stream.flush().await?;
    Err(io::Error::new(ErrorKind::PermissionDenied, reason))
}
