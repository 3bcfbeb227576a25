//! A Kubernetes node: kubelet asks containerd for an image, with what a pull secret holds, by the container runtime
//! interface. The messages are written as kubelet writes them; all that speaks to the gate is containerd.

use std::path::{Path, PathBuf};

use h2::client::SendRequest;
use tokio::net::UnixStream;

use super::containerd::Service;
use crate::support::{ALICE, BOB, Image, Login, Portcullis, Registry, Skopeo};

#[test]
fn a_node_pulls_with_its_secret() {
    let registry = Registry::start();
    let gate = Portcullis::start(&registry);
    let image = Image::new(206, &[5000]);
    let skopeo = Skopeo::logged_in(gate.pki(), &gate.host(), crate::support::ADMIN);
    for repository in ["library/base", "team-a/app"] {
        skopeo.copy(&image.reference(), &gate.image(repository)).succeeded();
    }

    let node = Node { service: Service::start(&gate), host: gate.host() };
    assert_eq!(node.pull("library/base", None), Ok(image.config()));
    assert_eq!(node.pull("team-a/app", Some(ALICE)), Ok(image.config()));
    for (login, reason) in [
        (None, "insufficient_scope: authorization failed"),
        (Some(Login::new(ALICE.name, "a guess")), "401 Unauthorized"),
        (Some(BOB), "403 Forbidden"),
    ] {
        let said = node.pull("team-a/app", login).unwrap_err();
        assert!(said.contains(reason), "{login:?}: {said}");
    }
}

struct Node {
    service: Service,
    host: String,
}

impl Node {
    /// The id of what was pulled, or what went wrong.
    fn pull(&self, repository: &str, login: Option<Login>) -> Result<String, String> {
        let name = format!("{}/{repository}:v1", self.host);
        // runtime.v1.PullImageRequest: 1 the image (1 its name), 2 who pulls it (1 user name, 2 password).
        let mut message = field(1, &field(1, name.as_bytes()));
        if let Some(login) = login {
            let secret = [field(1, login.name.as_bytes()), field(2, login.password.as_bytes())].concat();
            message.extend(field(2, &secret));
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let answer = runtime.block_on(call(&self.service.socket(), "PullImage", &message))?;
        // runtime.v1.PullImageResponse: 1 the reference.
        let reference = answer.get(2..).expect("a field of a tag, a length and a text");
        Ok(String::from_utf8(reference.to_vec()).unwrap())
    }
}

/// A field of bytes, as protocol buffers write it.
fn field(number: u8, content: &[u8]) -> Vec<u8> {
    let length = u8::try_from(content.len()).ok().filter(|length| *length < 128).expect("a length of one byte");
    [&[(number << 3) | 2, length], content].concat()
}

/// One call of the image service over gRPC: the answer's message, or the error's.
async fn call(socket: &Path, method: &str, message: &[u8]) -> Result<Vec<u8>, String> {
    let stream = UnixStream::connect(PathBuf::from(socket)).await.unwrap();
    let (client, connection) = h2::client::handshake(stream).await.unwrap();
    let connection = tokio::spawn(connection);
    let answer = ask(client, method, message).await;
    connection.abort();
    answer
}

async fn ask(client: SendRequest<bytes::Bytes>, method: &str, message: &[u8]) -> Result<Vec<u8>, String> {
    let request = http::Request::post(format!("http://localhost/runtime.v1.ImageService/{method}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(())
        .unwrap();
    let (answer, mut body) = client.ready().await.unwrap().send_request(request, false).unwrap();
    // Not compressed, so long, and the message.
    let length = u32::try_from(message.len()).unwrap().to_be_bytes();
    body.send_data([&[0][..], &length, message].concat().into(), true).unwrap();

    let (head, mut body) = answer.await.unwrap().into_parts();
    let mut received = Vec::new();
    while let Some(piece) = body.data().await {
        received.extend_from_slice(&piece.unwrap());
    }
    // An error without a message comes in the head.
    let end = body.trailers().await.unwrap().unwrap_or(head.headers);
    match end.get("grpc-status").expect("a status").as_bytes() {
        b"0" => Ok(received.split_off(5)),
        _ => Err(String::from_utf8_lossy(end["grpc-message"].as_bytes()).into_owned()),
    }
}
