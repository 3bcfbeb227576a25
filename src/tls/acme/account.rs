//! The account at the authority: made once, and kept.

use std::time::Duration;

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use instant_acme::{Account, AccountCredentials, ExternalAccountKey, NewAccount};
use tokio::time::{Instant, sleep};
use zeroize::Zeroizing;

use super::{
    Storage,
    client::Client,
    error::{AttemptError, in_one_line, said},
    order::{authority, blocking, insist},
    storage::{Lock, StoredAccount},
};
use crate::{
    config::{Acme, ExternalAccount, Secret},
    tls::FileFault,
};

const WAIT: Duration = Duration::from_secs(60);
const TURN: Duration = Duration::from_millis(200);

/// The stored account, or a new one, which is stored before anything else is done with it.
pub(super) async fn open(acme: &Acme, storage: &Storage, client: &Client) -> Result<Account, AttemptError> {
    // Who only reads it waits for nobody: an authority that hangs would have each of many certificates wait for all others.
    if let Some(stored) = known(storage).await?.filter(|stored| stored.contact == acme.contact) {
        return restore(client, &stored).await;
    }
    let lock = lock(storage).await?;
    match known(storage).await? {
        Some(stored) if stored.contact == acme.contact => {
            drop(lock);
            restore(client, &stored).await
        }
        Some(stored) => again(acme, storage, client, stored).await,
        None => create(acme, storage, client).await,
    }
}

async fn known(storage: &Storage) -> Result<Option<StoredAccount>, AttemptError> {
    let storage = storage.clone();
    blocking(move || storage.account()).await
}

/// The stored account at its authority; None where there is none.
pub(super) async fn stored(storage: &Storage, client: &Client) -> Result<Option<Account>, AttemptError> {
    match known(storage).await? {
        Some(stored) => restore(client, &stored).await.map(Some),
        None => Ok(None),
    }
}

/// The authority has lost the account with this id: another one, unless it was replaced by now.
pub(super) async fn replace(
    acme: &Acme,
    storage: &Storage,
    client: &Client,
    lost: &str,
) -> Result<Account, AttemptError> {
    let _lock = lock(storage).await?;
    if let Some(account) = stored(storage, client).await?.filter(|account| account.id() != lost) {
        return Ok(account);
    }
    tracing::warn!(directory = acme.directory, "the authority does not know the account any more: making another one");
    create(acme, storage, client).await
}

/// What is wrong with the key of an external account, if there is one.
pub(super) fn check(acme: &Acme) -> Result<(), FileFault> {
    acme.external_account.as_ref().map_or(Ok(()), |account| external(account).map(drop))
}

/// With what the configuration says by now.
async fn again(
    acme: &Acme,
    storage: &Storage,
    client: &Client,
    stored: StoredAccount,
) -> Result<Account, AttemptError> {
    let account = restore(client, &stored).await?;
    let contact: Vec<&str> = acme.contact.iter().map(String::as_str).collect();
    match insist!(account.update_contacts(&contact).await) {
        Ok(()) => save(storage, StoredAccount { contact: acme.contact.clone(), ..stored }).await?,
        // An account that is gone shows in the order.
        Err(error) => {
            let error = in_one_line(&said(&error));
            tracing::warn!(error, "the authority does not take the changed tls.acme.contact");
        }
    }
    Ok(account)
}

async fn restore(client: &Client, stored: &StoredAccount) -> Result<Account, AttemptError> {
    let credentials: AccountCredentials = serde_json::from_str(&stored.credentials)
        .map_err(|_| AttemptError::Internal("account.json is not what portcullis writes there".to_owned()))?;
    let builder = Account::builder_with_http(Box::new(client.clone()));
    builder.from_credentials(credentials).await.map_err(|error| authority(client, error))
}

async fn create(acme: &Acme, storage: &Storage, client: &Client) -> Result<Account, AttemptError> {
    let external = match acme.external_account.clone() {
        Some(account) => Some(blocking(move || external(&account)).await?),
        None => None,
    };
    let contact: Vec<&str> = acme.contact.iter().map(String::as_str).collect();
    let asked = NewAccount { contact: &contact, terms_of_service_agreed: true, only_return_existing: false };
    let build = || Account::builder_with_http(Box::new(client.clone()));
    let made = insist!(build().create(&asked, acme.directory.clone(), external.as_ref()).await);
    let (account, credentials) = made.map_err(|error| authority(client, error))?;
    let credentials = serde_json::to_string(&credentials).map_err(|error| AttemptError::Internal(error.to_string()))?;
    save(storage, StoredAccount { credentials: Zeroizing::new(credentials), contact: acme.contact.clone() }).await?;
    tracing::info!(directory = acme.directory, account = account.id(), "an account was made at the authority");
    Ok(account)
}

async fn save(storage: &Storage, account: StoredAccount) -> Result<(), AttemptError> {
    let storage = storage.clone();
    blocking(move || storage.set_account(&account)).await
}

async fn lock(storage: &Storage) -> Result<Lock, AttemptError> {
    let end = Instant::now() + WAIT;
    while Instant::now() < end {
        let storage = storage.clone();
        if let Some(lock) = blocking(move || storage.lock_account()).await? {
            return Ok(lock);
        }
        sleep(TURN).await;
    }
    Err(AttemptError::Busy)
}

fn external(account: &ExternalAccount) -> Result<ExternalAccountKey, FileFault> {
    let fault = |reason: String| FileFault { file: Some(account.hmac_key_file.clone()), reason };
    let text: Secret = account.hmac_key().map_err(|error| fault(format!("cannot be read: {error}")))?;
    let key = BASE64_URL_SAFE_NO_PAD.decode(text.reveal().trim().trim_end_matches('='));
    let key = key.map(Zeroizing::new).map_err(|_| fault("does not hold a key in base64url".to_owned()))?;
    Ok(ExternalAccountKey::new(account.key_id.clone(), &key))
}
