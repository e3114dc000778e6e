//! The rules, one by one and the strictest of several.

use super::*;
use crate::activity::{Connection, Display, Passage, Report};
use crate::session::tests_support::ready_session;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_700_000_000 + second).expect("in range")
}

fn moment(second: i64) -> Moment {
    Moment { now: at(second), listening_since: at(-1000) }
}

fn report(state: Connection, idle_seconds: u64) -> Report {
    Report {
        sessions: vec![Display {
            user: "alice".into(),
            display: ":10".into(),
            state,
            idle_seconds,
            state_seconds: None,
        }],
        uptime_seconds: 1,
        boot_id: "b".into(),
    }
}

fn empty_report() -> Report {
    Report { sessions: vec![], uptime_seconds: 1, boot_id: "b".into() }
}

/// A session ready at second 0 that expects reports.
fn session() -> Session {
    let mut session = ready_session(at(0));
    session.template.configurator = Some("ssh".parse().expect("name"));
    session
}

fn check(session: &Session, activity: &Activity, second: i64, action: Action, rule: &str) {
    let verdict = TemplateRules.verdict(session, activity, moment(second));
    assert_eq!((verdict.action, verdict.evidence.rule.as_str()), (action, rule), "at {second} s");
}

#[test]
fn a_new_desktop_waits_ten_minutes_for_its_first_connection() {
    let s = session();
    let heard = |second| Activity::default().after(empty_report(), at(second));
    check(&s, &heard(10), 20, Action::Keep, "never_connected");
    check(&s, &heard(500), 510, Action::Warn, "never_connected");
    check(&s, &heard(590), 600, Action::Destroy, "never_connected");
}

#[test]
fn a_disconnected_desktop_ends_after_its_grace_and_a_return_saves_it() {
    let s = session();
    let a = Activity::default().after(report(Connection::Connected, 0), at(100));
    let a = a.after(report(Connection::Disconnected, 5), at(130));
    check(&s, &a, 140, Action::Keep, "disconnected");
    check(&s, &a, 165, Action::Warn, "disconnected");
    check(&s, &a, 190, Action::Destroy, "disconnected");
    let back = a.after(report(Connection::Connected, 0), at(185));
    check(&s, &back, 190, Action::Keep, "idle");
}

#[test]
fn an_untouched_desktop_ends_after_half_an_hour() {
    let s = session();
    let a = Activity::default().after(report(Connection::Connected, 0), at(10));
    let idle = |seconds| a.after(report(Connection::Connected, seconds), at(2000));
    check(&s, &idle(60), 2010, Action::Keep, "idle");
    check(&s, &idle(1790), 2010, Action::Warn, "idle");
    check(&s, &idle(1800), 2010, Action::Destroy, "idle");
}

#[test]
fn silence_is_not_idleness() {
    let s = session();
    let a = Activity::default().after(report(Connection::Disconnected, 5), at(100));
    // The grace is long over, but nothing newer was heard: unknown, so it is looked at.
    check(&s, &a, 100_000, Action::Probe, "unknown");
    let probed = |second, probe| Activity { probe: Some((at(second), probe)), ..a.clone() };
    check(&s, &probed(50, Probed::Unreachable), 100_000, Action::Probe, "unknown");
    check(&s, &probed(99_990, Probed::InUse), 100_000, Action::Keep, "unknown");
    check(&s, &probed(590, Probed::Unreachable), 600, Action::Keep, "unknown");
    check(&s, &probed(7_290, Probed::Unreachable), 7_300, Action::Destroy, "silence");
}

#[test]
fn our_own_downtime_does_not_count() {
    let s = session();
    let a = Activity::default().after(report(Connection::Connected, 5), at(100));
    let a = Activity { probe: Some((at(9_000), Probed::Unreachable)), ..a };
    let when = Moment { now: at(9_100), listening_since: at(9_050) };
    assert_eq!(TemplateRules.verdict(&s, &a, when).action, Action::Keep);
}

#[test]
fn the_strictest_of_several_counts() {
    let mut s = session();
    s.template.idle.lifetime_max = Some(Duration::from_secs(3600));
    let a = Activity::default().after(report(Connection::Connected, 0), at(3599));
    check(&s, &a, 3600, Action::Destroy, "lifetime");
    s.extension = Duration::from_secs(600);
    check(&s, &a, 3600, Action::Keep, "lifetime");
}

#[test]
fn a_personal_desktop_is_stopped_never_destroyed() {
    let mut s = session();
    s.lifetime = Lifetime::Personal;
    let a = Activity::default().after(report(Connection::Connected, 1800), at(10));
    check(&s, &a, 20, Action::Stop, "idle");
}

#[test]
fn a_desktop_that_nobody_watches_ends_by_its_lifetime_only() {
    let mut s = session();
    s.template.configurator = None;
    check(&s, &Activity::default(), 1_000_000, Action::Keep, "in_use");
    s.template.idle.lifetime_max = Some(Duration::from_secs(60));
    check(&s, &Activity::default(), 60, Action::Destroy, "lifetime");
}

fn passing(connected: bool, told: i64, input: i64) -> Passage {
    Passage { connected, told_at: at(told), input_at: at(input) }
}

#[test]
fn who_is_there_by_the_gateway_alone_is_there() {
    let s = session();
    // On the machine's own screen: the guest knows of no display.
    let a = Activity::default().after(empty_report(), at(600));
    let there = a.passed(passing(true, 610, 600));
    check(&s, &there, 620, Action::Keep, "idle");
    // A guest that has become silent meanwhile is no reason to look: somebody is seen there.
    check(&s, &there.passed(passing(true, 5_000, 4_990)), 5_010, Action::Keep, "idle");
    check(&s, &there.passed(passing(true, 5_000, 3_200)), 5_010, Action::Destroy, "idle");
}

#[test]
fn who_left_the_gateway_has_left() {
    let s = session();
    let a = Activity::default().passed(passing(true, 100, 100)).passed(passing(false, 130, 120));
    let heard = |second| a.after(empty_report(), at(second));
    check(&s, &heard(140), 150, Action::Keep, "disconnected");
    check(&s, &heard(180), 190, Action::Destroy, "disconnected");
    // Where the guest shows a client, they went on by other means.
    let other = a.after(report(Connection::Connected, 0), at(180));
    check(&s, &other, 190, Action::Keep, "idle");
    // A gateway that stopped telling was this server's, and the guest is silent: unknown.
    let gone = Activity::default().passed(passing(true, 100, 100));
    check(&s, &gone, 1_000, Action::Probe, "unknown");
}

#[test]
fn a_restart_of_ours_leaves_time_to_come_back_by_the_gateway() {
    let s = session();
    let a = Activity::default().passed(passing(false, 100, 100));
    let a = a.after(empty_report(), at(9_010));
    let when = |second| Moment { now: at(second), listening_since: at(9_000) };
    let verdict = |second| TemplateRules.verdict(&s, &a, when(second)).action;
    assert_eq!((verdict(9_020), verdict(9_060)), (Action::Keep, Action::Destroy));
}

#[test]
fn where_no_guest_tells_the_gateway_shows_use_but_never_its_absence() {
    let mut s = session();
    s.template.configurator = None;
    let there = Activity::default().passed(passing(true, 100, 100));
    check(&s, &there, 110, Action::Keep, "idle");
    let untouched = there.passed(passing(true, 2_000, 100));
    check(&s, &untouched, 2_010, Action::Destroy, "idle");
    let left = there.passed(passing(false, 2_000, 100));
    check(&s, &left, 1_000_000, Action::Keep, "in_use");
}
