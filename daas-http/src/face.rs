//! The routers, made from the table: for the server, and for whoever embeds them in another.

use axum::middleware::from_fn_with_state;
use axum::{Extension, Router};
use daas_core::engine::Engine;
use http::{HeaderValue, header};
use tower_http::set_header::SetResponseHeaderLayer;

use crate::access::guard;
use crate::app::{App, Extra};
use crate::compat::Alone;
use crate::config::{HttpConfig, Tls};
use crate::routes::{self, Listener};
use crate::wrap::wrap;

/// What is served, by listener. Requests need an [`crate::access::Peer`] extension: callers known
/// by their address are refused without one.
#[derive(Clone)]
pub struct Face {
    /// The API, and the compatible API if it is enabled.
    pub main: Router,
    /// The compatible API alone.
    pub compat: Router,
    /// What guests may call.
    pub guests: Router,
    pub(crate) app: App,
}

impl std::fmt::Debug for Face {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Face").finish_non_exhaustive()
    }
}

impl Face {
    /// The face of `engine`.
    pub fn new(config: HttpConfig, engine: Engine, extra: Extra) -> Self {
        let compat = config.compat.enabled;
        let app = App::new(config, engine, extra);
        let both: &[Listener] = &[Listener::Main, Listener::Compat];
        let main = if compat { both } else { &both[..1] };
        let alone = if compat { &both[1..] } else { &[] };
        let mut whole = router(&app, main);
        let hsts = app.config.hsts.as_secs();
        if matches!(app.config.tls, Tls::Files { .. })
            && hsts > 0
            && let Ok(told) = HeaderValue::try_from(format!("max-age={hsts}"))
        {
            let name = header::STRICT_TRANSPORT_SECURITY;
            whole = whole.layer(SetResponseHeaderLayer::overriding(name, told));
        }
        Self {
            main: whole,
            compat: router(&app, alone).layer(Extension(Alone)),
            guests: router(&app, &[Listener::Guests]),
            app,
        }
    }

    /// Ends what blocks by design: event streams, and creates of the compatible API.
    pub fn stop(&self) {
        self.app.stopping.cancel();
    }
}

fn router(app: &App, listeners: &[Listener]) -> Router {
    let routes = routes::all().filter(|r| listeners.contains(&r.listener));
    let router = routes.fold(Router::new(), |router, route| {
        let guarded = from_fn_with_state((app.clone(), route), guard);
        router.route(route.path, (route.handler)().route_layer(guarded))
    });
    wrap(router, app).with_state(app.clone())
}
