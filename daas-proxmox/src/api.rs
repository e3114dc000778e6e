//! The calls we make, typed. Shapes as the API viewer of Proxmox VE 8 and 9 documents them.

use std::collections::BTreeMap;
use std::net::IpAddr;

use http::Method;
use serde::Deserialize;
use serde_json::Value;

use crate::client::{Client, Params, Purpose, segment};
use crate::error::{Meaning, ProxmoxError};

/// A line of `/cluster/resources`.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Resource {
    #[serde(rename = "type")]
    pub(crate) kind: String,
    #[serde(default)]
    pub(crate) node: Option<String>,
    #[serde(default)]
    pub(crate) vmid: Option<u32>,
    #[serde(default)]
    pub(crate) name: Option<String>,
    #[serde(default)]
    pub(crate) status: Option<String>,
    #[serde(default)]
    pub(crate) template: Option<Value>,
    #[serde(default)]
    pub(crate) tags: Option<String>,
    #[serde(default)]
    pub(crate) storage: Option<String>,
    #[serde(default)]
    pub(crate) shared: Option<Value>,
    #[serde(default)]
    pub(crate) maxcpu: Option<f64>,
    #[serde(default)]
    pub(crate) cpu: Option<f64>,
    #[serde(default)]
    pub(crate) maxmem: Option<u64>,
    #[serde(default)]
    pub(crate) mem: Option<u64>,
    #[serde(default)]
    pub(crate) maxdisk: Option<u64>,
    #[serde(default)]
    pub(crate) disk: Option<u64>,
}

impl Resource {
    pub(crate) fn is_template(&self) -> bool {
        truth(self.template.as_ref())
    }

    pub(crate) fn is_shared(&self) -> bool {
        truth(self.shared.as_ref())
    }
}

/// Proxmox's booleans: 0 and 1, as numbers or as text.
fn truth(value: Option<&Value>) -> bool {
    match value {
        Some(Value::Bool(b)) => *b,
        Some(Value::Number(n)) => n.as_u64() == Some(1),
        Some(Value::String(s)) => s == "1",
        _ => false,
    }
}

/// A machine's configuration: options of all sorts.
#[derive(Debug, Clone, Default)]
pub(crate) struct VmConfig(BTreeMap<String, Value>);

impl VmConfig {
    /// An option as text, whatever its type.
    pub(crate) fn text(&self, option: &str) -> Option<String> {
        match self.0.get(option)? {
            Value::String(text) => Some(text.clone()),
            Value::Number(number) => Some(number.to_string()),
            Value::Bool(b) => Some(u8::from(*b).to_string()),
            _ => None,
        }
    }

    /// The machine's own uuid, in `smbios1`.
    pub(crate) fn uuid(&self) -> Option<String> {
        property(&self.text("smbios1")?, "uuid")
    }

    /// The MAC address of the first network card, in upper case.
    pub(crate) fn mac(&self) -> Option<String> {
        let card = self.text("net0")?;
        let (_, mac) = card.split(',').next()?.split_once('=')?;
        Some(mac.to_ascii_uppercase())
    }

    /// Whether the guest agent is enabled.
    pub(crate) fn has_agent(&self) -> bool {
        self.text("agent").is_some_and(|agent| {
            let first = agent.split(',').next().unwrap_or_default();
            first == "1" || property(&agent, "enabled").as_deref() == Some("1")
        })
    }

    /// The bus and number of the disk the machine boots from, and its configuration.
    pub(crate) fn boot_disk(&self) -> Option<(String, String)> {
        let order = self.text("boot").and_then(|boot| property(&boot, "order"));
        let named = order.iter().flat_map(|order| order.split(';')).map(str::to_owned);
        let usual = ["scsi0", "virtio0", "sata0", "ide0"].map(str::to_owned);
        named.chain(usual).find_map(|disk| {
            let config = self.text(&disk)?;
            let is_disk = !config.contains("media=cdrom") && !disk.starts_with("net");
            is_disk.then_some((disk, config))
        })
    }

    /// The storages that the machine's disks are on.
    pub(crate) fn storages(&self) -> Vec<String> {
        let buses = ["scsi", "virtio", "sata", "ide", "efidisk", "tpmstate"];
        let mut storages: Vec<String> = self
            .0
            .keys()
            .filter(|key| {
                buses
                    .iter()
                    .any(|bus| key.strip_prefix(bus).is_some_and(|n| n.parse::<u8>().is_ok()))
            })
            .filter_map(|key| self.text(key))
            .filter(|disk| !disk.contains("media=cdrom") || disk.contains("cloudinit"))
            .filter_map(|disk| disk.split_once(':').map(|(storage, _)| storage.to_owned()))
            .collect();
        storages.sort();
        storages.dedup();
        storages
    }

