//! Sign-in by a real Active Directory: who is let in, who is not and why, and what groups they have.

#![allow(clippy::unwrap_used, reason = "a trial may panic")]

use std::path::PathBuf;
use std::time::{Duration, Instant};

use daas_core::Kind;
use daas_core::identity::{PasswordSource, Person, Refusal, Verdict};
use daas_core::secret::Secret;
use daas_directory::{DirectoryKind, Reach, Users, UsersConfig};
use daas_lab::domain::facts;
use daas_lab::trials::{self, Needs};
use daas_lab::{Domain, Output};

const ALICE: (&str, &str) = facts::USERS[0];
const BOB: (&str, &str) = facts::USERS[1];

fn main() {
    let needs = Needs::Guests;
    trials::run(vec![
        trials::trial("every_spelling_is_one_person", needs, every_spelling_is_one_person),
        trials::trial("each_refusal_has_its_reason", needs, each_refusal_has_its_reason),
        trials::trial("groups_in_groups_are_told", needs, groups_in_groups_are_told),
        trials::trial("names_and_passwords_are_data", needs, names_and_passwords_are_data),
        trials::trial("a_server_that_is_away_or_false", needs, a_server_that_is_away_or_false),
        trials::trial("unknown_takes_as_long_as_wrong", needs, unknown_takes_as_long_as_wrong),
    ]);
}

fn every_spelling_is_one_person() {
    in_domain(async |world| {
        let users = world.users();
        users.check().await.unwrap();
        let (name, password) = ALICE;
        for spelling in
            ["alice", "Alice", "LAB\\alice", "lab.test\\ALICE", "alice@lab.test", "ALICE@LAB"]
        {
            let person = world.known(&users, spelling, password).await;
            assert_eq!(person.owner.to_string(), "alice@lab", "{spelling}");
            assert_eq!(person.display_name.as_deref(), Some(name), "{spelling}");
        }
        for nobody in ["OTHER\\alice", "alice@other.test", "alice@", "LAB\\LAB\\alice", "mallory"] {
            world.refused(&users, nobody, password, Refusal::Unknown).await;
        }
        // A principal name need not be the account's.
        world.modify("alice", "userPrincipalName: a.martin@school.example").await;
        for spelling in ["A.Martin@school.example", "alice", "LAB\\alice", "alice@lab.test"] {
            let person = world.known(&users, spelling, password).await;
            assert_eq!(person.owner.to_string(), "alice@lab", "{spelling}");
        }
        world.refused(&users, "a.martin@lab.test", password, Refusal::Unknown).await;
        // As a plain directory, it knows the same people by the attributes that are set.
        let plain = Users::new(world.plain()).unwrap();
        plain.check().await.unwrap();
        let person = world.known(&plain, "LAB\\Alice", password).await;
        assert_eq!(person.owner.to_string(), "alice@lab");
        assert_eq!(person.groups.iter().collect::<Vec<_>>(), [facts::GROUP]);
    });
}

fn each_refusal_has_its_reason() {
    in_domain(async |world| {
        let users = world.users();
        let ((alice, good), (bob, other)) = (ALICE, BOB);
        world.refused(&users, alice, other, Refusal::Password).await;
        world.refused(&users, "nobody", good, Refusal::Unknown).await;
        for password in ["", "\0", "\0x"] {
            world.refused(&users, alice, password, Refusal::Password).await;
        }
        world.tool(&["user", "disable", alice]).await;
        world.refused(&users, alice, good, Refusal::Disabled).await;
        world.tool(&["user", "enable", alice]).await;
        world.known(&users, alice, good).await;

        world.tool(&["user", "setexpiry", alice, "--days=-1"]).await;
        world.refused(&users, alice, good, Refusal::Expired).await;
        world.tool(&["user", "setexpiry", alice, "--noexpiry"]).await;
        world.known(&users, alice, good).await;

        let forced = ["--must-change-at-next-login", "--newpassword=Passw0rd.Next1"];
        world.tool(&["user", "setpassword", bob, forced[0], forced[1]]).await;
        world.refused(&users, bob, "Passw0rd.Next1", Refusal::Expired).await;

        // At no hour of the week.
        let hours = format!("logonHours:: {}", "A".repeat(28));
        world.modify(alice, &hours).await;
        world.refused(&users, alice, good, Refusal::Restricted).await;
        world.modify(alice, &hours.replace('A', "/")).await;
        world.known(&users, alice, good).await;

        let set = ["domain", "passwordsettings", "set"];
        world.tool(&[&set[..], &["--account-lockout-threshold=3"]].concat()).await;
        for _ in 0..3 {
            world.refused(&users, alice, "wrong", Refusal::Password).await;
        }
        world.refused(&users, alice, good, Refusal::Locked).await;
        world.tool(&["user", "unlock", alice]).await;
        world.known(&users, alice, good).await;
    });
}

