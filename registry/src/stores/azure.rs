//! `storage.azure` as its driver is told.

use berth_config::{Azure, AzureCredentials, AzureCredentialsKind, Secret};
use berth_storage::{AzureLogin, AzureOptions, Trust};

/// What the driver is told. Taken apart without `..`: a new key must be dealt with here. How often is tried again, and after
/// how long, is the same for all object stores.
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
