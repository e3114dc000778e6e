//! A raw client of the simulated cluster: no library in between that could hide what it says.
#![allow(
    dead_code,
    clippy::unwrap_used,
    reason = "shared by several tests; a failed unwrap fails one"
)]

use std::sync::Arc;
use std::time::Duration;

use daas_sim::{Event, NullGuests, SimConfig, Simulator};
use reqwest::Method;
use serde_json::Value;

/// How long anything in these tests may take.
pub(crate) const SOON: Duration = Duration::from_secs(20);

/// An answer.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) status: u16,
    pub(crate) reason: String,
    pub(crate) headers: reqwest::header::HeaderMap,
    pub(crate) text: String,
}

/// A client of one node, with one way to sign in.
#[derive(Debug, Clone)]
pub(crate) struct Client {
    http: reqwest::Client,
    base: String,
    headers: Vec<(String, String)>,
}

pub(crate) async fn start(config: SimConfig) -> (Simulator, Client) {
    let sim = Simulator::start(config, Arc::new(NullGuests::default())).await.unwrap();
    let client = Client::new(&sim).token(&sim);
    (sim, client)
}

impl Client {
    pub(crate) fn new(sim: &Simulator) -> Self {
        let ca = reqwest::Certificate::from_pem(sim.ca_pem().as_bytes()).unwrap();
        let http = reqwest::Client::builder()
            .tls_certs_only([ca])
            .http1_only()
            .timeout(SOON)
            .build()
            .unwrap();
        Self { http, base: sim.url(), headers: Vec::new() }
    }

    pub(crate) fn at(&self, url: &str) -> Self {
        Self { base: url.to_owned(), ..self.clone() }
    }

    pub(crate) fn bare(&self) -> Self {
        Self { headers: Vec::new(), ..self.clone() }
    }

    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Signed in by the default token.
    pub(crate) fn token(self, sim: &Simulator) -> Self {
        let token = sim.token("daas@pve", "daas").unwrap();
        self.bare().header("Authorization", &format!("PVEAPIToken={token}"))
    }

    /// Signed in by ticket.
    pub(crate) async fn ticket(&self, user: &str, password: &str) -> Self {
        let form = [("username", user), ("password", password)];
        let said = self.bare().post("/access/ticket", &form).await;
        let data = said.data();
        let text = |key: &str| data[key].as_str().unwrap().to_owned();
        self.bare()
            .header("Cookie", &format!("PVEAuthCookie={}", text("ticket")))
            .header("CSRFPreventionToken", &text("CSRFPreventionToken"))
    }

    pub(crate) async fn root(&self) -> Self {
        self.ticket("root@pam", "simulated").await
    }

    pub(crate) async fn get(&self, path: &str) -> Said {
        self.send(Method::GET, path, None).await.unwrap()
    }

    pub(crate) async fn delete(&self, path: &str) -> Said {
        self.send(Method::DELETE, path, None).await.unwrap()
    }

    pub(crate) async fn post(&self, path: &str, form: &[(&str, &str)]) -> Said {
        self.send(Method::POST, path, Some(form)).await.unwrap()
    }

    pub(crate) async fn put(&self, path: &str, form: &[(&str, &str)]) -> Said {
        self.send(Method::PUT, path, Some(form)).await.unwrap()
    }

    pub(crate) async fn send(
        &self,
        method: Method,
        path: &str,
        form: Option<&[(&str, &str)]>,
    ) -> Result<Said, reqwest::Error> {
        let request = self.request(method, path);
        let request = match form {
            Some(form) => request.form(form),
            None => request,
        };
        said(request.send().await?).await
    }

    pub(crate) fn request(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        let request = self.http.request(method, format!("{}/api2/json{path}", self.base));
        self.headers.iter().fold(request, |request, (name, value)| request.header(name, value))
    }

    /// Waits for the end of a task that was just started.
    pub(crate) async fn done(&self, sim: &Simulator, said: Said) -> String {
        let upid = said.data().as_str().unwrap_or_else(|| panic!("no task: {said:?}")).to_owned();
        let ended = |e: &Event| matches!(e, Event::TaskEnd { upid: u, .. } if **u == *upid);
        match sim.log().wait_for(ended, SOON).await.map(|entry| entry.event) {
            Some(Event::TaskEnd { exit, .. }) => exit.into(),
            other => panic!("{upid} did not end: {other:?}"),
        }
    }

    /// Clones template 9000 on node `pve`.
    pub(crate) async fn clone_of_9000(&self, sim: &Simulator, vmid: u32, name: &str) {
        let form = [("newid", &*vmid.to_string()), ("name", name)];
        let said = self.post("/nodes/pve/qemu/9000/clone", &form).await;
        assert_eq!(self.done(sim, said).await, "OK");
    }
}

pub(crate) async fn said(response: reqwest::Response) -> Result<Said, reqwest::Error> {
    let status = response.status();
    let reason = response.extensions().get::<hyper::ext::ReasonPhrase>();
    let reason = match reason {
        Some(reason) => String::from_utf8_lossy(reason.as_bytes()).into_owned(),
        None => status.canonical_reason().unwrap_or_default().to_owned(),
    };
    let headers = response.headers().clone();
    Ok(Said { status: status.as_u16(), reason, headers, text: response.text().await? })
}

impl Said {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|e| panic!("{e}: {self:?}"))
    }

    pub(crate) fn data(&self) -> Value {
        assert_eq!(self.status, 200, "{self:?}");
        self.json()["data"].clone()
    }

    /// Status and reason, which is what most clients judge by.
    pub(crate) fn brief(&self) -> (u16, &str) {
        (self.status, &self.reason)
    }
}
