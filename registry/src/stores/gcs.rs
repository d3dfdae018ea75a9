//! `storage.gcs` as its driver is told.

use berth_config::Gcs;
use berth_storage::layers::StackOptions;
use berth_storage::{GcsCredentials, GcsOptions, Trust};

/// How many requests may be under way at once.
pub(super) fn stack(settings: &Gcs) -> StackOptions {
    StackOptions { max_requests: settings.maxconcurrency.try_into().unwrap_or(usize::MAX), ..StackOptions::default() }
}

/// What the driver is told. Taken apart without `..`: a new key must be dealt with here.
pub(super) fn options(settings: &Gcs) -> GcsOptions {
    let Gcs {
        bucket,
        keyfile,
        credentials,
        endpoint,
        skipverify,
        cafile,
        rootdirectory,
        chunksize,
        maxconcurrency,
        useragent,
    } = settings.clone();
    let credentials = match keyfile {
        Some(file) => GcsCredentials::File(file),
        None if credentials.is_empty() => GcsCredentials::Ambient,
        None => {
            let fields = credentials.iter().map(|(field, value)| (field.clone(), value.expose().to_owned()));
            GcsCredentials::Inline(fields.collect())
        }
    };
    GcsOptions {
        bucket,
        credentials,
        root_directory: rootdirectory,
        chunk_bytes: usize::try_from(chunksize).unwrap_or(usize::MAX),
        max_concurrency: usize::try_from(maxconcurrency).unwrap_or(usize::MAX),
        user_agent: useragent,
        endpoint,
        trust: Trust { ca_file: cafile, skip_verify: skipverify },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_at_once_are_as_many_as_the_configuration_says() {
        assert_eq!(stack(&Gcs { maxconcurrency: 30, ..Gcs::default() }).max_requests, 30);
    }
}
