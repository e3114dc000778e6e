//! Carries bytes between a client's WebSocket and a desktop, as fast as the slower of them takes
//! them: each direction holds one buffer and waits, so that nobody's slowness is anybody's memory.

use std::convert::Infallible;
use std::time::Duration;

use axum::extract::ws::{Message, WebSocket};
use bytes::{Bytes, BytesMut};
use daas_core::provisioner::Line;
use futures::stream::{SplitSink, SplitStream};
use futures::{SinkExt as _, StreamExt as _};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, ReadHalf, WriteHalf};
use tokio::time::{Instant, MissedTickBehavior, interval, interval_at, timeout};

use super::config::GatewayConfig;
use super::connections::Connection;
use super::ended::Ended;
use super::evidence;
use crate::app::App;

/// How much is read of a desktop at once: what comes meanwhile goes in one frame.
const BUFFER: usize = 64 << 10;

/// How long a client is waited for once it is told why it ends.
const FAREWELL: Duration = Duration::from_secs(2);

/// Reads what a client says before it is passed on.
pub(super) trait Reader: Send {
    /// Puts into `out` what of `said` is to be passed on; whether a key or the mouse was used.
    fn read(&mut self, said: &[u8], out: &mut BytesMut) -> Result<bool, &'static str>;
}

/// A client's end: a WebSocket whose binary frames are a stream of bytes.
pub(super) struct Client {
    sink: SplitSink<WebSocket, Message>,
    stream: SplitStream<WebSocket>,
    /// What was taken and not read yet.
    taken: Bytes,
    /// Whether a desktop was shown to it.
    shown: bool,
}

impl Client {
    pub(super) fn new(socket: WebSocket) -> Self {
        let (sink, stream) = socket.split();
        Self { sink, stream, taken: Bytes::new(), shown: false }
    }

    /// Whether a desktop was shown to it: before, it waits for an answer.
    pub(super) fn was_shown(&self) -> bool {
        self.shown
    }

    /// Exactly `N` bytes.
    pub(super) async fn exactly<const N: usize>(&mut self) -> Result<[u8; N], Ended> {
        let mut bytes = [0; N];
        let mut have = 0;
        while have < N {
            if self.taken.is_empty() {
                self.taken = next(&mut self.stream).await?;
                continue;
            }
            let count = self.taken.len().min(N - have);
            bytes[have..have + count].copy_from_slice(&self.taken.split_to(count));
            have += count;
        }
        Ok(bytes)
    }

    /// A message of at most `most` bytes, whose length `measure` tells from its beginning.
    pub(super) async fn message(
        &mut self,
        most: usize,
        measure: impl Fn(&[u8]) -> Result<Option<usize>, Ended>,
    ) -> Result<Bytes, Ended> {
        let mut said = BytesMut::new();
        loop {
            said.extend_from_slice(&std::mem::take(&mut self.taken));
            let length = if said.is_empty() { None } else { measure(&said)? };
            if length.unwrap_or(said.len()) > most {
                return Err(Ended::Protocol("a message is too long"));
            }
            if let Some(length) = length.filter(|length| *length <= said.len()) {
                self.taken = said.split_off(length).freeze();
                return Ok(said.freeze());
            }
            self.taken = next(&mut self.stream).await?;
        }
    }

    pub(super) async fn send(&mut self, bytes: impl Into<Bytes>) -> Result<(), Ended> {
        let frame = Message::Binary(bytes.into());
        self.sink.send(frame).await.map_err(|_| Ended::Left)
    }

    /// Tells why it ends. The client may be gone already.
    pub(super) async fn close(mut self, why: &Ended) {
        let said = timeout(FAREWELL, async {
            self.sink.send(Message::Close(Some(why.frame()))).await?;
            // The other's echo: until then what was sent may be lost with the connection.
            while let Some(Ok(message)) = self.stream.next().await {
                if matches!(message, Message::Close(_)) {
                    break;
                }
            }
            Ok::<_, axum::Error>(())
        });
        if !matches!(said.await, Ok(Ok(()))) {
            tracing::debug!(why = why.word(), "the client was gone before it was told why");
        }
    }
}

