//! A machine's own screen, at the hypervisor.

use daas_core::engine::Caller;
use tokio::time::timeout;
use tracing::warn;

use super::carry::{Client, carry};
use super::connections::Connection;
use super::ended::Ended;
use super::rfb;
use crate::app::App;

/// Shows the screen until it or its client ends; why.
pub(super) async fn show(
    app: &App,
    caller: &Caller,
    client: &mut Client,
    connection: &Connection,
) -> Ended {
    let session = &connection.session;
    let opened = timeout(app.gateway.config.open_time, async {
        let mut line = app.engine.console(caller, session).await.map_err(Ended::from)?;
        rfb::enter(&mut line).await.map_err(|error| {
            warn!(%session, %error, "a screen does not let the gateway in");
            Ended::Away("the screen did not let the gateway in; the log tells why".to_owned())
        })?;
        rfb::greet(client).await?;
        Ok::<_, Ended>(line)
    });
    let line = match opened.await {
        Ok(Ok(line)) => line,
        Ok(Err(ended)) => return ended,
        Err(_) => return Ended::Away("the screen did not open in time; try again".to_owned()),
    };
    carry(app, client, line.stream, &mut rfb::Reader::default(), connection).await
}
