//! Where a command's bytes come from and go to.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::{Bytes, BytesMut};
use tokio::sync::mpsc;

/// How many bytes one script may read from outside, and write into memory.
pub(in super::super) const BYTES_MAX: usize = 64 << 20;

/// The standard input, shared by all commands of a script: what one has read, the next has not.
#[derive(Debug, Clone)]
pub(in super::super) struct Input(Arc<tokio::sync::Mutex<Source>>);

#[derive(Debug, Default)]
struct Source {
    rest: BytesMut,
    more: Option<mpsc::Receiver<Bytes>>,
    total: usize,
}

/// More came in than a script may read.
#[derive(Debug, thiserror::Error)]
#[error("standard input is larger than 64 MiB")]
pub(super) struct TooMuch;

impl Input {
    /// Nothing to read.
    pub(in super::super) fn empty() -> Self {
        Self::bytes(Bytes::new())
    }

    /// Those bytes.
    pub(in super::super) fn bytes(bytes: Bytes) -> Self {
        let source = Source { rest: bytes.into(), ..Source::default() };
        Self(Arc::new(tokio::sync::Mutex::new(source)))
    }

    /// What the channel brings, until its senders are gone.
    pub(in super::super) fn stream(more: mpsc::Receiver<Bytes>) -> Self {
        let source = Source { more: Some(more), ..Source::default() };
        Self(Arc::new(tokio::sync::Mutex::new(source)))
    }

    /// All that is left, waiting for the end.
    pub(super) async fn read_all(&self) -> Result<Bytes, TooMuch> {
        let mut source = self.0.lock().await;
        while source.fill().await? {}
        Ok(source.rest.split().freeze())
    }

    /// One line without its end; `None` at the end of the input.
    pub(super) async fn read_line(&self) -> Result<Option<Bytes>, TooMuch> {
        let mut source = self.0.lock().await;
        loop {
            if let Some(end) = source.rest.iter().position(|byte| *byte == b'\n') {
                let mut line = source.rest.split_to(end + 1);
                line.truncate(end);
                return Ok(Some(line.freeze()));
            }
            if !source.fill().await? {
                let rest = source.rest.split().freeze();
                return Ok((!rest.is_empty()).then_some(rest));
            }
        }
    }
}

impl Source {
    /// Waits for more; `false` at the end.
    async fn fill(&mut self) -> Result<bool, TooMuch> {
        let Some(more) = &mut self.more else { return Ok(false) };
        let Some(bytes) = more.recv().await else {
            self.more = None;
            return Ok(false);
        };
        self.total += bytes.len();
        if self.total > BYTES_MAX {
            return Err(TooMuch);
        }
        self.rest.extend_from_slice(&bytes);
        Ok(true)
    }
}

/// Where standard output or standard error leads.
#[derive(Debug, Clone)]
pub(in super::super) enum Output {
    /// Nowhere.
    Null,
    /// A buffer; what exceeds [`BYTES_MAX`] is dropped and the writer told.
    Memory(Arc<Mutex<Vec<u8>>>),
    /// Somebody outside, who may be slow or gone.
    Stream(mpsc::Sender<Bytes>),
    /// The end of a file of the guest.
    File(String),
}

impl Output {
    /// A buffer and the output that fills it.
    pub(in super::super) fn memory() -> (Self, Arc<Mutex<Vec<u8>>>) {
        let buffer = Arc::new(Mutex::new(Vec::new()));
        (Self::Memory(buffer.clone()), buffer)
    }
}

/// Takes what a buffer holds.
pub(in super::super) fn taken(buffer: &Mutex<Vec<u8>>) -> Vec<u8> {
    std::mem::take(&mut buffer.lock().unwrap_or_else(PoisonError::into_inner))
}