/// The bytes of the next frame that has any.
async fn next(stream: &mut SplitStream<WebSocket>) -> Result<Bytes, Ended> {
    loop {
        match stream.next().await {
            Some(Ok(Message::Binary(data))) if !data.is_empty() => return Ok(data),
            Some(Ok(Message::Binary(_) | Message::Ping(_) | Message::Pong(_))) => {}
            Some(Ok(Message::Text(_))) => return Err(Ended::Protocol("only binary frames")),
            Some(Ok(Message::Close(_)) | Err(_)) | None => return Err(Ended::Left),
        }
    }
}

/// Carries until either side, or anybody who may, ends it; why.
pub(super) async fn carry(
    app: &App,
    client: &mut Client,
    line: Box<dyn Line>,
    reader: &mut dyn Reader,
    connection: &Connection,
) -> Ended {
    let config = &app.gateway.config;
    let (from, to) = tokio::io::split(line);
    let first = std::mem::take(&mut client.taken);
    connection.show();
    client.shown = true;
    tokio::select! {
        ended = up(app, first, &mut client.stream, to, reader, connection) => ended,
        ended = down(config, from, &mut client.sink, connection) => ended,
        ended = tell(app, connection) => match ended {},
        ended = overdue(app, connection) => ended,
    }
}

async fn up(
    app: &App,
    first: Bytes,
    stream: &mut SplitStream<WebSocket>,
    mut to: WriteHalf<Box<dyn Line>>,
    reader: &mut dyn Reader,
    connection: &Connection,
) -> Ended {
    let (mut said, mut out) = (first, BytesMut::new());
    loop {
        if !said.is_empty() {
            connection.up.add(said.len());
            match reader.read(&said, &mut out) {
                Ok(true) => connection.touch(app.engine.clock().now()),
                Ok(false) => {}
                Err(why) => return Ended::Protocol(why),
            }
            if write(&mut to, &mut out).await.is_err() {
                return Ended::Screen;
            }
        }
        // Every frame counts as a sign of life, answers to our own included.
        let message = match timeout(app.gateway.config.silence, stream.next()).await {
            Ok(Some(Ok(message))) => message,
            Ok(Some(Err(_)) | None) => return Ended::Left,
            Err(_) => return Ended::Lost,
        };
        said = match message {
            Message::Binary(data) => data,
            Message::Ping(_) | Message::Pong(_) => Bytes::new(),
            Message::Text(_) => return Ended::Protocol("only binary frames"),
            Message::Close(_) => return Ended::Left,
        };
    }
}

async fn write(to: &mut WriteHalf<Box<dyn Line>>, out: &mut BytesMut) -> std::io::Result<()> {
    to.write_all(out).await?;
    out.clear();
    to.flush().await
}

async fn down(
    config: &GatewayConfig,
    mut from: ReadHalf<Box<dyn Line>>,
    sink: &mut SplitSink<WebSocket, Message>,
    connection: &Connection,
) -> Ended {
    let period = config.silence / 3;
    let mut alive = interval_at(Instant::now() + period, period);
    alive.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut buffer = BytesMut::with_capacity(BUFFER);
    loop {
        buffer.reserve(BUFFER);
        let frame = tokio::select! {
            read = from.read_buf(&mut buffer) => match read {
                Ok(0) | Err(_) => return Ended::Screen,
                Ok(count) => {
                    connection.down.add(count);
                    Message::Binary(buffer.split().freeze())
                }
            },
            _ = alive.tick() => Message::Ping(Bytes::new()),
        };
        match timeout(config.take_time, sink.send(frame)).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) => return Ended::Left,
            Err(_) => return Ended::Lost,
        }
    }
}

/// Tells of the desktop's use, now and then, for ever.
async fn tell(app: &App, connection: &Connection) -> Infallible {
    let mut due = interval(evidence::PERIOD);
    due.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        due.tick().await;
        evidence::tell(app, &connection.session, None).await;
    }
}

/// Waits until it lasted too long, or nobody touched anything for too long.
async fn overdue(app: &App, connection: &Connection) -> Ended {
    let config = &app.gateway.config;
    let end = Instant::now() + config.lifetime;
    loop {
        let now = app.engine.clock().now();
        let untouched = daas_core::clock::between(connection.touched(), now);
        let Some(left) = config.idle.checked_sub(untouched).filter(|left| !left.is_zero()) else {
            return Ended::Idle;
        };
        tokio::select! {
            () = tokio::time::sleep(left) => {}
            () = tokio::time::sleep_until(end) => return Ended::Lifetime,
        }
    }
}
