//! Guests without a network: they only take the time they are told to, and answer as an agent.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use base64::Engine as _;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::{AgentError, ByteStream, Guest, GuestError, GuestMaker, GuestSpec, GuestState, Seed};

/// The screen's width and height.
const SCREEN: (u16, u16) = (64, 48);

/// Makes guests that exist only in the cluster's books: for tests of the API, and benchmarks.
#[derive(Debug, Default)]
pub struct NullGuests {
    closing: CancellationToken,
}

#[derive(Debug)]
struct NullGuest {
    vmid: u32,
    state: watch::Sender<GuestState>,
    boot: Mutex<Boot>,
    closing: CancellationToken,
}

#[derive(Debug, Default)]
struct Boot {
    seed: Option<Seed>,
    /// Ends the boot under way when power is cut.
    cancel: CancellationToken,
    erased: bool,
}

#[async_trait]
impl GuestMaker for NullGuests {
    async fn make(&self, spec: GuestSpec) -> Result<Arc<dyn Guest>, GuestError> {
        Ok(Arc::new(NullGuest {
            vmid: spec.vmid,
            state: watch::Sender::new(GuestState::Off),
            boot: Mutex::default(),
            closing: self.closing.child_token(),
        }))
    }

    async fn close(&self) {
        self.closing.cancel();
    }
}

#[async_trait]
impl Guest for NullGuest {
    async fn start(&self, seed: &Seed) -> Result<(), GuestError> {
        let cancel = self.closing.child_token();
        {
            let mut boot = self.boot.lock().unwrap_or_else(PoisonError::into_inner);
            if boot.erased {
                return Err(GuestError::Erased);
            }
            if *self.state.borrow() != GuestState::Off {
                return Ok(());
            }
            boot.seed = Some(seed.clone());
            boot.cancel = cancel.clone();
            self.state.send_replace(GuestState::Booting);
        }
        let (state, seed) = (self.state.clone(), seed.clone());
        tokio::spawn(async move {
            tokio::select! {
                () = cancel.cancelled() => {}
                () = boot(&state, &seed, &cancel) => {}
            }
        });
        Ok(())
    }

    async fn shutdown(&self, _deadline: Duration) -> Result<(), GuestError> {
        self.stop().await
    }

    async fn stop(&self) -> Result<(), GuestError> {
        let boot = self.boot.lock().unwrap_or_else(PoisonError::into_inner);
        boot.cancel.cancel();
        self.state.send_replace(GuestState::Off);
        Ok(())
    }

    async fn erase(&self) -> Result<(), GuestError> {
        self.stop().await?;
        self.boot.lock().unwrap_or_else(PoisonError::into_inner).erased = true;
        Ok(())
    }

    fn state(&self) -> watch::Receiver<GuestState> {
        self.state.subscribe()
    }

    async fn agent(&self, command: &str, arguments: Value) -> Result<Value, AgentError> {
        let has_agent = {
            let boot = self.boot.lock().unwrap_or_else(PoisonError::into_inner);
            boot.seed.as_ref().is_some_and(|seed| seed.agent)
        };
        if !has_agent {
            return Err(AgentError::NotRunning);
        }
        let mut state = self.state.subscribe();
        let reached = state.wait_for(|s| matches!(s, GuestState::AgentUp | GuestState::Off)).await;
        if !reached.is_ok_and(|state| *state == GuestState::AgentUp) {
            return Err(AgentError::NotRunning);
        }
        self.answer(command, &arguments)
    }

    async fn screen(&self) -> Result<Box<dyn ByteStream>, GuestError> {
        if *self.state.borrow() == GuestState::Off {
            return Err(GuestError::Off);
        }
        let (near, far) = tokio::io::duplex(64 << 10);
        let closing = self.closing.clone();
        tokio::spawn(async move {
            tokio::select! {
                () = closing.cancelled() => {}
                // A viewer that goes away ends the screen; that is no error.
                _ = grey_screen(far) => {}
            }
        });
        Ok(Box::new(near))
    }
}

/// Lets the boot's time pass and tells of it, unless power is cut at that very moment.
async fn boot(state: &watch::Sender<GuestState>, seed: &Seed, cancel: &CancellationToken) {
    let reach = |next: GuestState| {
        state.send_if_modified(|now| {
            let goes_on = *now != GuestState::Off && !cancel.is_cancelled();
            if goes_on {
                *now = next;
            }
            goes_on
        });
    };
    if !seed.boot.is_zero() {
        tokio::time::sleep(seed.boot).await;
    }
    reach(GuestState::Up);
    if seed.agent {
        if !seed.agent_start.is_zero() {
            tokio::time::sleep(seed.agent_start).await;
        }
        reach(GuestState::AgentUp);
    }
}

