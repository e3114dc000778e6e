//! Computer accounts in a real Active Directory, up to a real guest that joins with nothing but its
//! one-time password.

#![allow(clippy::unwrap_used, reason = "a trial may panic")]

use std::sync::Arc;
use std::time::Duration;

use daas_core::configurator::EffectInventory;
use daas_core::directory::{AccountEffects, COMPUTER_ACCOUNT, ComputerAccounts};
use daas_core::ids::{BackendName, DeploymentId, SessionId, SessionPrefix};
use daas_core::{Error, Kind};
use daas_directory::{Computers, DirectoryConfig, Reach};
use daas_lab::domain::facts;
use daas_lab::trials::{self, Needs};
use daas_lab::{Domain, Lab, NspawnGuest, NspawnGuests, Output, Recipe};
use daas_sim::guest::{Guest, GuestMaker, GuestSpec, GuestState, Seed};

fn main() {
    let needs = Needs::Guests;
    trials::run(vec![
        trials::trial("an_account_from_staging_to_proof", needs, an_account_from_staging_to_proof),
        trials::trial("what_is_not_ours_is_left_alone", needs, what_is_not_ours_is_left_alone),
        trials::trial("the_list_is_whole", needs, the_list_is_whole),
        trials::trial("each_refusal_names_the_way_out", needs, each_refusal_names_the_way_out),
        trials::trial("a_guest_joins_by_its_password_alone", needs, a_guest_joins),
    ]);
}

fn an_account_from_staging_to_proof() {
    in_domain(async |world| {
        let computers = world.computers();
        computers.check().await.unwrap();
        let session = session();
        let name = computers.account(&session);
        assert_eq!(name, format!("CN={session},{}", facts::OU));
        computers.remove(&name).await.unwrap();

        let first = computers.stage(&session).await.unwrap();
        let shown = world.show(&session).await;
        for part in [
            format!("description: daas-mark: {} {session}", world.deployment),
            "userAccountControl: 4096".to_owned(),
            format!("dNSHostName: {session}.{}", facts::DOMAIN),
            format!("servicePrincipalName: HOST/{session}.{}", facts::DOMAIN),
        ] {
            assert!(shown.contains(&part), "{part} is missing:\n{shown}");
        }
        assert!(world.is_password(&session, first.expose()).await);

        // Staged again, it has another password, and the old one is worth nothing.
        world.modify(&session, "userAccountControl: 4098").await;
        let second = computers.stage(&session).await.unwrap();
        assert!(world.is_password(&session, second.expose()).await, "enabled again");
        assert!(!world.is_password(&session, first.expose()).await);

        // The guest cannot shed or forge its mark.
        let own = format!("{}\\{session}$", facts::NETBIOS);
        let shed = world.ldapmodify(&own, second.expose(), &session, "description: mine").await;
        assert!(shed.code == Some(50), "{}", text(&shed));

        // With what somebody put below it, and though it was moved.
        let below = format!("dn: CN=note,{name}\nobjectClass: serviceConnectionPoint\n");
        world.ldapadd(&below).await;
        let moved = ["samba-tool", "computer", "move", session.as_str(), facts::OTHER_OU];
        world.domain.run(&moved).await.unwrap();
        computers.remove(&name).await.unwrap();
        assert_eq!(world.domain.run(&["samba-tool", "computer", "list"]).await.unwrap(), "DC1$\n");
        computers.remove(&name).await.unwrap();
    });
}

fn what_is_not_ours_is_left_alone() {
    in_domain(async |world| {
        let (computers, session) = (world.computers(), session());
        let name = computers.account(&session);
        let create = ["samba-tool", "computer", "create", session.as_str()];
        world.domain.run(&create).await.unwrap();
        // In another unit, the name is as taken.
        assert_taken(&computers.stage(&session).await.unwrap_err());
        world
            .domain
            .run(&["samba-tool", "computer", "move", session.as_str(), facts::OU])
            .await
            .unwrap();
        let before = world.show(&session).await;
        assert_taken(&computers.stage(&session).await.unwrap_err());
        let error = computers.remove(&name).await.unwrap_err();
        assert_eq!(error.kind(), Kind::Denied);
        assert!(error.to_string().contains("does not bear our mark"), "{error}");
        // Neither does another deployment's mark make it ours, nor another session's.
        for mark in [
            format!("daas-mark: {} {session}", DeploymentId::mint()),
            format!("daas-mark: {} {}", world.deployment, self::session()),
        ] {
            world.modify(&session, &format!("description: {mark}")).await;
            assert_eq!(computers.remove(&name).await.unwrap_err().kind(), Kind::Denied, "{mark}");
            assert!(computers.list().await.unwrap().is_empty(), "{mark}");
        }
        assert!(before.contains("userAccountControl"), "{before}");
        assert!(world.show(&session).await.contains("userAccountControl"));
    });
}

