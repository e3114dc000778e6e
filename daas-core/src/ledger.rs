//! The ledger: what a session caused outside its machine, kept until proved gone.

use serde::{Deserialize, Serialize};

use crate::ids::BackendName;

/// Something a session causes outside its machine: a computer account, a DNS record.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Effect {
    /// The configurator that causes it and can retract it.
    pub configurator: BackendName,
    /// What sort of thing: `computer_account`.
    pub kind: String,
    /// Which one: a distinguished name.
    pub key: String,
}

/// The effects of one session. An effect is written before it is caused and struck after proof.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Ledger(Vec<Effect>);

impl Ledger {
    /// Notes effects that are going to be caused; says whether any was new.
    pub fn intend(&mut self, effects: impl IntoIterator<Item = Effect>) -> bool {
        let before = self.0.len();
        for effect in effects {
            if !self.0.contains(&effect) {
                self.0.push(effect);
            }
        }
        self.0.len() > before
    }

    /// Strikes an effect that has been proved gone.
    pub fn strike(&mut self, effect: &Effect) {
        self.0.retain(|e| e != effect);
    }

    /// The effect to retract next: the youngest, since it may build on older ones.
    pub fn next(&self) -> Option<&Effect> {
        self.0.last()
    }

    /// Whether nothing is left outside.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All that is noted, oldest first.
    pub fn iter(&self) -> impl Iterator<Item = &Effect> {
        self.0.iter()
    }
}
