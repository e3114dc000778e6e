//! The decision, case by case, and what must never be decided, for every combination.

use std::time::Duration;

use super::*;
use crate::idle::Evidence;
use crate::machine::AgentState;
use crate::session::tests_support::{new_session, ready_session};

fn now() -> Timestamp {
    Timestamp::from_second(1_700_000_000).expect("in range")
}

fn verdict(action: Action) -> Verdict {
    let evidence = Evidence {
        rule: "idle".into(),
        measured_seconds: 1800,
        limit_seconds: 1800,
        reported_at: None,
        passed_at: None,
    };
    Verdict { action, until: later(now(), Duration::from_secs(60)), evidence }
}

fn present(session: &Session, power: Power) -> Seen {
    Seen::Observed(Observation::Present(Machine {
        machine: "100".parse().expect("id"),
        place: "pve".into(),
        session: Some(session.id.clone()),
        uuid: None,
        power,
        address: Some([10, 0, 0, 1].into()),
        agent: AgentState::Address,
        lock: None,
    }))
}

fn all_sights(session: &Session) -> [Seen; 5] {
    [
        Seen::NoReservation,
        Seen::Observed(Observation::Absent),
        Seen::Observed(Observation::Unknown("away".into())),
        present(session, Power::Running),
        present(session, Power::Stopped),
    ]
}

/// Whether a record in this phase can come with this sight at all.
fn possible(session: &Session, sight: &Seen) -> bool {
    let unreserved = *sight == Seen::NoReservation;
    match session.phase {
        Phase::Queued => unreserved && !session.seen,
        Phase::Creating | Phase::Stopping | Phase::Stopped | Phase::Parked => !unreserved,
        Phase::Destroying => session.goal == Goal::Gone,
        Phase::Ended => true,
        // Everything else comes after the proof of the machine's identity.
        _ => !unreserved && session.seen,
    }
}

/// Calls `check` with every phase, goal, lifetime, sight, verdict and whether it was ever seen.
fn everything(check: impl Fn(&Session, &Seen, &Verdict, Step)) -> usize {
    let mut cases = 0;
    let limits = Limits::default();
    for phase in Phase::ALL {
        for goal in [Goal::Running, Goal::Stopped, Goal::Gone] {
            for lifetime in [Lifetime::Ephemeral, Lifetime::Personal] {
                for was_seen in [false, true] {
                    let mut session = new_session(now());
                    session.phase = phase;
                    session.goal = goal;
                    session.lifetime = lifetime;
                    session.seen = was_seen;
                    for sight in all_sights(&session) {
                        for action in [Action::Keep, Action::Warn, Action::Stop, Action::Destroy] {
                            if !possible(&session, &sight) {
                                continue;
                            }
                            let verdict = verdict(action);
                            let (step, _) = decide(&session, &sight, &verdict, &limits, now());
                            check(&session, &sight, &verdict, step);
                            cases += 1;
                        }
                    }
                }
            }
        }
    }
    cases
}

#[test]
fn doubt_ends_nothing_and_makes_nothing() {
    let cases = everything(|session, sight, _, step| {
        if matches!(sight, Seen::Observed(Observation::Unknown(_))) {
            let idle = matches!(step, Step::Wait(_) | Step::Rest);
            assert!(idle, "{} {:?}: {step:?}", session.phase, session.goal);
        }
    });
    assert!(cases > 1_000, "{cases} cases are too few to mean anything");
}

#[test]
fn what_was_seen_and_is_absent_is_never_made_again() {
    everything(|session, sight, _, step| {
        if session.seen && matches!(sight, Seen::Observed(Observation::Absent)) {
            let made = matches!(step, Step::Ensure(..) | Step::Reserve);
            assert!(!made, "{} {:?}: {step:?}", session.phase, session.goal);
        }
    });
}

#[test]
fn a_record_ends_only_when_wished_gone_and_proved_absent() {
    everything(|session, sight, _, step| {
        if step == Step::End {
            assert_eq!(session.goal, Goal::Gone);
            assert!(matches!(sight, Seen::NoReservation | Seen::Observed(Observation::Absent)));
        }
        if step == Step::Destroy {
            assert_eq!(session.goal, Goal::Gone);
        }
    });
}

