//! Whether a connection's client does its part: asks for something now and then, and takes what it
//! is given.
//!
//! What blocks by design (a create that waits for its desktop, a stream without news) is our part,
//! however long it takes. A client that is waited for is given a time, at the socket and at each
//! answer: HTTP/2 lets a client leave one answer untaken while it keeps the connection busy.

use std::collections::HashMap;
use std::io::{Error, IoSlice};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::{Body, Bytes};
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, sleep_until};

/// What a client takes of an answer at a time, in bytes; a slow one is judged by each part.
const PART_BYTES: usize = 16 * 1024;

/// What a client failed to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Overdue {
    /// To ask for anything.
    Idle,
    /// To take what it asked for.
    Untaken,
}

/// The books of one connection. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Traffic {
    books: Arc<Mutex<Books>>,
    idle_time: Duration,
    take_time: Duration,
}

#[derive(Debug)]
struct Books {
    /// Since when the socket takes nothing of what is there to be written.
    blocked: Option<Instant>,
    /// The requests in hand, and since when the next part of the answer could be taken; none while
    /// it is ours to make.
    in_hand: HashMap<u64, Option<Instant>>,
    asked: u64,
    /// Since when no request is in hand, if none is.
    idle_since: Instant,
}

impl Traffic {
    /// A connection just opened, that may be without a request for `idle_time`, and has `take_time`
    /// for each part of an answer.
    pub(crate) fn new(idle_time: Duration, take_time: Duration) -> Self {
        let books =
            Books { blocked: None, in_hand: HashMap::new(), asked: 0, idle_since: Instant::now() };
        Self { books: Arc::new(Mutex::new(books)), idle_time, take_time }
    }

    /// `io`, with its writes in the books.
    pub(crate) fn watch<S>(&self, io: S) -> Watched<S> {
        Watched { io, traffic: self.clone() }
    }

    /// A request just read. It is in hand until what this answers is dropped.
    pub(crate) fn request(&self) -> InHand {
        let mut books = self.books();
        let number = books.asked;
        books.asked += 1;
        books.in_hand.insert(number, None);
        drop(books);
        InHand { number, traffic: self.clone() }
    }

    /// Gives an idle client its time once more, to end in order.
    pub(crate) fn forgive(&self) {
        self.books().idle_since = Instant::now();
    }

    /// Waits until the client has failed to do its part.
    pub(crate) async fn overdue(&self) -> Overdue {
        loop {
            match self.judge(Instant::now()) {
                Ok(look_again) => sleep_until(look_again).await,
                Err(overdue) => return overdue,
            }
        }
    }

    /// When to look again: nothing can be overdue before.
    fn judge(&self, now: Instant) -> Result<Instant, Overdue> {
        let books = self.books();
        let waits = books.in_hand.values().flatten().chain(&books.blocked).min();
        let untaken = waits.map_or(now, |since| *since) + self.take_time;
        let is_idle = books.in_hand.is_empty() && books.blocked.is_none();
        let idle = if is_idle { books.idle_since } else { now } + self.idle_time;
        if untaken <= now {
            return Err(Overdue::Untaken);
        }
        if idle <= now {
            return Err(Overdue::Idle);
        }
        Ok(untaken.min(idle))
    }

    fn wrote(&self, pending: bool) {
        let mut books = self.books();
        if pending {
            books.blocked.get_or_insert_with(Instant::now);
        } else if books.blocked.take().is_some() {
            // The end of an answer that was in no hand any more.
            books.idle_since = Instant::now();
        }
    }

    fn books(&self) -> MutexGuard<'_, Books> {
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A request in hand.
#[derive(Debug)]
pub(crate) struct InHand {
    number: u64,
    traffic: Traffic,
}

impl InHand {
    /// The answer's body, which keeps the request in hand until it has been taken or given up.
    pub(crate) fn until_taken(self, body: Body) -> Body {
        Body::new(Answer { body, rest: Bytes::new(), in_hand: self })
    }

    fn note(&self, offered: Option<Instant>) {
        self.traffic.books().in_hand.insert(self.number, offered);
    }
}

impl Drop for InHand {
    fn drop(&mut self) {
        let mut books = self.traffic.books();
        books.in_hand.remove(&self.number);
        books.idle_since = Instant::now();
    }
}

/// A body in parts, that notes whose turn it is.
struct Answer {
    body: Body,
    /// What was made and not asked for yet.
    rest: Bytes,
    in_hand: InHand,
}

impl HttpBody for Answer {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        // Asked for the next part: the one before was taken.
        self.in_hand.note(None);
        if self.rest.is_empty() {
            match ready!(Pin::new(&mut self.body).poll_frame(context))
                .map(|f| f.map(Frame::into_data))
            {
                Some(Ok(Ok(data))) => self.rest = data,
                Some(Ok(Err(trailers))) => return Poll::Ready(Some(Ok(trailers))),
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                None => return Poll::Ready(None),
            }
        }
        let length = self.rest.len().min(PART_BYTES);
        let part = self.rest.split_to(length);
        self.in_hand.note(Some(Instant::now()));
        Poll::Ready(Some(Ok(Frame::data(part))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let (body, rest) = (self.body.size_hint(), self.rest.len() as u64);
        let mut whole = SizeHint::new();
        if let Some(upper) = body.upper() {
            whole.set_upper(upper + rest);
        }
        whole.set_lower(body.lower() + rest);
        whole
    }
}

/// A socket whose writes are in the books.
pub(crate) struct Watched<S> {
    io: S,
    traffic: Traffic,
}

impl<S> Watched<S> {
    fn noted<T>(&self, poll: Poll<T>) -> Poll<T> {
        self.traffic.wrote(poll.is_pending());
        poll
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<Result<(), Error>> {
        Pin::new(&mut self.io).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<Result<usize, Error>> {
        let wrote = Pin::new(&mut self.io).poll_write(context, bytes);
        self.noted(wrote)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<(), Error>> {
        Pin::new(&mut self.io).poll_flush(context)
    }

    fn poll_shutdown(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Result<(), Error>> {
        Pin::new(&mut self.io).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<Result<usize, Error>> {
        let wrote = Pin::new(&mut self.io).poll_write_vectored(context, slices);
        self.noted(wrote)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }
}
