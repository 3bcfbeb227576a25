//! What a manifest refers to.

use std::{collections::BTreeMap, fmt};

use serde::{
    Deserialize, Deserializer, Serialize,
    de::{Error as _, SeqAccess, Visitor},
};

/// In one list. Written as densely as can be, a manifest of a few MiB would take a hundred times as much otherwise.
const MOST: usize = 4096;

/// One of the things that a manifest refers to, with the fields that docker-registry tells.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    media_type: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    size: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    digest: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    urls: Vec<String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    annotations: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    platform: Option<Platform>,
}

/// What an image of an index runs on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Platform {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    architecture: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    os: Option<String>,
    #[serde(default, rename = "os.version", skip_serializing_if = "Option::is_none")]
    version: Option<String>,
    #[serde(default, rename = "os.features", skip_serializing_if = "Vec::is_empty")]
    features: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    variant: Option<String>,
}

#[derive(Deserialize)]
struct Manifest {
    config: Option<Descriptor>,
    #[serde(default, deserialize_with = "descriptors")]
    layers: Vec<Descriptor>,
    #[serde(default, deserialize_with = "descriptors")]
    manifests: Vec<Descriptor>,
}

/// The configuration and the layers of an image, or the images of an index, in their order; none of what is neither, or
/// refers to more than anybody would.
pub(super) fn references(manifest: &[u8]) -> Vec<Descriptor> {
    let Ok(Manifest { config, layers, manifests }) = serde_json::from_slice(manifest) else { return Vec::new() };
    config.into_iter().chain(layers).chain(manifests).collect()
}

/// No more than [`MOST`], nor memory for more.
fn descriptors<'de, D: Deserializer<'de>>(list: D) -> Result<Vec<Descriptor>, D::Error> {
    struct List;

    impl<'de> Visitor<'de> for List {
        type Value = Vec<Descriptor>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "a list of at most {MOST} descriptors")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
            let mut found = Vec::new();
            while let Some(descriptor) = list.next_element()? {
                if found.len() >= MOST {
                    return Err(A::Error::invalid_length(found.len(), &self));
                }
                found.push(descriptor);
            }
            Ok(found)
        }
    }

    list.deserialize_seq(List)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn images_and_indexes_refer_to_something() {
        let one = |digest: &str| json!({ "mediaType": "m", "size": 2, "digest": digest, "unknown": 1 });
        let told = |manifest: serde_json::Value| {
            let found = references(manifest.to_string().as_bytes());
            serde_json::to_value(found).unwrap()
        };
        let seen = |digest: &str| json!({ "mediaType": "m", "size": 2, "digest": digest });
        let image = json!({ "config": one("c"), "layers": [one("l"), one("l")], "annotations": { "x": "y" } });
        assert_eq!(told(image), json!([seen("c"), seen("l"), seen("l")]));
        let with_platform = json!({ "digest": "d", "platform": { "os": "linux" }, "annotations": { "a": "b" } });
        let expected = json!([with_platform]);
        assert_eq!(told(json!({ "manifests": [with_platform] })), expected);
        for none in [json!({}), json!([]), json!("x"), json!({ "layers": 7 })] {
            assert_eq!(told(none), json!([]));
        }
        assert!(references(b"\xff{").is_empty());
    }

    #[test]
    fn a_manifest_does_not_swell() {
        let list = |count| format!("{{\"layers\":[{}]}}", vec!["{}"; count].join(","));
        assert_eq!(references(list(MOST).as_bytes()).len(), MOST);
        assert!(references(list(MOST + 1).as_bytes()).is_empty());
        let platform = json!({ "os": "windows", "architecture": "arm", "os.version": "10", "os.features": ["f"], "variant": "v8" });
        let mut more = platform.clone();
        more["x"] = json!([[], []]);
        let found = references(json!({ "manifests": [{ "platform": more }] }).to_string().as_bytes());
        assert_eq!(serde_json::to_value(found).unwrap(), json!([{ "platform": platform }]));
    }
}
