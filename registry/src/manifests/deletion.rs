//! Manifests and tags are deleted.

use std::sync::Arc;

use berth_oci::{Reference, RepositoryName};
use berth_storage::layout;

use super::Target;
use crate::conditions::Conditions;
use crate::error::Error;
use crate::referrers::Subject;
use crate::registry::{Registry, absent_is_none};

impl Registry {
    /// As [`Registry::manifest_delete_if`], whatever is there.
    ///
    /// # Errors
    /// Those of [`Registry::manifest_delete_if`].
    pub async fn manifest_delete(self: &Arc<Self>, name: &RepositoryName, reference: &Reference) -> Result<(), Error> {
        self.manifest_delete_if(name, reference, Conditions::default()).await
    }

    /// Deletes a tag, or a manifest with every tag that names it.
    ///
    /// # Errors
    /// [`Error::ManifestUnknown`] if the repository does not have it; [`Error::ConditionUnmet`],
    /// [`Error::DeleteDisabled`], [`Error::ReadOnly`].
    pub async fn manifest_delete_if(
        self: &Arc<Self>,
        name: &RepositoryName,
        reference: &Reference,
        conditions: Conditions,
    ) -> Result<(), Error> {
        let writing = self.deletable()?;
        let (registry, name, reference) = (self.clone(), name.clone(), reference.clone());
        tokio::spawn(async move {
            let _writing = writing;
            let _deleting = registry.while_alone(&name).await;
            let deleted = registry.delete_manifest(&name, &Target { reference, conditions }).await;
            registry.catalog.deleted();
            deleted
        })
        .await?
    }

    async fn delete_manifest(&self, name: &RepositoryName, target: &Target) -> Result<(), Error> {
        let Target { reference, conditions } = target;
        let unknown = || Error::ManifestUnknown { name: name.clone(), reference: reference.to_string() };
        match reference {
            Reference::Tag(tag) => {
                self.find(&layout::tag_current_link(name, tag)).await?.ok_or_else(unknown)?;
                if !conditions.is_empty() {
                    conditions.check(self.named(name, reference).await?.as_ref())?;
                }
                self.remove_tag(name, tag).await
            }
            Reference::Digest(digest) => {
                let link = layout::revision_link(name, digest);
                self.find(&link).await?.ok_or_else(unknown)?;
                conditions.check(Some(digest))?;
                let subject = self.subject(digest).await?;
                self.remove_tags_of(name, digest, None).await?;
                absent_is_none(self.store.delete(&link).await)?;
                // Another server may have tagged it between: it found the manifest there, and will not look again. If it
                // looks now, it writes the manifest anew, and its tags stay.
                self.remove_tags_of(name, digest, Some(&link)).await?;
                // After the link, for the reason that it is written before it; and only while another server has not pushed
                // the manifest again.
                match subject {
                    Subject::Some(subject) if self.find(&link).await?.is_none() => {
                        self.forget_referrer(name, &subject, digest).await
                    }
                    Subject::Some(_) | Subject::None | Subject::Unknown => Ok(()),
                }
            }
        }
    }
}
