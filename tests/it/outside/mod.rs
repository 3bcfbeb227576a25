//! What lies beside the registry: a web UI, trust data, and pages of other origins.

mod browsers;
mod login;
mod notary;
mod paths;
mod ui;

use serde_json::{Value, json};

use crate::support::{ADMIN, Curl, Image, Portcullis, Registry, Site, Skopeo, eventually};

/// A gate before a registry that holds something, with a web UI.
struct Scene {
    registry: Registry,
    site: Site,
    gate: Portcullis,
    images: [Image; 2],
}

const REPOSITORIES: [&str; 2] = ["team-a/app", "secret/app"];

impl Scene {
    fn new() -> Self {
        Self::with(|_| {})
    }

    /// With one more change of the configuration.
    fn with(change: impl Fn(&mut Value) + 'static) -> Self {
        let (registry, site) = (Registry::start(), Site::start());
        let ui = site.url.clone();
        let gate = Portcullis::before(&registry)
            .with(move |config| {
                config["registries"][0]["ui"] = json!(ui);
                change(config);
            })
            .start();
        let images = [Image::new(60, &[4000]), Image::new(61, &[4000])];
        let skopeo = Skopeo::logged_in(gate.pki(), &gate.host(), ADMIN);
        for (repository, image) in REPOSITORIES.into_iter().zip(&images) {
            skopeo.copy(&image.reference(), &gate.image(repository)).succeeded();
        }
        Self { registry, site, gate, images }
    }

    fn curl(&self, path: &str) -> Curl {
        self.gate.curl(path)
    }

    /// What the UI was asked so far: request lines and credentials.
    fn asked(&self) -> Vec<String> {
        // A line is written after its answer went out; the one of the last request is the last.
        assert_eq!(self.curl("/marker").user(ADMIN).send().status, 404);
        let mut asked = Vec::new();
        eventually("the UI's log is written", || {
            asked = self.site.asked();
            asked.last().is_some_and(|line| line.starts_with("GET /marker "))
        });
        asked.retain(|line| !line.starts_with("GET /marker "));
        asked
    }

    /// What the registry did on the secret repository.
    fn touched(&self) -> usize {
        self.registry.acted().iter().filter(|acted| acted.target.to_lowercase().contains("ecret")).count()
    }
}

/// Takes the grants for anyone out.
fn nothing_for_anyone(config: &mut Value) {
    let grants = config["access"]["grants"].as_array_mut().unwrap();
    grants.retain(|grant| grant["to"] != json!(["anyone"]));
}
