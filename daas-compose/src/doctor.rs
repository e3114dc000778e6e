//! The examination: what is set up, what will not work, and what to mend.

use daas_core::provisioner::{Finding, FindingState};

use crate::backends::{backends, open_store};
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
        }
    }
    findings
}

fn good(what: &str, detail: String) -> Finding {
    Finding { what: what.to_owned(), state: FindingState::Good, detail }
}

fn bad(what: &str, detail: String) -> Finding {
    Finding { what: what.to_owned(), state: FindingState::Bad, detail }
}
