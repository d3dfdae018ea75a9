//! The servers, compiled or unpacked once.

use std::sync::OnceLock;

use berth_e2e::compile::AS_FOR_TESTS;
use berth_e2e::paths::Cache;
use berth_e2e::peer::Program;
use berth_e2e::tools;

/// The servers.
pub(crate) struct Lab {
    pub(crate) berth: Program,
    pub(crate) distribution_2: Program,
    pub(crate) distribution_3: Program,
}

/// The servers; the first call makes those that are missing.
pub(crate) fn lab() -> &'static Lab {
    static LAB: OnceLock<Lab> = OnceLock::new();
    LAB.get_or_init(|| {
        let cache = Cache::from_env().expect("a place for the tools");
        let toolbox = tools::ensure(&cache, &[tools::DISTRIBUTION]).expect("Distribution is built");
        let distribution_2 = Program::distribution_2(&cache).expect("docker-registry is unpacked");
        let berth = Program::berth(&AS_FOR_TESTS).expect("berth-registry is compiled");
        Lab { berth, distribution_2, distribution_3: Program::distribution_3(&toolbox) }
    })
}
