//! The clauses of [`IdlePolicy`].

use std::sync::Arc;

use jiff::Timestamp;

use super::{Clause, clauses};
use crate::activity::{Activity, Connection, Display, Probed, Report};
use crate::idle::{Action, IdlePolicy, Moment, Verdict};
use crate::ids::{Organisation, SessionId, SessionPrefix};
use crate::owner::Owner;
use crate::session::{Phase, Session};
use crate::template::{Lifetime, Template};

type Policy = Arc<dyn IdlePolicy>;

/// Every clause of [`IdlePolicy`].
pub fn idle_clauses() -> Vec<Clause<Policy>> {
    clauses![
        the_same_arguments_give_the_same_verdict,
        silence_alone_ends_nothing,
        our_own_downtime_does_not_count,
        what_is_in_use_is_kept,
        what_nobody_uses_ends,
        a_personal_desktop_is_never_destroyed,
        an_end_is_decided_on_more_than_its_limit,
        the_next_look_is_not_in_the_past,
    ]
}

const HOUR: i64 = 3_600;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + second).expect("in range")
}

fn moment(second: i64) -> Moment {
    Moment { now: at(second), listening_since: at(-HOUR) }
}

/// A session that was ready at second 0 and whose guest reports.
fn session(lifetime: Lifetime) -> Session {
    let backend = "fake".parse().expect("a name");
    let mut template = Template::new("lab".parse().expect("a name"), backend, "image");
    template.configurator = Some("inside".parse().expect("a name"));
    let id = SessionId::mint(&SessionPrefix::default());
    let owner = Owner { realm: "lab".to_owned(), name: "alice".to_owned() };
    let mut session = Session::new(id, template, Some(owner), Organisation::default(), at(0));
    session.lifetime = lifetime;
    for phase in [Phase::Creating, Phase::Ready] {
        session.enter(phase, "test", at(0)).expect("allowed");
    }
    session
}

fn report(state: Connection, idle_seconds: u64) -> Report {
    let display = Display {
        user: "alice".to_owned(),
        display: ":10".to_owned(),
        state,
        idle_seconds,
        state_seconds: None,
    };
    Report { sessions: vec![display], uptime_seconds: 1, boot_id: "b".to_owned() }
}

/// What can be known of a desktop, at many times and from many sources.
fn everything(policy: &Policy, check: impl Fn(&Session, &Activity, Moment, &Verdict)) {
    let heard = |state, idle, second| Activity::default().after(report(state, idle), at(second));
    for lifetime in [Lifetime::Ephemeral, Lifetime::Personal] {
        let session = session(lifetime);
        for now in [1, 60, 130, 700, HOUR, 3 * HOUR, 48 * HOUR, 1_000 * HOUR] {
            for told in [1, now / 2, now - 60, now] {
                for activity in [
                    Activity::default(),
                    heard(Connection::Connected, 0, told),
                    heard(Connection::Connected, 4_000, told),
                    heard(Connection::Connected, 0, 1)
                        .after(report(Connection::Disconnected, 10), at(told)),
                ] {
                    for probe in [None, Some((at(now), Probed::Unreachable))] {
                        let activity = Activity { probe, ..activity.clone() };
                        let verdict = policy.verdict(&session, &activity, moment(now));
                        check(&session, &activity, moment(now), &verdict);
                    }
                }
            }
        }
    }
}

fn ends(verdict: &Verdict) -> bool {
    matches!(verdict.action, Action::Stop | Action::Destroy)
}

async fn the_same_arguments_give_the_same_verdict(policy: Policy) {
    everything(&policy, |session, activity, when, verdict| {
        assert_eq!(&policy.verdict(session, activity, when), verdict);
    });
}

async fn silence_alone_ends_nothing(policy: Policy) {
    for lifetime in [Lifetime::Ephemeral, Lifetime::Personal] {
        let session = session(lifetime);
        let last = Activity::default().after(report(Connection::Connected, 0), at(10));
        for activity in [Activity::default(), last] {
            for hours in [1, 3, 24, 1_000] {
                let verdict = policy.verdict(&session, &activity, moment(hours * HOUR));
                assert!(!ends(&verdict), "after {hours} h of silence: {verdict:?}");
            }
        }
    }
}

async fn our_own_downtime_does_not_count(policy: Policy) {
    let session = session(Lifetime::Ephemeral);
    let now = at(100 * HOUR);
    let when = Moment { now, listening_since: now };
    let probe = Some((now, Probed::Unreachable));
    for activity in [Activity::default(), Activity { probe, ..Activity::default() }] {
        let verdict = policy.verdict(&session, &activity, when);
        assert!(!ends(&verdict), "at our start: {verdict:?}");
    }
}

async fn what_is_in_use_is_kept(policy: Policy) {
    for lifetime in [Lifetime::Ephemeral, Lifetime::Personal] {
        let session = session(lifetime);
        for second in [30, 2 * HOUR, 200 * HOUR] {
            let activity =
                Activity::default().after(report(Connection::Connected, 1), at(second - 5));
            let verdict = policy.verdict(&session, &activity, moment(second));
            assert_eq!(verdict.action, Action::Keep, "{verdict:?}");
        }
    }
}

async fn what_nobody_uses_ends(policy: Policy) {
    for lifetime in [Lifetime::Ephemeral, Lifetime::Personal] {
        let session = session(lifetime);
        let activity = Activity::default().after(report(Connection::Connected, 9_000), at(9_000));
        let verdict = policy.verdict(&session, &activity, moment(9_001));
        assert!(ends(&verdict), "touched by nobody for 9,000 s: {verdict:?}");
    }
}

async fn a_personal_desktop_is_never_destroyed(policy: Policy) {
    everything(&policy, |session, _, when, verdict| {
        let personal = session.lifetime == Lifetime::Personal;
        assert!(!personal || verdict.action != Action::Destroy, "{verdict:?} at {when:?}");
    });
}

async fn an_end_is_decided_on_more_than_its_limit(policy: Policy) {
    everything(&policy, |_, _, when, verdict| {
        let evidence = &verdict.evidence;
        let enough = evidence.measured_seconds >= evidence.limit_seconds;
        assert!(!ends(verdict) || enough, "{verdict:?} at {when:?}");
    });
}

async fn the_next_look_is_not_in_the_past(policy: Policy) {
    everything(&policy, |_, _, when, verdict| {
        assert!(verdict.until >= when.now, "{verdict:?} at {when:?}");
    });
}
