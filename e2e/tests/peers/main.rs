//! Berth beside the registries that it takes the place of, and with the clients that people use.
//!
//! Everything here is real: the servers are programs on loopback ports with a directory of their own, which end with
//! the test, and the clients are those that people install.

mod clients;
mod compare;
mod content;
mod counts;
mod fill;
mod http;
mod interview;
mod issuer;
mod known;
mod lab;
mod oddities;
mod push;
mod report;
mod servers;
mod store;
mod survey;
mod swap;
mod token_service;
mod tokens;
