//! Tags of a repository: a name and what it names now.

use std::sync::Arc;

use berth_oci::{Digest, RepositoryName, Tag};
use berth_storage::{EntryKind, Key, StoreError, layout, list_all};
use futures::future::join;
use futures::{StreamExt, TryStreamExt, stream};

use crate::catalog::{Names, Paged, is_repository, names_behind, page_of, plain};
use crate::error::Error;
use crate::registry::{Registry, absent_is_none};

/// How many tags are looked at at once.
const LOOKUPS_AT_ONCE: usize = 16;

impl Registry {
    /// The tags of a repository behind `last`, in lexical order, at most `limit` of them.
    ///
    /// # Errors
    /// [`Error::NameUnknown`] if there is no such repository.
    pub async fn tags(
        &self,
        name: &RepositoryName,
        limit: Option<usize>,
        last: Option<&str>,
    ) -> Result<Paged<Tag>, Error> {
        if let Some(limit) = limit.filter(|_| self.store.is_remote()) {
            return self.tags_page(name, limit, last.map(plain).as_deref()).await;
        }
        // Only who goes on is given what was read before.
        let remembered = last.and_then(|_| self.tag_lists.get(name));
        let tags = match remembered {
            Some(tags) => tags,
            None => self.read_tags(name, limit).await?,
        };
        let behind = tags.partition_point(|tag| last.is_some_and(|last| tag.as_str() <= last));
        Ok(page_of(tags[behind..].iter().cloned(), limit))
    }

    /// A page in as few requests as there can be, however many tags there are.
    async fn tags_page(&self, name: &RepositoryName, limit: usize, last: Option<&str>) -> Result<Paged<Tag>, Error> {
        let (below, mut tags, mut last) = (layout::tags(name), Vec::new(), last.map(str::to_owned));
        // One more than is asked for tells whether there are more.
        while limit > 0 && tags.len() <= limit {
            let Names { names, is_last } =
                names_behind(self.store.as_ref(), &below, last.as_deref(), limit + 1 - tags.len()).await?;
            last = names.last().cloned().or(last);
            // A name that is no tag cannot be asked for.
            tags.extend(names.iter().filter_map(|name| name.parse::<Tag>().ok()));
            if is_last {
                break;
            }
        }
        if tags.is_empty() && !is_repository(self.store.as_ref(), name).await? {
            return Err(Error::NameUnknown { name: name.clone() });
        }
        Ok(page_of(tags.into_iter(), Some(limit)))
    }

    async fn read_tags(&self, name: &RepositoryName, limit: Option<usize>) -> Result<Arc<[Tag]>, Error> {
        let version = self.tag_lists.version(name);
        let tags: Arc<[Tag]> = self.all_tags(name).await?.into();
        if tags.is_empty() && !is_repository(self.store.as_ref(), name).await? {
            return Err(Error::NameUnknown { name: name.clone() });
        }
        if limit.is_some_and(|limit| limit < tags.len()) {
            self.tag_lists.remember(name, version, tags.clone());
        }
        Ok(tags)
    }

    /// Every tag, in lexical order. The order of keys is another one: `v1-rc/` comes before `v1/`.
    async fn all_tags(&self, name: &RepositoryName) -> Result<Vec<Tag>, Error> {
        let entries = list_all(self.store.as_ref(), &layout::tags(name), true).await?;
        let directories = entries.iter().filter(|entry| entry.kind == EntryKind::Directory);
        let mut tags: Vec<Tag> = directories.filter_map(|entry| entry.key.file_name().parse().ok()).collect();
        tags.sort_unstable();
        Ok(tags)
    }

    /// What a tag names: nothing if there is no such tag, or if what lies there is no digest, such as the empty file that a
    /// power failure leaves of a writer that did not sync.
    pub(crate) async fn read_tag(&self, name: &RepositoryName, tag: &Tag) -> Result<Option<Digest>, Error> {
        match self.read_link(&layout::tag_current_link(name, tag)).await {
            Err(error @ (Error::Link { .. } | Error::Store(StoreError::TooLarge { .. }))) => {
                tracing::warn!(repository = %name, %tag, %error, "the link of a tag cannot be read: it names nothing");
                Ok(None)
            }
            outcome => outcome,
        }
    }

    /// Removes a tag with its history. The current link goes behind the history, so that a tag is listed for as long as it
    /// is there. What another server has added to the history until then goes too: a push writes it before it looks whether
    /// the current link is there still.
    pub(crate) async fn remove_tag(&self, name: &RepositoryName, tag: &Tag) -> Result<(), Error> {
        self.remove_history(name, tag).await?;
        let removed = absent_is_none(self.store.delete(&layout::tag_current_link(name, tag)).await);
        self.tag_lists.changed(name);
        removed?;
        self.remove_history(name, tag).await
    }

    async fn remove_history(&self, name: &RepositoryName, tag: &Tag) -> Result<(), Error> {
        let entries = list_all(self.store.as_ref(), &layout::tag_index(name, tag), false).await?;
        let keys: Vec<Key> = entries.into_iter().map(|entry| entry.key).collect();
        Ok(self.store.delete_all(&keys).await?)
    }

    /// As [`Registry::remove_tag`], of a tag that names this manifest, and only if `is_due` comes to be true. Both are looked
    /// at right before the current link goes, and that in one request: what another server makes of the tag in between is
    /// not seen, so there is to be as little time as can be.
    pub(crate) async fn remove_tag_of(
        &self,
        name: &RepositoryName,
        tag: &Tag,
        digest: &Digest,
        is_due: impl Future<Output = Result<bool, Error>>,
    ) -> Result<(), Error> {
        if self.read_tag(name, tag).await?.as_ref() != Some(digest) {
            return Ok(());
        }
        self.remove_history(name, tag).await?;
        let (current, is_due) = join(self.read_tag(name, tag), is_due).await;
        if current?.as_ref() != Some(digest) || !is_due? {
            return Ok(());
        }
        let removed = self.store.delete_all(&[layout::tag_current_link(name, tag)]).await;
        self.tag_lists.changed(name);
        removed?;
        self.remove_history(name, tag).await
    }

    /// Removes every tag that names a manifest; if a link is given, only while that is not there. A tag whose link cannot be
    /// read names none, or else one such link would keep every manifest of the repository from being deleted.
    pub(crate) async fn remove_tags_of(
        &self,
        name: &RepositoryName,
        digest: &Digest,
        unless: Option<&Key>,
    ) -> Result<(), Error> {
        let is_due = async || match unless {
            Some(link) => Ok::<_, Error>(self.find(link).await?.is_none()),
            None => Ok(true),
        };
        if !is_due().await? {
            return Ok(());
        }
        let tags = self.all_tags(name).await?;
        let naming: Vec<Tag> = stream::iter(tags.into_iter().map(|tag| async move {
            let current = self.read_tag(name, &tag).await?;
            Ok::<_, Error>((current.as_ref() == Some(digest)).then_some(tag))
        }))
        .buffered(LOOKUPS_AT_ONCE)
        .try_filter_map(|tag| async move { Ok(tag) })
        .try_collect()
        .await?;
        for tag in &naming {
            self.remove_tag_of(name, tag, digest, is_due()).await?;
        }
        Ok(())
    }
}
