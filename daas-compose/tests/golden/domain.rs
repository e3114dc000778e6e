//! The earlier system's parts, asked for through its own API: Terraform makes the machine, Ansible
//! joins it to a real Active Directory, a user of that domain works on their share, and nothing of
//! it is left anywhere.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use daas_core::access::Role;
use daas_lab::domain::facts;
use daas_lab::{Domain, NspawnGuests, RdpClient, RdpTarget, Recipe, trials};
use daas_sim::Simulator;
use serde_json::json;

use crate::world::{COLOURS, DEADLINE, Running, ansible, cluster, proxmox, terraform};

pub(crate) fn a_desktop_comes_by_terraform_and_ansible_and_leaves_no_trace() {
    trials::with_guests(&[Recipe::workstation()], golden);
}

async fn golden(guests: Arc<NspawnGuests>) {
    let domain = Domain::open(guests.lab()).await.unwrap();
    let sim = cluster(&guests, &Recipe::workstation()).await;
    let data = tempfile::tempdir().unwrap();
    let settings = settings(&sim, &domain, facts::OU, data.path());
    let (running, api) = Running::start(data, &settings, Role::Operator).await;
    let (user, password) = facts::USERS[0];
    let begun = Instant::now();

    let made = api.call("POST", "/api/session/create", Some(json!({"username": user}))).await;
    assert_eq!(made["status"], "ready", "{made:#}");
    say("ready", begun);
    let id = made["session_id"].as_str().unwrap();
    let computers = domain.run(&["samba-tool", "computer", "list"]).await.unwrap();
    assert_eq!(computers.lines().count(), 2, "the desktop and the controller: {computers}");

    let address = SocketAddr::new(made["vm_ip"].as_str().unwrap().parse().unwrap(), 3389);
    let target = RdpTarget { address, user: user.to_owned(), password: password.to_owned() };
    let mut client = RdpClient::connect(guests.lab(), &target).await.unwrap();
    let colours = client.wait_colours(COLOURS, DEADLINE).await.unwrap();
    assert!(colours > COLOURS, "{colours} colours");
    say("its desktop is seen", begun);
    let write = format!("cd ~{user}/Partage && printf mine > note.txt");
    let guest = guests.named(id).await.unwrap();
    let wrote = guest.exec(&["runuser", "-u", user, "--", "sh", "-c", &write]).await.unwrap();
    assert_eq!(wrote.code, Some(0), "{}", String::from_utf8_lossy(&wrote.stderr));
    let seen = domain.home_file(user, "note.txt").await.unwrap();
    assert_eq!(seen, ("mine".to_owned(), format!("{}\\{user}", facts::NETBIOS)));
    drop(guest);

    // The idle rules must have heard of the client, else its end is none.
    api.until(id, |s| s["progress"]["what"].as_str().is_some_and(|w| w.contains("touched"))).await;
    client.cut().await.unwrap();
    client.close().await.unwrap();
    let ended = api.until(id, |s| s["phase"] == "ended").await;
    say("gone", begun);
    assert_eq!(ended["outcome"], "destroyed", "{ended:#}");
    assert_eq!(ended["evidence"]["rule"], "disconnected", "{ended:#}");
    leaves_nothing(sim, domain, running).await;
}

pub(crate) fn a_refused_join_fails_the_session_with_its_reason_and_leaves_nothing() {
    trials::with_guests(&[Recipe::workstation()], async |guests| {
        let domain = Domain::open(guests.lab()).await.unwrap();
        let sim = cluster(&guests, &Recipe::workstation()).await;
        let data = tempfile::tempdir().unwrap();
        let ou = format!("OU=Gone,{}", facts::SUFFIX);
        let settings = settings(&sim, &domain, &ou, data.path());
        let (running, api) = Running::start(data, &settings, Role::Operator).await;
        let wish = json!({"username": facts::USERS[0].0});
        let refused = api.call("POST", "/api/session/create", Some(wish)).await;
        assert_eq!(refused["error"], "Session creation failed", "{refused:#}");
        let details = refused["details"].as_str().unwrap();
        assert!(details.contains(&ou) && details.contains("directory.ou"), "{details}");
        let sessions = api.call("GET", "/api/sessions", None).await;
        let id = sessions.as_object().unwrap().keys().next().unwrap().clone();
        let ended = api.until(&id, |s| s["phase"] == "ended").await;
        assert_eq!(ended["outcome"], "failed", "{ended:#}");
        assert!(ended["failure"].as_str().unwrap().contains(&ou), "{ended:#}");
        leaves_nothing(sim, domain, running).await;
    });
}

/// Ends everything; nothing of any desktop is left.
async fn leaves_nothing(sim: Simulator, domain: Domain, running: Running) {
    assert!(sim.cluster().vms().is_empty());
    let computers = domain.run(&["samba-tool", "computer", "list"]).await.unwrap();
    assert_eq!(computers, "DC1$\n");
    let data = running.stop().await;
    for runs in ["terraform", "ansible"] {
        assert_eq!(
            trials::visible(&data.path().join(runs)).unwrap(),
            Vec::<PathBuf>::new(),
            "{runs}"
        );
    }
    sim.stop().await;
    domain.close().await;
}

#[expect(clippy::print_stdout, reason = "a figure for people")]
fn say(what: &str, begun: Instant) {
    println!("{what} after {:.1?}", begun.elapsed());
}

fn settings(sim: &Simulator, domain: &Domain, ou: &str, data: &Path) -> String {
    let password = data.join("password");
    std::fs::write(&password, facts::JOIN_PASSWORD).unwrap();
    let settings = proxmox(sim)
        + &terraform(sim, data)
        + &format!(
            r#"
[ansible]
program = {ansible:?}
[ansible.profiles.lab]
prepare = {{}}
assign = {{}}
join = {{ domain = "{domain}", allowed_groups = ["{group}"] }}
[ansible.profiles.lab.variables]
desktop_config_home_server = "{host}"
desktop_config_home_share = "{share}"
[directory]
servers = ["{ldaps}"]
ou = "{ou}"
bind_user = "{join_user}@{domain}"
bind_password_file = {password:?}
ca_file = {ldap_ca:?}
"#,
            ansible = ansible(),
            domain = facts::DOMAIN,
            group = facts::GROUP,
            host = facts::HOST,
            share = facts::home_share(),
            ldaps = domain.url(),
            join_user = facts::JOIN_USER,
            ldap_ca = domain.ca_file(),
        );
    settings + TEMPLATE
}

const TEMPLATE: &str = r#"
[http]
listen = "127.0.0.1:0"
guest_listen = "10.77.0.1:0"
[[templates]]
name = "workstation"
provisioner = "terraform"
source = "9000"
configurator = "ansible"
profile = "lab"
[templates.idle]
disconnected = "4s"
report_period = "2s"
"#;