impl NullGuest {
    fn answer(&self, command: &str, arguments: &Value) -> Result<Value, AgentError> {
        let boot = self.boot.lock().unwrap_or_else(PoisonError::into_inner);
        let seed = boot.seed.as_ref().ok_or(AgentError::NotRunning)?;
        match command {
            "guest-ping" => Ok(json!({})),
            "guest-info" => Ok(json!({"version": "9.1.0", "supported_commands": []})),
            "guest-get-osinfo" => Ok(json!({
                "id": "null",
                "name": "Null",
                "pretty-name": "A guest without a system",
            })),
            "guest-get-host-name" => Ok(json!({"host-name": seed.hostname})),
            "guest-network-get-interfaces" => Ok(interfaces(self.vmid, seed)),
            "guest-exec" => Ok(json!({"pid": 1})),
            "guest-exec-status" => Ok(json!({"exited": true, "exitcode": 0})),
            "guest-file-read" if arguments["path"] == "/etc/hostname" => {
                let text = format!("{}\n", seed.hostname);
                let encoded = base64::engine::general_purpose::STANDARD.encode(&text);
                Ok(json!({"count": text.len(), "buf-b64": encoded, "eof": true}))
            }
            "guest-file-read" => {
                let path = arguments["path"].as_str().unwrap_or_default();
                let why =
                    format!("failed to open file '{path}' (mode: 'r'): No such file or directory");
                Err(AgentError::Refused(why))
            }
            other => Err(AgentError::Refused(format!("The command {other} has not been found"))),
        }
    }
}

/// The loopback interface first, as in a real answer; the address is made up from the machine id.
fn interfaces(vmid: u32, seed: &Seed) -> Value {
    let [_, a, b, c] = vmid.to_be_bytes();
    let address = seed.address.unwrap_or(IpAddr::V4(Ipv4Addr::new(10, a, b, c)));
    let (kind, prefix) = if address.is_ipv4() { ("ipv4", 8) } else { ("ipv6", 64) };
    json!([
        {
            "name": "lo",
            "hardware-address": "00:00:00:00:00:00",
            "ip-addresses": [
                {"ip-address": "127.0.0.1", "ip-address-type": "ipv4", "prefix": 8},
                {"ip-address": "::1", "ip-address-type": "ipv6", "prefix": 128},
            ],
        },
        {
            "name": "eth0",
            "hardware-address": seed.mac.to_lowercase(),
            "ip-addresses": [
                {"ip-address": address.to_string(), "ip-address-type": kind, "prefix": prefix},
                {"ip-address": "fe80::1", "ip-address-type": "ipv6", "prefix": 64},
            ],
        },
    ])
}

/// An RFB 3.8 server of one grey rectangle (RFC 6143), security type None.
async fn grey_screen(mut viewer: DuplexStream) -> std::io::Result<()> {
    viewer.write_all(b"RFB 003.008\n").await?;
    viewer.read_exact(&mut [0; 12]).await?;
    viewer.write_all(&[1, 1]).await?;
    viewer.read_exact(&mut [0; 1]).await?;
    viewer.write_all(&[0; 4]).await?;
    viewer.read_exact(&mut [0; 1]).await?;
    let mut init = Vec::new();
    init.extend(SCREEN.0.to_be_bytes());
    init.extend(SCREEN.1.to_be_bytes());
    // 32 bits a pixel, depth 24, little endian, true colour, 8 bits each at 16, 8 and 0.
    init.extend([32, 24, 0, 1, 0, 255, 0, 255, 0, 255, 16, 8, 0, 0, 0, 0]);
    init.extend(4u32.to_be_bytes());
    init.extend(b"null");
    viewer.write_all(&init).await?;
    loop {
        let mut kind = [0];
        viewer.read_exact(&mut kind).await?;
        // What follows each client message, by its type.
        match kind[0] {
            0 => skip(&mut viewer, 19).await?,
            2 => {
                let mut head = [0; 3];
                viewer.read_exact(&mut head).await?;
                skip(&mut viewer, usize::from(u16::from_be_bytes([head[1], head[2]])) * 4).await?;
            }
            3 => {
                skip(&mut viewer, 9).await?;
                viewer.write_all(&grey_update()).await?;
            }
            4 => skip(&mut viewer, 7).await?,
            5 => skip(&mut viewer, 5).await?,
            _ => return Ok(()),
        }
    }
}

async fn skip(viewer: &mut DuplexStream, count: usize) -> std::io::Result<()> {
    viewer.read_exact(&mut vec![0; count]).await.map(|_| ())
}

fn grey_update() -> Vec<u8> {
    let mut update = vec![0, 0, 0, 1, 0, 0, 0, 0];
    update.extend(SCREEN.0.to_be_bytes());
    update.extend(SCREEN.1.to_be_bytes());
    update.extend(0u32.to_be_bytes());
    update.resize(update.len() + usize::from(SCREEN.0) * usize::from(SCREEN.1) * 4, 0x80);
    update
}
