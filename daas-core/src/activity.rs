//! What is known of a desktop's use: the guest's reports, our own probes, and since when we listen.

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::clock::between;
use crate::error::{Error, Operation, Result};

/// The most displays one report may name; more is rubbish.
const DISPLAYS_MAX: usize = 64;

/// What a guest reports. Durations come from its own monotonic clock, so that neither clock needs
/// to be right.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// One entry per display.
    pub sessions: Vec<Display>,
    /// Time since the guest's boot, in seconds.
    pub uptime_seconds: u64,
    /// Differs after each boot of the guest.
    pub boot_id: String,
}

/// One display in the guest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Display {
    /// The user logged in there.
    pub user: String,
    /// Its name (`:10`).
    pub display: String,
    /// Whether a client shows it.
    pub state: Connection,
    /// How long nobody has touched keyboard or mouse, in seconds.
    pub idle_seconds: u64,
    /// How long it has been in this state, in seconds, if the guest can tell.
    #[serde(default)]
    pub state_seconds: Option<u64>,
}

/// Whether a client shows a display.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Connection {
    /// A client is there.
    Connected,
    /// The session lives on without one.
    Disconnected,
}

impl Report {
    /// Refuses a report that no honest guest sends.
    pub fn check(&self) -> Result<()> {
        let field = |name: &str, why: &str| {
            Err(Error::invalid(Operation::Check, format!("activity report: {name}"), why))
        };
        if self.sessions.len() > DISPLAYS_MAX {
            return field("sessions", "names more than 64 displays");
        }
        let long = |text: &str| text.len() > 256;
        if long(&self.boot_id) || self.sessions.iter().any(|d| long(&d.user) || long(&d.display)) {
            return field("sessions", "holds a text of more than 256 bytes");
        }
        Ok(())
    }

    fn connected(&self) -> bool {
        self.sessions.iter().any(|d| d.state == Connection::Connected)
    }
}

/// The last values known of one session's use.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Activity {
    /// The last report and when it came.
    pub last: Option<(Timestamp, Report)>,
    /// When a client was first there.
    pub first_connected_at: Option<Timestamp>,
    /// Since when no client is there; absent while one is, or none ever was.
    pub disconnected_since: Option<Timestamp>,
    /// Our own last look at the guest from outside.
    pub probe: Option<(Timestamp, Probed)>,
    /// What passed through our gateway.
    #[serde(default)]
    pub gateway: Option<Passage>,
}

/// What passed through the gateway to a desktop's screen: evidence of use beside the guest's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Passage {
    /// Whether somebody is connected by the gateway.
    pub connected: bool,
    /// When the gateway last told this.
    pub told_at: Timestamp,
    /// When a key or the mouse was last used through it, as far as the gateway could see: at the
    /// latest when the connection was made.
    pub input_at: Timestamp,
}

/// What our own look at a silent guest told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Probed {
    /// It did not answer.
    Unreachable,
    /// It answered, which says nothing about use.
    Reachable,
    /// Somebody uses it.
    InUse,
}

impl Activity {
    /// What is known after `report`, received at `now`.
    #[must_use]
    pub fn after(&self, report: Report, now: Timestamp) -> Self {
        let connected = report.connected();
        let was_connected = self.last.as_ref().is_some_and(|(_, last)| last.connected());
        // A guest that can tell how long nobody has been there knows better than our inbox,
        // which may have been closed meanwhile.
        let told = report.sessions.iter().filter_map(|d| d.state_seconds).min();
        let since = |seconds: u64| {
            now.checked_sub(Duration::from_secs(seconds.min(u64::from(u32::MAX)))).unwrap_or(now)
        };
        let disconnected_since = if connected {
            None
        } else if let Some(seconds) = told {
            // Not before the client was last seen: a guest may not shorten its own grace.
            let floor = self.last.as_ref().filter(|_| was_connected).map(|(at, _)| *at);
            Some(floor.map_or(since(seconds), |at| at.max(since(seconds))))
        } else if was_connected {
            Some(now)
        } else {
            self.disconnected_since
        };
        Self {
            first_connected_at: self.first_connected_at.or(connected.then_some(now)).or_else(
                || {
                    // A display exists without a client: somebody was there while we were away.
                    (!report.sessions.is_empty()).then_some(now)
                },
            ),
            disconnected_since: disconnected_since
                .or((!connected && !report.sessions.is_empty()).then_some(now)),
            last: Some((now, report)),
            probe: self.probe,
            gateway: self.gateway,
        }
    }

    /// What is known after the gateway told of `passage`. News that are older than what is known
    /// change nothing.
    #[must_use]
    pub fn passed(&self, passage: Passage) -> Self {
        if self.gateway.is_some_and(|known| known.told_at > passage.told_at) {
            return self.clone();
        }
        Self {
            first_connected_at: self.first_connected_at.or(Some(passage.told_at)),
            gateway: Some(passage),
            ..self.clone()
        }
    }

    /// Whether a client is there, by the last report.
    pub fn connected(&self) -> bool {
        self.last.as_ref().is_some_and(|(_, report)| report.connected())
    }

    /// Whether somebody is there by the gateway, at `now`. What it told longer than `fresh` ago is
    /// no longer known: it, or this server, may have ended since.
    pub fn passes(&self, now: Timestamp, fresh: Duration) -> Option<&Passage> {
        self.gateway.as_ref().filter(|p| p.connected && between(p.told_at, now) < fresh)
    }