fn groups_in_groups_are_told() {
    in_domain(async |world| {
        // alice is in vdi-users, that is in Pupils, that is in School, that is in Pupils again.
        for group in ["Pupils", "School", "Staff"] {
            world.tool(&["group", "add", group]).await;
        }
        world.tool(&["group", "add", "Newsletter", "--group-type=Distribution"]).await;
        for (group, member) in [
            ("Pupils", facts::GROUP),
            ("School", "Pupils"),
            ("Pupils", "School"),
            ("Newsletter", "alice"),
            ("Staff", "bob"),
        ] {
            world.tool(&["group", "addmembers", group, member]).await;
        }
        let users = world.users();
        let alice = world.known(&users, ALICE.0, ALICE.1).await;
        let bob = world.known(&users, BOB.0, BOB.1).await;
        let check = |person: &Person, group: &str, wished: bool| {
            assert_eq!(person.groups.contains(group), wished, "{group}: {person:?}");
        };
        for (group, of_alice, of_bob) in [
            (facts::GROUP, true, false),
            ("pupils", true, false),
            ("school", true, false),
            ("staff", false, true),
            // By the primary group, which names no members, and what that one is in.
            ("domain users", true, true),
            ("users", true, true),
            // People may join a list by themselves.
            ("newsletter", false, false),
            ("domain admins", false, false),
        ] {
            check(&alice, group, of_alice);
            check(&bob, group, of_bob);
        }
        // Another primary group, and what that one is in.
        world.tool(&["group", "addmembers", "School", "bob"]).await;
        world.tool(&["user", "setprimarygroup", "bob", "School"]).await;
        let bob = world.known(&users, BOB.0, BOB.1).await;
        check(&bob, "school", true);
        check(&bob, "pupils", true);
        // Groups elsewhere are left out where that is said.
        let config = UsersConfig { group_base: Some(facts::OTHER_OU.to_owned()), ..world.config() };
        let fewer = world.known(&Users::new(config).unwrap(), ALICE.0, ALICE.1).await;
        assert!(fewer.groups.is_empty(), "{fewer:?}");
        // Walked upwards by memberOf, they are the same, but for the primary one.
        let plain = world.known(&Users::new(world.plain()).unwrap(), ALICE.0, ALICE.1).await;
        let walked: Vec<&str> = plain.groups.iter().map(String::as_str).collect();
        assert_eq!(walked, ["newsletter", "pupils", "school", facts::GROUP]);
        // The administrators are told apart by the same means.
        let admin = world.known(&users, facts::ADMIN, facts::ADMIN_PASSWORD).await;
        check(&admin, "domain admins", true);
        check(&admin, "administrators", true);
    });
}

fn names_and_passwords_are_data() {
    in_domain(async |world| {
        let users = world.users();
        let long = format!("Aa1.{}", "é".repeat(50));
        for (name, password) in [
            ("anne o'neil-x", "Pä ss\"w'0rd\\*()&=, "),
            ("élodie.ß", "日本語.Passw0rd"),
            ("x.(y)#&!~$", "--Passw0rd$HOME`id`%s"),
            ("long", &long),
        ] {
            world.tool(&["user", "create", "--", name, password]).await;
            let person = world.known(&users, name, password).await;
            assert_eq!(person.owner.name, name.to_lowercase());
            assert!(person.groups.contains("domain users"), "{person:?}");
            world.known(&users, &format!("LAB\\{name}"), password).await;
            world.refused(&users, name, &format!("{password}x"), Refusal::Password).await;
            let (last, _) = password.char_indices().last().unwrap();
            world.refused(&users, name, &password[..last], Refusal::Password).await;
        }
        // Nor is a distinguished name part of anything but itself.
        let name = r#"CN=Anne\, O. \+ \;\"x\" (the *) \\"#;
        world
            .change("long", &format!("changetype: modrdn\nnewrdn: {name}\ndeleteoldrdn: 1\n"))
            .await;
        world.tool(&["group", "addmembers", facts::GROUP, "long"]).await;
        for config in [world.config(), world.plain()] {
            let person = world.known(&Users::new(config).unwrap(), "long", &long).await;
            assert!(person.groups.contains(facts::GROUP), "{person:?}");
        }
        // Whatever is written for a name, it is no pattern and no filter.
        let password = ALICE.1;
        for name in [
            "*",
            "al*",
            "alice*",
            "*@lab.test",
            "LAB\\*",
            "*)(uid=*",
            "*)(sAMAccountName=alice",
            "alice)(objectClass=*",
            "alice)(&)",
            "x)(|(sAMAccountName=alice)",
            "alice\0",
            "alice\0*",
            r"alice\2a",
            r"LAB\ali\63e",
            r"LAB\alice\",
            r"\61lice",
            "CN=alice,CN=Users,DC=lab,DC=test",
            "<GUID=00000000000000000000000000000000>",
            "alice\u{202e}",
            "(",
            ")",
            "&",
        ] {
            world.refused(&users, name, password, Refusal::Unknown).await;
        }
    });
}

