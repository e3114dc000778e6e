//! The roles that ship, on a real Debian with systemd, sshd and XRDP in a lab of its own, and in a
//! real Active Directory.

#![allow(clippy::unwrap_used, reason = "a trial may panic")]

#[path = "../support/mod.rs"]
mod support;

mod desk;
mod domain;
mod passwords;
mod refusals;
mod roles;

use daas_lab::trials::Needs;
use libtest_mimic::Trial;

fn main() {
    let (guests, desktop) = (Needs::Guests, Needs::Desktop);
    let trials = vec![
        support::trial("the_roles_are_clean", None, roles::the_roles_are_clean),
        trial("a_second_apply_changes_nothing", guests, roles::a_second_apply_changes_nothing),
        trial("odd_passwords_arrive_unharmed_and_unseen", desktop, passwords::local),
        trial("a_domain_user_has_a_whole_desktop", desktop, domain::a_whole_desktop),
        trial("odd_domain_users_have_their_share", desktop, passwords::of_domain_users),
        trial("a_refused_join_says_why", guests, refusals::a_refused_join),
        trial("a_domain_that_is_away_is_no_refusal", guests, refusals::a_domain_that_is_away),
    ];
    libtest_mimic::run(&libtest_mimic::Arguments::from_args(), trials).exit();
}

fn trial(name: &str, needs: Needs, run: impl FnOnce() + Send + 'static) -> Trial {
    support::trial(name, needs.refusal(), run)
}
