//! The examination: what is set up, what will not work, and what to mend.

use daas_ansible::AnsibleConfigurator;
use daas_core::ids::DeploymentId;
use daas_core::provisioner::{Finding, FindingState};
use daas_directory::Computers;
use daas_http::identity::Identity;

use crate::audit::audit_key;
use crate::backends::{accounts, backends, open_store};
use crate::error::ComposeError;
use crate::people;
use crate::settings::Settings;

/// Examines a deployment without starting it.
pub async fn examine(settings: Settings) -> Vec<Finding> {
    let mut findings = Vec::new();
    let store = match open_store(&settings).await {
        Ok(store) => store,
        Err(error) => {
            findings.push(bad("store", error.chain()));
            return findings;
        }
    };
    let deployment = match store.deployment().await {
        Ok(deployment) => deployment,
        Err(error) => {
            findings.push(bad("store", error.chain()));
            return findings;
        }
    };
    findings.push(good("deployment", format!("its id is {deployment}")));
    match store.tally().await {
        Ok(tally) => findings.push(good("store", format!("{} live sessions", tally.live()))),
        Err(error) => findings.push(bad("store", error.chain())),
    }
    if settings.store_path().is_some() {
        findings.push(match audit_key(&settings) {
            Ok(key) => good("audit", format!("its signatures are checked with {}", key.public())),
            Err(error) => bad("audit", error.chain()),
        });
    }
    if settings.templates.is_empty() {
        findings.push(bad("templates", "there are none; add a [[templates]] section".to_owned()));
    }
    for template in &settings.templates {
        if let Err(error) = template.check() {
            findings.push(bad("templates", error.to_string()));
        }
    }
    match backends(&settings, &deployment) {
        Err(error) => findings.push(bad("backends", error.chain())),
        Ok(backends) => {
            for provisioner in &backends.provisioners {
                if let Some(examine) = provisioner.extras().examine {
                    findings.extend(examine.examine(&settings.templates).await);
                }
            }
            findings.extend(inside(&settings, &deployment).await);
        }
    }
    findings
}

/// What configures guests, and the directory they join.
async fn inside(settings: &Settings, deployment: &DeploymentId) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut note = |what: &str, checked: Result<(), ComposeError>| {
        findings.push(match checked {
            Ok(()) => good(what, "it can be used".to_owned()),
            Err(error) => bad(what, error.chain()),
        });
    };
    if let Some(config) = &settings.ansible {
        let check = async {
            let config = config.in_directory(&settings.data_dir);
            let ansible = AnsibleConfigurator::new(config, accounts(settings, deployment)?)?;
            Ok(ansible.check().await?)
        };
        note("ansible", check.await);
    }
    if let Some(config) = &settings.directory {
        let check =
            async { Ok(Computers::new(config.clone(), deployment.clone())?.check().await?) };
        note("directory", check.await);
    }
    match people::directory(settings) {
        Ok(None) => {}
        Ok(Some(users)) => note("sign_in.directory", users.check().await.map_err(Into::into)),
        Err(error) => note("sign_in.directory", Err(error)),
    }
    match people::proxmox(settings) {
        Ok(None) => {}
        Ok(Some(people)) => note("sign_in.proxmox", people.check().await.map_err(Into::into)),
        Err(error) => note("sign_in.proxmox", Err(error)),
    }
    match people::providers(settings) {
        Ok(providers) => {
            for provider in providers {
                let what = format!("sign_in.oidc.{}", provider.realm());
                note(&what, provider.check().await.map_err(Into::into));
            }
        }
        Err(error) => note("sign_in.oidc", Err(error)),
    }
    match people::tokens(settings) {
        Ok(tokens) => {
            for issuer in tokens {
                let what = format!("sign_in.jwt.{}", issuer.realm());
                note(&what, issuer.check().await.map_err(Into::into));
            }
        }
        Err(error) => note("sign_in.jwt", Err(error)),
    }
    match people::identity(settings) {
        // Nobody signs in, as whoever wrote no such section wants it.
        Ok(None) => {}
        Ok(Some(identity)) => {
            note("identity", Ok(()));
            findings.extend(templates_for_nobody(settings, &identity));
        }
        Err(error) => note("identity", Err(error)),
    }
    findings
}

/// Templates that are for groups of a realm that no source knows.
fn templates_for_nobody(settings: &Settings, identity: &Identity) -> Vec<Finding> {
    let groups = settings.templates.iter().flat_map(|t| t.groups.iter().map(move |g| (t, g)));
    let unknown = groups.filter(|(_, group)| {
        let realm = group.rsplit_once('@').map_or("", |(_, realm)| realm);
        !identity.knows(&realm.to_lowercase())
    });
    let told = unknown.map(|(template, group)| {
        let name = &template.name;
        bad("templates", format!("template {name} is for {group}, whose realm no source knows"))
    });
    told.collect()
}

fn good(what: &str, detail: String) -> Finding {
    Finding { what: what.to_owned(), state: FindingState::Good, detail }
}

fn bad(what: &str, detail: String) -> Finding {
    Finding { what: what.to_owned(), state: FindingState::Bad, detail }
}
