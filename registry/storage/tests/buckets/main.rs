//! What every bucket must do, run against every driver with a real server.
//!
//! `cargo test` alone runs the suite on a model in memory, which shows that the suite itself holds together. `make stores`
//! starts the real servers and runs it on them; `BERTH_DRIVER=s3` and `BERTH_CASE=ranges` take what is named so only. A
//! case that a server cannot meet is skipped by name, with the reason in the table that is printed at the end.
//!
//! A new driver adds a file below `drivers`, and one line to [`drivers::DRIVERS`].

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

mod cases;
mod drivers;
#[path = "../support/entra.rs"]
mod entra;
mod model;
mod runner;
mod subject;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_model() {
    runner::run(vec![model::subject()]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs the real servers: run `make stores`"]
async fn every_driver_with_its_servers() {
    runner::run(drivers::start().await).await;
}
