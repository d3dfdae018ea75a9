//! What every store must do: cases over the trait [`Store`], run on the stores of this machine, and on every driver's bucket.
//!
//! A case works below a key of its own, so that what another leaves is not in its way.

mod objects;
mod uploads;

use std::any::Any;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use berth_storage::bucket::{Abilities, Bucket};
use berth_storage::layers::{Shelf, ShelfOptions};
use berth_storage::layout::UploadKey;
use berth_storage::{Filesystem, Key, LockMode, Memory, ObjectStore, Store, read_all};
use bytes::Bytes;
use uuid::Uuid;

use crate::cases::Case;
use crate::subject::Subject;

/// A store under test.
pub(crate) struct Stored {
    pub(crate) driver: &'static str,
    pub(crate) server: &'static str,
    pub(crate) version: String,
    store: Arc<dyn Store>,
    /// The same place, opened a second time: what another process is.
    other: Arc<dyn Store>,
    /// Whether of several creators of an object one wins.
    creates_atomically: bool,
    /// Where it lies, if that is a directory.
    directory: Option<PathBuf>,
    /// What a server does not do: the name of a case, and the reason.
    pub(crate) lacks: Vec<(&'static str, &'static str)>,
    _kept: Option<Box<dyn Any + Send + Sync>>,
}

impl Stored {
    /// The store in a bucket.
    pub(crate) fn in_bucket(subject: &Subject) -> Self {
        let store = |bucket: &Arc<dyn Bucket>| Arc::new(ObjectStore::new(bucket.clone()));
        Stored {
            driver: subject.bucket.driver(),
            server: subject.server,
            version: subject.version.clone(),
            store: store(&subject.bucket),
            other: store(&subject.other),
            creates_atomically: subject.bucket.abilities().creates_atomically,
            directory: None,
            lacks: subject.lacks.clone(),
            _kept: None,
        }
    }

    /// The stores that need no server.
    pub(crate) fn of_this_machine() -> Vec<Self> {
        let memory = Arc::new(Memory::new());
        let directory = tempfile::tempdir().unwrap();
        let open = || Arc::new(Filesystem::open(directory.path(), 25, LockMode::Shared).unwrap());
        let filesystem = Stored {
            driver: "filesystem",
            server: "a directory",
            version: String::new(),
            store: open(),
            other: open(),
            creates_atomically: true,
            directory: Some(directory.path().to_owned()),
            lacks: Vec::new(),
            _kept: None,
        };
        let inmemory = Stored {
            driver: "inmemory",
            server: "this process",
            version: String::new(),
            store: memory.clone(),
            other: memory,
            creates_atomically: true,
            directory: None,
            lacks: Vec::new(),
            _kept: None,
        };
        vec![Stored { _kept: Some(Box::new(directory)), ..filesystem }, inmemory]
    }

    /// A bucket in memory, able to do everything or only the least; that one of several creators wins is asked of both.
    pub(crate) fn on_shelf(is_able: bool) -> Self {
        let options = ShelfOptions::default();
        let abilities = Abilities {
            removes_many: is_able,
            copies_parts: is_able,
            lists_from_anywhere: is_able,
            lists_at_once: true,
            ..options.abilities
        };
        let max_page = if is_able { options.max_page } else { 3 };
        let bucket =
            Arc::new(Shelf::new(ShelfOptions { abilities, max_page, lists_nothing_first: !is_able, ..options }));
        Stored {
            driver: bucket.driver(),
            server: if is_able { "memory" } else { "memory, able to do the least" },
            version: String::new(),
            store: Arc::new(ObjectStore::new(bucket.clone())),
            other: Arc::new(ObjectStore::new(bucket)),
            creates_atomically: true,
            directory: None,
            lacks: Vec::new(),
            _kept: None,
        }
    }
}

/// Where a case works: a store, below a key that is the case's alone.
struct On {
    stored: Arc<Stored>,
    root: &'static str,
}

impl On {
    fn store(&self) -> &dyn Store {
        self.stored.store.as_ref()
    }

    fn shared(&self) -> Arc<dyn Store> {
        self.stored.store.clone()
    }

    /// The same store, as another process has it.
    fn other(&self) -> &dyn Store {
        self.stored.other.as_ref()
    }

    fn key(&self, text: &str) -> Key {
        format!("{}/{text}", self.root).parse().unwrap()
    }

    fn upload(&self) -> UploadKey {
        UploadKey::new(&format!("{}/app", self.root).parse().unwrap(), Uuid::new_v4())
    }

    async fn put(&self, at: &str, content: &'static str) {
        self.store().put(&self.key(at), Bytes::from_static(content.as_bytes())).await.unwrap();
    }

    async fn read(&self, at: &str) -> Bytes {
        read_all(self.store(), &self.key(at), 1 << 30).await.unwrap()
    }

    fn directory(&self) -> Option<&Path> {
        self.stored.directory.as_deref()
    }
}

macro_rules! cases {
    ($($module:ident: $($name:ident),+;)+) => {
        vec![$($(Case {
            name: stringify!($name),
            run: |stored| Box::pin($module::$name(On { stored, root: stringify!($name) })),
        }),+),+]
    };
}

/// Every case.
pub(crate) fn all() -> Vec<Case<Stored>> {
    cases! {
        objects: what_was_put_is_read_replaced_and_deleted, a_range_gives_its_part_and_nothing_else,
            of_many_creators_one_wins, what_lies_below_a_key_is_deleted_at_once,
            listings_are_in_the_order_of_keys_and_pages_join_without_loss, a_writer_survives_the_removal_of_its_directory,
            names_of_any_kind_are_kept_and_listed, a_large_object_is_copied_and_read_in_ranges,
            what_is_given_up_half_way_is_as_before_or_done;
        uploads: an_upload_grows_and_becomes_an_object, an_upload_without_data_is_an_empty_object,
            an_upload_of_another_length_than_was_hashed_is_not_stored,
            what_is_stored_is_what_was_hashed_whoever_else_wrote,
            an_upload_leaves_what_has_its_length_and_replaces_what_is_damaged,
            what_arrived_before_a_body_broke_off_is_kept, an_aborted_upload_is_gone,
            another_process_goes_on_with_an_upload, what_is_copied_can_be_finished_again_by_another_process,
            what_was_gone_on_from_is_no_end_any_more, what_lies_beside_a_finished_upload_goes_with_it,
            a_body_goes_straight_to_its_key_or_nowhere;
    }
}
