//! What is asked of a provider: within bounds, never elsewhere, and its certificate verified.

use std::future::Future;
use std::path::Path;
use std::pin::Pin;
use std::time::Duration;

use http::StatusCode;
use openidconnect::{AsyncHttpClient, HttpRequest, HttpResponse};
use url::Url;

/// The longest answer that is read, in bytes.
const ANSWER_BYTES_MAX: usize = 1024 * 1024;

/// Carries the library's requests.
#[derive(Debug)]
pub(crate) struct Http(reqwest::Client);

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HttpFailure {
    #[error("the provider does not answer: {}; check its address and ca_file", causes(.0))]
    Away(#[from] reqwest::Error),
    #[error("the provider has trouble of its own: it answers {0}")]
    Trouble(StatusCode),
    #[error("the provider's answer is longer than {ANSWER_BYTES_MAX} bytes")]
    Long,
    #[error("the provider's answer is no HTTP")]
    Http(#[from] http::Error),
}

impl Http {
    /// # Errors
    /// What is wrong with `ca_file`.
    pub(crate) fn new(ca_file: Option<&Path>, deadline: Duration) -> Result<Self, String> {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut builder = reqwest::Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .timeout(deadline);
        if let Some(path) = ca_file {
            let pem = std::fs::read(path)
                .map_err(|error| format!("cannot read {}: {error}", path.display()))?;
            let roots = reqwest::Certificate::from_pem_bundle(&pem).map_err(|e| e.to_string())?;
            if roots.is_empty() {
                return Err(format!("there is no certificate in {}", path.display()));
            }
            builder = builder.tls_certs_only(roots);
        }
        builder.build().map(Self).map_err(|error| error.to_string())
    }

    async fn send(&self, request: HttpRequest) -> Result<HttpResponse, HttpFailure> {
        let mut answer = self.0.execute(request.try_into()?).await?;
        let status = answer.status();
        if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS {
            return Err(HttpFailure::Trouble(status));
        }
        let mut body = Vec::new();
        while let Some(chunk) = answer.chunk().await? {
            if body.len() + chunk.len() > ANSWER_BYTES_MAX {
                return Err(HttpFailure::Long);
            }
            body.extend_from_slice(&chunk);
        }
        let mut response = http::Response::builder().status(status);
        for (name, value) in answer.headers() {
            response = response.header(name, value);
        }
        Ok(response.body(body)?)
    }
}

impl<'c> AsyncHttpClient<'c> for Http {
    type Error = HttpFailure;
    type Future = Pin<Box<dyn Future<Output = Result<HttpResponse, HttpFailure>> + Send + 'c>>;

    fn call(&'c self, request: HttpRequest) -> Self::Future {
        Box::pin(self.send(request))
    }
}

/// The causes of a failure, one behind the other.
fn causes(error: &reqwest::Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

/// Whether nobody can listen to what is sent there, or change it: TLS, or this machine.
pub(crate) fn is_safe(url: &Url) -> bool {
    url.scheme() == "https" || (url.scheme() == "http" && is_loopback(url))
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(url::Host::Ipv4(address)) => address.is_loopback(),
        Some(url::Host::Ipv6(address)) => address.is_loopback(),
        Some(url::Host::Domain(name)) => name == "localhost",
        None => false,
    }
}
