//! The contract suite: what every bucket must do (`cases`), and what every store must do (`stored`), whether it is made of
//! one of these buckets or not.
//!
//! `cargo test` alone runs it on what needs no server: the filesystem, memory, and models of buckets, which show that the
//! suite itself holds together. `make stores` starts the real servers and runs it on all seven drivers; `BERTH_DRIVER=s3` and
//! `BERTH_CASE=ranges` take what is named so only. A case that a server cannot meet is skipped by name, with the reason
//! below the table that is printed at the end.
//!
//! A new driver adds a file below `drivers`, and one line to [`drivers::DRIVERS`].

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

mod cases;
mod drivers;
#[path = "../support/entra.rs"]
mod entra;
mod model;
mod runner;
mod stored;
mod subject;
mod table;

use stored::Stored;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_needs_no_server() {
    let mut stores = Stored::of_this_machine();
    stores.extend([Stored::on_shelf(true), Stored::on_shelf(false)]);
    runner::run(stores, vec![model::subject()]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs the real servers: run `make stores`"]
async fn every_driver_with_its_servers() {
    runner::run(drivers::without_servers(), drivers::start().await).await;
}
