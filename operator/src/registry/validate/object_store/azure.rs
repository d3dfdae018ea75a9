//! [pure] Azure Blob Storage.

use berth_config::Azure as Settings;
use berth_crds::{Azure, AzureClientSecret, AzureCredentials, AzureWorkloadIdentity, pattern};

use super::{Checker, ValidCredentials, ValidDriver, ValidObjectStore, is};
use crate::problem::Problems;

/// The annotations by which Azure's cluster gives an identity, and the label of a pod that is given one.
const CLIENT: &str = "azure.workload.identity/client-id";
const TENANT: &str = "azure.workload.identity/tenant-id";
const USE: &str = "azure.workload.identity/use";

/// What is peculiar to Azure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ValidAzure {
    /// The storage account; none where a connection string names it.
    pub account: Option<String>,
    /// The container.
    pub container: String,
    /// The domain of the cloud.
    pub realm: String,
    /// The address of the account.
    pub endpoint: Option<String>,
    /// The ids of application and directory whose secret the credentials are.
    pub application: Option<(String, String)>,
}

pub(in crate::registry::validate) fn azure_of(azure: Azure, problems: &mut Problems) -> Option<ValidObjectStore> {
    let mut checker = Checker { driver: "azure", problems };
    let Azure {
        account_name,
        container,
        realm,
        endpoint,
        root_directory,
        ca,
        insecure_skip_verify,
        credentials,
        redirect,
    } = azure;
    if let Some(account) = &account_name {
        let message = "must be that of a storage account: a-z and 0-9";
        checker.matches("accountName", account, pattern::AZURE_ACCOUNT, message);
    }
    let message = "must be the name of a container: a-z, 0-9 and '-'; a folder in it goes into rootDirectory";
    checker.matches("container", &container, pattern::AZURE_CONTAINER, message);
    let realm = realm.unwrap_or_else(|| Settings::default().realm);
    checker.matches("realm", &realm, pattern::DOMAIN, "must be a domain, such as core.chinacloudapi.cn");
    checker.address("endpoint", endpoint.as_ref());
    let by_token = credentials.as_ref().is_some_and(|credentials| credentials.secret_ref.is_none());
    if by_token && endpoint.as_ref().is_some_and(|endpoint| endpoint.starts_with("http://")) {
        let message = "must begin with https:// beside clientSecret and workloadIdentity, since tokens of Microsoft Entra \
                       are sent to it";
        checker.add("endpoint", message);
    }
    let (credentials, application) = azure_credentials(credentials, account_name.as_deref(), &mut checker)?;
    Some(ValidObjectStore {
        root_directory: checker.root_directory(root_directory),
        ca: checker.ca(ca),
        driver: ValidDriver::Azure(ValidAzure { account: account_name, container, realm, endpoint, application }),
        credentials,
        skip_verify: is(insecure_skip_verify),
        redirect: is(redirect),
    })
}

/// The credentials, and the ids of the application whose secret they are.
fn azure_credentials(
    credentials: Option<AzureCredentials>,
    account: Option<&str>,
    checker: &mut Checker<'_>,
) -> Option<(ValidCredentials, Option<(String, String)>)> {
    let AzureCredentials { secret_ref, client_secret, workload_identity } = credentials.unwrap_or_default();
    if account.is_none() && secret_ref.is_none() {
        checker.add(
            "accountName",
            "is missing: name the storage account; only a Secret with a connectionstring names it itself",
        );
    }
    match (secret_ref, client_secret, workload_identity) {
        (Some(secret), None, None) => {
            let key = if account.is_some() { "accountkey" } else { "connectionstring" };
            Some((checker.secret(secret, "credentials.secretRef", &[key], &[]), None))
        }
        (None, Some(AzureClientSecret { client_id, tenant_id, secret_ref }), None) => {
            azure_id("credentials.clientSecret.clientId", Some(&client_id), checker);
            azure_id("credentials.clientSecret.tenantId", Some(&tenant_id), checker);
            Some((
                checker.secret(secret_ref, "credentials.clientSecret.secretRef", &["secret"], &[]),
                Some((client_id, tenant_id)),
            ))
        }
        (None, None, Some(AzureWorkloadIdentity { client_id, tenant_id })) => {
            azure_id("credentials.workloadIdentity.clientId", client_id.as_ref(), checker);
            azure_id("credentials.workloadIdentity.tenantId", tenant_id.as_ref(), checker);
            if tenant_id.is_some() && client_id.is_none() {
                let message = "goes with clientId: name the application or managed identity, too, or leave it out";
                checker.add("credentials.workloadIdentity.tenantId", message);
            }
            // Pods without the label are passed over by the webhook that gives identities.
            let label = client_id.is_some().then_some((USE, "true"));
            let annotations = [(CLIENT, client_id), (TENANT, tenant_id)];
            Some((checker.identity("credentials.workloadIdentity.clientId", annotations, label), None))
        }
        _ => {
            checker.add("credentials", "must have exactly one of secretRef, clientSecret and workloadIdentity");
            None
        }
    }
}

fn azure_id(field: &str, id: Option<&String>, checker: &mut Checker<'_>) {
    if let Some(id) = id {
        checker.matches(field, id, pattern::AZURE_ID, "must be an id: letters, digits and '-'");
    }
}
