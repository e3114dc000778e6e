//! Terraform's plugin protocol, version 5, as much as one resource takes
//! (`docs/plugin-protocol/tfplugin5.2.proto` of hashicorp/terraform).

use serde_json::Value;
use tokio::sync::Mutex;

use crate::proxmox::{Kind, Proxmox};
use crate::schema::Schema;
use crate::value::{decode, encode, unknown};
use crate::wire::{Message, field};

/// A look-alike of one provider.
#[derive(Debug)]
pub(crate) struct Provider {
    kind: Kind,
    schema: Schema,
    proxmox: Mutex<Option<Proxmox>>,
}

impl Provider {
    /// The one that is named.
    pub(crate) fn new(kind: Kind) -> Self {
        let table = match kind {
            Kind::Bpg => include_str!("bpg.schema"),
            Kind::Telmate => include_str!("telmate.schema"),
        };
        Self { kind, schema: Schema::read(table), proxmox: Mutex::default() }
    }

    /// Answers a call; `None` for a method that it does not have.
    pub(crate) async fn call(&self, method: &str, request: &[u8]) -> Option<Vec<u8>> {
        let value = |number| decode(field(field(request, number), 1)).unwrap_or(Value::Null);
        let answer = Message::default();
        let answer = match method {
            "GetSchema" => return Some(self.schema.message()),
            "PrepareProviderConfig" => answer.bytes(1, field(request, 1)),
            "ValidateResourceTypeConfig" | "ValidateDataSourceConfig" | "Stop" => answer,
            "Configure" => {
                *self.proxmox.lock().await = Some(Proxmox::new(self.kind, &value(2)));
                answer
            }
            // A state is sent as JSON, and taken as that too.
            "UpgradeResourceState" => {
                let state = field(field(request, 3), 1);
                answer.bytes(1, &Message::default().bytes(2, state).done())
            }
            "ReadResource" => match self.read(value(2)).await {
                Ok(state) => answer.bytes(1, &dynamic(&state)),
                Err(error) => answer.bytes(2, &diagnostic(&error)),
            },
            "PlanResourceChange" => self.plan(answer, &value(2), value(3)),
            "ApplyResourceChange" => match self.apply(&value(2), value(3)).await {
                Ok(state) => answer.bytes(1, &dynamic(&state)).number(4, 1),
                // As the real ones, of which a resource that failed is kept as tainted.
                Err((state, error)) => {
                    answer.bytes(1, &dynamic(&state)).bytes(3, &diagnostic(&error)).number(4, 1)
                }
            },
            _ => return None,
        };
        Some(answer.done())
    }

    async fn read(&self, state: Value) -> Result<Value, String> {
        let proxmox = self.proxmox.lock().await;
        let proxmox = proxmox.as_ref().ok_or("it was never configured")?;
        Ok(if proxmox.exists(&state).await? { state } else { Value::Null })
    }

    fn plan(&self, answer: Message, prior: &Value, mut proposed: Value) -> Message {
        if proposed.is_null() {
            return answer.bytes(1, &dynamic(&proposed)).number(5, 1);
        }
        if prior.is_null() {
            self.schema.resource.plan(&mut proposed);
            return answer.bytes(1, &dynamic(&proposed)).number(5, 1);
        }
        let mut answer = answer;
        for name in self.kind.replacing() {
            if prior[*name] != proposed[*name] {
                proposed["id"] = unknown();
                let step = Message::default().bytes(1, name.as_bytes()).done();
                answer = answer.bytes(2, &Message::default().bytes(1, &step).done());
            }
        }
        answer.bytes(1, &dynamic(&proposed)).number(5, 1)
    }

    async fn apply(&self, prior: &Value, mut planned: Value) -> Result<Value, (Value, String)> {
        let proxmox = self.proxmox.lock().await;
        let Some(proxmox) = proxmox.as_ref() else {
            return Err((prior.clone(), "it was never configured".to_owned()));
        };
        if planned.is_null() {
            return match proxmox.remove(prior).await {
                Ok(()) => Ok(planned),
                Err(error) => Err((prior.clone(), error)),
            };
        }
        if !prior.is_null() {
            return Err((prior.clone(), "this look-alike changes nothing".to_owned()));
        }
        let made = proxmox.make(&mut planned).await;
        self.schema.resource.settle(&mut planned);
        match made {
            Ok(()) => Ok(planned),
            // Before its clone there is nothing to keep.
            Err(error) if planned["id"].is_null() => Err((Value::Null, error)),
            Err(error) => Err((planned, error)),
        }
    }
}

fn dynamic(value: &Value) -> Vec<u8> {
    Message::default().bytes(1, &encode(value)).done()
}

fn diagnostic(error: &str) -> Vec<u8> {
    const ERROR: u64 = 1;
    Message::default().number(1, ERROR).bytes(2, error.as_bytes()).done()
}
