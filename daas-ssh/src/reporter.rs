//! The activity reporter: a small script under systemd that tells the orchestrator who is there.

use daas_core::configurator::ActivityTarget;

use crate::profile::{Action, Step, When};

const UNIT: &str = "daas-activity.service";
const ENVIRONMENT: &str = "/etc/daas/activity.env";
const TOKEN: &str = "/etc/daas/activity.token";
const CA: &str = "/etc/daas/activity.ca.pem";
const SCRIPT: &str = "/usr/local/lib/daas/activity";
const UNIT_FILE: &str = "/etc/systemd/system/daas-activity.service";

/// The steps that set the reporter up for `target`.
pub(crate) fn steps(target: &ActivityTarget) -> Vec<Step> {
    let mut environment = format!(
        "DAAS_ACTIVITY_URL={}\nDAAS_ACTIVITY_TOKEN_FILE={TOKEN}\nDAAS_ACTIVITY_PERIOD_SECONDS={}\n",
        target.url,
        target.period.as_secs().max(1),
    );
    let mut steps = Vec::new();
    if let Some(pem) = &target.ca_pem {
        environment.push_str(&format!("DAAS_ACTIVITY_CA_FILE={CA}\n"));
        steps.push(file("certificate of the activity reporter", CA, pem, "644"));
    }
    steps.extend([
        Step {
            name: "tools of the activity reporter".to_owned(),
            when: When::Prepare,
            deadline: None,
            action: Action::Packages {
                packages: ["curl", "iproute2", "procps"].map(str::to_owned).to_vec(),
            },
        },
        file("token of the activity reporter", TOKEN, target.token.expose(), "600"),
        file("settings of the activity reporter", ENVIRONMENT, &environment, "600"),
        file("activity reporter", SCRIPT, daas_core::reporter::SCRIPT, "755"),
        file("unit of the activity reporter", UNIT_FILE, daas_core::reporter::UNIT, "644"),
        Step {
            name: "start of the activity reporter".to_owned(),
            when: When::Prepare,
            deadline: None,
            action: Action::Service {
                unit: UNIT.to_owned(),
                restart_on: [CA, TOKEN, ENVIRONMENT, SCRIPT, UNIT_FILE].map(str::to_owned).to_vec(),
            },
        },
    ]);
    steps
}

fn file(name: &str, path: &str, content: &str, mode: &str) -> Step {
    Step {
        name: name.to_owned(),
        when: When::Prepare,
        deadline: None,
        action: Action::File {
            path: path.to_owned(),
            content: content.to_owned(),
            mode: mode.to_owned(),
            owner: "root:root".to_owned(),
        },
    }
}