fn the_list_is_whole() {
    in_domain(async |world| {
        // Two to a page, so that there are pages.
        let config = world.config_with(|reach| reach.page_size = 2);
        let computers = Arc::new(Computers::new(config, world.deployment.clone()).unwrap());
        let theirs = Computers::new(world.config(), DeploymentId::mint()).unwrap();
        let mut wished: Vec<(SessionId, String)> = Vec::new();
        for _ in 0..5 {
            let session = session();
            computers.stage(&session).await.unwrap();
            wished.push((session.clone(), computers.account(&session)));
        }
        theirs.stage(&session()).await.unwrap();
        let mut found = computers.list().await.unwrap();
        found.sort();
        wished.sort();
        assert_eq!(found, wished);

        let configurator = BackendName::new("ssh").unwrap();
        let effects = AccountEffects::new(configurator.clone(), computers.clone());
        let mut there = effects.effects_there().await.unwrap();
        there.sort_by(|a, b| a.session.cmp(&b.session));
        let told: Vec<_> =
            there.iter().map(|e| (e.session.clone(), e.effect.key.clone())).collect();
        assert_eq!(told, wished);
        let ours = |kind: &str, by: &BackendName| kind == COMPUTER_ACCOUNT && *by == configurator;
        assert!(there.iter().all(|e| ours(&e.effect.kind, &e.effect.configurator)));
    });
}

fn each_refusal_names_the_way_out() {
    in_domain(async |world| {
        let stage = async |config: DirectoryConfig| {
            let computers = Computers::new(config, world.deployment.clone()).unwrap();
            (computers.stage(&session()).await.unwrap_err(), computers.check().await.unwrap_err())
        };
        let check = async |config: DirectoryConfig, kind: Kind, parts: &[&str]| {
            let (staged, checked) = stage(config).await;
            assert_eq!(staged.kind(), kind, "{staged}");
            assert_eq!(checked.kind(), kind, "{checked}");
            for part in parts {
                assert!(staged.to_string().contains(part), "{part}: {staged}");
            }
            assert!(!staged.chain().contains(facts::JOIN_PASSWORD));
        };
        let good = || world.config();
        let nobody = vec!["ldaps://10.77.0.11".parse().unwrap()];
        let short = Duration::from_millis(500);
        let config = world.config_with(|reach| {
            reach.servers.clone_from(&nobody);
            reach.connect_deadline = short;
        });
        check(config, Kind::Unavailable, &["10.77.0.11"]).await;
        let config = world.config_with(|reach| reach.ca_file = Some(world.other_ca()));
        check(config, Kind::Denied, &["not trusted", "directory.ca_file"]).await;
        let wrong = world.file("wrong");
        let config = world.config_with(|reach| reach.bind_password_file = wrong);
        check(config, Kind::Denied, &["(49)", "wrong user or password", "bind_password_file"])
            .await;
        let config = world.config_with(|reach| reach.bind_user = "nobody@lab.test".to_owned());
        check(config, Kind::Denied, &["(49)", "directory.bind_user"]).await;
        let config = DirectoryConfig { ou: facts::OTHER_OU.to_owned(), ..good() };
        check(config, Kind::Denied, &["(50)", "delegate"]).await;
        let config = DirectoryConfig { ou: format!("OU=Gone,{}", facts::SUFFIX), ..good() };
        check(config.clone(), Kind::Invalid, &["(32)", "directory.ou"]).await;
        let lost = Computers::new(config, world.deployment.clone()).unwrap();
        assert_eq!(
            lost.list().await.unwrap_err().kind(),
            Kind::Invalid,
            "no list, not an empty one"
        );

        // With one server away, the next is asked.
        let servers = [nobody.clone(), good().reach.servers].concat();
        let config = world.config_with(|reach| {
            reach.servers = servers;
            reach.connect_deadline = short;
        });
        Computers::new(config, world.deployment.clone()).unwrap().check().await.unwrap();
        // Disabled meanwhile, and said so.
        world.domain.run(&["samba-tool", "user", "disable", facts::JOIN_USER]).await.unwrap();
        check(good(), Kind::Denied, &["(49)", "directory.bind_user"]).await;
    });
}