    /// Whether it has a cloud-init drive.
    pub(crate) fn has_cloud_init(&self) -> bool {
        self.0.values().any(|v| v.as_str().is_some_and(|text| text.contains("cloudinit")))
    }
}

/// A property of an option of the form `a,b=c,d=e`.
pub(crate) fn property(option: &str, name: &str) -> Option<String> {
    option.split(',').find_map(|part| {
        let (key, value) = part.split_once('=')?;
        (key == name).then(|| value.to_owned())
    })
}

/// A machine's present state.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Current {
    pub(crate) status: String,
    #[serde(default)]
    pub(crate) lock: Option<String>,
}

/// A task in a node's list.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct TaskLine {
    pub(crate) upid: String,
    #[serde(default)]
    pub(crate) status: Option<String>,
}

/// How a task stands.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct TaskStatus {
    pub(crate) status: String,
    #[serde(default)]
    pub(crate) exitstatus: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Interfaces {
    result: Vec<Interface>,
}

#[derive(Debug, Deserialize)]
struct Interface {
    name: String,
    #[serde(rename = "hardware-address", default)]
    mac: Option<String>,
    #[serde(rename = "ip-addresses", default)]
    addresses: Vec<Address>,
}

#[derive(Debug, Deserialize)]
struct Address {
    #[serde(rename = "ip-address")]
    address: String,
}

/// A ticket for a console.
#[derive(Debug, Deserialize)]
pub(crate) struct VncProxy {
    pub(crate) port: Value,
    pub(crate) ticket: String,
    #[serde(default)]
    pub(crate) password: Option<String>,
}

/// What the guest agent says of addresses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum AgentAnswer {
    /// It has no agent configured.
    NotConfigured,
    /// The machine has no power, or is not on that node any more.
    Off,
    /// The agent does not answer yet.
    Silent,
    /// It answers, but the card has no usable address yet.
    NoAddress,
    /// The address of the first card.
    Address(IpAddr),
}

impl Client {
    pub(crate) async fn resources(&self, purpose: Purpose) -> Result<Vec<Resource>, ProxmoxError> {
        self.get(purpose, "/cluster/resources", Params::new()).await
    }

