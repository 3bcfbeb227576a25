//! What a manifest refers to.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

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
    platform: Option<serde_json::Value>,
}

#[derive(Deserialize)]
struct Manifest {
    config: Option<Descriptor>,
    #[serde(default)]
    layers: Vec<Descriptor>,
    #[serde(default)]
    manifests: Vec<Descriptor>,
}

/// The configuration and the layers of an image, or the images of an index, in their order; none of what is neither.
pub(super) fn references(manifest: &[u8]) -> Vec<Descriptor> {
    let Ok(Manifest { config, layers, manifests }) = serde_json::from_slice(manifest) else { return Vec::new() };
    config.into_iter().chain(layers).chain(manifests).collect()
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
}
