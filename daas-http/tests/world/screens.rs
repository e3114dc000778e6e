//! Screens of machines that are none: a test has the other end.

use std::collections::VecDeque;
use std::sync::Arc;

use daas_core::Result;
use daas_core::machine::Reservation;
use daas_core::provisioner::{Console, ConsoleLine};
use daas_core::secret::Secret;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};
use tokio::sync::Notify;

use super::PATIENCE;

/// Machines' screens: each that is opened asks for a VNC password and is then the test's.
#[derive(Debug, Clone, Default)]
pub(crate) struct Screens(Arc<std::sync::Mutex<VecDeque<DuplexStream>>>, Arc<Notify>);

/// The password of every screen.
const SCREEN_PASSWORD: &str = "password";
/// What a screen asks, and what DES makes of it: `openssl enc -des-ecb -nopad` with the reversed bits
/// of the password.
const CHALLENGE: [u8; 16] = [0; 16];
const ANSWER: [u8; 8] = [0xff, 0x97, 0x50, 0x2e, 0x94, 0x22, 0xf0, 0x89];

impl Screens {
    /// The next screen that was opened and let the gateway in.
    pub(crate) async fn next(&self) -> DuplexStream {
        let next = async {
            loop {
                let opened = self.1.notified();
                if let Some(screen) = self.0.lock().unwrap().pop_front() {
                    return screen;
                }
                opened.await;
            }
        };
        tokio::time::timeout(PATIENCE, next).await.expect("no screen was opened")
    }
}

#[async_trait::async_trait]
impl Console for Screens {
    async fn open(&self, _: &Reservation) -> Result<ConsoleLine> {
        let (near, mut far) = tokio::io::duplex(64 << 10);
        let screens = self.clone();
        tokio::spawn(async move {
            far.write_all(b"RFB 003.008\n\x01\x02").await.unwrap();
            far.write_all(&CHALLENGE).await.unwrap();
            let mut said = [0; 12 + 1 + 16];
            far.read_exact(&mut said).await.unwrap();
            assert_eq!(said[13..], [ANSWER, ANSWER].concat());
            far.write_all(&[0; 4]).await.unwrap();
            screens.0.lock().unwrap().push_back(far);
            screens.1.notify_one();
        });
        let password = Some(Secret::from(SCREEN_PASSWORD));
        Ok(ConsoleLine { stream: Box::new(near), password })
    }
}
