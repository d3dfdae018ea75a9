//! `storage.azure` as its driver is told.

use berth_config::{Azure, AzureCredentials, AzureCredentialsKind, Secret};
use berth_storage::layers::{RetryOptions, StackOptions};
use berth_storage::{AzureLogin, AzureOptions, Trust};

/// How often a request is tried again, and after how long.
pub(super) fn stack(settings: &Azure) -> StackOptions {
    // None but the first where it is -1.
    let max_tries = u32::try_from(settings.max_retries).unwrap_or_default().saturating_add(1);
    let first_wait = settings.retry_delay.as_std();
    let default = RetryOptions::default();
    // A wait that is longer than the longest is meant.
    let max_wait = default.max_wait.max(first_wait);
    StackOptions { retry: RetryOptions { max_tries, first_wait, max_wait, ..default }, ..StackOptions::default() }
}

/// What the driver is told. Taken apart without `..`: a new key must be dealt with here, or in [`stack`].
pub(super) fn options(settings: &Azure) -> AzureOptions {
    let Azure {
        accountname,
        accountkey,
        connectionstring,
        credentialsdirectory,
        container,
        realm,
        serviceurl,
        rootdirectory,
        credentials,
        max_retries: _,
        retry_delay: _,
        skipverify,
        cafile,
    } = settings.clone();
    let secret = |secret: Option<Secret>| secret.map(|secret| secret.expose().to_owned());
    let login = credentials.map(|AzureCredentials { kind, clientid, tenantid, secret: application }| match kind {
        AzureCredentialsKind::SharedKey => AzureLogin::SharedKey,
        AzureCredentialsKind::ClientSecret => {
            AzureLogin::ClientSecret { tenant_id: tenantid, client_id: clientid, secret: secret(application) }
        }
        AzureCredentialsKind::DefaultCredentials => AzureLogin::Default { tenant_id: tenantid, client_id: clientid },
    });
    AzureOptions {
        account_name: accountname,
        account_key: secret(accountkey),
        connection_string: secret(connectionstring),
        credentials_directory: credentialsdirectory,
        container,
        realm,
        service_url: serviceurl,
        root_directory: rootdirectory,
        login,
        authority: None,
        trust: Trust { ca_file: cafile, skip_verify: skipverify },
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn tries_are_as_many_as_the_configuration_says() {
        let settings = Azure { max_retries: -1, retry_delay: berth_config::Duration::from_secs(9), ..Azure::default() };
        let retry = stack(&settings).retry;
        assert_eq!(
            (retry.max_tries, retry.first_wait, retry.max_wait),
            (1, Duration::from_secs(9), Duration::from_secs(9))
        );
        let retry = stack(&Azure::default()).retry;
        assert_eq!((retry.max_tries, retry.first_wait), (6, Duration::from_millis(100)));
        assert_eq!(stack(&Azure { max_retries: i32::MAX, ..Azure::default() }).retry.max_tries, 1 << 31);
    }
}
