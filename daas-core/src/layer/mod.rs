//! Layers around backends: a fault, a count, a gate, a lie. For tests.
//!
//! A layer says what it does differently and nothing else. What it does around *every* call is
//! [`Layer::around`]; what it does to one method it says by writing that method of
//! [`ProvisionerLayer`], [`ConfiguratorLayer`], [`EffectsLayer`] or [`StoreLayer`]. Everything else
//! goes down to the backend below. [`Layered`] makes a backend of it:
//!
//! ```
//! # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
//! use std::sync::atomic::{AtomicUsize, Ordering};
//! use daas_core::layer::{Answer, Call, Layer, Layered, StoreLayer, Work};
//! use daas_core::store::{SessionStore, memory::MemoryStore};
//!
//! #[derive(Debug, Default)]
//! struct Counting {
//!     below: MemoryStore,
//!     calls: AtomicUsize,
//! }
//!
//! #[async_trait::async_trait]
//! impl Layer for Counting {
//!     async fn around<'a, T: Answer>(&self, _: Call, work: &Work<'a, T>) -> T {
//!         self.calls.fetch_add(1, Ordering::SeqCst);
//!         work().await
//!     }
//! }
//!
//! impl StoreLayer for Counting {
//!     fn below(&self) -> &dyn SessionStore {
//!         &self.below
//!     }
//! }
//!
//! let store = Layered(Counting::default());
//! assert_eq!(store.next_due().await.unwrap(), None);
//! assert_eq!(store.0.calls.load(Ordering::SeqCst), 1);
//! # });
//! ```
//!
//! The methods of each trait are listed once, in the file of its layer; a method that is added to
//! a trait is added there, and every layer has it.

mod configurator;
mod provisioner;
mod store;

use std::fmt::Debug;

use async_trait::async_trait;
use futures::future::BoxFuture;

pub use self::configurator::{ConfiguratorLayer, EffectsLayer};
pub use self::provisioner::ProvisionerLayer;
pub use self::store::StoreLayer;
use crate::error::{Error, Operation, Result};
use crate::machine::Observation;

/// What a layer does around every asynchronous call, of whichever trait.
#[async_trait]
pub trait Layer: Debug + Send + Sync {
    /// Answers `call`, by doing `work` once, never or several times. By default: once.
    async fn around<'a, T: Answer>(&self, call: Call, work: &Work<'a, T>) -> T {
        let _ = call;
        work().await
    }
}

/// A call that passes a layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Call {
    /// The trait's method: `Provisioner::ensure`.
    pub name: &'static str,
    /// As what its failures are told.
    pub operation: Operation,
}

/// The call as the backend below does it; each time anew.
pub type Work<'a, T> = dyn Fn() -> BoxFuture<'a, T> + Send + Sync + 'a;

/// What a call can answer: also that it failed.
pub trait Answer: Send + 'static {
    /// The answer that tells of `error`.
    fn failed(error: Error) -> Self;
}

impl<T: Send + 'static> Answer for Result<T> {
    fn failed(error: Error) -> Self {
        Err(error)
    }
}

impl Answer for Observation {
    fn failed(error: Error) -> Self {
        Self::Unknown(error.chain())
    }
}

/// A layer as the backend that it makes of the one below.
#[derive(Debug)]
pub struct Layered<L>(pub L);

/// The layer of a trait, from the trait's methods: first the asynchronous ones, each with the
/// operation as which its failures are told, then the others.
macro_rules! layer {
    (
        $(#[$doc:meta])*
        pub trait $layer:ident over $backend:ident;
        $(
            #[fails_as($operation:ident)]
            async fn $call:ident(&self $(, $arg:ident: $type:ty)*) -> $answer:ty;
        )*
        $(fn $plain:ident(&self $(, $plain_arg:ident: $plain_type:ty)*) -> $plain_answer:ty;)*
    ) => {
        $(#[$doc])*
        #[async_trait::async_trait]
        pub trait $layer: crate::layer::Layer {
            /// The backend below.
            fn below(&self) -> &dyn $backend;

            $(
                #[doc = concat!("By default what the backend below does: [`", stringify!($backend),
                    "::", stringify!($call), "`].")]
                async fn $call(&self $(, $arg: $type)*) -> $answer {
                    let call = crate::layer::Call {
                        name: concat!(stringify!($backend), "::", stringify!($call)),
                        operation: crate::error::Operation::$operation,
                    };
                    let work = || self.below().$call($(Clone::clone(&$arg)),*);
                    crate::layer::Layer::around(self, call, &work).await
                }
            )*

            $(
                #[doc = concat!("By default what the backend below does: [`", stringify!($backend),
                    "::", stringify!($plain), "`].")]
                fn $plain(&self $(, $plain_arg: $plain_type)*) -> $plain_answer {
                    self.below().$plain($($plain_arg),*)
                }
            )*
        }

        #[async_trait::async_trait]
        impl<L: $layer> $backend for crate::layer::Layered<L> {
            $(
                async fn $call(&self $(, $arg: $type)*) -> $answer {
                    self.0.$call($($arg),*).await
                }
            )*

            $(
                fn $plain(&self $(, $plain_arg: $plain_type)*) -> $plain_answer {
                    self.0.$plain($($plain_arg),*)
                }
            )*
        }
    };
}
use layer;
