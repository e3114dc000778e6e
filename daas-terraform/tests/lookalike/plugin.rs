//! A plugin as Terraform starts one: a line on standard output says where it listens, then gRPC over
//! HTTP/2 over TLS (`hashicorp/go-plugin`, with automatic certificates).

use std::io::Write;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use bytes::{Bytes, BytesMut};
use h2::server::SendResponse;
use http::{HeaderMap, Request, Response};
use rustls::pki_types::PrivateKeyDer;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use crate::provider::Provider;

/// gRPC's code for a method that nobody has.
const UNIMPLEMENTED: &str = "12";

/// Serves one Terraform, and ends with it.
pub(crate) async fn serve(provider: Provider) {
    let provider = Arc::new(provider);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (acceptor, certificate) = identity();
    let address = listener.local_addr().unwrap();
    // Version of go-plugin, of Terraform's protocol, where, how, and whom to trust.
    let mut out = std::io::stdout();
    writeln!(out, "1|5|tcp|{address}|grpc|{}", STANDARD_NO_PAD.encode(certificate)).unwrap();
    out.flush().unwrap();
    let (stream, _) = listener.accept().await.unwrap();
    connection(stream, &acceptor, &provider).await;
}

fn identity() -> (TlsAcceptor, Vec<u8>) {
    let key = rcgen::KeyPair::generate().unwrap();
    let params = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    let certificate = params.self_signed(&key).unwrap();
    let der = certificate.der().clone();
    let key = PrivateKeyDer::Pkcs8(key.serialize_der().into());
    let mut config = rustls::ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![der.clone()], key)
        .unwrap();
    config.alpn_protocols = vec![b"h2".to_vec()];
    (TlsAcceptor::from(Arc::new(config)), der.to_vec())
}

async fn connection(stream: TcpStream, acceptor: &TlsAcceptor, provider: &Arc<Provider>) {
    let stream = acceptor.accept(stream).await.unwrap();
    let mut connection = h2::server::handshake(stream).await.unwrap();
    while let Some(Ok((request, respond))) = connection.accept().await {
        let provider = Arc::clone(provider);
        tokio::spawn(async move {
            // A caller that is gone needs no answer.
            let _ = answer(request, respond, &provider).await;
        });
    }
}

async fn answer(
    request: Request<h2::RecvStream>,
    mut respond: SendResponse<Bytes>,
    provider: &Provider,
) -> Result<(), h2::Error> {
    let path = request.uri().path().to_owned();
    let mut body = request.into_body();
    let mut message = BytesMut::new();
    // A message is one byte of flags, four of its length, and itself.
    while message.len() < 5 || message.len() < 5 + prefix(&message) {
        let Some(part) = body.data().await else { break };
        let part = part?;
        body.flow_control().release_capacity(part.len())?;
        message.extend_from_slice(&part);
    }
    if path == "/plugin.GRPCController/Shutdown" {
        std::process::exit(0);
    }
    let said = match path.strip_prefix("/tfplugin5.Provider/") {
        Some(method) => provider.call(method, message.get(5..).unwrap_or_default()).await,
        None => None,
    };
    let mut trailers = HeaderMap::new();
    let response = Response::builder().header("content-type", "application/grpc");
    let mut stream = respond.send_response(response.body(()).unwrap(), false)?;
    match said {
        None => drop(trailers.insert("grpc-status", UNIMPLEMENTED.parse().unwrap())),
        Some(said) => {
            let mut framed = vec![0];
            framed.extend(u32::try_from(said.len()).unwrap().to_be_bytes());
            framed.extend(said);
            stream.send_data(framed.into(), false)?;
            drop(trailers.insert("grpc-status", "0".parse().unwrap()));
        }
    }
    stream.send_trailers(trailers)
}

fn prefix(message: &[u8]) -> usize {
    message[1..5].iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte))
}