fn a_server_that_is_away_or_false() {
    in_domain(async |world| {
        let (name, password) = ALICE;
        let away: url::Url = "ldaps://10.77.0.11".parse().unwrap();
        let short = Duration::from_millis(500);
        let failing = async |change: &dyn Fn(&mut UsersConfig), kind: Kind, parts: &[&str]| {
            let mut config = world.config();
            change(&mut config);
            let users = Users::new(config).unwrap();
            let signed = users.sign_in(name, &Secret::from(password)).await.unwrap_err();
            let checked = users.check().await.unwrap_err();
            for error in [signed, checked] {
                assert_eq!(error.kind(), kind, "{error}");
                for part in parts {
                    assert!(error.to_string().contains(part), "{part}: {error}");
                }
                assert!(!error.chain().contains(password) && !error.chain().contains(name));
            }
        };
        let is_away = |config: &mut UsersConfig| {
            config.reach.servers = vec![away.clone()];
            config.reach.connect_deadline = short;
        };
        failing(&is_away, Kind::Unavailable, &["10.77.0.11"]).await;
        // With one server away, the next is asked.
        let mut config = world.config();
        config.reach.servers.insert(0, away.clone());
        config.reach.connect_deadline = short;
        let users = Users::new(config).unwrap();
        for _ in 0..3 {
            world.known(&users, name, password).await;
        }

        let other = world.other_ca();
        let false_ca = |config: &mut UsersConfig| config.reach.ca_file = Some(other.clone());
        failing(&false_ca, Kind::Denied, &["not trusted", "sign_in.directory.ca_file"]).await;
        let wrong = world.file("wrong");
        let refused = |c: &mut UsersConfig| c.reach.bind_password_file.clone_from(&wrong);
        failing(&refused, Kind::Denied, &["(49)", "sign_in.directory.bind_password_file"]).await;
        let gone = |config: &mut UsersConfig| config.base = format!("OU=Gone,{}", facts::SUFFIX);
        failing(&gone, Kind::Invalid, &["(32)", "sign_in.directory.base"]).await;

        // A base without people is told by the check; nobody is known there.
        let config = UsersConfig { base: facts::OTHER_OU.to_owned(), ..world.config() };
        let users = Users::new(config).unwrap();
        let error = users.check().await.unwrap_err();
        assert!(error.to_string().contains("holds nobody"), "{error}");
        world.refused(&users, name, password, Refusal::Unknown).await;

        // The domain controller ends, and with it the sign-in; nothing is remembered of it.
        let users = world.users();
        world.known(&users, name, password).await;
        world.domain.run(&["systemctl", "stop", "samba-ad-dc.service"]).await.unwrap();
        let error = users.sign_in(name, &Secret::from(password)).await.unwrap_err();
        assert_eq!(error.kind(), Kind::Unavailable, "{error}");
    });
}

/// The work is the same, so that what waiting hides (`refuse_after`) is little.
fn unknown_takes_as_long_as_wrong() {
    const ROUNDS: usize = 40;
    in_domain(async |world| {
        let users = world.users();
        let (mut unknown, mut wrong) = (Vec::new(), Vec::new());
        for round in 0..ROUNDS {
            let name = format!("nobody{round}");
            for (name, times) in [(name.as_str(), &mut unknown), (ALICE.0, &mut wrong)] {
                let started = Instant::now();
                users.sign_in(name, &Secret::from("not the password")).await.unwrap();
                times.push(started.elapsed());
            }
        }
        let median = |times: &mut Vec<Duration>| {
            times.sort();
            times[times.len() / 2]
        };
        let (unknown, wrong) = (median(&mut unknown), median(&mut wrong));
        eprintln!("median of {ROUNDS}: unknown {unknown:?}, wrong password {wrong:?}");
        let ratio = unknown.as_secs_f64() / wrong.as_secs_f64();
        assert!((0.67..1.5).contains(&ratio), "unknown {unknown:?}, wrong password {wrong:?}");
    });
}

