//! The golden paths on real guests: asked for through the real API, made on the simulated cluster,
//! a real Debian under it, configured for real, used over RDP by a real client, and ended by the
//! idle rules when that client is cut.

#![allow(clippy::unwrap_used, reason = "a trial may panic")]

mod api;
mod domain;
mod ssh;
mod world;

use daas_lab::trials::{self, Needs};

fn main() {
    trials::run(vec![
        trials::trial(
            "a_real_desktop_comes_is_used_and_goes",
            Needs::Desktop,
            ssh::a_real_desktop_comes_is_used_and_goes,
        ),
        trials::trial(
            "a_domain_users_desktop_comes_by_terraform_and_ansible_and_leaves_no_trace",
            Needs::Orchestration,
            domain::a_desktop_comes_by_terraform_and_ansible_and_leaves_no_trace,
        ),
        trials::trial(
            "a_refused_join_fails_the_session_with_its_reason_and_leaves_nothing",
            Needs::Orchestration,
            domain::a_refused_join_fails_the_session_with_its_reason_and_leaves_nothing,
        ),
    ]);
}
