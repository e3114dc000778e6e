//! What a playbook is told: how to reach the guest, and the session's variables. Built as data.

use std::net::SocketAddr;
use std::path::Path;

use daas_core::configurator::{Account, GuestContext, Stage};
use serde_json::{Map, Value, json};

use crate::config::{AnsibleConfig, Join};
use crate::events::Secrets;

/// The account that needs no sudo.
const ROOT: &str = "root";

/// The inventory: one host, named as the session, in the group `desktops`.
pub(crate) fn inventory(
    config: &AnsibleConfig,
    guest: &GuestContext,
    at: SocketAddr,
    known_hosts: &Path,
) -> Value {
    let ssh = format!(
        "-o UserKnownHostsFile={} -o GlobalKnownHostsFile=/dev/null -o StrictHostKeyChecking=yes \
         -o IdentitiesOnly=yes -o PasswordAuthentication=no -o KbdInteractiveAuthentication=no",
        known_hosts.display()
    );
    let host = json!({
        "ansible_host": at.ip().to_string(),
        "ansible_port": at.port(),
        "ansible_user": guest.template.admin_user,
        "ansible_become": guest.template.admin_user != ROOT,
        "ansible_ssh_private_key_file": config.key_file.to_string_lossy(),
        "ansible_ssh_common_args": ssh,
        "ansible_python_interpreter": "auto_silent",
    });
    let name = guest.session.as_str();
    json!({
        "all": {
            "hosts": { name: host },
            "children": { "desktops": { "hosts": { name: {} } } },
        }
    })
}

/// The session's variables, all named `daas_…`; what the session has not is not among them.
pub(crate) fn variables(
    guest: &GuestContext,
    stage: &Stage,
    join: Option<&Join>,
    reporter: (&Path, &Path),
) -> Value {
    let mut vars = Map::new();
    let mut put = |name: &str, value: Value| drop(vars.insert(format!("daas_{name}"), value));
    put("session", guest.session.as_str().into());
    put("rdp_port", guest.template.ports.rdp.into());
    for (name, value) in
        [("keyboard", &guest.template.keyboard), ("locale", &guest.template.locale)]
    {
        if let Some(value) = value {
            put(name, value.as_str().into());
        }
    }
    if let Some(target) = &guest.activity {
        put(
            "activity",
            json!({
                "url": target.url,
                "token": target.token.expose(),
                "period_seconds": target.period.as_secs().max(1),
                "ca_pem": target.ca_pem.as_deref().unwrap_or_default(),
                "script": reporter.0.to_string_lossy(),
                "unit": reporter.1.to_string_lossy(),
            }),
        );
    }
    if let Some(join) = join {
        let Join { domain, allowed_groups, logins, .. } = join;
        let join = json!({ "domain": domain, "allowed_groups": allowed_groups, "logins": logins });
        put("join", join);
    }
    match stage {
        Stage::Prepare => put("stage", "prepare".into()),
        Stage::Assign { owner, account } => {
            put("stage", "assign".into());
            put("owner", json!({ "realm": owner.realm, "name": owner.name }));
            if let Some(Account { user, password_hash }) = account {
                let hash = password_hash.as_ref().map_or("", |hash| hash.0.as_str());
                put("account", json!({ "user": user, "password_hash": hash }));
            }
        }
    }
    Value::Object(vars)
}

/// What no message may hold.
pub(crate) fn secrets(guest: &GuestContext, stage: &Stage) -> Secrets {
    let mut secrets = Secrets::default();
    if let Some(target) = &guest.activity {
        secrets.add(target.token.expose());
    }
    if let Stage::Assign { account: Some(Account { password_hash: Some(hash), .. }), .. } = stage {
        secrets.add(&hash.0);
    }
    secrets
}
