// SPDX-License-Identifier: MIT
//! The service in this process; the programs that it starts are this computer's.
#![allow(clippy::unwrap_used, reason = "a test that meets the unexpected is to fail")]

use strongroom::{CallError, Caller};
use strongroom_beside::{Bench, DATA_MAX, Place, Tool, ToolError, ToolsClient, ToolsInterface};
use strongroom_testing::{Fake, InProcess};

type Client = ToolsClient<InProcess<Bench, ToolsInterface>>;

fn connect(caller: Caller) -> Client {
    Client::connect(Fake::new().serve().as_caller(caller)).unwrap()
}

fn refused<T>(error: ToolError) -> Result<T, CallError<ToolError>> {
    Err(CallError::Service(error))
}

#[test]
fn an_attested_client_has_programs_started() {
    let mut client = connect(Caller::Attested { key: [1; 32] });
    assert_eq!(client.place(), Ok(Place::Outside));
    assert_eq!(client.run(Tool::Sort, b"b\na\n".to_vec()), Ok(b"a\nb\n".to_vec()));
    assert_eq!(client.run(Tool::Failing, b"unread".to_vec()), refused(ToolError::Failed(Some(1))));
    // There is none on this computer: no such file.
    assert_eq!(client.run(Tool::Client, Vec::new()), refused(ToolError::NotStarted(2)));
}

#[test]
fn a_program_beside_may_sort_and_start_nothing_else() {
    let mut client = connect(Caller::Beside);
    assert_eq!(client.place(), Ok(Place::Beside));
    assert_eq!(client.run(Tool::Sort, b"b\na\n".to_vec()), Ok(b"a\nb\n".to_vec()));
    for tool in [Tool::Client, Tool::Failing] {
        assert_eq!(client.run(tool, Vec::new()), refused(ToolError::Denied));
    }
}

#[test]
fn more_than_pipes_hold_goes_through_and_more_than_the_limit_does_not() {
    let mut client = connect(Caller::Beside);
    let lines = b"x\n".repeat(DATA_MAX / 2);
    assert_eq!(client.run(Tool::Sort, lines.clone()), Ok(lines));
    let more = client.run(Tool::Sort, b"x\n".repeat(DATA_MAX / 2 + 1));
    assert_eq!(more, refused(ToolError::TooMuch));
    let most = client.run(Tool::Sort, vec![b'x'; 49_216]);
    assert_eq!(most, Err(CallError::RequestTooLarge(49_216)));
}