    /// Whether no machine of the whole cluster has this id. Not filtered by permissions.
    pub(crate) async fn is_free(&self, purpose: Purpose, vmid: u32) -> Result<bool, ProxmoxError> {
        let params = vec![("vmid", vmid.to_string())];
        match self.get::<Value>(purpose, "/cluster/nextid", params).await {
            Ok(_) => Ok(true),
            Err(error @ ProxmoxError::Parameters { .. }) if error.meaning() == Meaning::Taken => {
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }

    /// The machine's configuration; `None` when this node has no such machine.
    pub(crate) async fn vm_config(
        &self,
        purpose: Purpose,
        node: &str,
        vmid: u32,
    ) -> Result<Option<VmConfig>, ProxmoxError> {
        let path = format!("{}/config", vm_path(node, vmid));
        match self.get(purpose, &path, Params::new()).await {
            Ok(options) => Ok(Some(VmConfig(options))),
            Err(error @ ProxmoxError::Said { .. }) if error.meaning() == Meaning::Missing => {
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    pub(crate) async fn current(
        &self,
        purpose: Purpose,
        node: &str,
        vmid: u32,
    ) -> Result<Current, ProxmoxError> {
        self.get(purpose, &format!("{}/status/current", vm_path(node, vmid)), Params::new()).await
    }

    /// Orders something that a task does; answers its UPID.
    pub(crate) async fn order_task(
        &self,
        method: Method,
        path: &str,
        params: Params,
    ) -> Result<Option<String>, ProxmoxError> {
        let answer = self.order(Purpose::Making, method, path, params).await?;
        match answer {
            Value::Null => Ok(None),
            Value::String(upid) if upid.starts_with("UPID:") => Ok(Some(upid)),
            _ => Err(ProxmoxError::Shape { path: path.to_owned(), why: "no UPID".to_owned() }),
        }
    }

    pub(crate) async fn active_tasks(&self, node: &str) -> Result<Vec<TaskLine>, ProxmoxError> {
        let params = vec![("source", "active".to_owned()), ("limit", "1000".to_owned())];
        self.get(Purpose::Making, &format!("/nodes/{}/tasks", segment(node)), params).await
    }

    pub(crate) async fn task_status(&self, upid: &str) -> Result<TaskStatus, ProxmoxError> {
        let node = upid.split(':').nth(1).unwrap_or_default();
        let path = format!("/nodes/{}/tasks/{}/status", segment(node), segment(upid));
        self.get(Purpose::Making, &path, Params::new()).await
    }

    /// Asks the guest agent for the address of the card with `mac`. While the agent starts, Proxmox
    /// itself waits some seconds for its answer: this call is as good as a bell.
    pub(crate) async fn address_of(
        &self,
        node: &str,
        vmid: u32,
        mac: Option<&str>,
    ) -> Result<AgentAnswer, ProxmoxError> {
        let path = format!("{}/agent/network-get-interfaces", vm_path(node, vmid));
        let answer: Result<Interfaces, _> = self.get(Purpose::Making, &path, Params::new()).await;
        match answer {
            Ok(interfaces) => Ok(usable_address(&interfaces.result, mac)
                .map_or(AgentAnswer::NoAddress, AgentAnswer::Address)),
            Err(ProxmoxError::Said { message, .. }) if message.contains("No QEMU guest agent") => {
                Ok(AgentAnswer::NotConfigured)
            }
            Err(ProxmoxError::Said { message, .. })
                if message.contains("guest agent is not running") =>
            {
                Ok(AgentAnswer::Silent)
            }
            Err(ProxmoxError::Said { message, .. }) if message.contains("is not running") => {
                Ok(AgentAnswer::Off)
            }
            // It is no longer on this node: nobody there will ever answer.
            Err(error) if error.meaning() == Meaning::Missing => Ok(AgentAnswer::Off),
            Err(error) => Err(error),
        }
    }
}

/// The path of a machine.
pub(crate) fn vm_path(node: &str, vmid: u32) -> String {
    format!("/nodes/{}/qemu/{vmid}", segment(node))
}

/// The address people can use: on the first card, IPv4 before IPv6, never link-local.
fn usable_address(interfaces: &[Interface], mac: Option<&str>) -> Option<IpAddr> {
    let mine = |interface: &&Interface| match (mac, &interface.mac) {
        (Some(mac), Some(theirs)) => theirs.eq_ignore_ascii_case(mac),
        _ => interface.name != "lo",
    };
    let mut addresses: Vec<IpAddr> = interfaces
        .iter()
        .filter(mine)
        .flat_map(|interface| &interface.addresses)
        .filter_map(|address| address.address.parse().ok())
        .filter(|address| match address {
            IpAddr::V4(v4) => !v4.is_link_local() && !v4.is_unspecified(),
            IpAddr::V6(v6) => !v6.is_unicast_link_local() && !v6.is_unspecified(),
        })
        .collect();
    addresses.sort_by_key(IpAddr::is_ipv6);
    addresses.first().copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(options: &[(&str, &str)]) -> VmConfig {
        VmConfig(options.iter().map(|(k, v)| ((*k).to_owned(), Value::from(*v))).collect())
    }

    #[test]
    fn options_are_read_as_proxmox_writes_them() {
        let c = config(&[
            ("smbios1", "uuid=ab-cd"),
            ("net0", "virtio=bc:24:11:00:00:01,bridge=vmbr0"),
            ("agent", "1,fstrim_cloned_disks=1"),
            ("boot", "order=scsi0;net0"),
            ("scsi0", "local-lvm:base-9000-disk-0,size=8G"),
            ("ide2", "local:cloudinit,media=cdrom"),
            ("scsihw", "virtio-scsi-pci"),
        ]);
        assert_eq!(c.uuid().as_deref(), Some("ab-cd"));
        assert_eq!(c.mac().as_deref(), Some("BC:24:11:00:00:01"));
        assert!(c.has_agent());
        assert!(!config(&[("agent", "enabled=0")]).has_agent());
        assert!(!config(&[]).has_agent());
        assert_eq!(c.boot_disk().map(|d| d.0).as_deref(), Some("scsi0"));
        assert_eq!(c.storages(), ["local", "local-lvm"]);
        assert!(c.has_cloud_init());
    }

    #[test]
    fn the_first_cards_usable_address_is_chosen() {
        let interfaces: Interfaces = serde_json::from_str(
            r#"{"result":[
              {"name":"lo","hardware-address":"00:00:00:00:00:00",
               "ip-addresses":[{"ip-address":"127.0.0.1","ip-address-type":"ipv4","prefix":8}]},
              {"name":"docker0","hardware-address":"02:42:00:00:00:01",
               "ip-addresses":[{"ip-address":"172.17.0.1","ip-address-type":"ipv4","prefix":16}]},
              {"name":"eth0","hardware-address":"bc:24:11:00:00:01",
               "ip-addresses":[{"ip-address":"fe80::1","ip-address-type":"ipv6","prefix":64},
                               {"ip-address":"2001:db8::5","ip-address-type":"ipv6","prefix":64},
                               {"ip-address":"10.0.0.5","ip-address-type":"ipv4","prefix":24}]}]}"#,
        )
        .expect("parses");
        let mac = Some("BC:24:11:00:00:01");
        assert_eq!(usable_address(&interfaces.result, mac), "10.0.0.5".parse().ok());
        assert_eq!(usable_address(&interfaces.result[..2], mac), None);
    }
}
