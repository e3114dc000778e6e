//! The first messages of RFB 3.8 (RFC 6143, 7.1): VNC authentication towards a viewer, none towards
//! a guest's screen.

use des::Des;
use des::cipher::{Block, BlockCipherEncrypt as _, KeyInit as _};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

const VERSION: &[u8; 12] = b"RFB 003.008\n";
const NONE: u8 = 1;
const VNC_AUTH: u8 = 2;

/// Why a console does not come about.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RfbError {
    #[error("connection lost: {0}")]
    Io(#[from] std::io::Error),
    #[error("{0} speaks another protocol than RFB 3.8")]
    Version(&'static str),
    #[error("{0} does not offer the security type that is needed")]
    Security(&'static str),
    #[error("authentication failed")]
    Password,
}

/// Asks a viewer for `password`, of which only eight bytes count.
pub(crate) async fn authenticate<S>(viewer: &mut S, password: &str) -> Result<(), RfbError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    viewer.write_all(VERSION).await?;
    viewer.flush().await?;
    let mut version = [0; 12];
    viewer.read_exact(&mut version).await?;
    if version != *VERSION {
        return Err(RfbError::Version("the viewer"));
    }
    viewer.write_all(&[1, VNC_AUTH]).await?;
    viewer.flush().await?;
    if viewer.read_u8().await? != VNC_AUTH {
        return Err(RfbError::Security("the viewer"));
    }
    let challenge: [u8; 16] = rand::random();
    viewer.write_all(&challenge).await?;
    viewer.flush().await?;
    let mut response = [0; 16];
    viewer.read_exact(&mut response).await?;
    if response == encrypt(password, challenge) {
        viewer.write_u32(0).await?;
        viewer.flush().await?;
        return Ok(());
    }
    let reason = b"Authentication failed";
    viewer.write_u32(1).await?;
    viewer.write_u32(reason.len() as u32).await?;
    viewer.write_all(reason).await?;
    viewer.flush().await?;
    Err(RfbError::Password)
}

/// Greets a screen that asks for no password.
pub(crate) async fn greet<S>(screen: &mut S) -> Result<(), RfbError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut version = [0; 12];
    screen.read_exact(&mut version).await?;
    if version != *VERSION {
        return Err(RfbError::Version("the screen"));
    }
    screen.write_all(VERSION).await?;
    screen.flush().await?;
    let count = screen.read_u8().await?;
    let mut types = vec![0; usize::from(count)];
    screen.read_exact(&mut types).await?;
    if !types.contains(&NONE) {
        return Err(RfbError::Security("the screen"));
    }
    screen.write_u8(NONE).await?;
    screen.flush().await?;
    match screen.read_u32().await? {
        0 => Ok(()),
        _ => Err(RfbError::Security("the screen")),
    }
}

/// The answer to a challenge: DES in ECB mode, keyed by the password with each byte's bits
/// reversed.
fn encrypt(password: &str, challenge: [u8; 16]) -> [u8; 16] {
    let mut key = [0u8; 8];
    for (slot, byte) in key.iter_mut().zip(password.bytes()) {
        *slot = byte.reverse_bits();
    }
    let cipher = Des::new(&key.into());
    let mut out = challenge;
    for half in out.chunks_exact_mut(8) {
        let mut block = Block::<Des>::default();
        block.copy_from_slice(half);
        cipher.encrypt_block(&mut block);
        half.copy_from_slice(&block);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_known_answer() {
        // openssl enc -des-ecb -nopad -K 0e86ceceeef64e26, the reversed bits of "password"
        let answer = encrypt("password", [0; 16]);
        assert_eq!(answer[..8], [0xff, 0x97, 0x50, 0x2e, 0x94, 0x22, 0xf0, 0x89]);
        assert_eq!(answer[..8], answer[8..], "ECB: equal blocks stay equal");
        assert_eq!(encrypt("password-and-more", [0; 16]), answer, "eight bytes count");
        assert_ne!(encrypt("passwore", [0; 16]), answer);
    }
}
