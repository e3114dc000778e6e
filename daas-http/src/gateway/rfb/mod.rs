//! As much of RFB (RFC 6143) as a gateway needs: to prove itself to a screen, to let a client in
//! without a password, and to tell a key press from chatter.

mod reader;

use daas_core::provisioner::{ConsoleLine, Line};
use daas_core::secret::Secret;
use des::Des;
use des::cipher::{Block, BlockCipherEncrypt as _, KeyInit as _};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

pub(super) use self::reader::Reader;
use super::carry::Client;
use super::ended::Ended;

const VERSION: &[u8; 12] = b"RFB 003.008\n";
const NONE: u8 = 1;
const VNC: u8 = 2;
/// The longest reason of a refusal that is read, in bytes.
const REASON_BYTES_MAX: u32 = 1_024;

/// Why a screen does not let the gateway in.
#[derive(Debug, thiserror::Error)]
pub(super) enum RfbError {
    #[error("the connection to the screen was lost")]
    Io(#[from] std::io::Error),
    #[error("the screen speaks {0:?}, not RFB 3.8")]
    Version(String),
    #[error("the screen refuses: {0}")]
    Refused(String),
    #[error("the screen offers none of the security types known here: {0:?}")]
    Security(Vec<u8>),
    #[error("the screen asks for a password, and none is known")]
    NoPassword,
}

/// Greets a screen, and proves to it what it asks for.
pub(super) async fn enter(line: &mut ConsoleLine) -> Result<(), RfbError> {
    let stream = &mut line.stream;
    let mut version = [0; 12];
    stream.read_exact(&mut version).await?;
    // A later 3.x answers to 3.8 (RFC 6143, 7.1.1); an earlier one has other messages.
    if !version.starts_with(b"RFB 003.") || version < *VERSION {
        return Err(RfbError::Version(String::from_utf8_lossy(&version).trim().to_owned()));
    }
    say(stream, VERSION).await?;
    let count = stream.read_u8().await?;
    if count == 0 {
        return Err(RfbError::Refused(reason(stream).await?));
    }
    let mut offered = vec![0; usize::from(count)];
    stream.read_exact(&mut offered).await?;
    if offered.contains(&NONE) {
        say(stream, &[NONE]).await?;
    } else if offered.contains(&VNC) {
        let password = line.password.as_ref().ok_or(RfbError::NoPassword)?;
        say(stream, &[VNC]).await?;
        let mut challenge = [0; 16];
        stream.read_exact(&mut challenge).await?;
        say(stream, &answer(password, challenge)).await?;
    } else {
        return Err(RfbError::Security(offered));
    }
    match stream.read_u32().await? {
        0 => Ok(()),
        _ => Err(RfbError::Refused(reason(stream).await?)),
    }
}

/// Lets a client in: its ticket has spoken for it.
pub(super) async fn greet(client: &mut Client) -> Result<(), Ended> {
    client.send(VERSION.as_slice()).await?;
    let version: [u8; 12] = client.exactly().await?;
    if version != *VERSION {
        return Err(Ended::Protocol("only RFB 3.8 is spoken here"));
    }
    client.send([1, NONE].as_slice()).await?;
    let [chosen] = client.exactly().await?;
    if chosen != NONE {
        return Err(Ended::Protocol("the security type that was offered is 1"));
    }
    client.send([0; 4].as_slice()).await
}

async fn say(stream: &mut Box<dyn Line>, what: &[u8]) -> std::io::Result<()> {
    stream.write_all(what).await?;
    stream.flush().await
}

async fn reason(stream: &mut Box<dyn Line>) -> std::io::Result<String> {
    let length = stream.read_u32().await?.min(REASON_BYTES_MAX);
    let mut text = Vec::new();
    stream.take(u64::from(length)).read_to_end(&mut text).await?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}

/// The answer to a challenge: DES, keyed by the password's first eight bytes with the bits of each
/// reversed.
fn answer(password: &Secret<String>, challenge: [u8; 16]) -> [u8; 16] {
    let mut key = [0; 8];
    for (place, byte) in key.iter_mut().zip(password.expose().bytes()) {
        *place = byte.reverse_bits();
    }
    let cipher = Des::new(&key.into());
    let mut answer = challenge;
    for half in answer.chunks_exact_mut(8) {
        let mut block = Block::<Des>::default();
        block.copy_from_slice(half);
        cipher.encrypt_block(&mut block);
        half.copy_from_slice(&block);
    }
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(password: Option<&str>) -> (ConsoleLine, tokio::io::DuplexStream) {
        let (near, far) = tokio::io::duplex(1024);
        (ConsoleLine { stream: Box::new(near), password: password.map(Secret::from) }, far)
    }

    /// What a screen says, told beforehand: nothing here waits for an answer.
    async fn entered(password: Option<&str>, said: &[u8]) -> (Result<(), RfbError>, Vec<u8>) {
        let (mut line, mut far) = line(password);
        far.write_all(said).await.expect("room");
        far.shutdown().await.expect("closes");
        let entered = enter(&mut line).await;
        drop(line);
        let mut answered = Vec::new();
        far.read_to_end(&mut answered).await.expect("reads");
        (entered, answered)
    }

    #[tokio::test]
    async fn the_gateway_proves_itself() {
        let said = [VERSION.as_slice(), &[2, 16, VNC], &[0; 16], &[0; 4]].concat();
        let (entered, answered) = entered(Some("password"), &said).await;
        entered.expect("let in");
        // openssl enc -des-ecb -nopad -K 0e86ceceeef64e26, the reversed bits of "password"
        let half = [0xff, 0x97, 0x50, 0x2e, 0x94, 0x22, 0xf0, 0x89];
        assert_eq!(answered, [VERSION.as_slice(), &[VNC], &half, &half].concat());
    }

    #[tokio::test]
    async fn a_screen_that_asks_for_nothing_is_given_nothing() {
        let said = [b"RFB 003.889\n".as_slice(), &[2, VNC, NONE], &[0; 4]].concat();
        let (entered, answered) = entered(Some("password"), &said).await;
        entered.expect("let in");
        assert_eq!(answered, [VERSION.as_slice(), &[NONE]].concat());
    }

    #[tokio::test]
    async fn what_a_screen_says_wrong_is_told() {
        let check = async |password: Option<&str>, said: &[u8], what: &str| {
            let error = entered(password, said).await.0.expect_err(what).to_string();
            assert!(error.contains(what), "{error}");
        };
        let v = VERSION.as_slice();
        check(None, b"HTTP/1.1 400", "HTTP/1.1 400").await;
        check(None, b"RFB 003.003\n", "not RFB 3.8").await;
        check(None, &[v, &[0], &[0, 0, 0, 4], b"busy"].concat(), "refuses: busy").await;
        check(Some("x"), &[v, &[1, 19]].concat(), "none of the security types").await;
        check(None, &[v, &[1, VNC]].concat(), "none is known").await;
        let wrong = [v, &[1, VNC], &[0; 16], &[0, 0, 0, 1], &[0, 0, 0, 2], b"no"].concat();
        check(Some("x"), &wrong, "refuses: no").await;
        let endless = [v, &[0], &[0xff; 4], b"and so on"].concat();
        check(None, &endless, "refuses: and so on").await;
    }
}
