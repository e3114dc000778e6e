//! The real API, as programs use it.

use std::time::Duration;

use daas_compose::Deployment;
use daas_core::access::Role;
use daas_core::ids::Organisation;
use daas_core::owner::Owner;
use serde_json::Value;

use crate::world::DEADLINE;

/// The real API, as a program uses it.
pub(crate) struct Api {
    client: reqwest::Client,
    url: String,
    key: String,
}

impl Api {
    /// With a key of this role.
    pub(crate) async fn of(deployment: &Deployment, role: Role) -> Self {
        let owner = Owner { realm: "lab".to_owned(), name: "alice".to_owned() };
        let now = jiff::Timestamp::now();
        let organisation = Organisation::default();
        let (key, kept) = daas_http::mint_key("test", owner, organisation, role, now).unwrap();
        deployment.engine().store().keys().add_key(&kept).await.unwrap();
        let client = reqwest::Client::builder().timeout(DEADLINE).build().unwrap();
        Self { client, url: deployment.addresses().url(), key: key.expose().clone() }
    }

    pub(crate) async fn call(&self, method: &str, path: &str, body: Option<Value>) -> Value {
        let url = format!("{}{path}", self.url);
        let mut request = self.client.request(method.parse().unwrap(), url).bearer_auth(&self.key);
        if let Some(body) = body {
            request = request.json(&body);
        }
        request.send().await.unwrap().json().await.unwrap()
    }

    /// Asks for a session until it is as wished.
    pub(crate) async fn until(&self, id: &str, wished: impl Fn(&Value) -> bool) -> Value {
        let path = format!("/api/v1/sessions/{id}");
        let mut pause = tokio::time::interval(Duration::from_millis(100));
        let waiting = async {
            loop {
                let session = self.call("GET", &path, None).await;
                if wished(&session) {
                    return session;
                }
                pause.tick().await;
            }
        };
        match tokio::time::timeout(DEADLINE, waiting).await {
            Ok(session) => session,
            Err(_) => panic!("not as wished in time: {:#}", self.call("GET", &path, None).await),
        }
    }
}