struct World {
    domain: Domain,
    dir: tempfile::TempDir,
}

/// Runs a trial in a domain of its own.
fn in_domain(trial: impl AsyncFnOnce(&World)) {
    trials::in_lab(async |lab| {
        let domain = Domain::open(&lab).await.unwrap();
        let world = World { domain, dir: tempfile::tempdir().unwrap() };
        trial(&world).await;
        world.domain.close().await;
    });
}

impl World {
    /// The account that looks people up is an ordinary user.
    fn config(&self) -> UsersConfig {
        let servers = vec![self.domain.url().parse().unwrap()];
        let user = format!("{}@{}", facts::JOIN_USER, facts::DOMAIN);
        let mut reach = Reach::new(servers, user, self.file(facts::JOIN_PASSWORD));
        reach.ca_file = Some(self.domain.ca_file().to_owned());
        let domains = vec![facts::NETBIOS.to_owned(), facts::DOMAIN.to_owned()];
        let config = UsersConfig::new(reach, "lab", facts::SUFFIX);
        UsersConfig { domains, refuse_after: Duration::ZERO, ..config }
    }

    /// The same directory, taken for one that is no Active Directory.
    fn plain(&self) -> UsersConfig {
        UsersConfig {
            kind: DirectoryKind::Ldap,
            name_attribute: Some("sAMAccountName".to_owned()),
            ..self.config()
        }
    }

    fn users(&self) -> Users {
        Users::new(self.config()).unwrap()
    }

    async fn known(&self, users: &Users, name: &str, password: &str) -> Person {
        match users.sign_in(name, &Secret::from(password)).await.unwrap() {
            Verdict::Known(person) => person,
            Verdict::Refused(refusal) => panic!("{name:?} is refused: {refusal:?}"),
        }
    }

    async fn refused(&self, users: &Users, name: &str, password: &str, wished: Refusal) {
        let verdict = users.sign_in(name, &Secret::from(password)).await.unwrap();
        assert_eq!(verdict, Verdict::Refused(wished), "{name:?} {password:?}");
    }

    async fn tool(&self, arguments: &[&str]) {
        let argv = [&["samba-tool"], arguments].concat();
        self.domain.run(&argv).await.unwrap();
    }

    /// Replaces an attribute (`name: value`) of a user.
    async fn modify(&self, user: &str, attribute: &str) {
        let (name, _) = attribute.split_once(':').unwrap();
        self.change(user, &format!("changetype: modify\nreplace: {name}\n{attribute}\n")).await;
    }

    /// Changes a user as the domain's administrator.
    async fn change(&self, user: &str, change: &str) {
        let change = format!("dn: CN={user},CN=Users,{}\n{change}", facts::SUFFIX);
        let ca = "LDAPTLS_CACERT=/var/lib/samba/private/lab-tls/ca.pem";
        let (url, admin) = (self.domain.url(), format!("{}\\{}", facts::NETBIOS, facts::ADMIN));
        let word = facts::ADMIN_PASSWORD;
        let argv = ["env", ca, "ldapmodify", "-x", "-H", &url, "-D", &admin, "-w", word];
        let output = self.domain.guest().exec_with(&argv, change.as_bytes()).await.unwrap();
        assert_eq!(output.code, Some(0), "{}", text(&output));
    }

    fn file(&self, text: &str) -> PathBuf {
        let path = self.dir.path().join(text);
        std::fs::write(&path, text).unwrap();
        path
    }

    /// A certificate authority that has not signed the domain's certificate.
    fn other_ca(&self) -> PathBuf {
        let mut params = rcgen::CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let key = rcgen::KeyPair::generate().unwrap();
        let path = self.dir.path().join("other-ca.pem");
        std::fs::write(&path, params.self_signed(&key).unwrap().pem()).unwrap();
        path
    }
}

fn text(output: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    format!("{:?}\n{}{}", output.code, text(&output.stdout), text(&output.stderr))
}
