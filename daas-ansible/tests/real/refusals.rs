//! What a domain refuses, or does not answer: a clear reason, and nothing left.

use std::time::Instant;

use daas_core::configurator::{Configurator, Stage};
use daas_core::directory::ComputerAccounts;
use daas_core::{Error, Kind};
use daas_lab::domain::facts;

use crate::desk::{self, Joining};
use crate::support::processes;

pub(crate) fn a_refused_join() {
    desk::in_domain(facts::OU, async |world| {
        world.accounts.spoil();
        let error = refused(&world).await;
        assert_eq!(error.kind(), Kind::Invalid, "{error}");
        let text = error.to_string();
        assert!(text.contains("lab.test refuses the join:"), "{text}");
        assert!(!text.contains(&world.accounts.given()[0]), "the password in {text}");
        let effect = world.desk.ansible.effects(&world.desk.context).unwrap().remove(0);
        world.desk.ansible.retract(&world.desk.context, &effect).await.unwrap();
        assert!(world.accounts.list().await.unwrap().is_empty());
    });
    // Where we may make no account, and where there is no place for one.
    let gone = format!("OU=Gone,{}", facts::SUFFIX);
    let cases = [
        (facts::OTHER_OU, Kind::Denied, "delegate"),
        (gone.as_str(), Kind::Invalid, "directory.ou"),
    ];
    for (ou, kind, way_out) in cases {
        desk::in_domain(ou, async |world| {
            let error = refused(&world).await;
            assert_eq!(error.kind(), kind, "{error}");
            assert!(error.to_string().contains(way_out), "{error}");
            let computers = world.domain.run(&["samba-tool", "computer", "list"]).await.unwrap();
            assert_eq!(computers, "DC1$\n");
        });
    }
}

pub(crate) fn a_domain_that_is_away() {
    desk::in_domain(facts::OU, async |world| {
        world.domain.close().await;
        let begun = Instant::now();
        let error = refused(&world).await;
        assert_eq!(error.kind(), Kind::Unavailable, "{error}");
        let text = error.to_string();
        assert!(text.contains("no domain controller of lab.test answers"), "{text}");
        assert!(begun.elapsed().as_secs() < 120, "after {:?}", begun.elapsed());
        assert!(world.accounts.given().is_empty(), "no account without need");
    });
}

/// A join that fails; nothing of its run is left.
async fn refused(world: &Joining) -> Error {
    let desk = &world.desk;
    let error = desk.apply(&Stage::Prepare).await.unwrap_err();
    let runs = desk.place.path("ansible");
    assert_eq!(processes(&runs), Vec::<String>::new());
    assert_eq!(std::fs::read_dir(&runs).unwrap().count(), 0);
    for password in world.accounts.given() {
        let journal = desk.text(&["journalctl", "--no-pager"]).await;
        assert!(!journal.contains(&password), "the password in the journal");
    }
    error
}