    /// Since when nobody is there, neither by the guest's reports nor by the gateway. Connections by
    /// the gateway end with the server, so its absence is not counted: from `listening_since` on
    /// they had the time to come back.
    pub fn left_at(&self, listening_since: Timestamp) -> Option<Timestamp> {
        if self.connected() {
            return None;
        }
        let passed = self.gateway.map(|passage| passage.told_at.max(listening_since));
        self.disconnected_since.max(passed)
    }

    /// How long nobody has touched anything, by the last report: the time of the least idle display
    /// with a client. The report's age is not added, for the user may have moved since. Absent
    /// without a connected display.
    pub fn idle(&self) -> Option<Duration> {
        let (_, report) = self.last.as_ref()?;
        let connected = report.sessions.iter().filter(|d| d.state == Connection::Connected);
        connected.map(|d| d.idle_seconds).min().map(Duration::from_secs)
    }

    /// The same, seen by the guest and by the gateway: whoever saw a touch later is right.
    pub fn untouched(&self, now: Timestamp, fresh: Duration) -> Option<Duration> {
        let passing = self.passes(now, fresh).map(|p| between(p.input_at, now));
        self.idle().into_iter().chain(passing).min()
    }

    /// How long no report has come, at `now`, counted from `listening_since` at the earliest: our own
    /// absence is not the guest's silence.
    pub fn silence(&self, now: Timestamp, listening_since: Timestamp) -> Duration {
        let last = self.last.as_ref().map_or(listening_since, |(at, _)| *at);
        between(last.max(listening_since), now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_700_000_000 + second).expect("in range")
    }

    fn report(state: Option<(Connection, u64, Option<u64>)>) -> Report {
        Report {
            sessions: state
                .into_iter()
                .map(|(state, idle_seconds, state_seconds)| Display {
                    user: "alice".into(),
                    display: ":10".into(),
                    state,
                    idle_seconds,
                    state_seconds,
                })
                .collect(),
            uptime_seconds: 100,
            boot_id: "b".into(),
        }
    }

    #[test]
    fn connection_disconnection_and_return() {
        use Connection::{Connected, Disconnected};
        let a = Activity::default().after(report(None), at(0));
        assert_eq!((a.first_connected_at, a.disconnected_since), (None, None));
        let a = a.after(report(Some((Connected, 3, None))), at(10));
        assert_eq!((a.first_connected_at, a.disconnected_since), (Some(at(10)), None));
        assert_eq!(a.idle(), Some(Duration::from_secs(3)));
        let a = a.after(report(Some((Disconnected, 9, None))), at(20));
        assert_eq!(a.disconnected_since, Some(at(20)));
        let a = a.after(report(Some((Disconnected, 9, None))), at(30));
        assert_eq!(a.disconnected_since, Some(at(20)));
        let a = a.after(report(None), at(40));
        assert_eq!(a.disconnected_since, Some(at(20)), "the display's end is no return");
        let a = a.after(report(Some((Connected, 0, None))), at(50));
        assert_eq!((a.first_connected_at, a.disconnected_since), (Some(at(10)), None));
    }

    #[test]
    fn a_guests_own_duration_counts_but_not_beyond_what_we_saw() {
        use Connection::{Connected, Disconnected};
        let a = Activity::default().after(report(Some((Connected, 0, None))), at(100));
        let b = a.after(report(Some((Disconnected, 0, Some(30)))), at(200));
        assert_eq!(b.disconnected_since, Some(at(170)));
        let c = a.after(report(Some((Disconnected, 0, Some(5000)))), at(200));
        assert_eq!(c.disconnected_since, Some(at(100)));
    }

    #[test]
    fn our_own_absence_is_not_silence() {
        let a = Activity::default().after(report(None), at(0));
        assert_eq!(a.silence(at(1000), at(990)), Duration::from_secs(10));
        assert_eq!(a.silence(at(1000), at(-50)), Duration::from_secs(1000));
    }

    fn passage(connected: bool, told: i64, input: i64) -> Passage {
        Passage { connected, told_at: at(told), input_at: at(input) }
    }

    #[test]
    fn the_gateway_and_the_guest_are_believed_together() {
        use Connection::{Connected, Disconnected};
        let minute = Duration::from_secs(60);
        let a = Activity::default().passed(passage(true, 10, 5));
        assert_eq!(a.first_connected_at, Some(at(10)));
        assert!(a.passes(at(69), minute).is_some());
        assert!(a.passes(at(70), minute).is_none(), "what it told a minute ago is not known");
        assert_eq!(a.untouched(at(30), minute), Some(Duration::from_secs(25)));
        let b = a.after(report(Some((Connected, 3, None))), at(30));
        assert_eq!(b.untouched(at(30), minute), Some(Duration::from_secs(3)), "the later touch");
        assert_eq!(b.gateway, a.gateway, "a report does not make the gateway forgotten");
        let left = b.after(report(Some((Disconnected, 3, None))), at(40));
        assert_eq!(left.left_at(at(0)), Some(at(40)));
        let left = left.passed(passage(false, 50, 45));
        assert_eq!(left.left_at(at(0)), Some(at(50)), "who was there longest");
        assert_eq!(left.left_at(at(55)), Some(at(55)), "our own absence does not count");
        assert_eq!(left.passed(passage(true, 49, 49)), left, "news that come late are no news");
    }

    #[test]
    fn rubbish_is_refused() {
        let mut r = report(Some((Connection::Connected, 0, None)));
        assert!(r.check().is_ok());
        r.sessions[0].user = "x".repeat(300);
        assert!(r.check().is_err());
        r.sessions = vec![report(Some((Connection::Connected, 0, None))).sessions[0].clone(); 65];
        assert!(r.check().is_err());
    }
}