#[test]
fn nobody_but_its_owner_or_an_operator_wishes_a_personal_desktop_gone() {
    everything(|session, _, _, step| {
        if session.lifetime == Lifetime::Personal {
            assert!(!matches!(step, Step::Wish(Goal::Gone, _)), "{}: {step:?}", session.phase);
        }
    });
}

#[test]
fn every_change_of_phase_that_is_decided_is_in_the_table() {
    everything(|session, _, _, step| {
        if let Step::Enter(phase) | Step::Ensure(_, phase) = step {
            let allowed = session.phase == phase || session.phase.may_become(phase);
            assert!(allowed, "{} to {phase} (goal {:?})", session.phase, session.goal);
        }
    });
}

#[test]
fn steps_follow_one_another_on_the_way_to_ready() {
    let limits = Limits::default();
    let mut session = new_session(now());
    let check = |session: &Session, seen: &Seen, wished: Step| {
        let (step, reason) = decide(session, seen, &verdict(Action::Keep), &limits, now());
        assert_eq!(step, wished, "{reason}");
    };
    check(&session, &Seen::NoReservation, Step::Reserve);
    session.phase = Phase::Creating;
    let absent = Seen::Observed(Observation::Absent);
    check(&session, &absent, Step::Ensure(Power::Running, Phase::Creating));
    check(
        &session,
        &present(&session, Power::Stopped),
        Step::Ensure(Power::Running, Phase::Creating),
    );
    check(&session, &present(&session, Power::Running), Step::Knock);
    session.template.configurator = Some("ssh".parse().expect("name"));
    check(&session, &present(&session, Power::Running), Step::Prepare);
    session.prepared = true;
    check(&session, &present(&session, Power::Running), Step::Assign);
    session.assigned = true;
    check(&session, &present(&session, Power::Running), Step::Knock);
    session.owner = None;
    session.phase = Phase::Preparing;
    check(&session, &present(&session, Power::Running), Step::Enter(Phase::Pooled));
}

#[test]
fn tries_and_time_come_to_an_end() {
    let limits = Limits::default();
    let mut session = new_session(now());
    session.phase = Phase::Creating;
    session.attempts.failed = limits.attempts_max;
    session.attempts.last_error = Some("storage full".into());
    let step = |session: &Session| {
        let absent = Seen::Observed(Observation::Absent);
        decide(session, &absent, &verdict(Action::Keep), &limits, now())
    };
    let (given_up, reason) = step(&session);
    assert!(matches!(given_up, Step::Wish(Goal::Gone, Some(Outcome::Failed { .. }))));
    assert!(reason.contains("storage full"), "{reason}");
    session.lifetime = Lifetime::Personal;
    assert_eq!(step(&session).0, Step::Enter(Phase::Parked));
    session.attempts.failed = 0;
    session.started_at = Some(now().checked_sub(Duration::from_secs(901)).expect("in range"));
    assert_eq!(step(&session).0, Step::Enter(Phase::Parked));
}

#[test]
fn a_desktop_in_use_obeys_its_verdict() {
    let limits = Limits::default();
    let session = ready_session(now());
    let step = |action| {
        decide(&session, &present(&session, Power::Running), &verdict(action), &limits, now()).0
    };
    assert_eq!(step(Action::Destroy), Step::Wish(Goal::Gone, None));
    assert_eq!(step(Action::Stop), Step::Wish(Goal::Stopped, None));
    assert_eq!(step(Action::Warn), Step::Warn);
    assert_eq!(step(Action::Probe), Step::Probe);
    assert_eq!(step(Action::Keep), Step::Wait(later(now(), limits.observe_period)));
}

#[test]
fn no_step_is_decided_that_the_transition_table_forbids() {
    let forbidden = std::cell::RefCell::new(std::collections::BTreeSet::new());
    everything(|session, _, _, step| {
        let next = match step {
            Step::End => Phase::Ended,
            Step::Enter(phase) | Step::Ensure(_, phase) => phase,
            Step::Prepare => Phase::Preparing,
            Step::Assign => Phase::Assigning,
            Step::Knock | Step::HandOver => Phase::Ready,
            Step::Destroy => Phase::Destroying,
            _ => return,
        };
        if session.phase != next && !session.phase.may_become(next) {
            forbidden.borrow_mut().insert((session.phase, format!("{:?}", session.goal), next));
        }
    });
    assert!(forbidden.borrow().is_empty(), "{:?}", forbidden.borrow());
}