/// INVARIANT: the guest has no credential but its own one-time password.
fn a_guest_joins() {
    in_domain(async |world| {
        let (computers, session) = (world.computers(), session());
        let images = [("member", Recipe::member())];
        let members = NspawnGuests::prepare(Arc::clone(&world.lab), &images).await.unwrap();
        let guest = boot(&members, &session).await;
        // Kerberos clients ask for the name behind the address, and wait long for no answer.
        let named = guest.exec(&["getent", "hosts", &facts::ADDRESS.to_string()]).await.unwrap();
        assert!(text(&named).contains(facts::HOST), "{}", text(&named));
        let password = computers.stage(&session).await.unwrap();
        let host = format!("--host-fqdn={session}.{}", facts::DOMAIN);
        let domain = format!("--domain={}", facts::DOMAIN);
        let join =
            ["adcli", "join", &domain, &host, "--login-type=computer", "--stdin-password", "-v"];
        let joined = guest.exec_with(&join, password.expose().as_bytes()).await.unwrap();
        assert_eq!(joined.code, Some(0), "{}", text(&joined));
        let tested = guest.exec(&["adcli", "testjoin", "-v", &domain]).await.unwrap();
        assert_eq!(tested.code, Some(0), "{}", text(&tested));
        // Its key is its own now, and the password is spent.
        let machine = format!("{}$@{}", session.as_str().to_uppercase(), facts::REALM);
        let ticket = guest.exec(&["kinit", "-k", &machine]).await.unwrap();
        assert_eq!(ticket.code, Some(0), "{}", text(&ticket));
        assert!(!world.is_password(&session, password.expose()).await, "it is good for once");
        let mark = format!("daas-mark: {} {session}", world.deployment);
        assert!(world.show(&session).await.contains(&mark), "the join leaves the mark");

        // A guest made anew under the name joins again.
        let again = computers.stage(&session).await.unwrap();
        let joined = guest.exec_with(&join, again.expose().as_bytes()).await.unwrap();
        assert_eq!(joined.code, Some(0), "{}", text(&joined));
        // The guest dies first; its account goes all the same.
        members.close().await;
        computers.remove(&computers.account(&session)).await.unwrap();
        assert!(computers.list().await.unwrap().is_empty());
    });
}

struct World {
    lab: Arc<Lab>,
    domain: Domain,
    deployment: DeploymentId,
    dir: tempfile::TempDir,
}

/// Runs a trial in a domain of its own.
fn in_domain<F: Future<Output = ()>>(trial: impl FnOnce(Arc<World>) -> F) {
    trials::in_lab(async |lab| {
        let domain = Domain::open(&lab).await.unwrap();
        let (deployment, dir) = (DeploymentId::mint(), tempfile::tempdir().unwrap());
        let world = Arc::new(World { lab, domain, deployment, dir });
        trial(Arc::clone(&world)).await;
        world.domain.close().await;
    });
}

impl World {
    fn config(&self) -> DirectoryConfig {
        let servers = vec![self.domain.url().parse().unwrap()];
        let user = format!("{}@{}", facts::JOIN_USER, facts::DOMAIN);
        let password = self.file(facts::JOIN_PASSWORD);
        let mut config = DirectoryConfig::new(servers, facts::OU, user, password);
        config.reach.ca_file = Some(self.domain.ca_file().to_owned());
        config
    }

    fn config_with(&self, change: impl FnOnce(&mut Reach)) -> DirectoryConfig {
        let mut config = self.config();
        change(&mut config.reach);
        config
    }

