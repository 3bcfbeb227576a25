//! Who is told of what is pulled, pushed, mounted and deleted.

mod delivery;
mod ends;
mod same;
mod told;

use serde_json::{Value, json};

use crate::support::{ADMIN, GateSetup, Image, Portcullis, Receiver, Registry, Skopeo, eventually};

/// A gate that tells one endpoint, which the test changes; what it cannot deliver is kept beside its configuration.
fn telling(registry: &Registry, url: &str, change: impl Fn(&mut Value) + 'static) -> GateSetup {
    let url = url.to_owned();
    Portcullis::before(registry).without_probes().with_own_binary().with(move |config| {
        let mut endpoint = json!({ "name": "ear", "url": url, "timeout": "1s" });
        change(&mut endpoint);
        config["events"] = json!({ "storage": "events", "endpoints": [endpoint] });
    })
}

/// An image that everybody may pull. What the push tells of is not kept.
fn published(gate: &Portcullis, receiver: Option<&Receiver>) -> Image {
    let image = Image::new(81, &[2_000]);
    let skopeo = Skopeo::logged_in(gate.pki(), &gate.host(), ADMIN);
    skopeo.copy(&image.reference(), &gate.image("library/app")).succeeded();
    if let Some(receiver) = receiver {
        eventually("the push is told", || {
            let is_it = |event: &Value| {
                event["target"]["repository"] == "library/app"
                    && event["target"]["tag"] == "v1"
                    && event["action"] == "push"
            };
            receiver.events().iter().any(is_it)
        });
    }
    image
}

/// Pulls a manifest, with a mark by which its event is known.
fn pull(gate: &Portcullis, mark: &str) {
    let manifest = gate.curl("/v2/library/app/manifests/v1").header(&format!("User-Agent: {mark}"));
    let accept = "Accept: application/vnd.oci.image.manifest.v1+json";
    assert_eq!(manifest.header(accept).send().status, 200, "{mark}");
}

/// `m1` to `m<count>`, from here on.
fn marks(numbers: std::ops::RangeInclusive<usize>) -> Vec<String> {
    numbers.map(|number| format!("m{number}")).collect()
}

/// The marks that were told, and nothing else that was.
fn told(receiver: &Receiver) -> Vec<String> {
    receiver.marks().into_iter().filter(|mark| mark.starts_with('m')).collect()
}
