//! What Proxmox can do beyond machines: the nodes' load and its own examination.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use daas_core::provisioner::{Examine, Finding, FindingState, Place, Places};
use daas_core::template::{AddressFrom, CloneMode, Template};
use daas_core::{Operation, Result};
use serde_json::Value;

use crate::client::{Params, Purpose};
use crate::error::ProxmoxError;
use crate::making::Source;
use crate::provisioner::Shared;
use daas_core::machine::MachineSpec;

const MIB: u64 = 1024 * 1024;
/// Permissions that making and destroying desktops needs (`pveum`, Proxmox VE 8 and 9).
const PRIVILEGES: [&str; 9] = [
    "VM.Allocate",
    "VM.Audit",
    "VM.Clone",
    "VM.Config.CPU",
    "VM.Config.Cloudinit",
    "VM.Config.Memory",
    "VM.Config.Options",
    "VM.PowerMgmt",
    "Datastore.AllocateSpace",
];

/// The extras of one cluster.
#[derive(Debug)]
pub(crate) struct ProxmoxExtras(pub(crate) Arc<Shared>);

impl Shared {
    /// What `spec` is cloned from for a machine on `place`.
    pub(crate) async fn source_for(
        &self,
        spec: &MachineSpec,
        place: &str,
    ) -> Result<Source, ProxmoxError> {
        let age = Duration::from_secs(10);
        let overview = self.overviews.no_older_than(age, Purpose::Making).await?;
        let templates = overview.templates(&spec.source);
        let here = templates.iter().find(|(_, r)| r.node.as_deref() == Some(place));
        let chosen = here.or(templates.first()).ok_or_else(|| ProxmoxError::NoTemplate {
            source_name: spec.source.clone(),
            known: "it was there when the place was chosen".to_owned(),
        })?;
        let node = chosen.1.node.clone().unwrap_or_default();
        let storage = self.template_storages(&node, chosen.0).await?.into_iter().next();
        let elsewhere = spec.storage.is_some() && spec.storage != storage;
        let full = match spec.clone {
            CloneMode::Full => true,
            CloneMode::Linked => false,
            CloneMode::Auto => elsewhere || self.makes_only_full(&spec.source),
        };
        Ok(Source { vmid: chosen.0, node, storage, full })
    }
}

#[async_trait]
impl Places for ProxmoxExtras {
    async fn places(&self) -> Result<Vec<Place>> {
        let age = self.0.config.overview_age;
        let overview = self.0.overviews.no_older_than(age, Purpose::Other).await;
        let overview = overview.map_err(|e| e.while_doing(Operation::Observe, "nodes"))?;
        let places = overview.nodes.iter().map(|node| Place {
            name: node.node.clone().unwrap_or_default(),
            online: node.status.as_deref() == Some("online"),
            processor: node.cpu.unwrap_or(0.0),
            memory_used_mib: node.mem.unwrap_or(0) / MIB,
            memory_mib: node.maxmem.unwrap_or(0) / MIB,
        });
        Ok(places.collect())
    }
}

#[async_trait]
impl Examine for ProxmoxExtras {
    async fn reachable(&self) -> Result<()> {
        let answer: std::result::Result<Value, _> =
            self.0.client.get(Purpose::Other, "/version", Params::new()).await;
        answer.map(drop).map_err(|e| e.while_doing(Operation::Observe, &self.0.config.url))
    }

    async fn examine(&self, templates: &[Template]) -> Vec<Finding> {
        let mut findings = Vec::new();
        let version: std::result::Result<Value, _> =
            self.0.client.get(Purpose::Other, "/version", Params::new()).await;
        match version {
            Ok(version) => {
                let release = version["version"].as_str().unwrap_or("?").to_owned();
                findings.push(good("connection", format!("Proxmox VE {release} answers")));
            }
            Err(error) => {
                let detail = error.while_doing(Operation::Observe, &self.0.config.url).chain();
                findings.push(bad("connection", detail));
                return findings;
            }
        }
        if self.0.config.insecure {
            findings.push(Finding {
                what: "tls".to_owned(),
                state: FindingState::Warning,
                detail: "any certificate is trusted; set proxmox.ca_file or proxmox.fingerprint"
                    .to_owned(),
            });
        }
        findings.push(self.permissions().await);
        findings.extend(self.storages().await);
        for template in templates {
            if template.provisioner == self.0.config.name {
                findings.push(self.template(template).await);
            }
        }
        findings
    }
}

impl ProxmoxExtras {
    async fn permissions(&self) -> Finding {
        let what = "permissions";
        let answer: std::result::Result<HashMap<String, HashMap<String, Value>>, _> =
            self.0.client.get(Purpose::Other, "/access/permissions", Params::new()).await;
        match answer {
            Err(error) => bad(what, error.to_string()),
            Ok(granted) => {
                let anywhere = |privilege: &&&str| {
                    !granted.values().any(|privileges| privileges.contains_key(**privilege))
                };
                let missing: Vec<_> = PRIVILEGES.iter().filter(anywhere).copied().collect();
                if missing.is_empty() {
                    good(what, "every privilege that is needed is granted somewhere".to_owned())
                } else {
                    bad(what, format!("not granted anywhere: {}", missing.join(", ")))
                }
            }
        }
    }

    async fn storages(&self) -> Vec<Finding> {
        let overview = self.0.overviews.no_older_than(Duration::ZERO, Purpose::Other).await;
        let Ok(overview) = overview else { return Vec::new() };
        let full = overview.storages.iter().filter_map(|s| {
            let (size, used) = (s.maxdisk?, s.disk?);
            let name = s.storage.clone()?;
            let node = s.node.clone().unwrap_or_default();
            (size > 0 && used as f64 > size as f64 * 0.9).then(|| Finding {
                what: format!("storage {name} on {node}"),
                state: FindingState::Warning,
                detail: format!("{} % full", used * 100 / size),
            })
        });
        full.collect()
    }

    async fn template(&self, template: &Template) -> Finding {
        let what = format!("template {}", template.name);
        let overview = match self.0.overviews.no_older_than(Duration::ZERO, Purpose::Other).await {
            Ok(overview) => overview,
            Err(error) => return bad(what, error.to_string()),
        };
        let found = overview.templates(&template.source);
        let Some((vmid, row)) = found.first() else {
            let known: Vec<_> = overview.all_templates().map(|(id, _)| id.to_string()).collect();
            let known = known.join(", ");
            let source = &template.source;
            return bad(what, format!("there is no Proxmox template {source}; seen: {known}"));
        };
        let node = row.node.clone().unwrap_or_default();
        match self.0.client.vm_config(Purpose::Other, &node, *vmid).await {
            Err(error) => bad(what, error.to_string()),
            Ok(None) => bad(what, format!("machine {vmid} has no configuration on {node}")),
            Ok(Some(config)) => {
                if template.address_from == AddressFrom::Agent && !config.has_agent() {
                    return bad(what, ProxmoxError::NoAgent.to_string());
                }
                if template.configurator.is_some() && !config.has_cloud_init() {
                    return Finding {
                        what,
                        state: FindingState::Warning,
                        detail: "has no cloud-init drive: our SSH key must be in the image"
                            .to_owned(),
                    };
                }
                good(what, format!("machine {vmid} on {node}"))
            }
        }
    }
}

fn good(what: impl Into<String>, detail: String) -> Finding {
    Finding { what: what.into(), state: FindingState::Good, detail }
}

fn bad(what: impl Into<String>, detail: String) -> Finding {
    Finding { what: what.into(), state: FindingState::Bad, detail }
}
