//! Each of the servers starts on an empty directory, answers, and ends when it is told to.

use berth_e2e::peer::{Peer, Setup};

use crate::http::{Question, ask};
use crate::lab::lab;

#[tokio::test]
async fn every_server_starts_answers_and_ends() {
    let lab = lab();
    for program in [&lab.berth, &lab.distribution_2, &lab.distribution_3] {
        let temp = tempfile::tempdir().expect("a temporary directory");
        let setup = Setup::filesystem(temp.path(), &temp.path().join("data"));
        let server = Peer::start(program, &setup).expect("it starts");
        let answer = ask(server.address(), &Question::get("/v2/")).await.expect("it answers");
        assert_eq!(answer.status, 200, "{}", program.name);
        assert_eq!(answer.header("docker-distribution-api-version").as_deref(), Some("registry/2.0"));
        let address = server.address();
        server.stop().expect("it ends");
        ask(address, &Question::get("/v2/")).await.expect_err("it has ended");
    }
}
