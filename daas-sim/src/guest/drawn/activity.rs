//! Who works on the guest's desktop: sessions, their connections and their last input.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

/// The first X display that XRDP gives.
const FIRST_DISPLAY: usize = 10;

/// A desktop session as a script in the guest sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionView {
    /// Whose it is.
    pub user: String,
    /// The X display (`:10`).
    pub display: String,
    /// Whether a client looks at it now.
    pub connected: bool,
    /// Those clients.
    pub peers: Vec<SocketAddr>,
    /// Since the last key or pointer event (or the login).
    pub idle: Duration,
    /// Since it was last connected or disconnected.
    pub in_state: Duration,
}

/// All sessions since boot; a session outlives its connection.
#[derive(Debug)]
pub(super) struct Activity {
    sessions: watch::Sender<Vec<Session>>,
}

#[derive(Debug, Clone)]
struct Session {
    user: String,
    peers: Vec<SocketAddr>,
    last_input: Instant,
    /// When the first client came or the last one went.
    changed: Instant,
}

/// One client's connection to a session; dropping it disconnects.
#[derive(Debug)]
pub(super) struct Connection {
    activity: Arc<Activity>,
    user: String,
    peer: SocketAddr,
}

impl Activity {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self { sessions: watch::Sender::new(Vec::new()) })
    }

    /// A client that logged in: it joins the user's session, or a new one is made.
    pub(super) fn connect(self: &Arc<Self>, user: &str, peer: SocketAddr) -> Connection {
        self.sessions.send_modify(|sessions| {
            let known = sessions.iter_mut().find(|session| session.user == user);
            match known {
                Some(session) => {
                    if session.peers.is_empty() {
                        session.changed = Instant::now();
                    }
                    session.peers.push(peer);
                    session.last_input = Instant::now();
                }
                None => {
                    let (user, now) = (user.into(), Instant::now());
                    let peers = vec![peer];
                    sessions.push(Session { user, peers, last_input: now, changed: now });
                }
            }
        });
        Connection { activity: self.clone(), user: user.into(), peer }
    }

    /// The sessions now.
    pub(super) fn now(&self) -> Vec<SessionView> {
        let view = |(i, session): (usize, &Session)| SessionView {
            user: session.user.clone(),
            display: format!(":{}", FIRST_DISPLAY + i),
            connected: !session.peers.is_empty(),
            peers: session.peers.clone(),
            idle: session.last_input.elapsed(),
            in_state: session.changed.elapsed(),
        };
        self.sessions.borrow().iter().enumerate().map(view).collect()
    }

    /// Wakes at every change, input included.
    pub(super) fn changes(&self) -> impl Future<Output = ()> + Send + use<> {
        let mut receiver = self.sessions.subscribe();
        async move {
            // The sender lives as long as the guest, whose power the waiter runs on.
            let _ = receiver.changed().await;
        }
    }

    /// Ends every session; what losing power does.
    pub(super) fn clear(&self) {
        self.sessions.send_modify(Vec::clear);
    }
}

impl Connection {
    /// The client pressed a key or moved the pointer.
    pub(super) fn input(&self) {
        self.activity.sessions.send_modify(|sessions| {
            if let Some(session) = sessions.iter_mut().find(|session| session.user == self.user) {
                session.last_input = Instant::now();
            }
        });
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.activity.sessions.send_modify(|sessions| {
            if let Some(session) = sessions.iter_mut().find(|session| session.user == self.user) {
                session.peers.retain(|peer| *peer != self.peer);
                if session.peers.is_empty() {
                    session.changed = Instant::now();
                }
            }
        });
    }
}
