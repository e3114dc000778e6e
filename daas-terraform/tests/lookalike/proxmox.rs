//! What the real providers ask of Proxmox VE for a clone, in their order and with their habits as far
//! as a module can notice them.

use std::time::Duration;

use reqwest::{Client, Method};
use serde_json::{Value, json};

/// How far apart a task or an agent is looked at.
const LOOK: Duration = Duration::from_millis(50);
/// How often at most.
const LOOKS_MAX: usize = 1_200;

/// Whom it looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// bpg/proxmox
    Bpg,
    /// telmate/proxmox
    Telmate,
}

impl Kind {
    /// What cannot be changed of a machine.
    pub(crate) fn replacing(self) -> &'static [&'static str] {
        match self {
            Self::Bpg => &["vm_id", "node_name", "clone"],
            Self::Telmate => &["vmid", "clone", "full_clone"],
        }
    }
}

/// The API, with the provider's settings.
#[derive(Debug)]
pub(crate) struct Proxmox {
    kind: Kind,
    client: Client,
    /// Ends with `/api2/json`.
    url: String,
    token: String,
}

type Form = Vec<(&'static str, String)>;

impl Proxmox {
    pub(crate) fn new(kind: Kind, config: &Value) -> Self {
        let (url, token, insecure) = match kind {
            Kind::Bpg => {
                let url = format!("{}/api2/json", text(&config["endpoint"]).trim_end_matches('/'));
                (url, text(&config["api_token"]), &config["insecure"])
            }
            Kind::Telmate => {
                let id = text(&config["pm_api_token_id"]);
                let token = format!("{id}={}", text(&config["pm_api_token_secret"]));
                (text(&config["pm_api_url"]), token, &config["pm_tls_insecure"])
            }
        };
        let client =
            Client::builder().tls_danger_accept_invalid_certs(insecure == true).build().unwrap();
        Self { kind, client, url, token }
    }

    /// Whether the machine of a state is still there.
    pub(crate) async fn exists(&self, state: &Value) -> Result<bool, String> {
        match self.ask(Method::GET, &format!("{}/config", self.machine(state)), &[]).await {
            Ok(_) => Ok(true),
            Err(error) if error.contains("does not exist") => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Makes it; `planned` gets its id as soon as it is there, and its addresses at the end.
    pub(crate) async fn make(&self, planned: &mut Value) -> Result<(), String> {
        match self.kind {
            Kind::Bpg => self.make_as_bpg(planned).await,
            Kind::Telmate => self.make_as_telmate(planned).await,
        }
    }

    async fn make_as_bpg(&self, vm: &mut Value) -> Result<(), String> {
        let (node, clone) = (text(&vm["node_name"]), vm["clone"][0].clone());
        let from = Some(text(&clone["node_name"])).filter(|n| !n.is_empty());
        let from = from.unwrap_or_else(|| node.clone());
        let mut form = clone_form(&vm["vm_id"], &clone["full"], &vm["name"], &vm["pool_id"]);
        form.push(("description", text(&vm["description"])));
        if from != node {
            form.push(("target", node.clone()));
        }
        add(&mut form, "storage", &clone["datastore_id"]);
        let source = format!("/nodes/{from}/qemu/{}/clone", clone["vm_id"]);
        self.order(Method::POST, &source, &form).await?;
        vm["id"] = text(&vm["vm_id"]).into();
        wait_at_gate().await;
        let machine = self.machine(vm);
        let config = self.ask(Method::GET, &format!("{machine}/config"), &[]).await?;
        self.ask(Method::PUT, &format!("{machine}/config"), &bpg_form(vm)).await?;
        for disk in vm["disk"].as_array().into_iter().flatten() {
            let name = text(&disk["interface"]);
            let there = text(&config[&name]);
            let storage = text(&disk["datastore_id"]);
            if !there.starts_with(&format!("{storage}:")) {
                return Err(format!("{name} would be moved from {there} to {storage}"));
            }
            let size = format!("{}G", disk["size"]);
            let resize = [("disk", name), ("size", size)];
            self.order(Method::PUT, &format!("{machine}/resize"), &resize).await?;
        }
        if vm["started"] == true {
            self.order(Method::POST, &format!("{machine}/status/start"), &[]).await?;
        }
        vm["ipv4_addresses"] = json!([]);
        if vm["started"] == true && vm["agent"][0]["enabled"] == true {
            let cards = self.addresses(&machine).await?;
            vm["ipv4_addresses"] = json!(cards);
        }
        Ok(())
    }

    async fn make_as_telmate(&self, vm: &mut Value) -> Result<(), String> {
        let node = text(&vm["target_node"]);
        let all = self.ask(Method::GET, "/cluster/resources?type=vm", &[]).await?;
        let mut all = all.as_array().into_iter().flatten();
        let source = all.find(|found| found["name"] == vm["clone"]).ok_or("vm not found")?;
        let mut form = clone_form(&vm["vmid"], &vm["full_clone"], &vm["name"], &vm["pool"]);
        form.push(("target", node.clone()));
        let path = format!("/nodes/{}/qemu/{}/clone", text(&source["node"]), source["vmid"]);
        self.order(Method::POST, &path, &form).await?;
        vm["id"] = format!("{node}/qemu/{}", vm["vmid"]).into();
        let machine = self.machine(vm);
        self.ask(Method::PUT, &format!("{machine}/config"), &telmate_form(vm)).await?;
        if vm["oncreate"] != true {
            return Ok(());
        }
        self.order(Method::POST, &format!("{machine}/status/start"), &[]).await?;
        if vm["define_connection_info"] == true && vm["agent"] == 1 {
            let cards = self.addresses(&machine).await?;
            let found = cards.into_iter().flatten().find(|ip| !ip.starts_with("127."));
            vm["default_ipv4_address"] = json!(found);
            vm["ssh_host"] = vm["default_ipv4_address"].clone();
        }
        Ok(())
    }

    /// Removes it, by force or by asking the guest, as its provider does.
    pub(crate) async fn remove(&self, state: &Value) -> Result<(), String> {
        let machine = self.machine(state);
        let now = self.ask(Method::GET, &format!("{machine}/status/current"), &[]).await?;
        if now["status"] == "running" {
            let asks = self.kind == Kind::Bpg && state["stop_on_destroy"] != true;
            let how = if asks { "shutdown" } else { "stop" };
            self.order(Method::POST, &format!("{machine}/status/{how}"), &[]).await?;
        }
        self.order(Method::DELETE, &format!("{machine}?purge=1"), &[]).await
    }

    fn machine(&self, state: &Value) -> String {
        match self.kind {
            Kind::Bpg => format!("/nodes/{}/qemu/{}", text(&state["node_name"]), state["vm_id"]),
            Kind::Telmate => {
                format!("/nodes/{}/qemu/{}", text(&state["target_node"]), state["vmid"])
            }
        }
    }

    /// The IPv4 addresses of each network card, once the agent tells them.
    async fn addresses(&self, machine: &str) -> Result<Vec<Vec<String>>, String> {
        let path = format!("{machine}/agent/network-get-interfaces");
        for _ in 0..LOOKS_MAX {
            match self.ask(Method::GET, &path, &[]).await {
                Ok(said) => {
                    let cards = said["result"].as_array().cloned().unwrap_or_default();
                    let of = |card: &Value| {
                        let all = card["ip-addresses"].as_array().cloned().unwrap_or_default();
                        all.iter()
                            .filter(|ip| ip["ip-address-type"] == "ipv4")
                            .map(|ip| text(&ip["ip-address"]))
                            .collect()
                    };
                    return Ok(cards.iter().map(of).collect());
                }
                Err(_) => tokio::time::sleep(LOOK).await,
            }
        }
        Err("the guest agent tells no addresses".to_owned())
    }

    async fn ask(
        &self,
        method: Method,
        path: &str,
        form: &[(&'static str, String)],
    ) -> Result<Value, String> {
        let mut request = self.client.request(method, format!("{}{path}", self.url));
        request = request.header("Authorization", format!("PVEAPIToken={}", self.token));
        if !form.is_empty() {
            request = request.form(form);
        }
        let answer = request.send().await.map_err(|e| format!("{path}: {e:?}"))?;
        let status = answer.status();
        let said = answer.text().await.map_err(|e| format!("{path}: {e:?}"))?;
        if !status.is_success() {
            return Err(format!("received an HTTP {} response: {said}", status.as_u16()));
        }
        let said: Value = serde_json::from_str(&said).map_err(|e| e.to_string())?;
        Ok(said["data"].clone())
    }

    /// Orders a task and waits for its good end.
    async fn order(
        &self,
        method: Method,
        path: &str,
        form: &[(&'static str, String)],
    ) -> Result<(), String> {
        let upid = text(&self.ask(method, path, form).await?);
        let node = upid.split(':').nth(1).unwrap_or_default();
        let status = format!("/nodes/{node}/tasks/{upid}/status");
        for _ in 0..LOOKS_MAX {
            match text(&self.ask(Method::GET, &status, &[]).await?["exitstatus"]).as_str() {
                "OK" => return Ok(()),
                "" => tokio::time::sleep(LOOK).await,
                exit => return Err(format!("{path}: {exit}")),
            }
        }
        Err(format!("{path}: its task does not end"))
    }
}

/// For tests of what happens to a provider in the middle of its work.
async fn wait_at_gate() {
    if let Some(gate) = std::env::var_os(crate::GATE) {
        // Where there is none, there is no waiting.
        let _ = tokio::fs::read(gate).await;
    }
}

fn clone_form(id: &Value, full: &Value, name: &Value, pool: &Value) -> Form {
    let full = u8::from(full == true).to_string();
    let mut form = vec![("newid", id.to_string()), ("full", full), ("name", text(name))];
    add(&mut form, "pool", pool);
    form
}

/// What bpg/proxmox writes after a clone: what has a block is written with the defaults of its block.
fn bpg_form(vm: &Value) -> Form {
    let mut form = vec![("onboot", u8::from(vm["on_boot"] == true).to_string())];
    if let Some(agent) = vm["agent"].get(0) {
        form.push(("agent", format!("enabled={}", u8::from(agent["enabled"] == true))));
    }
    if let Some(cpu) = vm["cpu"].get(0) {
        form.push(("cores", cpu["cores"].to_string()));
        form.push(("sockets", cpu["sockets"].to_string()));
        form.push(("cpu", text(&cpu["type"])));
    }
    if let Some(memory) = vm["memory"].get(0) {
        form.push(("memory", memory["dedicated"].to_string()));
    }
    if let Some(card) = vm["network_device"].get(0) {
        form.push(("net0", format!("{},bridge={}", text(&card["model"]), text(&card["bridge"]))));
    }
    if let Some(init) = vm["initialization"].get(0) {
        // It makes the drive anew, on this storage.
        form.push(("ide2", format!("{}:cloudinit,media=cdrom", text(&init["datastore_id"]))));
        let user = &init["user_account"][0];
        add(&mut form, "ciuser", &user["username"]);
        add_keys(&mut form, user["keys"].as_array().into_iter().flatten().map(text));
        let v4 = &init["ip_config"][0]["ipv4"][0];
        form.push(("ipconfig0", format!("ip={}", text(&v4["address"]))));
    }
    let tags: Vec<String> = vm["tags"].as_array().into_iter().flatten().map(text).collect();
    form.push(("tags", tags.join(";")));
    form
}

fn telmate_form(vm: &Value) -> Form {
    let mut form = vec![
        ("description", text(&vm["desc"])),
        ("agent", vm["agent"].to_string()),
        ("cores", vm["cores"].to_string()),
        ("sockets", vm["sockets"].to_string()),
        ("memory", vm["memory"].to_string()),
        ("cpu", text(&vm["cpu"])),
        ("scsihw", text(&vm["scsihw"])),
        ("onboot", u8::from(vm["onboot"] == true).to_string()),
    ];
    if let Some(card) = vm["network"].get(0) {
        form.push(("net0", format!("{},bridge={}", text(&card["model"]), text(&card["bridge"]))));
    }
    for name in ["tags", "ciuser", "ipconfig0"] {
        add(&mut form, name, &vm[name]);
    }
    add_keys(&mut form, text(&vm["sshkeys"]).lines().map(str::to_owned));
    form
}

fn add(form: &mut Form, name: &'static str, value: &Value) {
    let value = text(value);
    if !value.is_empty() {
        form.push((name, value));
    }
}

fn add_keys(form: &mut Form, keys: impl Iterator<Item = String>) {
    let keys: Vec<String> = keys.collect();
    if !keys.is_empty() {
        let set = percent_encoding::NON_ALPHANUMERIC;
        let encoded = percent_encoding::utf8_percent_encode(&keys.join("\n"), set).to_string();
        form.push(("sshkeys", encoded));
    }
}

fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    }
}
