//! Progress of a long step, for people: the last word wins, nothing is stored.

use std::fmt;
use std::sync::Arc;

/// One word on how far a step has come.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct Step {
    /// What is being done.
    pub what: String,
    /// How much of this step is done, 0 to 1, when it can be told.
    pub fraction: Option<f32>,
}

type Sink = dyn Fn(Step) + Send + Sync;

/// Where a backend tells its progress. Cheap to clone; never blocks.
#[derive(Clone, Default)]
pub struct Progress(Option<Arc<Sink>>);

impl Progress {
    /// Progress that nobody hears.
    pub fn silent() -> Self {
        Self(None)
    }

    /// Progress told to `sink`, which must not block.
    pub fn to(sink: impl Fn(Step) + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(sink)))
    }

    /// Tells what is being done now.
    pub fn tell(&self, what: impl Into<String>, fraction: Option<f32>) {
        if let Some(sink) = &self.0 {
            sink(Step { what: what.into(), fraction: fraction.map(|f| f.clamp(0.0, 1.0)) });
        }
    }
}

impl fmt::Debug for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "Progress(heard)" } else { "Progress(silent)" })
    }
}
