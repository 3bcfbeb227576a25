//! `portcullis token keys`

use std::io::Write as _;

use anyhow::Context as _;
use clap::{Args, ValueEnum};

use crate::{
    cli::{ConfigArgs, complain},
    config::Config,
    token,
};

/// Print the public keys that tokens are verified with.
///
/// For registries that verify tokens themselves (upstream.pass_token) and for anything else that reads them. The output
/// changes only with tokens.keys, but for the signatures of certificates. A missing key is an error and is not made;
/// nothing private is printed.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  portcullis token keys --format certificates > gate.crt        # for docker-registry 2.8
  portcullis token keys > gate.json                             # for distribution 3")]
pub(super) struct KeysArgs {
    #[command(flatten)]
    config: ConfigArgs,

    /// The form of the output.
    #[arg(long, value_enum, default_value_t = Format::Jwks)]
    format: Format,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Format {
    /// A JWK set (RFC 7517): `auth.token.jwks` of distribution 3.
    Jwks,
    /// Self-signed certificates in PEM: `auth.token.rootcertbundle` of docker-registry 2.
    Certificates,
}

/// Prints the keys on standard output; what is left out is said on standard error.
///
/// # Errors
/// A configuration that cannot be loaded, or a key that is missing, cannot be used or has no place in this format.
pub(super) fn run(args: &KeysArgs) -> anyhow::Result<()> {
    let files = Config::load(&args.config.config)?.tokens.keys;
    let text = match args.format {
        Format::Jwks => token::jwks(&files)? + "\n",
        Format::Certificates => {
            let made = token::certificates(&files)?;
            for file in &made.left_out {
                complain(&format!("portcullis: {} is left out: docker-registry 2 cannot read EdDSA", file.display()));
            }
            made.pem
        }
    };
    std::io::stdout().lock().write_all(text.as_bytes()).context("cannot write the keys")
}
