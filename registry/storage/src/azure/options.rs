//! What the driver has to be told.

use std::fmt;
use std::path::PathBuf;

use crate::Trust;

/// Which container is meant, and how the registry shows who it is.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct AzureOptions {
    /// The storage account; may be missing where the connection string names it.
    pub account_name: String,
    /// The account's key.
    pub account_key: Option<String>,
    /// Account, address, and a key or a shared access signature, in one text.
    pub connection_string: Option<String>,
    /// A directory of files that take the place of what is given here: `accountkey`, `connectionstring`, and `secret` of an
    /// application. They are read again when they change.
    pub credentials_directory: Option<PathBuf>,
    /// The container.
    pub container: String,
    /// The domain of the cloud, such as `core.windows.net`.
    pub realm: String,
    /// The address of the account. Missing: the one in the connection string, or made from account and realm.
    pub service_url: Option<String>,
    /// Where in the container the layout begins. Where this is empty, a container of CNCF Distribution 2.8, which began
    /// every name with a slash, is recognized by what is in it; `/` and `//` say that names have none, or one.
    pub root_directory: String,
    /// How the registry shows who it is. Missing: with the account's key or the connection string.
    pub login: Option<AzureLogin>,
    /// Where Microsoft Entra gives out tokens. Missing: what the environment says, or what belongs to the realm.
    pub authority: Option<String>,
    /// Whose certificates are believed.
    pub trust: Trust,
}

/// A way to show who the registry is.
#[derive(Clone, PartialEq, Eq)]
pub enum AzureLogin {
    /// With the account's key, or with what the connection string has.
    SharedKey,
    /// As an application of Microsoft Entra, with its secret.
    ClientSecret {
        /// The tenant of the application.
        tenant_id: Option<String>,
        /// The application.
        client_id: Option<String>,
        /// Its secret.
        secret: Option<String>,
    },
    /// With what the pod or the machine has been given: an application in the environment, workload identity, or else a
    /// managed identity.
    Default {
        /// The tenant, in place of the one in the environment.
        tenant_id: Option<String>,
        /// The application or managed identity, in place of the one in the environment.
        client_id: Option<String>,
    },
}

/// Shows whether a secret is there, and not what it is.
fn hidden(secret: Option<&String>) -> Option<&'static str> {
    secret.map(|_| "<hidden>")
}

impl fmt::Debug for AzureOptions {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let AzureOptions {
            account_name,
            account_key,
            connection_string,
            credentials_directory,
            container,
            realm,
            service_url,
            root_directory,
            login,
            authority,
            trust,
        } = self;
        formatter
            .debug_struct("AzureOptions")
            .field("account_name", account_name)
            .field("account_key", &hidden(account_key.as_ref()))
            .field("connection_string", &hidden(connection_string.as_ref()))
            .field("credentials_directory", credentials_directory)
            .field("container", container)
            .field("realm", realm)
            // An address may have a shared access signature behind it.
            .field("service_url", &service_url.as_ref().map(|url| url.split('?').next().unwrap_or_default()))
            .field("root_directory", root_directory)
            .field("login", login)
            .field("authority", authority)
            .field("trust", trust)
            .finish()
    }
}

impl fmt::Debug for AzureLogin {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AzureLogin::SharedKey => formatter.write_str("SharedKey"),
            AzureLogin::ClientSecret { tenant_id, client_id, secret } => formatter
                .debug_struct("ClientSecret")
                .field("tenant_id", tenant_id)
                .field("client_id", client_id)
                .field("secret", &hidden(secret.as_ref()))
                .finish(),
            AzureLogin::Default { tenant_id, client_id } => {
                formatter.debug_struct("Default").field("tenant_id", tenant_id).field("client_id", client_id).finish()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_secret_is_shown() {
        let secret = || Some("s3cr3t".to_owned());
        let options = AzureOptions {
            account_key: secret(),
            connection_string: secret(),
            service_url: Some("https://a.example?sig=s3cr3t".to_owned()),
            login: Some(AzureLogin::ClientSecret { tenant_id: None, client_id: None, secret: secret() }),
            ..AzureOptions::default()
        };
        let shown = format!("{options:?}");
        assert!(!shown.contains("s3cr3t"), "{shown}");
        assert_eq!(shown.matches("<hidden>").count(), 3, "{shown}");
    }
}