    fn computers(&self) -> Computers {
        Computers::new(self.config(), self.deployment.clone()).unwrap()
    }

    fn file(&self, text: &str) -> std::path::PathBuf {
        let path = self.dir.path().join(text);
        std::fs::write(&path, text).unwrap();
        path
    }

    /// A certificate authority that has not signed the domain's certificate.
    fn other_ca(&self) -> std::path::PathBuf {
        let mut params = rcgen::CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let key = rcgen::KeyPair::generate().unwrap();
        let path = self.dir.path().join("other-ca.pem");
        std::fs::write(&path, params.self_signed(&key).unwrap().pem()).unwrap();
        path
    }

    /// The session's account as the domain's own tool shows it.
    async fn show(&self, session: &SessionId) -> String {
        let show = ["samba-tool", "computer", "show", session.as_str()];
        self.domain.run(&show).await.unwrap()
    }

    /// Whether the account signs in with this password.
    async fn is_password(&self, session: &SessionId, password: &str) -> bool {
        let principal = format!("{session}$@{}", facts::REALM);
        let kinit = ["kinit", &principal];
        self.domain.guest().exec_with(&kinit, password.as_bytes()).await.unwrap().code == Some(0)
    }

    /// Replaces an attribute (`name: value`) as the domain's administrator.
    async fn modify(&self, session: &SessionId, attribute: &str) {
        let admin = format!("{}\\{}", facts::NETBIOS, facts::ADMIN);
        let output = self.ldapmodify(&admin, facts::ADMIN_PASSWORD, session, attribute).await;
        assert_eq!(output.code, Some(0), "{}", text(&output));
    }

    async fn ldapmodify(
        &self,
        user: &str,
        password: &str,
        session: &SessionId,
        attribute: &str,
    ) -> Output {
        let (name, _) = attribute.split_once(':').unwrap();
        let change = format!(
            "dn: CN={session},{}\nchangetype: modify\nreplace: {name}\n{attribute}\n",
            facts::OU
        );
        self.ldap("ldapmodify", user, password, &change).await
    }

    async fn ldapadd(&self, entry: &str) {
        let admin = format!("{}\\{}", facts::NETBIOS, facts::ADMIN);
        let output = self.ldap("ldapadd", &admin, facts::ADMIN_PASSWORD, entry).await;
        assert_eq!(output.code, Some(0), "{}", text(&output));
    }

    async fn ldap(&self, program: &str, user: &str, password: &str, input: &str) -> Output {
        let ca = "LDAPTLS_CACERT=/var/lib/samba/private/lab-tls/ca.pem";
        let url = self.domain.url();
        let argv = ["env", ca, program, "-x", "-H", &url, "-D", user, "-w", password];
        self.domain.guest().exec_with(&argv, input.as_bytes()).await.unwrap()
    }
}

async fn boot(members: &NspawnGuests, session: &SessionId) -> Arc<NspawnGuest> {
    let spec = GuestSpec { vmid: 100, image: "member".to_owned() };
    let guest = members.guest(&spec).await.unwrap();
    let seed = Seed {
        hostname: session.as_str().to_owned(),
        user: None,
        password_hash: None,
        ssh_keys: Vec::new(),
        mac: "BC:24:11:00:00:07".to_owned(),
        address: None,
        cores: 1,
        memory_mib: 512,
        agent: true,
        boot: Duration::ZERO,
        agent_start: Duration::ZERO,
    };
    guest.start(&seed).await.unwrap();
    let mut state = guest.state();
    let up = state.wait_for(|state| *state == GuestState::AgentUp);
    let up = tokio::time::timeout(Duration::from_secs(60), up).await.is_ok_and(|up| up.is_ok());
    assert!(up, "the guest does not come up:\n{}", guest.console());
    guest
}

fn session() -> SessionId {
    SessionId::mint(&SessionPrefix::default())
}

fn assert_taken(error: &Error) {
    assert_eq!(error.kind(), Kind::Conflict, "{error}");
    assert!(error.to_string().contains("is not ours"), "{error}");
}

fn text(output: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    format!("{:?}\n{}{}", output.code, text(&output.stdout), text(&output.stderr))
}
