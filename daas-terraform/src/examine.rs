//! What `doctor` finds: the program, the module, and then the platform.

use std::sync::Arc;

use async_trait::async_trait;
use daas_core::Result;
use daas_core::progress::Progress;
use daas_core::provisioner::{Examine, Finding, FindingState};
use daas_core::template::Template;
use tokio_util::sync::CancellationToken;

use crate::provisioner::Shared;

/// Checks the settings of Terraform, and those of the platform.
#[derive(Debug)]
pub(crate) struct TerraformExamine {
    shared: Arc<Shared>,
    platform: Option<Arc<dyn Examine>>,
}

impl TerraformExamine {
    pub(crate) fn new(shared: Arc<Shared>, platform: Option<Arc<dyn Examine>>) -> Self {
        Self { shared, platform }
    }
}

#[async_trait]
impl Examine for TerraformExamine {
    async fn reachable(&self) -> Result<()> {
        match &self.platform {
            Some(platform) => platform.reachable().await,
            None => Ok(()),
        }
    }

    async fn examine(&self, templates: &[Template]) -> Vec<Finding> {
        let shared = &self.shared;
        let cancelled = CancellationToken::new();
        let ready = shared.module.ready(&shared.program, &cancelled, &Progress::silent()).await;
        let (state, detail) = match ready {
            Ok(_) => (FindingState::Good, "takes and gives what it must".to_owned()),
            Err(error) => (FindingState::Bad, error.to_string()),
        };
        let what = format!("module {}", shared.config.module.display());
        let mut findings = vec![Finding { what, state, detail }];
        match &self.platform {
            Some(platform) => findings.extend(platform.examine(templates).await),
            None => findings.push(Finding {
                what: format!("platform of {}", shared.config.name),
                state: FindingState::Warning,
                detail: "none is named: a machine made while terraform is killed stays unknown"
                    .to_owned(),
            }),
        }
        findings
    }
}
